//! From the columns as sent to the contract's types. Equal types cost nothing; safe widening and text are cast, values that
//! cannot be are failures of their rows; anything else refuses the batch.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::times;
use crate::clock::Micros;
use crate::dataset::{Column, ColumnType, Contract, RESERVED_COLUMNS, UnknownColumns};
use crate::fault::Fault;

/// A value that its column's type cannot hold.
#[derive(Debug)]
pub struct Failure {
    pub row: u32,
    pub column: String,
    pub value: String,
    pub reason: String,
}

/// The contract's columns in its order and types.
pub struct Conformed {
    pub(super) columns: Vec<ArrayRef>,
    pub(super) failures: Vec<Failure>,
}

/// The column that bears the time of arrival.
const ARRIVAL: &str = "_ingest_ts";

/// # Errors
/// `empty_schema`, `reserved_column`, `unknown_column`, `missing_column`, `incompatible_type`, `duplicate_column`.
pub fn conform(
    contract: &Contract,
    sent: &RecordBatch,
    arrived: Micros,
) -> Result<Conformed, Fault> {
    let positions = match_columns(contract, sent)?;
    let mut failures = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(contract.columns.len());
    for (column, position) in contract.columns.iter().zip(&positions) {
        if position.is_none()
            && let Some(times) = dated(contract, column, &columns)
        {
            columns.push(cast(times, &DataType::Date32).map_err(|e| {
                Fault::internal(format!("cannot date column {}: {e}", column.name))
            })?);
            continue;
        }
        let source = match (position, &column.from) {
            (Some(index), _) => Some(*index),
            // Another column of the contract, as it was sent.
            (None, Some(from)) => contract
                .columns
                .iter()
                .position(|c| c.name == *from)
                .and_then(|other| positions[other]),
            (None, None) => None,
        };
        columns.push(match source {
            Some(index) => convert(column, sent.column(index), arrived, &mut failures)?,
            None if column.from.as_deref() == Some(ARRIVAL) => Arc::new(
                TimestampMicrosecondArray::from_value(arrived, sent.num_rows())
                    .with_timezone("UTC"),
            ),
            None => absent(contract, column, sent.num_rows())?,
        });
    }
    Ok(Conformed { columns, failures })
}

/// The times that a date stands for, whether they were sent or come from elsewhere themselves: a column above it.
fn dated<'a>(contract: &Contract, column: &Column, done: &'a [ArrayRef]) -> Option<&'a ArrayRef> {
    let from = column.from.as_deref()?;
    let other = contract.columns.iter().position(|c| c.name == from)?;
    let is_time = contract.columns.get(other)?.data_type == ColumnType::Timestamp;
    (column.data_type == ColumnType::Date && is_time)
        .then(|| done.get(other))
        .flatten()
}

fn match_columns(contract: &Contract, sent: &RecordBatch) -> Result<Vec<Option<usize>>, Fault> {
    let schema = sent.schema();
    if schema.fields().is_empty() {
        return Err(Fault::invalid(
            "empty_schema",
            format!(
                "the batch has no columns; {} takes {}",
                contract.table,
                names(contract)
            ),
        ));
    }
    let mut positions: Vec<Option<usize>> = vec![None; contract.columns.len()];
    for (index, field) in schema.fields().iter().enumerate() {
        let name = field.name();
        let exact = contract.columns.iter().position(|c| c.name == *name);
        let found = exact.or_else(|| {
            contract
                .columns
                .iter()
                .position(|c| c.name.eq_ignore_ascii_case(name))
        });
        // A name that a column says it comes under.
        let found = found.or_else(|| {
            let alias = |c: &Column| {
                c.from
                    .as_deref()
                    .is_some_and(|f| f.eq_ignore_ascii_case(name))
            };
            contract.columns.iter().position(alias)
        });
        match found {
            Some(at) if positions[at].is_some() => {
                return Err(Fault::invalid(
                    "duplicate_column",
                    format!(
                        "column sent twice, column={name}, table={}; send it once",
                        contract.table
                    ),
                ));
            }
            Some(at) => positions[at] = Some(index),
            None if contract.unknown_columns == UnknownColumns::Ignore
                && !filled(contract, name) => {}
            // What `add` could add has been added before: see `unknown_fields`.
            None if contract.unknown_columns == UnknownColumns::Add
                && field.data_type().is_null()
                && !filled(contract, name) => {}
            None => return Err(unknown(contract, name)),
        }
    }
    Ok(positions)
}

/// Columns that the contract does not know and that have values: what `unknown_columns = "add"` is about. A column of nulls
/// alone, as JSON gives it, says nothing of its type and loses nothing.
pub fn unknown_fields<'a>(contract: &Contract, sent: &'a Schema) -> Vec<&'a Field> {
    let known = |name: &str| {
        contract.columns.iter().any(|c| {
            c.name.eq_ignore_ascii_case(name)
                || c.from
                    .as_deref()
                    .is_some_and(|f| f.eq_ignore_ascii_case(name))
        })
    };
    let fields = sent.fields().iter().map(AsRef::as_ref);
    fields
        .filter(|f| !f.data_type().is_null() && !known(f.name()) && !filled(contract, f.name()))
        .collect()
}

/// Is it one that the server fills?
fn filled(contract: &Contract, name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    RESERVED_COLUMNS.contains(&lower.as_str())
        || (lower == "event_date" && contract.event_time.is_some())
}

