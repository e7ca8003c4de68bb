//! What a batch will take in memory, before it is made: the columns that its table fills or casts, and its rows as text.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, downcast_dictionary_array};
use arrow::datatypes::{ArrowNativeType, DataType};

use super::nested::{self, json_bytes};
use super::validator::Validator;
use crate::dataset::ColumnType;

/// Bytes of one value of a type; none for texts and the like, whose length is their own, and for nested ones.
pub(super) fn width(data_type: &ColumnType) -> Option<usize> {
    Some(match data_type {
        ColumnType::Boolean | ColumnType::Byte => 1,
        ColumnType::Short => 2,
        ColumnType::Int | ColumnType::Float | ColumnType::Date => 4,
        ColumnType::Long
        | ColumnType::Double
        | ColumnType::Timestamp
        | ColumnType::TimestampNtz => 8,
        ColumnType::Decimal { .. } => 16,
        ColumnType::String
        | ColumnType::Binary
        | ColumnType::Array(_)
        | ColumnType::Struct(_)
        | ColumnType::Map(_) => return None,
    })
}

/// An offset of a text, and its bit of validity.
pub(super) const OFFSET_BYTES: usize = 5;

/// Bytes of a column's values written out one by one: a dictionary or a view may name one long text many times.
pub(super) fn plain_bytes(column: &ArrayRef) -> usize {
    let rows = column.len();
    match column.data_type() {
        DataType::Null => 0,
        DataType::Utf8View => view_bytes(column.as_string_view().views()),
        DataType::BinaryView => view_bytes(column.as_binary_view().views()),
        DataType::Dictionary(_, _) => dictionary_bytes(column),
        _ => column
            .to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| column.get_buffer_memory_size())
            .max(rows / 8),
    }
}

fn view_bytes(views: &[u128]) -> usize {
    // The low 32 bits are the length.
    views.iter().fold(0usize, |sum, view| {
        let length = usize::try_from(view & u128::from(u32::MAX)).unwrap_or(usize::MAX);
        sum.saturating_add(length).saturating_add(OFFSET_BYTES)
    })
}

fn dictionary_bytes(column: &ArrayRef) -> usize {
    let array: &dyn Array = column;
    downcast_dictionary_array!(
        array => {
            let lengths = value_lengths(array.values());
            array.keys().iter().fold(0usize, |sum, key| {
                let length = key.and_then(|k| lengths.get(k.to_usize()?));
                sum.saturating_add(length.copied().unwrap_or(0)).saturating_add(OFFSET_BYTES)
            })
        },
        _ => column.get_buffer_memory_size(),
    )
}

