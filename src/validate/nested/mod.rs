//! Values of nested columns, cast part by part by the rules that hold for columns: a list of any of Arrow's layouts becomes an
//! ARRAY, a struct is matched by the names of its fields, and a text is read as JSON ([`json`]). A part that does not fit
//! rejects its row, with the path to it (`gps.lat`, `readings.element`).
//!
//! While a batch is judged each part may be null, so that an array can be made of rows that will be rejected;
//! [`strict`] gives the accepted rows the column's own type. What is made is charged to the batch's room before it is made.

mod check;
mod json;
mod lists;
#[cfg(test)]
mod tests;
mod text;

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, ListArray, MapArray, StructArray, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Fields};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

use super::conform::{Shown, article, cast_plain, of_calendar, row_number};
use super::findings::Findings;
use super::size::{OFFSET_BYTES, plain_bytes, width};
use super::validator::Validator;
use crate::clock::Micros;
use crate::dataset::{
    Column, ColumnType, ELEMENT, ENTRIES, EntryType, KEY, StructField, UnknownColumns, VALUE,
};
use crate::fault::{Fault, Kind};
use crate::floats::one_form;
use crate::nested::{retyped, without_hidden};

pub(super) use text::json_bytes;
pub use text::write_json;

/// The accepted values of a column in its own type.
///
/// # Errors
/// The values are not those of the column.
pub(super) fn strict(values: &ArrayRef, due: &DataType) -> Result<ArrayRef, ArrowError> {
    match due.is_nested() {
        true => retyped(values, due),
        false => Ok(values.clone()),
    }
}

/// In which row of the batch the values of a level stand.
#[derive(Clone, Copy)]
struct Level<'a> {
    /// Of the lists whose elements the values are, in the level above; none: the values are the rows.
    above: Option<(&'a OffsetBuffer<i32>, &'a Level<'a>)>,
}

impl Level<'_> {
    const ROWS: Level<'static> = Level { above: None };

    fn row(&self, value: usize) -> usize {
        match self.above {
            None => value,
            Some((offsets, level)) => {
                let begun = offsets.partition_point(|o| usize::try_from(*o).unwrap_or(0) <= value);
                level.row(begun.saturating_sub(1))
            }
        }
    }
}

struct Walk<'a> {
    arrived: Micros,
    /// Are fields that a STRUCT does not have left out?
    ignores_unknown: bool,
    table: String,
    findings: &'a mut Findings,
}

fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::internal(format!("nested values: {error}"))
}

fn below(path: &str, part: &str) -> String {
    format!("{path}.{part}")
}

impl Validator {
    /// The values of a nested column, in its type but for what may be null within them.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: their type has no place in the column. RESOURCE_EXHAUSTED `batch_too_large`.
    pub(super) fn convert_nested(
        &self,
        column: &Column,
        sent: &ArrayRef,
        arrived: Micros,
        findings: &mut Findings,
    ) -> Result<ArrayRef, Fault> {
        let contract = self.contract();
        let ignores_unknown = contract.unknown_columns == UnknownColumns::Ignore;
        let table = contract.table.to_string();
        check::Check {
            table: &table,
            ignores_unknown,
        }
        .fits(sent.data_type(), &column.data_type, &column.name)?;
        let mut walk = Walk {
            arrived,
            ignores_unknown,
            table,
            findings,
        };
        walk.values(sent, &column.data_type, &column.name, Level::ROWS)
    }
}

/// A type whose parts all may be null, but for the keys of maps.
fn loose(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => DataType::List(nullable(ELEMENT, loose(item.data_type()))),
        DataType::Struct(fields) => DataType::Struct(
            fields
                .iter()
                .map(|f| nullable(f.name(), loose(f.data_type())))
                .collect::<Fields>(),
        ),
        DataType::Map(entries, ordered) => match entries.data_type() {
            DataType::Struct(pair) => match pair.as_ref() {
                [key, value] => DataType::Map(
                    entries_of(key.data_type(), loose(value.data_type())),
                    *ordered,
                ),
                _ => data_type.clone(),
            },
            _ => data_type.clone(),
        },
        other => other.clone(),
    }
}

