//! The frame that a window function has where none is written, for orders of any type. It is one of `RANGE`, up to the current row
//! and its equals; DataFusion takes `RANGE` for types with distances alone, and so neither durations nor binaries nor structs.
//! `GROUPS` counts equals, and has the same rows where the bounds name no distance.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

#[derive(Debug, Default)]
pub(super) struct FramesOfEquals;

impl AnalyzerRule for FramesOfEquals {
    fn name(&self) -> &str {
        "frames_of_equals"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            if !matches!(plan, LogicalPlan::Window(_)) {
                return Ok(Transformed::no(plan));
            }
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| Ok(of_equals(expr, &schema)))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        });
        Ok(plan?.data)
    }
}

/// Types that DataFusion's `RANGE` takes.
fn has_distances(type_: &DataType) -> bool {
    type_.is_numeric()
        || type_.is_string()
        || type_.is_null()
        || type_.is_list()
        || matches!(
            type_,
            DataType::Boolean
                | DataType::Dictionary(..)
                | DataType::Date32
                | DataType::Date64
                | DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(..)
        )
}

fn of_equals(mut expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if let Expr::WindowFunction(call) = &mut expr {
        let frame = &call.params.window_frame;
        let at_ends = |bound: &WindowFrameBound| match bound {
            WindowFrameBound::CurrentRow => true,
            other => other.is_unbounded(),
        };
        let order = call.params.order_by.first();
        let type_ = order.and_then(|order| order.expr.get_type(schema).ok());
        if frame.units == WindowFrameUnits::Range
            && at_ends(&frame.start_bound)
            && at_ends(&frame.end_bound)
            && type_.is_some_and(|t| !has_distances(&t))
        {
            call.params.window_frame = WindowFrame::new_bounds(
                WindowFrameUnits::Groups,
                frame.start_bound.clone(),
                frame.end_bound.clone(),
            );
            return Transformed::yes(expr);
        }
    }
    Transformed::no(expr)
}
