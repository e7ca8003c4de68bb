//! Does what a verdict says: good rows in the table's schema, bad ones in the quarantine's.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Int64Array, ListBuilder, RecordBatch,
    StringArray, StringBuilder, TimestampMicrosecondArray,
};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{
    DataType, Field, Float32Type, Float64Type, Schema, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use super::conform::{Conformed, show};
use super::source::Source;
use super::verdict::{Cell, Verdict};
use crate::clock::Micros;
use crate::dataset::{self, Contract};
use crate::fault::Fault;

const DAY: Micros = 86_400_000_000;

/// Where a batch came from: the system columns.
pub struct Origin<'a> {
    pub ingest_ts: Micros,
    pub source: &'a Source,
    pub seq: i64,
}

/// The rows of one batch, each in the schema of the table that it goes to.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    pub accepted: Option<RecordBatch>,
    pub rejected: Option<RecordBatch>,
}

/// # Errors
/// `Internal`: the batch and the verdict do not belong together.
pub fn apply(
    contract: &Contract,
    sent: &RecordBatch,
    conformed: &Conformed,
    verdict: &Verdict,
    origin: &Origin<'_>,
) -> Result<Applied, Fault> {
    let internal =
        |e: ArrowError| Fault::internal(format!("cannot apply a verdict to its batch: {e}"));
    let mut columns = conformed.columns.clone();
    for cell in verdict.nulled.iter().chain(&verdict.clamped) {
        replace(&mut columns, cell).map_err(internal)?;
    }
    let event_index = contract
        .event_time
        .as_ref()
        .and_then(|name| contract.columns.iter().position(|c| c.name == *name));
    let rejected = (!verdict.rejected.is_empty())
        .then(|| {
            quarantine(
                sent,
                verdict,
                origin,
                event_index.map(|i| columns[i].clone()),
            )
        })
        .transpose()
        .map_err(internal)?;

    let out: HashSet<u32> = verdict
        .rejected
        .iter()
        .map(|r| r.row)
        .chain(verdict.duplicates.iter().copied())
        .collect();
    if out.len() == sent.num_rows() {
        return Ok(Applied {
            accepted: None,
            rejected,
        });
    }
    // Nullable until the bad rows are out: a rejected row may hold a null where the contract allows none.
    let loose = Schema::new(
        contract
            .columns
            .iter()
            .map(|c| Field::new(&c.name, c.data_type.to_arrow(), true))
            .collect::<Vec<_>>(),
    );
    let mut batch = RecordBatch::try_new(Arc::new(loose), columns).map_err(internal)?;
    if !out.is_empty() {
        let keep: BooleanArray = (0..sent.num_rows())
            .map(|row| Some(!u32::try_from(row).is_ok_and(|r| out.contains(&r))))
            .collect();
        batch = filter_record_batch(&batch, &keep).map_err(internal)?;
    }
    let rows = batch.num_rows();
    let mut columns = batch.columns().to_vec();
    if let Some(index) = event_index {
        columns.push(dates(&columns[index]));
    }
    if contract.system_columns {
        columns.extend(system_columns(origin, rows));
    }
    let accepted = RecordBatch::try_new(contract.table_schema(), columns).map_err(internal)?;
    Ok(Applied {
        accepted: Some(accepted),
        rejected,
    })
}

/// The UTC date of each event time.
fn dates(times: &ArrayRef) -> ArrayRef {
    match times.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => Arc::new(times.unary::<_, arrow::datatypes::Date32Type>(|t| {
            i32::try_from(t.div_euclid(DAY)).unwrap_or(i32::MAX)
        })),
        None => Arc::new(Date32Array::new_null(times.len())),
    }
}

fn system_columns(origin: &Origin<'_>, rows: usize) -> [ArrayRef; 3] {
    [
        Arc::new(
            TimestampMicrosecondArray::from_value(origin.ingest_ts, rows).with_timezone("UTC"),
        ),
        origin.source.column(rows),
        Arc::new(Int64Array::from_value(origin.seq, rows)),
    ]
}

