//! Looks at a statement's memory with each batch, where a plan's batches come from and where few rows become many.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion::physical_plan::ExecutionPlan;
use futures::Stream;
use tokio::time::Sleep;

use super::limits::external;
use super::meter::Meter;
use super::pass_through::{PassThrough, PassThroughExec};
use super::slices::Slices;

/// The plan with a look at the memory behind its sources, slices, joins and `unnest`: all that stands above takes its rows
/// from one of these. For a plan that runs now, so that EXPLAIN does not show it.
///
/// # Errors
/// A node that cannot take an input back; none is known.
pub(super) fn metered(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let plan = plan.transform_up(|node| {
        let watched = node.children().is_empty()
            || node.name().ends_with("JoinExec")
            || matches!(node.name(), "UnnestExec" | Slices::NAME);
        Ok(match watched {
            true => Transformed::yes(PassThroughExec::over(node, Metered)),
            false => Transformed::no(node),
        })
    });
    Ok(plan?.data)
}

/// Gives the input's rows until the statement holds too much.
#[derive(Clone, Debug)]
struct Metered;

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl PassThrough for Metered {
    const NAME: &'static str = "MeterExec";

    fn stream(&self, input: SendableRecordBatchStream) -> SendableRecordBatchStream {
        match Meter::current() {
            Some(meter) => Box::pin(Watched {
                input,
                meter,
                pause: None,
            }),
            None => input,
        }
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
