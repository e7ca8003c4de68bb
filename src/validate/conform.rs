//! From the columns as sent to the contract's types. Equal types cost nothing; safe widening and text are cast, values that
//! cannot be are failures of their rows; anything else refuses the batch.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, TimestampMicrosecondArray, new_null_array};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::findings::Findings;
use super::numbers;
use super::partition;
use super::times;
use super::validator::Validator;
use crate::clock::Micros;
use crate::dataset::{Column, ColumnType, Contract, RESERVED_COLUMNS, UnknownColumns};
use crate::fault::Fault;
use crate::types::SameName;

/// Where a sent column goes, by its name.
pub(super) struct Names {
    exact: HashMap<String, usize>,
    /// In lower case; the first column of the contract wins.
    folded: HashMap<String, usize>,
    /// Names that a column says it comes under, or was called before, in lower case.
    aliases: HashMap<String, usize>,
}

impl Names {
    pub(super) fn of(contract: &Contract) -> Self {
        let mut names = Names {
            exact: HashMap::new(),
            folded: HashMap::new(),
            aliases: HashMap::new(),
        };
        for (index, column) in contract.columns.iter().enumerate() {
            names.exact.entry(column.name.clone()).or_insert(index);
            let folded = column.name.folded_name();
            names.folded.entry(folded).or_insert(index);
            for other in column.from.iter().chain(&column.formerly) {
                let alias = other.folded_name();
                names.aliases.entry(alias).or_insert(index);
            }
        }
        names
    }

    fn find(&self, sent: &str) -> Option<usize> {
        if let Some(index) = self.exact.get(sent) {
            return Some(*index);
        }
        let folded = sent.folded_name();
        let named = self.folded.get(&folded);
        named.or_else(|| self.aliases.get(&folded)).copied()
    }
}

/// The column that bears the time of arrival.
const ARRIVAL: &str = "_ingest_ts";

/// Where the values of each of the contract's columns stand in a sent batch, by the column's own name.
pub(super) type Positions = Vec<Option<usize>>;

impl Validator {
    /// The contract's columns in its order and types. What cannot be cast is null, and its row is rejected in `findings`.
    ///
    /// # Errors
    /// `empty_schema`, `reserved_column`, `unknown_column`, `missing_column`, `incompatible_type`, `duplicate_column`; as
    /// [`Findings::reject`].
    pub(super) fn conform(
        &self,
        sent: &RecordBatch,
        arrived: Micros,
        findings: &mut Findings,
    ) -> Result<Vec<ArrayRef>, Fault> {
        let contract = self.contract();
        let positions = self.match_columns(sent.schema_ref())?;
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(contract.columns.len());
        for (index, column) in contract.columns.iter().enumerate() {
            if positions.get(index).copied().flatten().is_none()
                && let Some(times) = self.dated(index, &columns)
            {
                columns.push(cast(times, &DataType::Date32).map_err(|e| {
                    Fault::internal(format!("cannot date column {}: {e}", column.name))
                })?);
                continue;
            }
            columns.push(match self.source(index, &positions) {
                Some(at) => self.convert(index, sent.column(at), arrived, findings)?,
                None if column.from.as_deref() == Some(ARRIVAL) => Arc::new(
                    TimestampMicrosecondArray::from_value(arrived, sent.num_rows())
                        .with_timezone("UTC"),
                ),
                None => absent(contract, column, sent.num_rows())?,
            });
        }
        for (column, values) in contract.columns.iter().zip(&mut columns) {
            if contract.partition_by.contains(&column.name) {
                *values = partition::kept(column, values, findings)?;
            }
        }
        Ok(columns)
    }

    /// Where the values of a column come from: the sent column of its name, or another column of the contract as it was sent.
    pub(super) fn source(&self, index: usize, positions: &Positions) -> Option<usize> {
        let own = positions.get(index).copied().flatten();
        own.or_else(|| positions.get(self.origin(index)?).copied().flatten())
    }

