//! What a statement says of who sent it: `current_schema()`, `current_database()`, `current_catalog`, `current_user` and
//! `session_user`, as in PostgreSQL.
//!
//! The caller is known while a statement is planned and not where it runs, so the planner puts the value in the place of the
//! call.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};

use crate::query::{CATALOG, Caller};

pub(in crate::query) const NAMES: [&str; 5] = [
    "current_schema",
    "current_database",
    "current_catalog",
    "current_user",
    "session_user",
];

pub(in crate::query) fn functions() -> impl Iterator<Item = Arc<ScalarUDF>> {
    NAMES.iter().map(|name| {
        Arc::new(ScalarUDF::new_from_impl(OfCaller {
            name,
            signature: Signature::nullary(Volatility::Stable),
        }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfCaller {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for OfCaller {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        Ok(Arc::new(Field::new(self.name, DataType::Utf8, false)))
    }

    fn simplify(&self, _: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let caller = Caller::current();
        let value = match self.name {
            "current_schema" => &*caller.schema,
            "current_user" | "session_user" => &*caller.principal,
            _ => CATALOG,
        };
        Ok(ExprSimplifyResult::Simplified(lit(value)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!(
            "{} was not replaced while the statement was planned",
            self.name
        )
    }
}
