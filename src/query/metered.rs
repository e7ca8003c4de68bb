//! Looks at a statement's memory with each batch, where a plan's batches come from and where few rows become many.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::Stream;
use tokio::time::Sleep;

use super::limits::external;
use super::meter::Meter;

/// The plan with a look at the memory behind its sources, slices, joins and `unnest`: all that stands above takes its rows
/// from one of these. For a plan that runs now, so that EXPLAIN does not show it.
///
/// # Errors
/// A node that cannot take an input back; none is known.
pub fn metered(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let watched = node.children().is_empty()
            || node.name().ends_with("JoinExec")
            || matches!(node.name(), "UnnestExec" | "SliceExec");
        Ok(match watched {
            true => Transformed::yes(Arc::new(MeterExec { input: node }) as _),
            false => Transformed::no(node),
        })
    });
    Ok(plan?.data)
}

/// The rows of its input, until the statement holds too much.
#[derive(Debug)]
struct MeterExec {
    input: Arc<dyn ExecutionPlan>,
}

impl DisplayAs for MeterExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MeterExec")
    }
}

impl ExecutionPlan for MeterExec {
    fn name(&self) -> &str {
        "MeterExec"
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
            (Some(input), true) => Ok(Arc::new(MeterExec { input })),
            _ => internal_err!("a meter has one input"),
        }
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let input = self.input.execute(partition, context)?;
        Ok(match Meter::current() {
            Some(meter) => Box::pin(Watched {
                input,
                meter,
                pause: None,
            }),
            None => input,
        })
    }
}

/// Looks again after this whether those that end are gone.
const PAUSE: Duration = Duration::from_millis(5);

struct Watched {
    input: SendableRecordBatchStream,
    meter: Arc<Meter>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Stream for Watched {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Err(fault) = this.meter.check() {
            return Poll::Ready(Some(Err(external(fault))));
        }
        while this.pause.is_some() || this.meter.waits() {
            let pause = this
                .pause
                .get_or_insert_with(|| Box::pin(tokio::time::sleep(PAUSE)));
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let next = ready!(this.input.as_mut().poll_next(cx));
        Poll::Ready(match (next, this.meter.check()) {
            (Some(Ok(_)), Err(fault)) => Some(Err(external(fault))),
            (next, _) => next,
        })
    }
}

impl RecordBatchStream for Watched {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}
