//! Functions that give back what they are given. They tell expressions apart that the planner takes for one: `cast_names` and `union_columns` call them.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, TryCast, Volatility,
};

use crate::query::sql_types::type_name;

/// `named_as_written(CAST(x AS type))` and `named_as_written(x, 'name')` have names of their own. The optimizer takes the call away.
pub(in crate::query) const NAMED: &str = "named_as_written";

/// `as_another(x)` is equal to x, and the engine does not know of it.
const ANOTHER: &str = "as_another";

pub(super) fn functions() -> [Arc<ScalarUDF>; 2] {
    [NAMED, ANOTHER].map(|name| Arc::new(function(name)))
}

pub(in crate::query) fn another() -> ScalarUDF {
    function(ANOTHER)
}

/// What a call of [`another`] is given; none: it is no such call.
pub(in crate::query) fn hidden_by_another(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == ANOTHER => call.args.first(),
        _ => None,
    }
}

fn function(name: &'static str) -> ScalarUDF {
    ScalarUDF::new_from_impl(GivesBack {
        name,
        signature: Signature::variadic_any(Volatility::Immutable),
    })
}

/// What a name was given to, if an expression is such a call.
pub(in crate::query) fn given_a_name(expr: &Expr) -> Option<&Expr> {
    match expr {
        Expr::ScalarFunction(call) if call.func.name() == NAMED => call.args.first(),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct GivesBack {
    name: &'static str,
    signature: Signature,
}

impl ScalarUDFImpl for GivesBack {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn schema_name(&self, arguments: &[Expr]) -> Result<String> {
        Ok(match arguments {
            [_, Expr::Literal(ScalarValue::Utf8(Some(name)), _)] => name.clone(),
            [Expr::Cast(Cast { expr, field })] => {
                let to = type_name(field.data_type());
                format!("CAST({} AS {to})", expr.schema_name())
            }
            [Expr::TryCast(TryCast { expr, field })] => {
                let to = type_name(field.data_type());
                format!("TRY_CAST({} AS {to})", expr.schema_name())
            }
            [other, ..] => other.schema_name().to_string(),
            [] => self.name.to_owned(),
        })
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments.first() {
            Some(data_type) => Ok(data_type.clone()),
            None => plan_err!("{} takes an argument", self.name),
        }
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        match arguments.arg_fields.first() {
            Some(field) => Ok(field.clone()),
            None => plan_err!("{} takes an argument", self.name),
        }
    }

    fn simplify(
        &self,
        mut arguments: Vec<Expr>,
        _: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        if self.name == ANOTHER || arguments.is_empty() {
            return Ok(ExprSimplifyResult::Original(arguments));
        }
        Ok(ExprSimplifyResult::Simplified(arguments.swap_remove(0)))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match arguments.args.into_iter().next() {
            Some(argument) => Ok(argument),
            None => exec_err!("{} takes an argument", self.name),
        }
    }
}
