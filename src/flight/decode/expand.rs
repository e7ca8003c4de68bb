//! What a batch becomes once it is cast to its table's columns. Few bytes can say much: a column of nulls has none, a
//! dictionary repeats one value a million times, views point into one text again and again, a column that is missing is
//! filled. So the size is computed before the cast, from lengths and offsets alone.

use arrow::array::{Array, AsArray, BinaryViewArray, RecordBatch, StringViewArray};
use arrow::datatypes::DataType;

use crate::dataset::{ColumnType, Contract};
use crate::fault::{Fault, Kind};

/// `_ingest_ts`, `_source`, `_seq` and the partition's day.
const SYSTEM_BYTES: u64 = 28;
/// Below this a dictionary is not looked through row by row.
const EXACT_FROM: u64 = 16 * 1024 * 1024;
/// A number or a time as text.
const NUMBER_TEXT_BYTES: u64 = 40;

/// Bytes of a batch in the columns of its table.
///
/// # Errors
/// RESOURCE_EXHAUSTED `batch_too_large`.
pub fn check(batch: &RecordBatch, contract: &Contract, limit: u64) -> Result<u64, Fault> {
    let bytes = becomes(batch, contract);
    if bytes > limit {
        return Err(Fault::new(
            Kind::Exhausted,
            "batch_too_large",
            format!(
                "batch too large once it is cast to the table's columns, bytes={bytes}, rows={}, limit={limit}, table={}; send smaller batches or raise limits.batch_memory_max",
                batch.num_rows(),
                contract.table
            ),
        ));
    }
    Ok(bytes)
}

fn becomes(batch: &RecordBatch, contract: &Contract) -> u64 {
    let rows = batch.num_rows() as u64;
    let mut total = rows.saturating_mul(SYSTEM_BYTES);
    for column in batch.columns() {
        total = total.saturating_add(expanded(column));
    }
    for column in &contract.columns {
        let sent = batch.column_by_name(&column.name);
        let width = match (&column.data_type, sent, &column.default) {
            // Charged part by part, before each is made.
            (data_type, _, _) if data_type.is_nested() => 9,
            // A number that becomes a text.
            (ColumnType::String | ColumnType::Binary, Some(sent), _) => match sent.data_type() {
                t if is_text(t) => 0,
                DataType::Null => 5,
                _ => NUMBER_TEXT_BYTES,
            },
            (ColumnType::String | ColumnType::Binary, None, Some(default)) => {
                default.to_string().len() as u64 + 5
            }
            (ColumnType::String | ColumnType::Binary, None, None) => 5,
            (ColumnType::Decimal { .. }, _, _) => 17,
            // A column that is kept as it came is counted already; what is cast from text is not larger than the text.
            (_, Some(sent), _) if sent.data_type().primitive_width() >= Some(8) => 0,
            _ => 9,
        };
        total = total.saturating_add(rows.saturating_mul(width));
    }
    total
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_text(values),
        DataType::RunEndEncoded(_, values) => is_text(values.data_type()),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => true,
        _ => false,
    }
}

/// Bytes of a column with nothing shared between its rows.
pub fn expanded(array: &dyn Array) -> u64 {
    let rows = array.len() as u64;
    let flat = |width: u64| rows.saturating_mul(width).saturating_add(rows.div_ceil(8));
    let between = |first: Option<&i64>, last: Option<&i64>| {
        u64::try_from(last.unwrap_or(&0) - first.unwrap_or(&0)).unwrap_or(0)
    };
    let wide = |offsets: &[i32]| {
        let wide = |n: Option<&i32>| n.map(|n| i64::from(*n));
        between(
            wide(offsets.first()).as_ref(),
            wide(offsets.last()).as_ref(),
        )
    };
    match array.data_type() {
        DataType::Null => 0,
        DataType::Boolean => flat(1),
        DataType::Utf8 => flat(4) + wide(array.as_string::<i32>().value_offsets()),
        DataType::Binary => flat(4) + wide(array.as_binary::<i32>().value_offsets()),
        DataType::LargeUtf8 => {
            let offsets = array.as_string::<i64>().value_offsets();
            flat(8) + between(offsets.first(), offsets.last())
        }
        DataType::LargeBinary => {
            let offsets = array.as_binary::<i64>().value_offsets();
            flat(8) + between(offsets.first(), offsets.last())
        }
        DataType::Utf8View => {
            let views: &StringViewArray = array.as_string_view();
            flat(16)
                + views
                    .views()
                    .iter()
                    .map(|v| u64::from(*v as u32))
                    .sum::<u64>()
        }
        DataType::BinaryView => {
            let views: &BinaryViewArray = array.as_binary_view();
            flat(16)
                + views
                    .views()
                    .iter()
                    .map(|v| u64::from(*v as u32))
                    .sum::<u64>()
        }
        DataType::FixedSizeBinary(width) => flat(u64::try_from(*width).unwrap_or(0)),
        DataType::Dictionary(_, _) => flat(8).saturating_add(dictionary(array)),
        DataType::RunEndEncoded(_, _) => {
            let data = array.to_data();
            let values = data.child_data().get(1).cloned();
            let largest = values.map_or(0, |v| largest(&arrow::array::make_array(v)));
            flat(8).saturating_add(rows.saturating_mul(largest))
        }
        other => match other.primitive_width() {
            Some(width) => flat(width as u64),
            // Nested: as large as its parts, each of them with nothing shared. A view of a list may name one part many times, or leave some out.
            None => {
                let named = match other {
                    DataType::ListView(_) => named(array.as_list_view::<i32>().sizes()),
                    DataType::LargeListView(_) => named(array.as_list_view::<i64>().sizes()),
                    _ => 0,
                };
                let data = array.to_data();
                let parts = data.child_data().iter().map(|part| {
                    let part = arrow::array::make_array(part.clone());
                    // Each value once, else all that are named as large as the largest. What is named twice among few is
                    // counted where it is taken (`validate/nested`).
                    match named > part.len() as u64 {
                        true => named.saturating_mul(largest(&part)),
                        false => expanded(&part),
                    }
                });
                parts.fold(flat(8), u64::saturating_add)
            }
        },
    }
}

