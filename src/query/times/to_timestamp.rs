//! `to_timestamp` and its kin. DataFusion's give a column of texts without the zone that they have announced, and its
//! `to_timestamp` counts nanoseconds, which end in 2262.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::minutes::Reading;

/// Digits behind the point of a second, in microseconds.
const MICROS_DIGITS: i8 = 6;

/// `inner`: DataFusion's function of the name. `micros`: its `to_timestamp_micros`.
pub(super) fn wrapped(inner: Arc<ScalarUDF>, micros: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::from(ToTimestamp { inner, micros })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ToTimestamp {
    inner: Arc<ScalarUDF>,
    micros: Arc<ScalarUDF>,
}

impl ToTimestamp {
    fn of(&self) -> &dyn ScalarUDFImpl {
        self.inner.inner().as_ref()
    }

    /// Numbers count seconds; those of its kin count their own unit.
    fn counts_seconds(&self) -> bool {
        self.inner.name() == "to_timestamp"
    }

    fn micros_of_seconds(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_field.data_type();
        let Some(value) = args.args.first() else {
            return self.of().invoke_with_args(args);
        };
        match value.data_type() {
            given if given.is_integer() => value
                .cast_to(&DataType::Timestamp(TimeUnit::Second, None), None)?
                .cast_to(to, None),
            given if given.is_floating() => {
                each(&value.cast_to(&DataType::Float64, None)?, to, |seconds| {
                    seconds
                        .as_primitive::<Float64Type>()
                        .try_unary(micros_of_float)
                })
            }
            given if given.is_decimal() => {
                let micros = value.cast_to(&DataType::Decimal128(38, MICROS_DIGITS), None)?;
                each(&micros, to, |micros| {
                    micros
                        .as_primitive::<Decimal128Type>()
                        .try_unary(micros_of_decimal)
                })
            }
            DataType::Null | DataType::Timestamp(..) => value.cast_to(to, None),
            _ => self.micros.inner().invoke_with_args(args),
        }
    }
}

impl ScalarUDFImpl for ToTimestamp {
    fn name(&self) -> &str {
        self.of().name()
    }

    fn signature(&self) -> &Signature {
        self.of().signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match self.counts_seconds() {
            true => self.micros.inner().return_type(types),
            false => self.of().return_type(types),
        }
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let updated = |f: &Arc<ScalarUDF>| f.inner().with_updated_config(config).map(Arc::new);
        let (inner, micros) = (updated(&self.inner), updated(&self.micros));
        if inner.is_none() && micros.is_none() {
            return None;
        }
        let inner = inner.unwrap_or_else(|| self.inner.clone());
        Some(wrapped(
            inner,
            micros.unwrap_or_else(|| self.micros.clone()),
        ))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.of().documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_field.data_type().clone();
        let made = match args.args.as_slice() {
            // The engine reads texts by way of nanoseconds, whatever they become.
            [text] if text.data_type().is_string() => {
                return Reading::Instant.texts(text)?.cast_to(&to, None);
            }
            _ if self.counts_seconds() => self.micros_of_seconds(args)?,
            _ => self.of().invoke_with_args(args)?,
        };
        Ok(match made {
            ColumnarValue::Array(times) => ColumnarValue::Array(in_zone(times, &to)),
            scalar => scalar,
        })
    }
}

/// The same instants with the zone that was announced.
fn in_zone(times: ArrayRef, to: &DataType) -> ArrayRef {
    macro_rules! labelled {
        ($type:ty, $zone:expr) => {
            match times.as_primitive_opt::<$type>() {
                Some(times) => Arc::new(times.clone().with_timezone_opt($zone.clone())),
                None => times,
            }
        };
    }
    match to {
        DataType::Timestamp(TimeUnit::Second, zone) => labelled!(TimestampSecondType, zone),
        DataType::Timestamp(TimeUnit::Millisecond, zone) => {
            labelled!(TimestampMillisecondType, zone)
        }
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            labelled!(TimestampMicrosecondType, zone)
        }
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            labelled!(TimestampNanosecondType, zone)
        }
        _ => times,
    }
}

/// `micros` of each value, a constant being an array of one.
fn each(
    value: &ColumnarValue,
    to: &DataType,
    micros: impl FnOnce(&ArrayRef) -> Result<TimestampMicrosecondArray>,
) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(values) => {
            ColumnarValue::Array(in_zone(Arc::new(micros(values)?), to))
        }
        ColumnarValue::Scalar(value) => {
            let made = in_zone(Arc::new(micros(&value.to_array()?)?), to);
            ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)
        }
    })
}

fn micros_of_float(seconds: f64) -> Result<i64> {
    let micros = (seconds * 1e6).round();
    // Both ends of i64 as floats; the upper one is one above the largest.
    if micros >= i64::MIN as f64 && micros < -(i64::MIN as f64) {
        Ok(micros as i64)
    } else {
        exec_err!("a time beyond the calendar, seconds={seconds}")
    }
}

fn micros_of_decimal(micros: i128) -> Result<i64> {
    match i64::try_from(micros) {
        Ok(micros) => Ok(micros),
        Err(_) => exec_err!("a time beyond the calendar, microseconds={micros}"),
    }
}
