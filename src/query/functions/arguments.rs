//! Uses of aggregates that take memory which no operator counts: by an argument before the first row is seen, or by each row of a
//! window.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::AggregateFunction;
use datafusion::logical_expr::{Expr, LogicalPlan, WindowFrameBound};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::fault::{Fault, Kind};
use crate::query::errors::external;

/// Centroids of a t-digest, which each group takes memory for: ten times as many as are the default.
const CENTROIDS_MAX: i128 = 1_000;
/// Rows of a frame on one side of the current row.
const FRAME_ROWS_MAX: u64 = 1 << 48;
/// The distance of a frame by values: it is added to a BIGINT.
const FRAME_DISTANCE_MAX: i128 = 1 << 61;
/// Aggregates whose value holds all rows of a frame: over a window, each row would hold those before it.
const GATHERING: [&str; 2] = ["array_agg", "string_agg"];

/// Refuses them. Runs when constants have been worked out.
#[derive(Debug, Default)]
pub struct CheckArguments;

impl OptimizerRule for CheckArguments {
    fn name(&self) -> &str {
        "check_arguments"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        plan.apply_with_subqueries(|node| {
            if matches!(node, LogicalPlan::Aggregate(_) | LogicalPlan::Window(_)) {
                node.apply_expressions(|expr| expr.apply(check))?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(Transformed::no(plan))
    }
}

fn check(expr: &Expr) -> Result<TreeNodeRecursion> {
    if let Expr::AggregateFunction(AggregateFunction { func, params }) = expr
        && func.name().starts_with("approx_percentile_cont")
    {
        let centroids = params.args.iter().skip(1).filter_map(|arg| match arg {
            Expr::Literal(value, _) => whole(value),
            _ => None,
        });
        if let Some(most) = centroids.max().filter(|n| *n > CENTROIDS_MAX) {
            return Err(external(Fault::invalid(
                "invalid_query",
                format!(
                    "too many centroids, function={}, centroids={most}, limit={CENTROIDS_MAX}; leave them out: 100 is what most take",
                    func.name()
                ),
            )));
        }
    }
    if let Expr::WindowFunction(call) = expr
        && let Some(name) = GATHERING.iter().find(|n| **n == call.fun.name())
    {
        return Err(external(Fault::new(
            Kind::Unimplemented,
            "not_implemented",
            format!(
                "{name} is not offered OVER a window: each row would hold all rows of its frame; group by something instead"
            ),
        )));
    }
    if let Expr::WindowFunction(call) = expr {
        frame(&call.params.window_frame.start_bound)?;
        frame(&call.params.window_frame.end_bound)?;
    }
    Ok(TreeNodeRecursion::Continue)
}

/// A distance that is added to a row's number has to leave room for it.
fn frame(bound: &WindowFrameBound) -> Result<()> {
    let (WindowFrameBound::Preceding(distance) | WindowFrameBound::Following(distance)) = bound
    else {
        return Ok(());
    };
    match distance {
        ScalarValue::UInt64(Some(rows)) if *rows > FRAME_ROWS_MAX => Err(external(Fault::invalid(
            "invalid_query",
            format!(
                "a window frame is too far off, rows={rows}, limit={FRAME_ROWS_MAX}; write UNBOUNDED"
            ),
        ))),
        ScalarValue::IntervalMonthDayNano(Some(i))
            if i.months < 0 || i.days < 0 || i.nanoseconds < 0 =>
        {
            Err(negative(distance))
        }
        other => match whole(other) {
            Some(by) if by < 0 => Err(negative(other)),
            Some(by) if by > FRAME_DISTANCE_MAX => Err(external(Fault::invalid(
                "invalid_query",
                format!(
                    "a window frame is too far off, distance={by}, limit={FRAME_DISTANCE_MAX}; write UNBOUNDED"
                ),
            ))),
            _ if is_below_zero(other) => Err(negative(other)),
            _ => Ok(()),
        },
    }
}

fn is_below_zero(distance: &ScalarValue) -> bool {
    match distance {
        ScalarValue::Float64(Some(by)) => by.is_nan() || *by < 0.0,
        ScalarValue::Float32(Some(by)) => by.is_nan() || *by < 0.0,
        ScalarValue::Decimal128(Some(by), ..) => *by < 0,
        _ => false,
    }
}

fn negative(distance: &ScalarValue) -> DataFusionError {
    external(Fault::invalid(
        "invalid_query",
        format!(
            "the distance of a window frame is negative, distance={distance}; PRECEDING and FOLLOWING say the direction"
        ),
    ))
}

fn whole(value: &ScalarValue) -> Option<i128> {
    let wide = value
        .data_type()
        .is_integer()
        .then(|| value.cast_to(&arrow::datatypes::DataType::Decimal128(38, 0)));
    match wide?.ok()? {
        ScalarValue::Decimal128(Some(n), ..) => Some(n),
        _ => None,
    }
}