    /// The times that a date stands for, whether they were sent or come from elsewhere themselves: a column above it.
    fn dated<'a>(&self, index: usize, done: &'a [ArrayRef]) -> Option<&'a ArrayRef> {
        let other = self.origin(index)?;
        let columns = &self.contract().columns;
        let is_time = columns.get(other)?.data_type == ColumnType::Timestamp;
        (columns.get(index)?.data_type == ColumnType::Date && is_time)
            .then(|| done.get(other))
            .flatten()
    }

    pub(super) fn match_columns(&self, schema: &Schema) -> Result<Positions, Fault> {
        let contract = self.contract();
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
        let mut positions: Positions = vec![None; contract.columns.len()];
        for (index, field) in schema.fields().iter().enumerate() {
            let name = field.name();
            let found = self.names().find(name);
            match found.and_then(|at| positions.get_mut(at)) {
                Some(Some(_)) => {
                    return Err(Fault::invalid(
                        "duplicate_column",
                        format!(
                            "column sent twice, column={name}, table={}; send it once",
                            contract.table
                        ),
                    ));
                }
                Some(place) => *place = Some(index),
                None if contract.unknown_columns == UnknownColumns::Ignore
                    && !filled(contract, name) => {}
                // What `add` could add has been added before: see `unknown_fields`.
                None if contract.unknown_columns == UnknownColumns::Add
                    && field.data_type().is_null()
                    && !filled(contract, name) => {}
                None => return Err(unknown(contract, name)),
            }
        }
        if contract.unknown_columns == UnknownColumns::Ignore
            && positions.iter().all(Option::is_none)
        {
            return Err(none_known(contract, schema));
        }
        Ok(positions)
    }

    fn convert(
        &self,
        index: usize,
        sent: &ArrayRef,
        arrived: Micros,
        findings: &mut Findings,
    ) -> Result<ArrayRef, Fault> {
        let target = self.target(index);
        let nested = target.is_nested();
        let column = self
            .contract()
            .columns
            .get(index)
            .ok_or_else(|| Fault::internal("a column outside the contract"))?;
        if !nested && sent.data_type() == target {
            let kept = of_calendar(sent, findings);
            note_failures(column, sent, &kept, findings)?;
            return Ok(kept);
        }
        if nested {
            return self.convert_nested(column, sent, arrived, findings);
        }
        let given = match sent.data_type() {
            DataType::Dictionary(_, value) => value,
            other => other,
        };
        if given.is_null() {
            return Ok(new_null_array(target, sent.len()));
        }
        // Before a dictionary is written out: what no column takes may be of any size then.
        if !fits(given, column) {
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
        let (plain, cast) = cast_plain(column, target, sent, arrived)?;
        let cast = of_calendar(&cast, findings);
        note_failures(column, &plain, &cast, findings)?;
        Ok(cast)
    }
}

/// [`times::of_calendar`], but for rows that are in the table already: an older server acked them as they are.
pub(super) fn of_calendar(values: &ArrayRef, findings: &Findings) -> ArrayRef {
    if findings.is_ignored() {
        values.clone()
    } else {
        times::of_calendar(values)
    }
}

/// The values without a dictionary, and cast to a column's type, in which those that cannot be are null.
pub(super) fn cast_plain(
    column: &Column,
    target: &DataType,
    sent: &ArrayRef,
    arrived: Micros,
) -> Result<(ArrayRef, ArrayRef), Fault> {
    let internal = |e: arrow::error::ArrowError| {
        Fault::internal(format!("cannot cast column {}: {e}", column.name))
    };
    let plain = match sent.data_type() {
        DataType::Dictionary(_, value) => cast(sent, value).map_err(internal)?,
        _ => sent.clone(),
    };
    let safe = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let own_form = times::convert(column, &plain, arrived);
    let cast = match own_form.or_else(|| numbers::convert(target, &plain)) {
        Some(values) => values.map_err(internal)?,
        None => cast_with_options(&plain, target, &safe).map_err(internal)?,
    };
    Ok((plain, cast))
}

/// Columns that the contract does not know and that have values: what `unknown_columns = "add"` is about. A column of nulls
/// alone, as JSON gives it, says nothing of its type and loses nothing.
pub fn unknown_fields<'a>(contract: &Contract, sent: &'a Schema) -> Vec<&'a Field> {
    let known = Names::of(contract);
    let fields = sent.fields().iter().map(AsRef::as_ref);
    fields
        .filter(|f| {
            !f.data_type().is_null()
                && known.find(f.name()).is_none()
                && !filled(contract, f.name())
        })
        .collect()
}

