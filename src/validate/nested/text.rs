//! Nested values as JSON, as a quarantine keeps the rows that it is sent: the inverse of [`super::json`].

use arrow::array::{Array, ArrayRef, AsArray, StructArray};
use arrow::datatypes::DataType;
use arrow::util::display::ArrayFormatter;

use crate::validate::quarantine::{OPTIONS, quoted, write_value};

/// A number, a date or a time, written out.
const NUMBER_BYTES: usize = 20;

/// One list's elements.
fn elements(values: &dyn Array, row: usize) -> Option<ArrayRef> {
    Some(match values.data_type() {
        DataType::List(_) => values.as_list::<i32>().value(row),
        DataType::LargeList(_) => values.as_list::<i64>().value(row),
        DataType::ListView(_) => values.as_list_view::<i32>().value(row),
        DataType::LargeListView(_) => values.as_list_view::<i64>().value(row),
        DataType::FixedSizeList(_, _) => values.as_fixed_size_list().value(row),
        _ => return None,
    })
}

/// A row's value of a nested column.
pub fn write_json(values: &dyn Array, row: usize, out: &mut Vec<u8>) {
    if values.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match values.data_type() {
        DataType::Struct(_) => fields(values.as_struct(), row, out),
        DataType::Map(..) => entries(&values.as_map().value(row), out),
        _ => match elements(values, row) {
            Some(elements) => {
                out.push(b'[');
                each(&elements, out);
                out.push(b']');
            }
            None => leaf(values, row, out),
        },
    }
}

/// All values of an array, with commas between them.
fn each(values: &ArrayRef, out: &mut Vec<u8>) {
    let nested = values.data_type().is_nested();
    let formatter = match nested {
        true => None,
        false => ArrayFormatter::try_new(values, &OPTIONS).ok(),
    };
    for at in 0..values.len() {
        if at > 0 {
            out.push(b',');
        }
        match &formatter {
            Some(formatter) => write_value(values, formatter, at, out),
            None if nested => write_json(values, at, out),
            None => leaf(values, at, out),
        }
    }
}

fn fields(values: &StructArray, row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    for (index, (field, column)) in values.fields().iter().zip(values.columns()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        quoted(field.name(), out);
        out.push(b':');
        one(column, row, out);
    }
    out.push(b'}');
}

/// A map's entries. A key that is no text is written as one.
fn entries(pairs: &StructArray, out: &mut Vec<u8>) {
    let [keys, values] = pairs.columns() else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'{');
    let mut key = Vec::new();
    for at in 0..pairs.len() {
        if at > 0 {
            out.push(b',');
        }
        key.clear();
        one(keys, at, &mut key);
        match key.first() {
            Some(b'"') => out.extend_from_slice(&key),
            _ => quoted(&String::from_utf8_lossy(&key), out),
        }
        out.push(b':');
        one(values, at, out);
    }
    out.push(b'}');
}

fn one(values: &ArrayRef, row: usize, out: &mut Vec<u8>) {
    match values.data_type().is_nested() {
        true => write_json(values, row, out),
        false => leaf(values, row, out),
    }
}

fn leaf(values: &dyn Array, row: usize, out: &mut Vec<u8>) {
    match ArrayFormatter::try_new(values, &OPTIONS) {
        Ok(formatter) => write_value(values, &formatter, row, out),
        Err(error) => quoted(&error.to_string(), out),
    }
}

/// About how long a row's value is as JSON.
pub(in crate::validate) fn json_bytes(values: &dyn Array, row: usize) -> usize {
    if values.is_null(row) {
        return 4;
    }
    match values.data_type() {
        DataType::Struct(fields) => {
            let columns = fields.iter().zip(values.as_struct().columns());
            columns.fold(2, |sum, (field, column)| {
                let own = json_bytes(column, row) + field.name().len() + 4;
                own.saturating_add(sum)
            })
        }
        DataType::Map(..) => {
            let pairs = values.as_map().value(row);
            let parts = pairs.columns().iter().map(all_bytes);
            parts.fold(2, |sum: usize, own| sum.saturating_add(own))
        }
        DataType::Utf8 => values.as_string::<i32>().value(row).len() + 2,
        DataType::LargeUtf8 => values.as_string::<i64>().value(row).len() + 2,
        DataType::Utf8View => values.as_string_view().value(row).len() + 2,
        DataType::Binary => 2 * values.as_binary::<i32>().value(row).len() + 2,
        DataType::LargeBinary => 2 * values.as_binary::<i64>().value(row).len() + 2,
        DataType::BinaryView => 2 * values.as_binary_view().value(row).len() + 2,
        DataType::FixedSizeBinary(width) => 2 * usize::try_from(*width).unwrap_or(0) + 2,
        DataType::Dictionary(..) => {
            // The keys of this row alone: those of all rows once a row go with the square of their number.
            let one = values.slice(row, 1);
            let one = one.as_any_dictionary();
            let key = one.normalized_keys().first().copied().unwrap_or(0);
            json_bytes(one.values(), key)
        }
        _ => match elements(values, row) {
            Some(elements) => all_bytes(&elements).saturating_add(2),
            None => NUMBER_BYTES,
        },
    }
}

fn all_bytes(values: &ArrayRef) -> usize {
    if values.data_type().primitive_width().is_some() || values.data_type().is_null() {
        return values.len().saturating_mul(NUMBER_BYTES + 1);
    }
    if matches!(values.data_type(), DataType::Dictionary(..)) {
        // Looked up one by one it would be looked through once a value.
        return crate::validate::size::plain_bytes(values)
            .saturating_mul(2)
            .saturating_add(values.len().saturating_mul(NUMBER_BYTES));
    }
    (0..values.len()).fold(0, |sum, at| {
        sum.saturating_add(json_bytes(values, at)).saturating_add(2)
    })
}
