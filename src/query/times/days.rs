//! `day + INTERVAL '12 hours'` is a TIMESTAMP, as in PostgreSQL and DuckDB. DataFusion's result is a DATE, which has no hours to move.

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans a DATE that an interval moves.
#[derive(Debug)]
pub(in crate::query) struct DayPlanner;

impl ExprPlanner for DayPlanner {
    fn plan_binary_op(
        &self,
        mut raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let adds = raw.op == BinaryOperator::Plus;
        if adds || raw.op == BinaryOperator::Minus {
            let is_day = |side: &Expr| {
                let found = side.get_type(schema);
                matches!(found, Ok(DataType::Date32 | DataType::Date64))
            };
            let is_span = |side: &Expr| {
                let found = side.get_type(schema);
                matches!(found, Ok(DataType::Interval(_) | DataType::Duration(_)))
            };
            // The right side is asked first: in a chain the left one is all that stands before it.
            if is_span(&raw.right) {
                if is_day(&raw.left) {
                    raw.left = midnight(raw.left);
                }
            } else if adds && is_day(&raw.right) && is_span(&raw.left) {
                raw.right = midnight(raw.right);
            }
        }
        Ok(PlannerResult::Original(raw))
    }
}

fn midnight(day: Expr) -> Expr {
    cast(day, DataType::Timestamp(TimeUnit::Microsecond, None))
}
