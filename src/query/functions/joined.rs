//! `a || b` as a function, so that it can be bounded like the others: a chain of it over long texts is as long as all of them.

use std::fmt::Write;
use std::sync::Arc;

use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::type_coercion::binary::BinaryTypeCoercer;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::bounded::bounded;
use super::reviewed;

const NAME: &str = "||";

#[derive(Debug, PartialEq, Eq, Hash)]
struct Joined {
    signature: Signature,
}

/// Plans `||` between texts.
#[derive(Debug)]
pub struct JoinPlanner(Arc<ScalarUDF>);

impl Default for JoinPlanner {
    fn default() -> Self {
        let joined = Joined {
            signature: Signature::user_defined(Volatility::Immutable),
        };
        JoinPlanner(bounded(Arc::new(ScalarUDF::from(joined)), reviewed::sum))
    }
}

impl JoinPlanner {
    /// Lists are joined too, by another function.
    fn is_text(expr: &Expr, schema: &DFSchema) -> bool {
        match expr {
            // The type of a chain need not be worked out again at each link.
            Expr::ScalarFunction(call) if call.func.name() == NAME => true,
            Expr::Literal(value, _) => is_text(&value.data_type()),
            other => other.get_type(schema).is_ok_and(|t| is_text(&t)),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    data_type.is_string()
}

impl ExprPlanner for JoinPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let joins = expr.op == BinaryOperator::StringConcat
            && Self::is_text(&expr.left, schema)
            && Self::is_text(&expr.right, schema);
        if !joins {
            return Ok(PlannerResult::Original(expr));
        }
        Ok(PlannerResult::Planned(
            self.0.call(vec![expr.left, expr.right]),
        ))
    }
}

impl ScalarUDFImpl for Joined {
    fn name(&self) -> &str {
        NAME
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let [first, last] = args else {
            return plan_err!("|| joins two texts");
        };
        let mut first = first;
        // Link by link: a name within a name within a name would copy a long chain once for each of its links.
        let mut parts = vec![last];
        while let Expr::ScalarFunction(call) = first
            && call.func.name() == NAME
            && let [left, right] = call.args.as_slice()
        {
            parts.push(right);
            first = left;
        }
        let mut name = first.schema_name().to_string();
        for part in parts.iter().rev() {
            write!(name, " || {}", part.schema_name())?;
        }
        Ok(name)
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [left, right] => {
                BinaryTypeCoercer::new(left, &Operator::StringConcat, right).get_result_type()
            }
            _ => plan_err!("|| joins two texts"),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [left, right] => {
                let coercer = BinaryTypeCoercer::new(left, &Operator::StringConcat, right);
                let (left, right) = coercer.get_input_types()?;
                Ok(vec![left, right])
            }
            _ => plan_err!("|| joins two texts"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [left, right] = args.args.as_slice() else {
            return plan_err!("|| joins two texts");
        };
        let constant = matches!(
            (left, right),
            (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_))
        );
        let rows = if constant { 1 } else { args.number_rows };
        let made = concat_elements_dyn(&left.to_array(rows)?, &right.to_array(rows)?)?;
        if constant {
            let value = ScalarValue::try_from_array(&made, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(made))
    }
}
