//! Keeps a nested-loop join from holding a thread. It joins a whole batch of its right side with all rows of its left one
//! before it looks up: with 3 million rows on the left over a minute, in which neither a cancel nor a time limit is heard and
//! other queries wait. Given its right side in small slices, and a pause between them, it looks up every second or so.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::Stream;

/// Below a tenth of a batch the join takes many left rows at once, so that small slices cost it little.
const SLICE_ROWS: usize = 64;
/// Work between two pauses.
const STRETCH: Duration = Duration::from_millis(20);

/// Puts [`SliceExec`] below the right side of each nested-loop join.
#[derive(Debug, Default)]
pub struct SliceProbes;

impl PhysicalOptimizerRule for SliceProbes {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let sliced = plan.transform_up(|node| {
            if node.name() != "NestedLoopJoinExec" {
                return Ok(Transformed::no(node));
            }
            let children: Vec<Arc<dyn ExecutionPlan>> =
                node.children().into_iter().cloned().collect();
            let [left, right] = children.as_slice() else {
                return Ok(Transformed::no(node));
            };
            let sliced: Arc<dyn ExecutionPlan> = Arc::new(SliceExec::new(right.clone()));
            let children = vec![left.clone(), sliced];
            replace_children_if_necessary(node, children).map(Transformed::yes)
        })?;
        Ok(sliced.data)
    }

    fn name(&self) -> &str {
        "slice_probes"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The rows of its input, in slices, with pauses.
#[derive(Debug)]
struct SliceExec {
    input: Arc<dyn ExecutionPlan>,
}

impl SliceExec {
    fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        SliceExec { input }
    }
}

impl DisplayAs for SliceExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SliceExec: rows={SLICE_ROWS}")
    }
}

impl ExecutionPlan for SliceExec {
    fn name(&self) -> &str {
        "SliceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
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
            (Some(input), true) => Ok(Arc::new(SliceExec::new(input))),
            _ => internal_err!("a slice has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(Slices {
            input: self.input.execute(partition, context)?,
            rest: None,
            since: Instant::now(),
        }))
    }
}

struct Slices {
    input: SendableRecordBatchStream,
    rest: Option<RecordBatch>,
    /// When the stream paused last.
    since: Instant,
}

impl Slices {
    /// The next slice of what is left.
    fn slice(&mut self) -> Option<RecordBatch> {
        let batch = self.rest.take()?;
        let rows = batch.num_rows();
        if rows <= SLICE_ROWS {
            return Some(batch);
        }
        self.rest = Some(batch.slice(SLICE_ROWS, rows - SLICE_ROWS));
        Some(batch.slice(0, SLICE_ROWS))
    }
}

impl Stream for Slices {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.since.elapsed() >= STRETCH {
            self.since = Instant::now();
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if let Some(slice) = self.slice() {
            return Poll::Ready(Some(Ok(slice)));
        }
        match self.input.as_mut().poll_next(cx) {
            Poll::Ready(Some(Ok(batch))) => {
                self.rest = Some(batch);
                Poll::Ready(self.slice().map(Ok))
            }
            other => {
                if other.is_pending() {
                    self.since = Instant::now();
                }
                other
            }
        }
    }
}

impl RecordBatchStream for Slices {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