/// How many values the views of lists name together.
fn named<T: Copy + TryInto<u64>>(sizes: &[T]) -> u64 {
    let sizes = sizes.iter().map(|size| (*size).try_into().unwrap_or(0));
    sizes.fold(0, u64::saturating_add)
}

/// Bytes of the values that a dictionary's rows name. At most as many as if each row named the largest one, which is often
/// enough to know.
fn dictionary(array: &dyn Array) -> u64 {
    let array = array.as_any_dictionary();
    let values = array.values();
    let most = (array.len() as u64).saturating_mul(largest(values));
    if most <= EXACT_FROM || array.keys().is_empty() || values.is_empty() {
        return most;
    }
    let sizes: Vec<u64> = match values.data_type() {
        DataType::Utf8 => widths(values.as_string::<i32>().value_offsets()).collect(),
        DataType::Binary => widths(values.as_binary::<i32>().value_offsets()).collect(),
        DataType::LargeUtf8 => widths(values.as_string::<i64>().value_offsets()).collect(),
        DataType::LargeBinary => widths(values.as_binary::<i64>().value_offsets()).collect(),
        _ => return most,
    };
    let keys = array.normalized_keys().into_iter().enumerate();
    let named = keys.filter(|(row, _)| array.keys().is_valid(*row));
    named
        .filter_map(|(_, key)| sizes.get(key))
        .fold(0, |sum, size| sum.saturating_add(*size))
}

fn widths<T: Copy + TryInto<i64>>(offsets: &[T]) -> impl Iterator<Item = u64> {
    let number = |n: T| n.try_into().unwrap_or(0);
    offsets.windows(2).map(move |pair| match pair {
        [from, to] => u64::try_from(number(*to) - number(*from)).unwrap_or(0),
        _ => 0,
    })
}

/// Bytes of the largest value of a column.
fn largest(values: &dyn Array) -> u64 {
    fn widest<T: Copy + TryInto<i64>>(offsets: &[T]) -> u64 {
        widths(offsets).max().unwrap_or(0)
    }
    match values.data_type() {
        _ if values.is_empty() => 0,
        DataType::Utf8 => widest(values.as_string::<i32>().value_offsets()),
        DataType::Binary => widest(values.as_binary::<i32>().value_offsets()),
        DataType::LargeUtf8 => widest(values.as_string::<i64>().value_offsets()),
        DataType::LargeBinary => widest(values.as_binary::<i64>().value_offsets()),
        other => match other.primitive_width() {
            Some(width) => width as u64,
            None => expanded(values),
        },
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, DictionaryArray, Int32Array, Int64Array, NullArray, StringArray, StringViewArray,
    };

    use super::*;
    use crate::dataset::Column;
    use crate::types::TableName;

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("a", column)]).unwrap()
    }

    fn table(columns: usize) -> Contract {
        let columns = (0..columns).map(|n| Column::new(format!("c{n}"), ColumnType::Double));
        Contract::plain(TableName::new("public", "t").unwrap(), columns.collect())
    }

    #[test]
    fn few_bytes_that_become_many_are_counted_as_many() {
        let text = "x".repeat(1 << 20);
        let one: ArrayRef = Arc::new(StringArray::from(vec![text.as_str()]));
        let keys = Int32Array::from(vec![0; 1000]);
        let dictionary = DictionaryArray::new(keys, one);
        assert!(expanded(&dictionary) >= 1000 << 20);
        // One long value that few rows name counts as often as it is named.
        let two: ArrayRef = Arc::new(StringArray::from(vec![text.as_str(), "short"]));
        let keys = Int32Array::from_iter_values((0..1000).map(|n| i32::from(n > 0)));
        assert!(expanded(&DictionaryArray::new(keys, two)) < 2 << 20);
        let mut views = arrow::array::StringViewBuilder::new().with_deduplicate_strings();
        (0..1000).for_each(|_| views.append_value(&text));
        let views: StringViewArray = views.finish();
        assert!(expanded(&views) >= 1000 << 20);
        // A column of nulls into a table of 50 columns.
        let nulls = batch(Arc::new(NullArray::new(1_000_000)));
        assert!(becomes(&nulls, &table(50)) >= 400_000_000);
        let fault = check(&nulls, &table(50), 128 << 20).unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Exhausted, "batch_too_large")
        );
    }

    #[test]
    fn what_is_plain_is_as_large_as_it_is() {
        let numbers = batch(Arc::new(Int64Array::from(vec![1; 1000])));
        let bytes = becomes(&numbers, &table(1));
        assert!((8_000..60_000).contains(&bytes), "{bytes}");
        let texts = StringArray::from(vec!["abcdefgh"; 1000]);
        let bytes = expanded(&texts);
        assert!((12_000..13_000).contains(&bytes), "{bytes}");
        assert!(expanded(&texts.slice(0, 10)) < 150);
    }
}
