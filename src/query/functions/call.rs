//! The arguments of one call of a function, as sizes: what an estimate of its result is made from.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, IntervalMonthDayNanoType, TimeUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

use crate::dataset::parse_span;

const DAY: i128 = 86_400_000_000_000;

/// One argument: a value for all rows, or one each.
#[derive(Default)]
struct Argument {
    /// Bytes of a text, elements of a list.
    lengths: Vec<u64>,
    /// Bytes of a value.
    bytes: Vec<u64>,
    /// Whole numbers as they are; times and spans in nanoseconds.
    numbers: Vec<i128>,
    is_null: Vec<bool>,
}

/// The arguments' sizes, by row.
pub(super) struct Call {
    arguments: Vec<Argument>,
    /// Rows of the result: 1 if no argument is a column.
    pub rows: usize,
}

fn at<T: Copy + Default>(values: &[T], row: usize) -> T {
    let place = if values.len() == 1 { 0 } else { row };
    values.get(place).copied().unwrap_or_default()
}

impl Call {
    /// # Errors
    /// A scalar that has no array.
    pub(super) fn of(args: &ScalarFunctionArgs) -> Result<Call> {
        let columns = args.args.iter();
        let is_column = |a: &ColumnarValue| matches!(a, ColumnarValue::Array(_));
        let rows = if columns.clone().any(is_column) {
            args.number_rows
        } else {
            1
        };
        let arguments = columns.map(|value| {
            Ok(match value {
                ColumnarValue::Array(array) => sizes(array),
                ColumnarValue::Scalar(scalar) => {
                    let mut argument = sizes(&scalar.to_array()?);
                    argument.numbers.extend(span(scalar));
                    argument
                }
            })
        });
        Ok(Call {
            arguments: arguments.collect::<Result<_>>()?,
            rows,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.arguments.len()
    }

    /// Bytes of a text, elements of a list; 0 for what is neither, and for null.
    pub(super) fn length(&self, argument: usize, row: usize) -> u64 {
        self.arguments
            .get(argument)
            .map_or(0, |a| at(&a.lengths, row))
    }

    /// Bytes of a value of any type.
    pub(super) fn bytes(&self, argument: usize, row: usize) -> u64 {
        self.arguments
            .get(argument)
            .map_or(0, |a| at(&a.bytes, row))
    }

    /// A whole number, a time or a span; none for null and other types.
    pub(super) fn number(&self, argument: usize, row: usize) -> Option<i128> {
        let argument = self.arguments.get(argument)?;
        if argument.numbers.is_empty() || at(&argument.is_null, row) {
            return None;
        }
        Some(at(&argument.numbers, row))
    }

    /// A count: nothing below zero.
    pub(super) fn times(&self, argument: usize, row: usize) -> u64 {
        let number = self.number(argument, row).unwrap_or(0).max(0);
        u64::try_from(number).unwrap_or(u64::MAX)
    }
}

/// A span of time that is written as text, in nanoseconds.
fn span(scalar: &ScalarValue) -> Option<i128> {
    let text = scalar.try_as_str().flatten()?;
    if text.len() > 64 || !text.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    parse_span(text)
        .ok()
        .map(|micros| i128::from(micros) * 1000)
}

/// The sizes of each value of an array.
fn sizes(array: &ArrayRef) -> Argument {
    let rows = array.len();
    let is_null = (0..rows).map(|row| array.is_null(row)).collect();
    let mut argument = Argument {
        is_null,
        ..Argument::default()
    };
    let length = |n: usize| n as u64;
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            let lengths = (0..rows).map(|r| u64::try_from(texts.value_length(r)).unwrap_or(0));
            argument.lengths = lengths.collect();
        }
        DataType::LargeUtf8 => {
            let texts = array.as_string::<i64>();
            let lengths = (0..rows).map(|r| u64::try_from(texts.value_length(r)).unwrap_or(0));
            argument.lengths = lengths.collect();
        }
        DataType::Utf8View => {
            let texts = array.as_string_view();
            argument.lengths = texts.lengths().map(u64::from).collect();
        }
        DataType::Binary => {
            let texts = array.as_binary::<i32>();
            let lengths = (0..rows).map(|r| u64::try_from(texts.value_length(r)).unwrap_or(0));
            argument.lengths = lengths.collect();
        }
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            let each = each_element(lists.values());
            let lengths = (0..rows).map(|r| u64::try_from(lists.value_length(r)).unwrap_or(0));
            argument.lengths = lengths.collect();
            argument.bytes = scaled(&argument.lengths, each);
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            let each = each_element(lists.values());
            let lengths = (0..rows).map(|r| u64::try_from(lists.value_length(r)).unwrap_or(0));
            argument.lengths = lengths.collect();
            argument.bytes = scaled(&argument.lengths, each);
        }
        DataType::FixedSizeList(_, size) => {
            let each = each_element(array.as_fixed_size_list().values());
            argument.lengths = vec![u64::try_from(*size).unwrap_or(0); rows];
            argument.bytes = scaled(&argument.lengths, each);
        }
        DataType::Interval(_) => {
            if let Some(spans) = array.as_primitive_opt::<IntervalMonthDayNanoType>() {
                let spans = spans.values().iter().map(|s| {
                    // One that goes forward and back may lead nowhere.
                    let parts = [i64::from(s.months), i64::from(s.days), s.nanoseconds];
                    if parts.iter().any(|p| *p > 0) && parts.iter().any(|p| *p < 0) {
                        return 0;
                    }
                    // The shortest month: an estimate of steps must not be too low.
                    i128::from(s.months) * 28 * DAY
                        + i128::from(s.days) * DAY
                        + i128::from(s.nanoseconds)
                });
                argument.numbers = spans.collect();
            }
        }
        other => {
            let nanoseconds = match other {
                DataType::Timestamp(TimeUnit::Second, _) => 1_000_000_000,
                DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Date64 => 1_000_000,
                DataType::Timestamp(TimeUnit::Microsecond, _) => 1_000,
                DataType::Date32 => DAY,
                _ => 1,
            };
            let numeric = other.is_integer() || other.is_temporal();
            // Dates go to 64 bits by way of 32.
            let narrow = match other {
                DataType::Date32 => cast(array, &DataType::Int32),
                _ => Ok(array.clone()),
            };
            let wide = narrow.and_then(|a| cast(&a, &DataType::Int64));
            if let Ok(wide) = wide
                && numeric
            {
                let values = wide.as_primitive::<Int64Type>().values().iter();
                argument.numbers = values.map(|n| i128::from(*n) * nanoseconds).collect();
            }
            let bytes = array.to_data().get_slice_memory_size().unwrap_or(0);
            argument.bytes = vec![length(bytes / rows.max(1)); rows];
        }
    }
    if argument.bytes.is_empty() {
        argument.bytes.clone_from(&argument.lengths);
    }
    argument
}

fn scaled(lengths: &[u64], each: u64) -> Vec<u64> {
    lengths.iter().map(|n| n.saturating_mul(each)).collect()
}

/// Bytes of an element, on average.
fn each_element(values: &ArrayRef) -> u64 {
    let bytes = values.to_data().get_slice_memory_size().unwrap_or(0);
    (bytes / values.len().max(1)).max(1) as u64
}
