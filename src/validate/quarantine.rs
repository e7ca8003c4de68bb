//! Rejected rows as rows of the quarantine: why each was rejected, and the row as it was sent, as JSON.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Float32Type, Float64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use super::apply::{Origin, system_columns, unfit};
use super::nested;
use super::verdict::Rejected;
use crate::clock;
use crate::dataset;
use crate::fault::{Fault, Kind};

/// Errors of single values are written in their place.
pub(super) const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);

/// The rejected rows of a batch. `event_time`: the batch's column of it, if it has one. `bytes_max`: of the rows as text.
///
/// # Errors
/// RESOURCE_EXHAUSTED `batch_too_large`: the text takes more than that. `Internal`: the rows are not the batch's.
pub(super) fn rows(
    sent: &RecordBatch,
    rejected: &[Rejected],
    origin: &Origin<'_>,
    event_time: Option<&ArrayRef>,
    bytes_max: usize,
) -> Result<Option<RecordBatch>, Fault> {
    if rejected.is_empty() {
        return Ok(None);
    }
    let rows = rejected.len();
    let mut rules = ListBuilder::new(StringBuilder::new()).with_field(Field::new(
        "element",
        DataType::Utf8,
        true,
    ));
    for row in rejected {
        rules.append_value(row.rules.iter().map(Some));
    }
    let times = event_time.and_then(|t| t.as_primitive_opt::<TimestampMicrosecondType>());
    let event_ts: TimestampMicrosecondArray = rejected
        .iter()
        .map(|r| {
            let times = times?;
            let row = r.row as usize;
            (row < times.len() && times.is_valid(row)).then(|| times.value(row))
        })
        .collect();
    let texts = Texts::of(sent).map_err(unfit)?;
    let mut raw = StringBuilder::new();
    let (mut text, mut bytes) = (Vec::new(), 0usize);
    for row in rejected {
        text.clear();
        texts.write(row.row as usize, &mut text);
        bytes = bytes.saturating_add(text.len());
        if bytes > bytes_max {
            return Err(Fault::new(
                Kind::Exhausted,
                "batch_too_large",
                format!(
                    "the rejected rows of the batch take more than one batch may as text, rejected={rows}, limit={bytes_max}; send fewer rows at a time, correct them, or raise limits.batch_memory_max"
                ),
            ));
        }
        raw.append_value(String::from_utf8_lossy(&text));
    }
    let day = clock::day_of(origin.ingest_ts);
    let mut columns = Vec::from(system_columns(origin, rows));
    columns.extend([
        Arc::new(
            rejected
                .iter()
                .map(|r| i64::from(r.row))
                .collect::<Int64Array>(),
        ) as ArrayRef,
        Arc::new(rules.finish()),
        Arc::new(StringArray::from_iter_values(
            rejected.iter().map(|r| &r.reason),
        )),
        Arc::new(event_ts.with_timezone("UTC")),
        Arc::new(raw.finish()),
        Arc::new(Date32Array::from_value(day, rows)),
    ]);
    let batch = RecordBatch::try_new(dataset::quarantine_schema(), columns);
    batch.map(Some).map_err(unfit)
}

/// The row as one JSON object, cut to what an error text holds.
pub fn row_text(rows: &RecordBatch, row: usize) -> String {
    let mut text = Vec::new();
    if let Ok(texts) = Texts::of(rows) {
        texts.write(row, &mut text);
    }
    String::from_utf8_lossy(&text).chars().take(400).collect()
}

/// The rows of a batch as they were sent, each as one JSON object.
struct Texts<'a> {
    columns: Vec<Text<'a>>,
}

/// One column: its name as JSON, with the colon.
struct Text<'a> {
    name: String,
    values: &'a ArrayRef,
    /// None: the values are nested.
    formatter: Option<ArrayFormatter<'a>>,
}

impl<'a> Texts<'a> {
    fn of(sent: &'a RecordBatch) -> Result<Self, ArrowError> {
        // In the order of a JSON object of this library; of columns of one name the last one counts.
        let names = sent.schema_ref().fields().iter().zip(sent.columns());
        let order: Map<String, Value> = names
            .clone()
            .enumerate()
            .map(|(index, (field, _))| (field.name().clone(), Value::from(index)))
            .collect();
        let mut columns = Vec::with_capacity(order.len());
        for (name, index) in &order {
            let index = index.as_u64().and_then(|i| usize::try_from(i).ok());
            let Some(values) = index.and_then(|i| sent.columns().get(i)) else {
                continue;
            };
            columns.push(Text {
                name: format!("{}:", Value::from(name.as_str())),
                values,
                formatter: match values.data_type().is_nested() {
                    true => None,
                    false => Some(ArrayFormatter::try_new(values, &OPTIONS)?),
                },
            });
        }
        Ok(Texts { columns })
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.push(b'{');
        for (index, column) in self.columns.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(column.name.as_bytes());
            column.write(row, out);
        }
        out.push(b'}');
    }
}

impl Text<'_> {
    fn write(&self, row: usize, out: &mut Vec<u8>) {
        match &self.formatter {
            Some(formatter) => write_value(self.values, formatter, row, out),
            None if row >= self.values.len() => out.extend_from_slice(b"null"),
            None => nested::write_json(self.values, row, out),
        }
    }
}

/// A value that is not nested.
pub(super) fn write_value(
    column: &dyn Array,
    formatter: &ArrayFormatter<'_>,
    row: usize,
    out: &mut Vec<u8>,
) {
    if row >= column.len() || column.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match column.data_type() {
        DataType::Utf8 => quoted(column.as_string::<i32>().value(row), out),
        DataType::LargeUtf8 => quoted(column.as_string::<i64>().value(row), out),
        DataType::Utf8View => quoted(column.as_string_view().value(row), out),
        DataType::Boolean => {
            let value: &[u8] = if column.as_boolean().value(row) {
                b"true"
            } else {
                b"false"
            };
            out.extend_from_slice(value);
        }
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(row), out),
        DataType::Float32 => number(
            f64::from(column.as_primitive::<Float32Type>().value(row)),
            out,
        ),
        other if other.is_integer() => {
            out.extend_from_slice(whole(formatter, row).as_bytes());
        }
        // As people write it, and not cut: it may come back from here.
        _ => quoted(&whole(formatter, row), out),
    }
}

fn whole(formatter: &ArrayFormatter<'_>, row: usize) -> String {
    let mut text = String::new();
    // Writing to a text does not fail; an error of the value stands in the text.
    let _ = write!(text, "{}", formatter.value(row));
    text
}

pub(super) fn quoted(text: &str, out: &mut Vec<u8>) {
    // Writing text to memory does not fail.
    let _ = serde_json::to_writer(out, text);
}

/// NaN and infinities have no number in JSON; as text they stay what they were.
fn number(number: f64, out: &mut Vec<u8>) {
    match serde_json::Number::from_f64(number) {
        Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
        None => quoted(&number.to_string(), out),
    }
}
