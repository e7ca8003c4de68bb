//! `bucket_series(from, until, '1 minute')`: the starts of the buckets from one time to another, the last excluded, as a list.
//! What `time_bucket_gapfill` is written out to.

use std::sync::Arc;

use arrow::array::{Array, AsArray, ListArray, PrimitiveArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::bucket::{local_start, span_of};
use crate::dataset::Bucket;
use crate::query::times::{Zone, ZoneClock};

/// Buckets of one call: a gap of a year in minutes, and a limit to what a slip of the pen takes.
const BUCKETS_MAX: i64 = 1_000_000;

/// Steps of a quarter of an hour, by which a bucket is longer where the clock is set back.
const PROBES: usize = 4 * 26;
const QUARTER: i64 = 900_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct BucketSeries {
    signature: Signature,
}

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(BucketSeries {
        signature: Signature::user_defined(Volatility::Immutable),
    }))
}

impl ScalarUDFImpl for BucketSeries {
    fn name(&self) -> &str {
        "bucket_series"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [time @ DataType::Timestamp(..), ..] => Ok(DataType::List(Arc::new(
                Field::new_list_field(time.clone(), true),
            ))),
            _ => plan_err!("bucket_series takes two timestamps and a span"),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [DataType::Timestamp(_, zone), _, span] => {
                let time = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                let span = match span {
                    DataType::Interval(_) => {
                        DataType::Interval(arrow::datatypes::IntervalUnit::MonthDayNano)
                    }
                    _ => DataType::Utf8,
                };
                Ok(vec![time.clone(), time, span])
            }
            _ => plan_err!("bucket_series takes two timestamps and a span"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [from, until, ColumnarValue::Scalar(span)] = args.args.as_slice() else {
            return exec_err!("bucket_series takes two timestamps and a constant span");
        };
        let step = span_of(span)?;
        let bucket = Bucket { step, size: step };
        let (from, until) = (
            from.to_array(args.number_rows)?,
            until.to_array(args.number_rows)?,
        );
        let (from, until) = (
            from.as_primitive::<TimestampMicrosecondType>(),
            until.as_primitive::<TimestampMicrosecondType>(),
        );
        let zone = from.timezone().map(Zone::named).transpose()?.flatten();
        let mut clock = zone.map(ZoneClock::new);
        let mut starts = Vec::new();
        let mut lengths = Vec::with_capacity(from.len());
        for pair in from.iter().zip(until.iter()) {
            let before = starts.len();
            if let (Some(first), Some(end)) = pair {
                let mut at = match &mut clock {
                    Some(clock) => local_start(clock, bucket, first)?,
                    None => bucket.last_start(first),
                };
                if end.saturating_sub(at) / step > BUCKETS_MAX {
                    return exec_err!(
                        "more than {BUCKETS_MAX} buckets in one gap; take longer ones, or a shorter range"
                    );
                }
                while at < end {
                    starts.push(at);
                    at = match &mut clock {
                        Some(clock) => next_start(clock, bucket, at)?,
                        None => at.saturating_add(step),
                    };
                }
            }
            lengths.push(starts.len() - before);
        }
        let values: PrimitiveArray<TimestampMicrosecondType> = starts.into();
        let values = values.with_data_type(from.data_type().clone());
        let field = Field::new_list_field(from.data_type().clone(), true);
        Ok(ColumnarValue::Array(Arc::new(ListArray::new(
            Arc::new(field),
            OffsetBuffer::from_lengths(lengths),
            Arc::new(values),
            None,
        ))))
    }
}

/// The bucket after the one that begins at an instant. A local day has up to 26 hours.
fn next_start(clock: &mut ZoneClock, bucket: Bucket, at: i64) -> Result<i64> {
    let mut probe = at.saturating_add(bucket.step);
    for _ in 0..PROBES {
        let start = local_start(clock, bucket, probe)?;
        if start > at {
            return Ok(start);
        }
        probe = probe.saturating_add(QUARTER);
    }
    exec_err!("no bucket after the one at microseconds={at}")
}
