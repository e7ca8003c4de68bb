//! Counts and ranks are BIGINT, as in PostgreSQL and DuckDB: `row_number() - row_number()` of two orders may be below zero.
//! DataFusion gives functions that count rows and elements an unsigned type, for which that wraps around. Window functions and
//! aggregates are cast when they are planned, before anything asks for their type; functions of single rows by a rule.

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::{AggregateFunction, WindowFunction, WindowFunctionParams};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::planner::{
    ExprPlanner, PlannerResult, RawAggregateExpr, RawWindowExpr,
};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

/// The window functions that count so.
const RANKS: [&str; 4] = ["row_number", "rank", "dense_rank", "ntile"];

/// The aggregates.
const COUNTS: [&str; 2] = ["approx_distinct", "regr_count"];

/// The functions of single rows that count so, and those that give a list of counts.
const UNSIGNED: [&str; 7] = [
    "array_dims",
    "array_length",
    "array_ndims",
    "array_position",
    "array_positions",
    "cardinality",
    "json_length",
];

#[derive(Debug)]
pub(in crate::query) struct SignedCounts;

impl ExprPlanner for SignedCounts {
    fn plan_window(&self, raw: RawWindowExpr) -> Result<PlannerResult<RawWindowExpr>> {
        if !RANKS.contains(&raw.func_def.name()) && !COUNTS.contains(&raw.func_def.name()) {
            return Ok(PlannerResult::Original(raw));
        }
        let function = WindowFunction {
            fun: raw.func_def,
            params: WindowFunctionParams {
                args: raw.args,
                partition_by: raw.partition_by,
                order_by: raw.order_by,
                window_frame: raw.window_frame,
                filter: raw.filter,
                null_treatment: raw.null_treatment,
                distinct: raw.distinct,
            },
        };
        Ok(signed(Expr::WindowFunction(Box::new(function))))
    }

    fn plan_aggregate(&self, raw: RawAggregateExpr) -> Result<PlannerResult<RawAggregateExpr>> {
        if !COUNTS.contains(&raw.func.name()) {
            return Ok(PlannerResult::Original(raw));
        }
        let function = AggregateFunction::new_udf(
            raw.func,
            raw.args,
            raw.distinct,
            raw.filter,
            raw.order_by,
            raw.null_treatment,
        );
        Ok(signed(Expr::AggregateFunction(function)))
    }
}

fn signed<T>(function: Expr) -> PlannerResult<T> {
    PlannerResult::Planned(cast(function, DataType::Int64))
}

/// The signed type of counts, and of a list of them.
fn signed_type(counted: &DataType) -> Option<DataType> {
    match counted {
        whole if whole.is_unsigned_integer() => Some(DataType::Int64),
        DataType::List(item) => {
            let item_type = signed_type(item.data_type())?;
            let item = item.as_ref().clone().with_data_type(item_type);
            Some(DataType::List(item.into()))
        }
        _ => None,
    }
}

impl AnalyzerRule for SignedCounts {
    fn name(&self) -> &str {
        "signed_counts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(scalars)?;
        Ok(plan.data)
    }
}

/// Calls within an expression.
fn scalars(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| match &expr {
            Expr::ScalarFunction(call) if UNSIGNED.contains(&call.name()) => {
                let counted = expr.get_type(&schema).ok();
                Ok(match counted.as_ref().and_then(signed_type) {
                    Some(type_) => Transformed::yes(cast(expr, type_)),
                    None => Transformed::no(expr),
                })
            }
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?
    .map_data(LogicalPlan::recompute_schema)
}
