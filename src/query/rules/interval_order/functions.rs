//! The length of an interval as a number, and the longest and the shortest of several.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray};
use arrow::datatypes::{
    DataType, Decimal128Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, IntervalMonthDayNano, IntervalMonthDayNanoType,
    IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, cast,
};

pub(super) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
/// Nanoseconds. Neither the longest interval nor the longest duration has more than 28 digits.
const LENGTH: DataType = DataType::Decimal128(38, 0);
const DAY_NANOS: i128 = 86_400_000_000_000;
const MONTH_DAYS: i128 = 30;

static LENGTH_OF: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    Arc::new(ScalarUDF::from(Length {
        signature: Signature::any(1, Volatility::Immutable),
    }))
});

/// The length of a value of `type_`, in nanoseconds: what is no interval and no duration is read as an interval.
pub(super) fn length(value: Expr, type_: &DataType) -> Expr {
    let value = match type_ {
        DataType::Duration(_) | DataType::Interval(IntervalUnit::MonthDayNano) => value,
        _ => cast(value, INTERVAL),
    };
    LENGTH_OF.call(vec![value])
}

/// The longest of `intervals`, or the shortest; null if all of them are.
pub(super) fn extreme(longest: bool, intervals: Vec<Expr>) -> Expr {
    let function = ScalarUDF::from(Extreme {
        longest,
        signature: Signature::variadic_any(Volatility::Immutable),
    });
    function.call(intervals)
}

fn of_interval(interval: IntervalMonthDayNano) -> i128 {
    let days = i128::from(interval.months) * MONTH_DAYS + i128::from(interval.days);
    days * DAY_NANOS + i128::from(interval.nanoseconds)
}

fn lengths(values: &ArrayRef) -> Result<Decimal128Array> {
    macro_rules! durations {
        ($type:ty, $nanos:literal) => {
            values
                .as_primitive::<$type>()
                .unary::<_, Decimal128Type>(|v| i128::from(v) * $nanos)
        };
    }
    let lengths: Decimal128Array = match values.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => values
            .as_primitive::<IntervalMonthDayNanoType>()
            .unary::<_, Decimal128Type>(of_interval),
        DataType::Duration(TimeUnit::Second) => durations!(DurationSecondType, 1_000_000_000),
        DataType::Duration(TimeUnit::Millisecond) => durations!(DurationMillisecondType, 1_000_000),
        DataType::Duration(TimeUnit::Microsecond) => durations!(DurationMicrosecondType, 1_000),
        DataType::Duration(TimeUnit::Nanosecond) => durations!(DurationNanosecondType, 1),
        other => return exec_err!("{other} has no length, only an interval has one"),
    };
    Ok(lengths.with_precision_and_scale(38, 0)?)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Length {
    signature: Signature,
}

impl ScalarUDFImpl for Length {
    fn name(&self) -> &str {
        "interval_length"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(LENGTH)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.as_slice() {
            [ColumnarValue::Array(values)] => Ok(ColumnarValue::Array(Arc::new(lengths(values)?))),
            [ColumnarValue::Scalar(value)] => {
                let made = lengths(&value.to_array()?)?;
                let value = ScalarValue::try_from_array(&made, 0)?;
                Ok(ColumnarValue::Scalar(value))
            }
            _ => exec_err!("one interval is due"),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    longest: bool,
    signature: Signature,
}

impl ScalarUDFImpl for Extreme {
    fn name(&self) -> &str {
        match self.longest {
            true => "longest_interval",
            false => "shortest_interval",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
        let constant = args.args.iter().all(scalars);
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args.args.iter().map(|value| value.to_array(rows));
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        let columns: Vec<_> = arrays
            .iter()
            .map(|array| array.as_primitive::<IntervalMonthDayNanoType>())
            .collect();
        let best = |row: usize| {
            let known = columns.iter().filter(|column| column.is_valid(row));
            known
                .map(|column| column.value(row))
                .reduce(|best, new| match self.longest {
                    true if of_interval(new) > of_interval(best) => new,
                    false if of_interval(new) < of_interval(best) => new,
                    _ => best,
                })
        };
        let made: PrimitiveArray<IntervalMonthDayNanoType> = (0..rows).map(best).collect();
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?),
            false => ColumnarValue::Array(Arc::new(made)),
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{DurationSecondArray, IntervalMonthDayNanoArray};

    use super::*;

    #[test]
    fn the_longest_and_the_shortest_fit() {
        let least = IntervalMonthDayNano::new(i32::MIN, i32::MIN, i64::MIN);
        let arrays: [(ArrayRef, i128); 2] = [
            (
                Arc::new(IntervalMonthDayNanoArray::from(vec![Some(least), None])),
                (i128::from(i32::MIN) * 31) * DAY_NANOS + i128::from(i64::MIN),
            ),
            (
                Arc::new(DurationSecondArray::from(vec![Some(i64::MAX), None])),
                i128::from(i64::MAX) * 1_000_000_000,
            ),
        ];
        for (array, expected) in arrays {
            let found = lengths(&array).unwrap();
            assert_eq!(found.value(0), expected);
            assert!(found.is_null(1));
            found.validate_decimal_precision(38).unwrap();
        }
    }
}