/// Of columns that are sent, one that was a column of the contract `before` and is none of `now`, whatever bears its name.
pub fn lost_column<'a>(
    before: &Contract,
    now: &Contract,
    mut sent: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let (meant, found) = (Names::of(before), Names::of(now));
    let is_lost = |name: &str| found.find(name).is_none() || now.has_dropped(name, before.version);
    sent.find(|name| meant.find(name).is_some() && is_lost(name))
}

/// Is it one that the server fills?
fn filled(contract: &Contract, name: &str) -> bool {
    let lower = name.folded_name();
    RESERVED_COLUMNS.contains(&lower.as_str())
        || (lower == "event_date" && contract.event_time.is_some())
}

fn unknown(contract: &Contract, name: &str) -> Fault {
    let shown: String = name.chars().take(100).collect();
    if shown.is_empty() {
        return Fault::invalid(
            "unknown_column",
            format!(
                "a column has no name, table={}, columns={}; if it is the index that pandas writes, leave it out with to_csv(index=False)",
                contract.table,
                names(contract)
            ),
        );
    }
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

/// Rows of nothing but nulls are not what anybody meant to send: a file read with the wrong delimiter gives them.
fn none_known(contract: &Contract, sent: &Schema) -> Fault {
    let sent: Vec<&str> = sent.fields().iter().map(|f| f.name().as_str()).collect();
    let shown: String = sent.join(", ").chars().take(200).collect();
    Fault::invalid(
        "unknown_column",
        format!(
            "none of the columns is known, sent={shown}, table={}, columns={}; look at the names, and at the delimiter if they come from a file",
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
    strsim::osa_distance(&a.folded_name(), &b.folded_name())
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

/// A value that was there and is gone could not be cast.
fn note_failures(
    column: &Column,
    sent: &ArrayRef,
    cast: &ArrayRef,
    findings: &mut Findings,
) -> Result<(), Fault> {
    if cast.null_count() == sent.null_count() || findings.is_ignored() {
        return Ok(());
    }
    let shown = Shown::of(sent);
    let rule = format!("type:{}", column.name);
    let expected = article(&column.data_type);
    for row in (0..sent.len()).filter(|row| cast.is_null(*row) && sent.is_valid(*row)) {
        let value = shown.value(row);
        let hint = times::hint(column, sent.data_type(), &value);
        let reason = format!("{} {value} is not {expected}{hint}", column.name);
        findings.reject(row_number(row), &rule, &column.name, value, reason)?;
    }
    Ok(())
}

/// A row's position as verdicts write it.
pub(super) fn row_number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

pub(super) fn article(data_type: &ColumnType) -> String {
    match data_type {
        ColumnType::Int | ColumnType::Array(_) => format!("an {data_type}"),
        _ => format!("a {data_type}"),
    }
}

/// The values of a column as people write them, cut to a readable length.
pub(super) struct Shown<'a> {
    array: &'a dyn Array,
    formatter: Result<ArrayFormatter<'a>, String>,
}

/// Errors of single values are written in their place.
const OPTIONS: FormatOptions<'static> = FormatOptions::new().with_display_error(true);
/// Characters of a value that are shown.
const SHOWN_MAX: usize = 120;

impl<'a> Shown<'a> {
    pub(super) fn of(array: &'a dyn Array) -> Self {
        Shown {
            array,
            formatter: ArrayFormatter::try_new(array, &OPTIONS).map_err(|e| e.to_string()),
        }
    }

    pub(super) fn value(&self, row: usize) -> String {
        if self.array.is_null(row) {
            return "null".to_owned();
        }
        let text = match &self.formatter {
            Ok(formatter) => formatter.value(row).to_string(),
            Err(error) => error.clone(),
        };
        text.chars().take(SHOWN_MAX).collect()
    }
}

/// One value as people write it, cut to a readable length.
pub fn show(array: &dyn Array, row: usize) -> String {
    Shown::of(array).value(row)
}

/// Which sent types a column takes: its own, narrower numbers, text that is parsed row by row, times in any unit and zone.
pub(super) fn fits(sent: &DataType, column: &Column) -> bool {
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
        // Whole numbers only: a fraction is the end of its row.
        ColumnType::Byte | ColumnType::Short | ColumnType::Int | ColumnType::Long => {
            integer || text || float
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
        // Held to it part by part: see `nested`.
        ColumnType::Array(_) | ColumnType::Struct(_) | ColumnType::Map(_) => false,
    }
}