/// The length of each value, written out.
fn value_lengths(values: &ArrayRef) -> Vec<usize> {
    fn offsets<O: arrow::array::OffsetSizeTrait>(offsets: &[O]) -> Vec<usize> {
        offsets
            .iter()
            .zip(offsets.iter().skip(1))
            .map(|(a, b)| (*b - *a).as_usize())
            .collect()
    }
    match values.data_type() {
        DataType::Utf8 => offsets(values.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => offsets(values.as_string::<i64>().value_offsets()),
        DataType::Binary => offsets(values.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => offsets(values.as_binary::<i64>().value_offsets()),
        _ => {
            let mean = plain_bytes(values).div_ceil(values.len().max(1));
            vec![mean; values.len()]
        }
    }
}

/// Bytes of `total` values that are taken one by one out of others, by the ranges in which they stand there.
pub(super) fn taken_bytes(values: &ArrayRef, ranges: &[(usize, usize)], total: usize) -> usize {
    let places = total.saturating_mul(8).saturating_add(values.len());
    let whole = match values.data_type().is_null() {
        true => 0,
        false => plain_bytes(values),
    };
    let mut named = vec![false; values.len()];
    let once = ranges.iter().all(|(from, length)| {
        let range = named.get_mut(*from..from.saturating_add(*length));
        range.is_some_and(|range| {
            let free = range.iter().all(|taken| !taken);
            range.fill(true);
            free
        })
    });
    let bytes = match (once, values.data_type().primitive_width()) {
        (true, _) => whole,
        (false, Some(width)) => total.saturating_mul(width),
        (false, None) if values.data_type().is_nested() => total.saturating_mul(whole),
        (false, None) => {
            let largest = value_lengths(values).into_iter().max().unwrap_or(0);
            total.saturating_mul(largest.saturating_add(OFFSET_BYTES))
        }
    };
    bytes.saturating_add(places)
}

impl Validator {
    /// Bytes of the columns that judging the batch makes anew: those that are cast, those that the batch lacks, and those that
    /// the server fills. Columns that are kept as they came count nothing here.
    pub fn made_bytes(&self, sent: &RecordBatch) -> usize {
        let rows = sent.num_rows();
        let wide = |data_type: &ColumnType| {
            rows.saturating_mul(width(data_type).unwrap_or(OFFSET_BYTES))
                .saturating_add(rows / 8)
        };
        let contract = self.contract();
        // What does not fit the contract is refused before anything is made of it.
        let Ok(positions) = self.match_columns(sent.schema_ref()) else {
            return 0;
        };
        let mut bytes = 0usize;
        for (index, column) in contract.columns.iter().enumerate() {
            let made = match self.source(index, &positions).map(|at| sent.column(at)) {
                Some(values) if values.data_type() == self.target(index) => 0,
                // Charged part by part, before each is made.
                Some(_) if column.data_type.is_nested() => 0,
                Some(values) => {
                    // Through its plain form to the target's.
                    let through = match values.data_type() {
                        DataType::Dictionary(..) | DataType::Utf8View | DataType::BinaryView => {
                            plain_bytes(values)
                        }
                        _ => 0,
                    };
                    let texts = match width(&column.data_type) {
                        Some(_) => 0,
                        None => plain_bytes(values),
                    };
                    wide(&column.data_type)
                        .saturating_add(through)
                        .saturating_add(texts)
                }
                // It is made of nulls, each field of it too.
                None if column.data_type.is_nested() => {
                    rows.saturating_mul(nested::least_bytes(self.target(index)))
                }
                None => {
                    let default = column.default.as_ref().map_or(0, |value| {
                        let text = value
                            .as_str()
                            .map_or_else(|| value.to_string().len(), str::len);
                        rows.saturating_mul(2 * (text + OFFSET_BYTES))
                    });
                    wide(&column.data_type).saturating_add(default)
                }
            };
            bytes = bytes.saturating_add(made);
        }
        if self.event_time().is_some() {
            bytes = bytes.saturating_add(wide(&ColumnType::Date));
        }
        if contract.system_columns {
            // The sender's name is one column for all of its batches.
            bytes = bytes.saturating_add(wide(&ColumnType::Long).saturating_mul(2));
        }
        bytes
    }
}

/// How long the rows of a batch are as text.
pub(super) struct RowText {
    /// Names, punctuation and numbers.
    fixed: usize,
    texts: Vec<ArrayRef>,
}

/// A number, a date or a time, written out.
const NUMBER_BYTES: usize = 20;

impl RowText {
    pub(super) fn of(sent: &RecordBatch) -> Self {
        let schema = sent.schema_ref();
        let mut this = RowText {
            fixed: 2,
            texts: Vec::new(),
        };
        for (field, column) in schema.fields().iter().zip(sent.columns()) {
            this.fixed += field.name().len() + 4;
            let data_type = column.data_type();
            if data_type.is_null() || data_type.primitive_width().is_some() {
                this.fixed += NUMBER_BYTES;
            } else {
                this.texts.push(column.clone());
            }
        }
        this
    }

    pub(super) fn bytes(&self, row: usize) -> usize {
        self.texts.iter().fold(self.fixed, |sum, column| {
            let length = match column.data_type() {
                _ if column.is_null(row) => 4,
                DataType::Utf8 => column.as_string::<i32>().value_length(row) as usize,
                DataType::LargeUtf8 => {
                    usize::try_from(column.as_string::<i64>().value_length(row)).unwrap_or(0)
                }
                DataType::Utf8View => column.as_string_view().value(row).len(),
                // Two digits a byte.
                DataType::Binary => 2 * column.as_binary::<i32>().value_length(row) as usize,
                DataType::Boolean => 5,
                // Of a dictionary it looks at this row's value alone: the lengths of all values once a row go with the square of
                // their number.
                _ => json_bytes(column, row),
            };
            sum.saturating_add(length)
        })
    }
}
