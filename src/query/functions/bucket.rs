//! `time_bucket('1 minute', ts)` and `tumble(ts, '1 minute')`: the start of the window that holds an instant.
//! `hop(ts, step, size)`: the starts of all windows that hold it, as a list. Windows are aligned to 1970 and are plain
//! arithmetic on microseconds: several times faster than `date_bin` on times with a zone.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, PrimitiveArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Field, FieldRef, IntervalUnit, TimeUnit, TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::dataset::{Bucket, parse_span};

#[derive(Debug, PartialEq, Eq, Hash, Clone, Copy)]
enum Shape {
    /// One window an instant.
    Tumble,
    /// A list of windows.
    Hop,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct BucketFunction {
    name: &'static str,
    shape: Shape,
    signature: Signature,
}

pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    let made = [
        ("time_bucket", Shape::Tumble),
        ("tumble", Shape::Tumble),
        ("hop", Shape::Hop),
    ];
    let made = made.map(|(name, shape)| {
        Arc::new(ScalarUDF::from(BucketFunction {
            name,
            shape,
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    });
    made.into()
}

impl BucketFunction {
    fn usage(&self) -> &'static str {
        match self.name {
            "time_bucket" => "time_bucket('1 minute', ts)",
            "tumble" => "tumble(ts, '1 minute')",
            _ => "hop(ts, '5 seconds', '10 seconds'): step, then size",
        }
    }

    fn time_type(&self, types: &[DataType]) -> Result<DataType> {
        let time = types.iter().find(|t| matches!(t, DataType::Timestamp(..)));
        match time {
            Some(time) => Ok(time.clone()),
            None => plan_err!("{} takes a timestamp: {}", self.name, self.usage()),
        }
    }
}

pub(super) fn span_of(value: &ScalarValue) -> Result<i64> {
    let micros = match value {
        ScalarValue::Utf8(Some(text)) => parse_span(text),
        ScalarValue::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
            Ok(i64::from(i.days) * 86_400_000_000 + i.nanoseconds / 1_000)
        }
        _ => Err("not a span of fixed length: months and years have none".to_owned()),
    };
    match micros {
        Ok(micros) if micros > 0 => Ok(micros),
        Ok(_) => exec_err!("a bucket of zero: give it a length, such as '1 minute'"),
        Err(problem) => exec_err!("{problem}"),
    }
}

impl ScalarUDFImpl for BucketFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let time = self.time_type(types)?;
        Ok(match self.shape {
            Shape::Tumble => time,
            Shape::Hop => DataType::List(Arc::new(Field::new_list_field(time, true))),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> = args
            .arg_fields
            .iter()
            .map(|f| f.data_type().clone())
            .collect();
        Ok(Arc::new(Field::new(
            self.name,
            self.return_type(&types)?,
            true,
        )))
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = if self.shape == Shape::Hop { 3 } else { 2 };
        if types.len() != wanted {
            return plan_err!("{} takes {wanted} arguments: {}", self.name, self.usage());
        }
        let coerced = types.iter().map(|t| match t {
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                Ok(DataType::Utf8)
            }
            DataType::Interval(_) => Ok(DataType::Interval(IntervalUnit::MonthDayNano)),
            DataType::Timestamp(_, zone) => {
                Ok(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
            }
            DataType::Date32 | DataType::Date64 => {
                Ok(DataType::Timestamp(TimeUnit::Microsecond, None))
            }
            other => plan_err!("{} takes no {other}: {}", self.name, self.usage()),
        });
        let coerced = coerced.collect::<Result<Vec<_>>>()?;
        self.time_type(&coerced)?;
        Ok(coerced)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let mut spans = Vec::new();
        let mut times = None;
        for arg in &args.args {
            match arg {
                // No bucket has an unknown width.
                ColumnarValue::Scalar(
                    ScalarValue::Utf8(None) | ScalarValue::IntervalMonthDayNano(None),
                ) => {
                    return Ok(ColumnarValue::Scalar(ScalarValue::try_from(
                        args.return_type(),
                    )?));
                }
                ColumnarValue::Scalar(
                    value @ (ScalarValue::Utf8(_) | ScalarValue::IntervalMonthDayNano(_)),
                ) => spans.push(span_of(value)?),
                value if matches!(value.data_type(), DataType::Timestamp(..)) => {
                    times = Some(value.to_array(args.number_rows)?);
                }
                _ => {
                    return exec_err!("the span of {} is a constant: {}", self.name, self.usage());
                }
            }
        }
        let Some(times) = times else {
            return exec_err!("{} takes a timestamp: {}", self.name, self.usage());
        };
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let bucket = match (self.shape, spans.as_slice()) {
            (Shape::Tumble, [size]) => Bucket {
                step: *size,
                size: *size,
            },
            (Shape::Hop, [step, size]) if size % step == 0 => Bucket {
                step: *step,
                size: *size,
            },
            _ => {
                return exec_err!(
                    "the size of a hop is a multiple of its step: {}",
                    self.usage()
                );
            }
        };
        let array: ArrayRef = match self.shape {
            Shape::Tumble => {
                let starts: PrimitiveArray<TimestampMicrosecondType> =
                    times.unary(|at| bucket.last_start(at));
                Arc::new(starts.with_data_type(times.data_type().clone()))
            }
            Shape::Hop => Arc::new(windows(times, bucket)),
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// A null instant is in no window.
fn windows(times: &PrimitiveArray<TimestampMicrosecondType>, bucket: Bucket) -> ListArray {
    let each = usize::try_from(bucket.size / bucket.step).unwrap_or(1);
    let mut starts = Vec::with_capacity(times.len() * each);
    let mut lengths = Vec::with_capacity(times.len());
    for at in times {
        let before = starts.len();
        if let Some(at) = at {
            let last = bucket.last_start(at);
            let mut start = bucket.first_start(at);
            while start <= last {
                starts.push(start);
                start += bucket.step;
            }
        }
        lengths.push(starts.len() - before);
    }
    let values: PrimitiveArray<TimestampMicrosecondType> = starts.into();
    let values = values.with_data_type(times.data_type().clone());
    let field = Field::new_list_field(times.data_type().clone(), true);
    ListArray::new(
        Arc::new(field),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(values),
        None,
    )
}
