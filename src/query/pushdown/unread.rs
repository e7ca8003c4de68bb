//! Joins whose filters are not sent to the scans, because they would wait for ever.
//!
//! A hash join that has read its left side whole (`CollectLeft`) sends what it knows of it to the scans of its right side, and holds the rows
//! back until each of its partitions has said so. A join above that is made partition by partition does not ask for the right side's partition
//! where its own left one is empty. Then the partition below never says anything, and the others wait for it until the statement's time
//! is up. DataFusion counts such a partition as done where the join below is made by partitions, too, and not where it is a `CollectLeft`.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode, SortMergeJoinExec};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

/// The rule that sends filters to the scans, without those of joins in a plan in which one might wait.
#[derive(Debug)]
pub(in crate::query) struct AllRead(
    pub(in crate::query) Arc<dyn PhysicalOptimizerRule + Send + Sync>,
);

impl PhysicalOptimizerRule for AllRead {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !may_wait(&plan, false) {
            return self.0.optimize(plan, options);
        }
        let mut options = options.clone();
        options.optimizer.enable_join_dynamic_filter_pushdown = false;
        self.0.optimize(plan, &options)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// `unread`: what stands above may leave a partition of the plan without asking for it.
fn may_wait(plan: &Arc<dyn ExecutionPlan>, unread: bool) -> bool {
    if let Some(join) = plan.downcast_ref::<HashJoinExec>() {
        let collects = *join.partition_mode() == PartitionMode::CollectLeft;
        if collects && unread && join.right().output_partitioning().partition_count() > 1 {
            return true;
        }
        // A whole left side is read by the first partition that needs it. One that is empty is so for all partitions.
        return may_wait(join.left(), unread && !collects)
            || may_wait(join.right(), unread || !collects);
    }
    // These ask all their inputs, whoever asks them.
    let asks_all = plan.downcast_ref::<RepartitionExec>().is_some()
        || plan.downcast_ref::<CoalescePartitionsExec>().is_some()
        || plan.downcast_ref::<SortPreservingMergeExec>().is_some();
    let unread = !asks_all && (unread || plan.downcast_ref::<SortMergeJoinExec>().is_some());
    plan.children()
        .into_iter()
        .any(|input| may_wait(input, unread))
}
