//! `ok = 'true'`: a text beside a BOOLEAN is one, as in PostgreSQL and DuckDB. DataFusion finds no type for the two.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

#[derive(Debug)]
pub(super) struct BooleanTexts;

impl ExprPlanner for BooleanTexts {
    fn plan_binary_op(
        &self,
        mut raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let compares = matches!(
            raw.op,
            BinaryOperator::Eq
                | BinaryOperator::NotEq
                | BinaryOperator::Lt
                | BinaryOperator::LtEq
                | BinaryOperator::Gt
                | BinaryOperator::GtEq
        );
        if compares {
            let is_boolean = |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Boolean));
            if is_text(&raw.right) && is_boolean(&raw.left) {
                raw.right = cast(raw.right, DataType::Boolean);
            } else if is_text(&raw.left) && is_boolean(&raw.right) {
                raw.left = cast(raw.left, DataType::Boolean);
            }
        }
        Ok(PlannerResult::Original(raw))
    }
}

fn is_text(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(value, _) if value.try_as_str().flatten().is_some())
}
