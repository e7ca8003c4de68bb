//! `ORDER BY .. LIMIT` over a union of which each input has a constant in a column: `SELECT 'a' AS source, at FROM x UNION ALL SELECT 'b', at
//! FROM y ORDER BY source, at LIMIT 10`.
//!
//! DataFusion sorts each input by itself, and there a constant orders nothing, so that it sorts by `at` alone. But the inputs share what they
//! have found so far: rows of `a` are left out when `b` has ten rows that come before them by `at`, although all of `a` come first. Which rows
//! are lost depends on which input is faster. Here such a sort has the whole order again, that of the merge above it.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_expr::equivalence::AcrossPartitions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// Behind the rule that puts sorts below merges, before filters of running sorts go to the scans.
#[derive(Debug)]
pub(super) struct WholeOrder;

impl WholeOrder {
    /// The rule that it follows.
    pub(super) const BEHIND: &'static str = "EnsureRequirements";
}

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

/// `merged`: the order of the merge whose input the plan is.
fn in_whole_order(
    plan: Arc<dyn ExecutionPlan>,
    merged: Option<&LexOrdering>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let own = plan.downcast_ref::<SortPreservingMergeExec>();
    let own = own.map(|merge| merge.expr().clone());
    let inputs = plan.children().into_iter();
    let inputs = inputs.map(|input| in_whole_order(Arc::clone(input), own.as_ref()));
    let plan = replace_children_if_necessary(plan.clone(), inputs.collect::<Result<_>>()?)?;
    let Some(sort) = plan.downcast_ref::<SortExec>() else {
        return Ok(plan);
    };
    if !sort.preserve_partitioning() || !has_constants_that_may_differ(sort.input()) {
        return Ok(plan);
    }
    // A sort without a limit shares nothing; a later rule may give it one.
    Ok(match merged {
        Some(order) => Arc::new(
            SortExec::new(order.clone(), Arc::clone(sort.input()))
                .with_preserve_partitioning(true)
                .with_fetch(sort.fetch()),
        ),
        // What is above it is in other columns. All rows are sorted, and nothing is shared.
        None => Arc::new(sort.with_fetch(None)),
    })
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