fn replace(columns: &mut [ArrayRef], cell: &Cell) -> Result<(), ArrowError> {
    let wrong =
        || ArrowError::InvalidArgumentError("a verdict's cell is outside its batch".to_owned());
    let column = columns
        .get_mut(usize::from(cell.column))
        .ok_or_else(wrong)?;
    let row = cell.row as usize;
    if row >= column.len() {
        return Err(wrong());
    }
    *column = match (cell.bound, column.data_type()) {
        (Some(bound), DataType::Float64) => {
            let values = column.as_primitive::<Float64Type>().iter().enumerate();
            Arc::new(
                values
                    .map(|(i, v)| if i == row { Some(bound) } else { v })
                    .collect::<arrow::array::Float64Array>(),
            )
        }
        (Some(bound), other) => {
            let other = other.clone();
            let one = arrow::array::Float64Array::from_value(bound, 1);
            let one = arrow::compute::cast(&one, &other)?;
            let (before, after) = (
                column.slice(0, row),
                column.slice(row + 1, column.len() - row - 1),
            );
            arrow::compute::concat(&[&before, &one, &after])?
        }
        (None, _) => {
            let mask: BooleanArray = (0..column.len()).map(|i| Some(i == row)).collect();
            arrow::compute::nullif(column, &mask)?
        }
    };
    Ok(())
}

fn quarantine(
    sent: &RecordBatch,
    verdict: &Verdict,
    origin: &Origin<'_>,
    event_time: Option<ArrayRef>,
) -> Result<RecordBatch, ArrowError> {
    let rows = verdict.rejected.len();
    let mut rules = ListBuilder::new(StringBuilder::new()).with_field(Field::new(
        "element",
        DataType::Utf8,
        true,
    ));
    for rejected in &verdict.rejected {
        rules.append_value(rejected.rules.iter().map(Some));
    }
    let times = event_time
        .as_ref()
        .and_then(|t| t.as_primitive_opt::<TimestampMicrosecondType>());
    let event_ts: TimestampMicrosecondArray = verdict
        .rejected
        .iter()
        .map(|r| {
            let times = times?;
            let row = r.row as usize;
            (row < times.len() && times.is_valid(row)).then(|| times.value(row))
        })
        .collect();
    let day = i32::try_from(origin.ingest_ts.div_euclid(DAY)).unwrap_or(i32::MAX);
    let mut columns = Vec::from(system_columns(origin, rows));
    columns.extend([
        Arc::new(
            verdict
                .rejected
                .iter()
                .map(|r| i64::from(r.row))
                .collect::<Int64Array>(),
        ) as ArrayRef,
        Arc::new(rules.finish()),
        Arc::new(StringArray::from_iter_values(
            verdict.rejected.iter().map(|r| &r.reason),
        )),
        Arc::new(event_ts.with_timezone("UTC")),
        Arc::new(StringArray::from_iter_values(
            verdict.rejected.iter().map(|r| raw(sent, r.row as usize)),
        )),
        Arc::new(Date32Array::from_value(day, rows)),
    ]);
    RecordBatch::try_new(dataset::quarantine_schema(), columns)
}

/// The row as one JSON object, cut to what an error text holds.
pub fn row_text(rows: &RecordBatch, row: usize) -> String {
    raw(rows, row).chars().take(400).collect()
}

/// The row as it was sent, as one JSON object.
fn raw(sent: &RecordBatch, row: usize) -> String {
    let schema = sent.schema();
    let pairs = schema
        .fields()
        .iter()
        .zip(sent.columns())
        .map(|(f, c)| (f.name().clone(), value(c, row)));
    Value::Object(pairs.collect::<Map<_, _>>()).to_string()
}

fn value(column: &ArrayRef, row: usize) -> Value {
    if row >= column.len() || column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        DataType::Utf8 => Value::String(column.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Value::String(column.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Value::String(column.as_string_view().value(row).to_owned()),
        DataType::Boolean => Value::Bool(column.as_boolean().value(row)),
        DataType::Float64 => number(column.as_primitive::<Float64Type>().value(row)),
        DataType::Float32 => number(f64::from(column.as_primitive::<Float32Type>().value(row))),
        other if other.is_integer() => {
            let text = show(column, row);
            text.parse::<i64>()
                .map(Value::from)
                .or_else(|_| text.parse::<u64>().map(Value::from))
                .unwrap_or(Value::String(text))
        }
        _ => Value::String(whole(column, row)),
    }
}

/// NaN and infinities have no number in JSON; as text they stay what they were.
fn number(number: f64) -> Value {
    serde_json::Number::from_f64(number)
        .map_or_else(|| Value::String(number.to_string()), Value::Number)
}

/// As people write it, and not cut: it may come back from here.
fn whole(column: &ArrayRef, row: usize) -> String {
    ArrayFormatter::try_new(column, &FormatOptions::default().with_display_error(true))
        .map_or_else(|e| e.to_string(), |f| f.value(row).to_string())
}