fn unknown(contract: &Contract, name: &str) -> Fault {
    let shown: String = name.chars().take(100).collect();
    if filled(contract, name) {
        return Fault::invalid(
            "reserved_column",
            format!(
                "the server fills this column, column={shown}, table={}; leave it out",
                contract.table
            ),
        );
    }
    // Any two short names are near each other: a hint there would only mislead.
    let near = contract
        .columns
        .iter()
        .min_by_key(|c| distance(&c.name, &shown))
        .filter(|c| distance(&c.name, &shown) <= (shown.len() / 3).min(2));
    let hint = near.map_or_else(String::new, |c| format!("; did you mean {}?", c.name));
    Fault::invalid(
        "unknown_column",
        format!(
            "unknown column, column={shown}, table={}, columns={}{hint}; leave it out or add it to the contract",
            contract.table,
            names(contract)
        ),
    )
}

fn names(contract: &Contract) -> String {
    contract
        .columns
        .iter()
        .map(|c| c.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// Edits between two names, without regard to case; for hints only.
pub fn distance(a: &str, b: &str) -> usize {
    strsim::osa_distance(&a.to_ascii_lowercase(), &b.to_ascii_lowercase())
}

fn absent(contract: &Contract, column: &Column, rows: usize) -> Result<ArrayRef, Fault> {
    let target = column.data_type.to_arrow();
    match &column.default {
        Some(value) => {
            let text = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            let one: ArrayRef = Arc::new(arrow::array::StringArray::from_iter_values(
                std::iter::repeat_n(text, rows),
            ));
            cast(&one, &target)
                .map_err(|e| Fault::internal(format!("default of {}: {e}", column.name)))
        }
        None if column.required => Err(Fault::invalid(
            "missing_column",
            format!(
                "required column missing, column={}, table={}; send it as {}",
                column.name, contract.table, column.data_type
            ),
        )),
        None => Ok(new_null_array(&target, rows)),
    }
}

fn convert(
    column: &Column,
    sent: &ArrayRef,
    arrived: Micros,
    failures: &mut Vec<Failure>,
) -> Result<ArrayRef, Fault> {
    let target = column.data_type.to_arrow();
    if *sent.data_type() == target {
        return Ok(sent.clone());
    }
    let internal = |e: arrow::error::ArrowError| {
        Fault::internal(format!("cannot cast column {}: {e}", column.name))
    };
    let plain = match sent.data_type() {
        DataType::Dictionary(_, value) => cast(sent, value).map_err(internal)?,
        _ => sent.clone(),
    };
    if plain.data_type().is_null() {
        return Ok(new_null_array(&target, plain.len()));
    }
    if !fits(plain.data_type(), column) {
        return Err(Fault::invalid(
            "incompatible_type",
            format!(
                "type cannot be cast, column={}, sent={}, expected={}; send {}",
                column.name,
                sent.data_type(),
                target,
                column.data_type
            ),
        ));
    }
    let safe = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let cast = match times::convert(column, &plain, arrived) {
        Some(times) => times.map_err(internal)?,
        None => cast_with_options(&plain, &target, &safe).map_err(internal)?,
    };
    note_failures(column, &plain, &cast, failures);
    Ok(cast)
}

/// A value that was there and is gone could not be cast.
fn note_failures(column: &Column, sent: &ArrayRef, cast: &ArrayRef, failures: &mut Vec<Failure>) {
    if cast.null_count() == sent.null_count() {
        return;
    }
    for row in (0..sent.len()).filter(|row| cast.is_null(*row) && sent.is_valid(*row)) {
        let value = show(sent, row);
        let reason = format!(
            "{} {value} is not {}",
            column.name,
            article(column.data_type)
        );
        failures.push(Failure {
            row: u32::try_from(row).unwrap_or(u32::MAX),
            column: column.name.clone(),
            value,
            reason,
        });
    }
}

fn article(data_type: ColumnType) -> String {
    if data_type == ColumnType::Int {
        "an INT".to_owned()
    } else {
        format!("a {data_type}")
    }
}

/// A value as people write it, cut to a readable length.
pub fn show(array: &dyn Array, row: usize) -> String {
    if array.is_null(row) {
        return "null".to_owned();
    }
    let options = FormatOptions::default().with_display_error(true);
    let text = ArrayFormatter::try_new(array, &options)
        .map_or_else(|e| e.to_string(), |f| f.value(row).to_string());
    text.chars().take(120).collect()
}

/// Which sent types a column takes: its own, narrower numbers, text that is parsed row by row, times in any unit and zone.
fn fits(sent: &DataType, column: &Column) -> bool {
    let text = matches!(
        sent,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    );
    let integer = sent.is_integer();
    let float = matches!(
        sent,
        DataType::Float16 | DataType::Float32 | DataType::Float64
    );
    match column.data_type {
        ColumnType::String => text,
        ColumnType::Binary => matches!(
            sent,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        ),
        ColumnType::Byte | ColumnType::Short | ColumnType::Int | ColumnType::Long => {
            integer || text
        }
        ColumnType::Float => {
            integer || text || matches!(sent, DataType::Float16 | DataType::Float32)
        }
        ColumnType::Double => integer || text || float,
        ColumnType::Decimal { .. } => integer || text || matches!(sent, DataType::Decimal128(..)),
        ColumnType::Boolean => text,
        ColumnType::Date => text || matches!(sent, DataType::Date64),
        ColumnType::Timestamp => {
            text || float
                || (integer && column.time_unit.is_some())
                || matches!(sent, DataType::Timestamp(..) | DataType::Date32)
        }
        ColumnType::TimestampNtz => {
            text || matches!(sent, DataType::Timestamp(_, None) | DataType::Date32)
        }
    }
}
