//! `? | ?`, `NULL & NULL`, `sum(?)`: values of no type where DataFusion asks for a number. Bits are of whole numbers then, and sums of doubles.
//! `? || ?`: two texts.
//! `? - INTERVAL '1 hour'`: it would be an interval, and is a time, as nobody binds intervals.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawBinaryExpr,
};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Aggregates of numbers, which refuse a NULL without a type.
const OF_NUMBERS: [&str; 10] = [
    "avg",
    "median",
    "percentile_cont",
    "quantile_cont",
    "stddev",
    "stddev_pop",
    "sum",
    "var",
    "var_pop",
    "approx_percentile_cont",
];

#[derive(Debug)]
pub(in crate::query) struct OpenTypes;

impl ExprPlanner for OpenTypes {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if matches!(raw.op, BinaryOperator::Plus | BinaryOperator::Minus) {
            return Ok(PlannerResult::Original(moved_time(raw, schema)));
        }
        let is_open = |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Null));
        let both_open = is_open(&raw.left) && is_open(&raw.right);
        let op = match raw.op {
            BinaryOperator::StringConcat if both_open => {
                return Ok(PlannerResult::Original(RawBinaryExpr {
                    left: cast(raw.left, DataType::Utf8),
                    right: cast(raw.right, DataType::Utf8),
                    op: raw.op,
                }));
            }
            BinaryOperator::BitwiseAnd => Operator::BitwiseAnd,
            BinaryOperator::BitwiseOr => Operator::BitwiseOr,
            BinaryOperator::BitwiseXor | BinaryOperator::PGBitwiseXor => Operator::BitwiseXor,
            BinaryOperator::PGBitwiseShiftLeft => Operator::BitwiseShiftLeft,
            BinaryOperator::PGBitwiseShiftRight => Operator::BitwiseShiftRight,
            _ => return Ok(PlannerResult::Original(raw)),
        };
        if !both_open {
            return Ok(PlannerResult::Original(raw));
        }
        let whole = |side: Expr| Box::new(cast(side, DataType::Int64));
        let (left, right) = (whole(raw.left), whole(raw.right));
        let both = BinaryExpr::new(left, op, right);
        Ok(PlannerResult::Planned(Expr::BinaryExpr(both)))
    }

    fn plan_aggregate(&self, mut raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        if OF_NUMBERS.contains(&raw.func.name())
            && let Some(value) = raw.args.first_mut()
            && is_a_null(value)
        {
            *value = cast(value.clone(), DataType::Float64);
        }
        Ok(PlannerResult::Original(raw))
    }
}

/// A time and an interval.
fn moved_time(mut raw: RawBinaryExpr, schema: &DFSchema) -> RawBinaryExpr {
    let is_interval = |side: &Expr| matches!(side.get_type(schema), Ok(DataType::Interval(_)));
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    if is_open_parameter(&raw.left) && is_interval(&raw.right) {
        raw.left = cast(raw.left, time);
    } else if is_interval(&raw.left)
        && is_open_parameter(&raw.right)
        && raw.op == BinaryOperator::Plus
    {
        raw.right = cast(raw.right, time);
    }
    raw
}

/// A NULL, or a parameter, without a type.
fn is_a_null(value: &Expr) -> bool {
    match value {
        Expr::Literal(value, _) => value.data_type().is_null(),
        other => is_open_parameter(other),
    }
}

fn is_open_parameter(value: &Expr) -> bool {
    let Expr::Placeholder(place) = value else {
        return false;
    };
    let field = place.field.as_ref();
    field.is_none_or(|field| field.data_type().is_null())
}