fn nullable(name: &str, data_type: DataType) -> Arc<Field> {
    Arc::new(Field::new(name, data_type, true))
}

fn entries_of(key: &DataType, value: DataType) -> Arc<Field> {
    let pair = vec![
        Arc::new(Field::new(KEY, key.clone(), false)),
        nullable(VALUE, value),
    ];
    Arc::new(Field::new(ENTRIES, DataType::Struct(pair.into()), false))
}

impl Walk<'_> {
    fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        match self.findings.take(bytes) {
            Ok(()) => Ok(()),
            Err(limit) => Err(Fault::new(
                Kind::Exhausted,
                "batch_too_large",
                format!(
                    "batch too large for memory once its nested values have the types of the table, table={}, limit={limit}; send fewer rows at a time, or raise limits.batch_memory_max",
                    self.table
                ),
            )),
        }
    }

    fn nothing(&mut self, due: &ColumnType, length: usize) -> Result<ArrayRef, Fault> {
        let data_type = loose(&due.to_arrow());
        self.charge(length.saturating_mul(least_bytes(&data_type)))?;
        Ok(new_null_array(&data_type, length))
    }

    /// The values of one level. What cannot be cast is null, and its row is rejected.
    fn values(
        &mut self,
        sent: &ArrayRef,
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        if sent.data_type().is_null() {
            return self.nothing(due, sent.len());
        }
        let is_text = matches!(
            sent.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        );
        match due {
            ColumnType::Array(_) | ColumnType::Struct(_) | ColumnType::Map(_) if is_text => {
                self.texts(sent, due, path, level)
            }
            ColumnType::Array(of) => {
                let lists = self.lists(sent)?;
                let path = below(path, ELEMENT);
                let inner = Level {
                    above: Some((&lists.offsets, &level)),
                };
                let elements = self.values(&lists.values, &of.element, &path, inner)?;
                self.required(&elements, None, of.nullable, &path, inner)?;
                list(lists.offsets, elements, lists.nulls)
            }
            ColumnType::Struct(fields) => self.fields(sent.as_struct(), fields, path, level),
            ColumnType::Map(of) => {
                let lists = self.lists(sent)?;
                let entries = lists.values.as_struct_opt();
                let pair = entries.map(StructArray::columns);
                let Some([keys, values]) = pair else {
                    return Err(internal("a map without keys and values"));
                };
                // What an entry that is null itself hides.
                let hidden = entries.and_then(Array::nulls);
                let keys = masked(keys, hidden)?;
                let values = masked(values, hidden)?;
                self.entries(&keys, &values, lists.offsets, lists.nulls, of, path, level)
            }
            leaf => self.leaf(sent, leaf, path, level),
        }
    }

    /// Values of a type that is not nested.
    fn leaf(
        &mut self,
        sent: &ArrayRef,
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        let target = due.to_arrow();
        if *sent.data_type() == target {
            return Ok(sent.clone());
        }
        let wide = width(due).unwrap_or(OFFSET_BYTES);
        let through = match (sent.data_type(), width(due)) {
            (DataType::Dictionary(..) | DataType::Utf8View | DataType::BinaryView, _)
            | (_, None) => plain_bytes(sent),
            _ => 0,
        };
        self.charge(sent.len().saturating_mul(wide).saturating_add(through))?;
        let column = Column::new(path, due.clone());
        let (plain, cast) = cast_plain(&column, &target, sent, self.arrived)?;
        let cast = of_calendar(&cast, self.findings);
        if cast.null_count() > plain.null_count() && !self.findings.is_ignored() {
            let shown = Shown::of(&plain);
            for value in (0..plain.len()).filter(|v| cast.is_null(*v) && plain.is_valid(*v)) {
                self.misfit(value, &|| shown.value(value), due, path, level)?;
            }
        }
        Ok(cast)
    }

    /// Rejects the row of a value that its part of the column cannot hold.
    fn misfit(
        &mut self,
        value: usize,
        shown: &dyn Fn() -> String,
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<(), Fault> {
        let row = row_number(level.row(value));
        let rule = format!("type:{path}");
        if self.findings.breaks(row, &rule) {
            return Ok(());
        }
        let shown = shown();
        let reason = format!("{path} {shown} is not {}", article(due));
        self.findings.reject(row, &rule, path, shown, reason)
    }

    /// Rejects the rows of nulls where there is to be none. `within`: the values that these are parts of.
    fn required(
        &mut self,
        values: &ArrayRef,
        within: Option<&NullBuffer>,
        nullable: bool,
        path: &str,
        level: Level<'_>,
    ) -> Result<(), Fault> {
        if nullable || values.null_count() == 0 || self.findings.is_ignored() {
            return Ok(());
        }
        let (rule, failed) = (format!("not_null:{path}"), format!("type:{path}"));
        let missing = |v: &usize| values.is_null(*v) && within.is_none_or(|w| w.is_valid(*v));
        for value in (0..values.len()).filter(missing) {
            let row = row_number(level.row(value));
            // A value that failed its type is null by now and has its reason already.
            if self.findings.breaks(row, &failed) || self.findings.breaks(row, &rule) {
                continue;
            }
            let reason = format!("{path} is required and null");
            self.findings
                .reject(row, &rule, path, "null".to_owned(), reason)?;
        }
        Ok(())
    }

    fn fields(
        &mut self,
        sent: &StructArray,
        fields: &[StructField],
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        let places = check::places(fields, sent.fields());
        let nulls = sent.nulls().cloned();
        let mut columns = Vec::with_capacity(fields.len());
        for (field, place) in fields.iter().zip(places) {
            let path = below(path, &field.name);
            let column = match place.and_then(|at| sent.columns().get(at)) {
                Some(column) => {
                    let column = masked(column, nulls.as_ref())?;
                    self.values(&column, &field.data_type, &path, level)?
                }
                None => self.nothing(&field.data_type, sent.len())?,
            };
            self.required(&column, nulls.as_ref(), field.nullable, &path, level)?;
            columns.push(column);
        }
        structs(fields, columns, nulls, sent.len())
    }

    /// Maps out of their keys and values, one beside the other.
    #[expect(clippy::too_many_arguments, reason = "the parts of a map")]
    fn entries(
        &mut self,
        keys: &ArrayRef,
        values: &ArrayRef,
        offsets: OffsetBuffer<i32>,
        nulls: Option<NullBuffer>,
        of: &EntryType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        let inner = Level {
            above: Some((&offsets, &level)),
        };
        let key_path = below(path, KEY);
        let mut keys = self.leaf_or_null(keys, &of.key, &key_path, inner)?;
        self.required(&keys, None, false, &key_path, inner)?;
        let value_path = below(path, VALUE);
        let mut values = self.values(values, &of.value, &value_path, inner)?;
        self.required(&values, None, of.nullable, &value_path, inner)?;
        self.keys_once(&keys, &offsets, path, level)?;
        let offsets = match keys.nulls().filter(|n| n.null_count() > 0) {
            None => offsets,
            Some(known) => {
                // Rows with a null key are rejected; their entries go, so that an array can be made at all.
                let keep = BooleanArray::new(known.inner().clone(), None);
                let lengths = offsets.windows(2).map(|pair| {
                    let [from, to] = pair else { return 0 };
                    let (from, to) = (usize::try_from(*from), usize::try_from(*to));
                    let (from, to) = (from.unwrap_or(0), to.unwrap_or(0));
                    known.slice(from, to.saturating_sub(from)).len()
                        - known.slice(from, to.saturating_sub(from)).null_count()
                });
                let kept = OffsetBuffer::from_lengths(lengths);
                keys = filter(&keys, &keep).map_err(internal)?;
                values = filter(&values, &keep).map_err(internal)?;
                kept
            }
        };
        let field = entries_of(keys.data_type(), values.data_type().clone());
        let DataType::Struct(pair) = field.data_type().clone() else {
            return Err(internal("entries that are no struct"));
        };
        let entries = StructArray::try_new(pair, vec![keys, values], None).map_err(internal)?;
        let map = MapArray::try_new(field, offsets, entries, nulls, false).map_err(internal)?;
        Ok(Arc::new(map))
    }

    fn leaf_or_null(
        &mut self,
        sent: &ArrayRef,
        due: &ColumnType,
        path: &str,
        level: Level<'_>,
    ) -> Result<ArrayRef, Fault> {
        match sent.data_type().is_null() {
            true => self.nothing(due, sent.len()),
            false => self.leaf(sent, due, path, level),
        }
    }

    /// Rejects the rows of maps that have a key twice: which of its values counts would depend on the reader.
    fn keys_once(
        &mut self,
        keys: &ArrayRef,
        offsets: &OffsetBuffer<i32>,
        path: &str,
        level: Level<'_>,
    ) -> Result<(), Fault> {
        let several = offsets.windows(2).any(|pair| match pair {
            [from, to] => to - from > 1,
            _ => false,
        });
        if !several || self.findings.is_ignored() {
            return Ok(());
        }
        self.charge(plain_bytes(keys).saturating_mul(2))?;
        let sorted = RowConverter::new(vec![SortField::new(keys.data_type().clone())])
            .and_then(|converter| converter.convert_columns(&[one_form(keys)]))
            .map_err(internal)?;
        let rule = format!("duplicate_key:{path}");
        let mut seen = HashSet::new();
        for (map, pair) in offsets.windows(2).enumerate() {
            let [from, to] = pair else { continue };
            let range = usize::try_from(*from).unwrap_or(0)..usize::try_from(*to).unwrap_or(0);
            if range.len() < 2 {
                continue;
            }
            seen.clear();
            for entry in range {
                if keys.is_valid(entry) && !seen.insert(sorted.row(entry)) {
                    let key = Shown::of(keys).value(entry);
                    let reason = format!("{path} has the key {key} twice");
                    let row = row_number(level.row(map));
                    self.findings.reject(row, &rule, path, key, reason)?;
                    break;
                }
            }
        }
        Ok(())
    }
}

