//! `ORDER BY .. LIMIT` over a union of which each input has a constant in a column: `SELECT 'a' AS source, at FROM x UNION ALL SELECT 'b', at
//! FROM y ORDER BY source, at LIMIT 10`.
//!
//! DataFusion sorts each partition by itself, and within one a constant orders nothing, so that it sorts by `at` alone. But partitions share
//! what they have found so far: rows of `a` are left out when `b` has ten rows that come before them by `at`, although all of `a` come first.
//! Which rows are lost depends on which input is faster. Here such a sort has the whole order again, that of the merge above it. A sort by
//! a list or a struct shares nothing at all.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::equivalence::AcrossPartitions;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Behind the rules that put sorts below merges and limits into sorts, before filters of running sorts go to the scans.
#[derive(Debug)]
pub(super) struct WholeOrder;

impl PhysicalOptimizerRule for WholeOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        in_whole_order(plan, None)
    }

    fn name(&self) -> &str {
        "whole_order"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `merged`: the order of the merge whose input the plan is, in the plan's columns.
fn in_whole_order(
    plan: Arc<dyn ExecutionPlan>,
    merged: Option<&LexOrdering>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let below = order_below(&plan, merged)?;
    let inputs = plan.children().into_iter();
    let inputs = inputs.map(|input| in_whole_order(Arc::clone(input), below.as_ref()));
    let plan = replace_children_if_necessary(plan.clone(), inputs.collect::<Result<_>>()?)?;
    let Some(sort) = plan.downcast_ref::<SortExec>() else {
        return Ok(plan);
    };
    if let Some(most) = sort.fetch()
        && is_nested(sort)
    {
        let all: Arc<dyn ExecutionPlan> = Arc::new(sort.with_fetch(None));
        return Ok(match sort.preserve_partitioning() {
            true => Arc::new(LocalLimitExec::new(all, most)),
            false => Arc::new(GlobalLimitExec::new(all, 0, Some(most))),
        });
    }
    let shares = sort.preserve_partitioning() && sort.fetch().is_some();
    if !shares || !has_constants_that_may_differ(sort.input()) || merged == Some(sort.expr()) {
        return Ok(plan);
    }
    Ok(match merged {
        Some(order) => Arc::new(
            SortExec::new(order.clone(), Arc::clone(sort.input()))
                .with_preserve_partitioning(true)
                .with_fetch(sort.fetch()),
        ),
        // Nobody says what the whole order is. All rows are sorted, and nothing is shared.
        None => Arc::new(sort.with_fetch(None)),
    })
}

/// A sort of a few first rows leaves rows out by a comparison with the last of them, and a comparison takes a null within a list or a struct
/// for the least where the order takes it for the greatest. Of such rows all are sorted.
fn is_nested(sort: &SortExec) -> bool {
    let schema = sort.input().schema();
    let mut keys = sort.expr().iter();
    keys.any(|key| key.expr.data_type(&schema).is_ok_and(|t| t.is_nested()))
}

/// The merge's order in the columns of the plan's inputs.
fn order_below(
    plan: &Arc<dyn ExecutionPlan>,
    merged: Option<&LexOrdering>,
) -> Result<Option<LexOrdering>> {
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        return Ok(Some(merge.expr().clone()));
    }
    let Some(merged) = merged else {
        return Ok(None);
    };
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let parts = merged.iter().map(|part| {
            let expr = Arc::clone(&part.expr).transform_up(|expr| {
                let column = expr.downcast_ref::<Column>();
                let made = column.and_then(|column| projection.expr().get(column.index()));
                Ok(match made {
                    Some(made) => Transformed::yes(Arc::clone(&made.expr)),
                    None => Transformed::no(expr),
                })
            })?;
            Ok(PhysicalSortExpr {
                expr: expr.data,
                options: part.options,
            })
        });
        return Ok(LexOrdering::new(parts.collect::<Result<Vec<_>>>()?));
    }
    // What passes rows on as they come.
    let passes = plan.children().len() == 1
        && plan.maintains_input_order() == [true]
        && plan.downcast_ref::<SortExec>().is_none()
        && plan
            .children()
            .iter()
            .all(|input| input.schema() == plan.schema());
    Ok(passes.then(|| merged.clone()))
}

/// A constant in each partition, which may be another one in another partition.
fn has_constants_that_may_differ(input: &Arc<dyn ExecutionPlan>) -> bool {
    let constants = input.equivalence_properties().constants();
    constants.iter().any(|constant| {
        !matches!(
            constant.across_partitions,
            AcrossPartitions::Uniform(Some(_))
        )
    })
}
