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
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::Stream;
use tokio::time::Sleep;

use super::errors::external;
use super::longest_row::slice_bytes;
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
        let repeats = node.name().ends_with("JoinExec") || node.name() == "UnnestExec";
        let watched = repeats || node.children().is_empty() || node.name() == Slices::NAME;
        Ok(match watched {
            true => Transformed::yes(PassThroughExec::over(node, Metered { repeats })),
            false => Transformed::no(node),
        })
    });
    Ok(plan?.data)
}

/// Gives the input's rows until the statement holds too much.
#[derive(Clone, Debug)]
struct Metered {
    /// Whether a value of the input's input stands in many of its rows.
    repeats: bool,
}

impl fmt::Display for Metered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl PassThrough for Metered {
    const NAME: &'static str = "MeterExec";

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        context: &TaskContext,
    ) -> SendableRecordBatchStream {
        match Meter::current() {
            Some(meter) => Box::pin(Watched {
                input,
                meter,
                pause: None,
                gathered: self.repeats.then(|| Gathered {
                    batch_rows: context.session_config().batch_size(),
                    rows: 0,
                    bytes: 0,
                }),
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
    gathered: Option<Gathered>,
}

/// What the operators above may make one batch of: they gather small batches, and copy their values only when there are rows
/// enough. Repeated values cost nothing until then, and all at once there.
struct Gathered {
    batch_rows: usize,
    rows: usize,
    bytes: usize,
}

impl Gathered {
    /// With another batch: bytes of the one that may be made.
    fn add(&mut self, batch: &RecordBatch) -> usize {
        if self.rows >= self.batch_rows {
            (self.rows, self.bytes) = (0, 0);
        }
        self.rows += batch.num_rows();
        self.bytes += batch.columns().iter().map(slice_bytes).sum::<usize>();
        self.bytes
    }
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
        let Some(Ok(batch)) = &next else {
            return Poll::Ready(next);
        };
        let due = this.gathered.as_mut().map_or(0, |g| g.add(batch));
        let fits = this.meter.check().and_then(|()| this.meter.has_room(due));
        Poll::Ready(match fits {
            Err(fault) => Some(Err(external(fault))),
            Ok(()) => next,
        })
    }
}

impl RecordBatchStream for Watched {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn rows_that_are_gathered_are_counted_until_a_batch_of_them_is_made() {
        let text = "x".repeat(1000);
        let copied: ArrayRef = Arc::new(StringArray::from(vec![&*text; 2]));
        let shared: ArrayRef = Arc::new(StringViewArray::from(vec![&*text; 2]));
        let batch = |column| RecordBatch::try_from_iter([("s", column)]).unwrap();
        let (copied, shared) = (batch(copied), batch(shared));
        let mut gathered = Gathered {
            batch_rows: 4,
            rows: 0,
            bytes: 0,
        };
        let one = gathered.add(&copied);
        assert!((2000..2100).contains(&one), "{one}");
        assert_eq!(gathered.add(&copied), 2 * one);
        // The batch is full: the next one begins. Views are not copied.
        assert_eq!(gathered.add(&shared), 32);
    }
}