fn list(
    offsets: OffsetBuffer<i32>,
    elements: ArrayRef,
    nulls: Option<NullBuffer>,
) -> Result<ArrayRef, Fault> {
    let element = nullable(ELEMENT, elements.data_type().clone());
    let list = ListArray::try_new(element, offsets, elements, nulls).map_err(internal)?;
    Ok(Arc::new(list))
}

fn structs(
    fields: &[StructField],
    columns: Vec<ArrayRef>,
    nulls: Option<NullBuffer>,
    length: usize,
) -> Result<ArrayRef, Fault> {
    let named = fields.iter().zip(&columns);
    let named = named.map(|(f, c)| nullable(&f.name, c.data_type().clone()));
    let named: Fields = named.collect();
    let made = StructArray::try_new_with_length(named, columns, nulls, length).map_err(internal)?;
    Ok(Arc::new(made))
}

fn masked(values: &ArrayRef, around: Option<&NullBuffer>) -> Result<ArrayRef, Fault> {
    without_hidden(values, around).map_err(internal)
}

/// Bytes of a null of a type.
pub(super) fn least_bytes(data_type: &DataType) -> usize {
    match data_type {
        DataType::Struct(fields) => {
            let parts = fields.iter().map(|f| least_bytes(f.data_type()));
            1 + parts.sum::<usize>()
        }
        other => 1 + other.primitive_width().unwrap_or(4),
    }
}
