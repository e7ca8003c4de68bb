//! What a statement says of who sent it: `current_schema()`, `current_database()`, `current_catalog`, `current_user` and
//! `session_user`, as in PostgreSQL.
//!
//! Each statement's session has its own, which know its caller. The planner puts the value in the place of the call.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility, lit,
};

use crate::query::CATALOG;

pub(in crate::query) const NAMES: [&str; 5] = [
    "current_schema",
    "current_database",
    "current_catalog",
    "current_user",
    "session_user",
];

/// Makes the functions known to a session: what they say of a caller, and of the schema of its names.
pub(in crate::query) fn register(
    state: &mut SessionState,
    principal: &Arc<str>,
    schema: &Arc<str>,
) {
    for name in NAMES {
        let value = match name {
            "current_schema" => schema.clone(),
            "current_user" | "session_user" => principal.clone(),
            _ => CATALOG.into(),
        };
        let function = ScalarUDF::new_from_impl(OfCaller {
            name,
            value,
            signature: Signature::nullary(Volatility::Stable),
        });
        // One of the same name makes room, and there is none at first.
        let _ = state.register_udf(Arc::new(function));
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct OfCaller {
    name: &'static str,
    value: Arc<str>,
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
        Ok(ExprSimplifyResult::Simplified(lit(&*self.value)))
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!(
            "{} was not replaced while the statement was planned",
            self.name
        )
    }
}
