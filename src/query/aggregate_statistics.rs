//! Aggregates of all rows that statistics answer: their own statistics.
//!
//! DataFusion's rule `aggregate_statistics` looks below the last step of an aggregate for its first step, and passes by one that has a FILTER. So it comes
//! to an aggregate further down, `SELECT count(*) FILTER (WHERE x > 5) FROM (SELECT count(*) AS x FROM t)`, and puts that one's
//! values in the place of both. Here the rule sees one aggregate at a time, and those alone whose first step is their own.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::placeholder_row::PlaceholderRowExec;
use datafusion::physical_plan::projection::ProjectionExec;

#[derive(Debug)]
pub(super) struct OwnStatistics(pub(super) Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl OwnStatistics {
    /// The name of the rule that this is made of.
    pub(super) const RULE: &'static str = "aggregate_statistics";
}

impl PhysicalOptimizerRule for OwnStatistics {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_down(|plan| {
            if !may_be_answered(&plan) {
                return Ok(Transformed::no(plan));
            }
            // It also goes on below: what it makes there is seen when its turn comes.
            let answered = self.0.optimize(plan.clone(), options)?;
            Ok(match is_answer(&answered) {
                true => Transformed::new(answered, true, TreeNodeRecursion::Jump),
                false => Transformed::no(plan),
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// The last step of an aggregate of all rows, whose first step has no FILTER.
fn may_be_answered(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(last) = plan.downcast_ref::<AggregateExec>() else {
        return false;
    };
    let first = match last.mode() {
        AggregateMode::Single | AggregateMode::SinglePartitioned => Some(last),
        AggregateMode::Final | AggregateMode::FinalPartitioned => first_below(last),
        _ => None,
    };
    let of_all = |step: &AggregateExec| {
        step.group_expr().is_empty() && step.filter_expr().iter().all(Option::is_none)
    };
    last.group_expr().is_empty() && first.is_some_and(of_all)
}

fn first_below(last: &AggregateExec) -> Option<&AggregateExec> {
    let mut below = last.input();
    loop {
        if let Some(step) = below.downcast_ref::<AggregateExec>() {
            return matches!(step.mode(), AggregateMode::Partial).then_some(step);
        }
        let [input] = below.children()[..] else {
            return None;
        };
        below = input;
    }
}

/// Constants over a row of nothing.
fn is_answer(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.downcast_ref::<ProjectionExec>()
        .is_some_and(|p| p.input().downcast_ref::<PlaceholderRowExec>().is_some())
}
