//! A node of a physical plan that passes its input's batches on: the same rows in the same order, maybe in other batches. Only
//! what it does to the stream is its own; the rest of a plan's questions are answered for the input.

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::filter_pushdown::{FilterDescription, FilterPushdownPhase};
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::StreamExt;

/// What such a node does. `Display` is its line in a plan.
pub(super) trait PassThrough:
    Clone + fmt::Debug + fmt::Display + Send + Sync + 'static
{
    const NAME: &'static str;
    /// Whether filters from above may go below it.
    const FILTERS_PASS: bool = true;

    /// The properties of the node, if they are not its input's.
    fn properties(&self) -> Option<&Arc<PlanProperties>> {
        None
    }

    /// The same work over another input, which a rule of the optimizer has put below it.
    #[must_use]
    fn over(self, _input: &Arc<dyn ExecutionPlan>) -> Self {
        self
    }

    /// Of one partition.
    fn stream(
        &self,
        input: SendableRecordBatchStream,
        context: &TaskContext,
    ) -> SendableRecordBatchStream;
}

/// A stream of the same columns, each batch changed.
pub(super) fn each_batch(
    input: SendableRecordBatchStream,
    change: fn(&RecordBatch) -> Result<RecordBatch>,
) -> SendableRecordBatchStream {
    let schema = input.schema();
    let changed = input.map(move |batch| batch.and_then(|batch| change(&batch)));
    Box::pin(RecordBatchStreamAdapter::new(schema, changed))
}

/// A batch of the same rows, each column changed.
///
/// # Errors
/// The change's own.
pub(super) fn each_column(
    batch: &RecordBatch,
    change: impl Fn(&ArrayRef) -> Result<ArrayRef>,
) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(change).collect::<Result<_>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let changed = RecordBatch::try_new_with_options(batch.schema(), columns, &rows);
    Ok(changed?)
}

#[derive(Debug)]
pub(super) struct PassThroughExec<P> {
    input: Arc<dyn ExecutionPlan>,
    work: P,
}

impl<P: PassThrough> PassThroughExec<P> {
    /// The node above an input.
    pub(super) fn over(input: Arc<dyn ExecutionPlan>, work: P) -> Arc<dyn ExecutionPlan> {
        Arc::new(PassThroughExec { input, work })
    }
}

impl<P: PassThrough> DisplayAs for PassThroughExec<P> {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.work, f)
    }
}

impl<P: PassThrough> ExecutionPlan for PassThroughExec<P> {
    fn name(&self) -> &str {
        P::NAME
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        let own = self.work.properties();
        own.unwrap_or_else(|| self.input.properties())
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => {
                let work = self.work.clone().over(&input);
                Ok(Self::over(input, work))
            }
            _ => internal_err!("{} has one input", P::NAME),
        }
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        match inputs {
            [input] => Ok(input.clone()),
            _ => internal_err!("{} has one input", P::NAME),
        }
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        let children = self.children();
        match P::FILTERS_PASS {
            true => FilterDescription::from_children(filters, &children),
            false => Ok(FilterDescription::all_unsupported(&filters, &children)),
        }
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        let sorted = self.input.try_pushdown_sort(order)?;
        Ok(sorted.map(|input| Self::over(input, self.work.clone())))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context.clone())?;
        Ok(self.work.stream(input, &context))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Int64Array, RecordBatch};
    use datafusion::catalog::memory::MemorySourceConfig;
    use datafusion::physical_plan::execution_plan::{
        ChildrenPropertiesMode, ReplaceChildrenOptions,
    };
    use datafusion::physical_plan::statistics::StatisticsContext;

    use super::*;

    #[derive(Clone, Debug)]
    struct Nothing;

    impl fmt::Display for Nothing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Nothing")
        }
    }

    impl PassThrough for Nothing {
        const NAME: &'static str = "NothingExec";

        fn stream(
            &self,
            input: SendableRecordBatchStream,
            _: &TaskContext,
        ) -> SendableRecordBatchStream {
            input
        }
    }

    #[tokio::test]
    async fn what_is_known_of_the_input_is_known_of_the_node() {
        let rows = Arc::new(Int64Array::from(vec![1, 2, 3])) as _;
        let batch = RecordBatch::try_from_iter([("n", rows)]).unwrap();
        let schema = batch.schema();
        let source = MemorySourceConfig::try_new_exec(&[vec![batch.clone()]], schema, None);
        let source: Arc<dyn ExecutionPlan> = source.unwrap();
        let node = PassThroughExec::over(source.clone(), Nothing);
        let statistics = |plan| StatisticsContext::new().compute(plan, &StatisticsArgs::new());
        let (of_node, of_source) = (statistics(&*node).unwrap(), statistics(&*source).unwrap());
        assert_eq!(of_node.num_rows.get_value(), Some(&3));
        assert_eq!(of_node, of_source);
        let stream = node.execute(0, Arc::default()).unwrap();
        let read = datafusion::physical_plan::common::collect(stream).await;
        assert_eq!(read.unwrap(), [batch]);
        let anew = || ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        assert!(node.clone().replace_children(vec![], anew()).is_err());
        let again = node.replace_children(vec![source], anew()).unwrap();
        assert_eq!(again.name(), "NothingExec");
    }
}
