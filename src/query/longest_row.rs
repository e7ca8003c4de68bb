//! The longest row of a join's left side. A join reads that side whole before it takes the first row of the other one, and
//! puts one of its rows beside each of a whole batch.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::kernels::length::length;
use arrow::compute::{cast, max, sum};
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::common::Result;
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::Stream;

use super::pass_through::PassThrough;

/// Batches below this have no row that is long.
const BATCH_BYTES: usize = 4 << 10;

/// The longest row that has passed, in bytes. Clones are of the same row.
#[derive(Clone, Debug, Default)]
pub(super) struct LongestRow(Arc<AtomicUsize>);

/// The same place, not the same length.
impl PartialEq for LongestRow {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl LongestRow {
    /// Has a row of this plan values of any length?
    pub(super) fn can_be_long(plan: &Arc<dyn ExecutionPlan>) -> bool {
        let schema = plan.schema();
        schema.fields().iter().any(|f| can_be_long(f.data_type()))
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn see(&self, batch: &RecordBatch) {
        if batch.num_rows() == 0 {
            return;
        }
        let bytes: usize = batch.columns().iter().map(slice_bytes).sum();
        if bytes > BATCH_BYTES {
            let longest = batch.columns().iter().map(longest_value).sum();
            self.0.fetch_max(longest, Ordering::Relaxed);
        }
    }
}

/// Are values of this type of any length?
pub(super) fn can_be_long(type_: &DataType) -> bool {
    type_.primitive_width().is_none() && *type_ != DataType::Boolean
}

/// Bytes of a column's own values, of which it may have a part of what it points to; 16 for a text that it only refers to.
pub(super) fn slice_bytes(column: &ArrayRef) -> usize {
    let rows = column.len();
    if let Some(width) = column.data_type().primitive_width() {
        return rows * width;
    }
    match column.data_type() {
        DataType::Utf8View | DataType::BinaryView => rows * size_of::<u128>(),
        DataType::Utf8 => spanned(column.as_string::<i32>().value_offsets()),
        _ => column.to_data().get_slice_memory_size().unwrap_or(0),
    }
}

fn spanned(offsets: &[i32]) -> usize {
    let (first, last) = (offsets.first(), offsets.last());
    let bytes = last.unwrap_or(&0) - first.unwrap_or(&0);
    usize::try_from(bytes).unwrap_or(0) + size_of_val(offsets)
}

/// Bytes of the longest value, by the lengths of texts and lists and the mean size of a character or an element; of other types
/// the mean.
fn longest_value(column: &ArrayRef) -> usize {
    let mean = slice_bytes(column) / column.len().max(1);
    let lengths = length(column).and_then(|lengths| cast(&lengths, &DataType::Int64));
    let Ok(lengths) = lengths else { return mean };
    let lengths = lengths.as_primitive::<Int64Type>();
    let bytes = |n: Option<i64>| usize::try_from(n.unwrap_or(0)).unwrap_or(0);
    let (longest, all) = (bytes(max(lengths)), bytes(sum(lengths)));
    // Views are told by their lengths: what they point to may be shared.
    let unit = slice_bytes(column).div_ceil(all.max(1)).max(1);
    longest
        .saturating_mul(unit)
        .min(slice_bytes(column).max(longest))
}

impl fmt::Display for LongestRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::NAME)
    }
}

impl PassThrough for LongestRow {
    const NAME: &'static str = "LongestRowExec";

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        Box::pin(Measured {
            input,
            longest: self.clone(),
        })
    }
}

struct Measured {
    input: SendableRecordBatchStream,
    longest: LongestRow,
}

impl Stream for Measured {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = ready!(self.input.as_mut().poll_next(cx));
        if let Some(Ok(batch)) = &next {
            self.longest.see(batch);
        }
        Poll::Ready(next)
    }
}

impl RecordBatchStream for Measured {
    fn schema(&self) -> SchemaRef {
        self.input.schema()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Int64Array, ListArray, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn one_long_value_among_short_ones_is_seen() {
        let long = "x".repeat(100_000);
        let texts: Vec<&str> = (0..1000)
            .map(|n| if n == 700 { &*long } else { "a" })
            .collect();
        let lists = (0..1000).map(|n| Some((0..if n == 3 { 10_000 } else { 1 }).map(Some)));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let columns: [(ArrayRef, usize); 4] = [
            (Arc::new(StringArray::from(texts.clone())), 100_000),
            (Arc::new(StringViewArray::from(texts)), 100_000),
            (Arc::new(lists), 80_000),
            (Arc::new(Int64Array::from_iter_values(0..1000)), 8),
        ];
        for (column, bytes) in columns {
            let seen = LongestRow::default();
            seen.see(&RecordBatch::try_from_iter([("c", column)]).unwrap());
            assert!(
                (bytes..=3 * bytes).contains(&seen.bytes()),
                "{} of {bytes}",
                seen.bytes()
            );
        }
    }
}
