//! Rows from statements: one log frame while they fit a batch, one Delta commit when they do not or when they take the place
//! of others. All of them or none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, RecordBatch, StructArray};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, Field, Float64Type};

pub use super::named::Rows;
use super::named::{Named, Unnamed};
use super::staged::StagedRows;
use super::{IngestStream, other_contract};
use crate::catalog::Shared;
use crate::catalog::alter::CONTRACT_CHANGED;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::{Reason, Removal, Staged};
use crate::dataset::{ColumnType, Contract, StructField};
use crate::fault::Fault;
use crate::records::Totals;
use crate::types::SameName;
use crate::validate::{Additions, Origin, References, Scope, Source, Validator, Verdict};

/// The `_source` of rows that a statement wrote past the log.
const SOURCE: &str = "insert";

/// Refuses a batch of which a row would be quarantined.
pub fn refuse_rejects(contract: &Contract, verdict: &Verdict) -> Result<(), Fault> {
    let Some(first) = verdict.rejected.first() else {
        return Ok(());
    };
    Err(Fault::invalid(
        "rule_broken",
        format!(
            "{} of {} rows break a rule of {}, nothing was written; the first: row={}, column={}, value={}, rule={}: {}",
            verdict.rejected.len(),
            verdict.rows,
            contract.table,
            first.row,
            first.column,
            first.value,
            first.rules.join(","),
            first.reason
        ),
    ))
}

/// Numbers as SQL assigns them: `1.5` may be written to a FLOAT or a DECIMAL, which a stream has to send as such. Within a nested
/// value, too.
///
/// # Errors
/// INVALID_ARGUMENT: a value has no place in the column's type.
pub fn assign(contract: &Contract, name: &str, column: &ArrayRef) -> Result<ArrayRef, Fault> {
    let columns = || contract.columns.iter();
    let named = columns().find(|c| c.name.is_same_name(name));
    let Some(target) = named.or_else(|| columns().find(|c| c.comes_under(name))) else {
        return Ok(column.clone());
    };
    let given = column.data_type();
    if let (DataType::Timestamp(..), ColumnType::Date) = (given, &target.data_type) {
        return whole_days(name, column);
    }
    let assigned = assigned_type(given, &target.data_type);
    if assigned == *given {
        return Ok(column.clone());
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    if let (DataType::Float64, DataType::Decimal128(precision, scale)) = (given, &assigned)
        && let Some(written) = as_written(column, *precision, *scale)
    {
        return Ok(written);
    }
    let column = by_name(column, &assigned).unwrap_or_else(|| column.clone());
    cast_with_options(&column, &assigned, &strict).map_err(|e| {
        Fault::invalid(
            "incompatible_type",
            format!("a value does not fit, column={name}: {e}"),
        )
    })
}

/// Numbers as decimals of the digits that they are written with: 1.005 as 1.01, although the double is a little less. None: one has no
/// place there.
fn as_written(numbers: &ArrayRef, precision: u8, scale: i8) -> Option<ArrayRef> {
    let digits = usize::try_from(scale).ok()?;
    let numbers = numbers.as_primitive::<Float64Type>().iter();
    let decimals = numbers.map(|number| match number {
        Some(number) => unscaled(number, digits).map(Some),
        None => Some(None),
    });
    let decimals: Decimal128Array = decimals.collect::<Option<_>>()?;
    let decimals = decimals.with_precision_and_scale(precision, scale).ok()?;
    decimals.validate_decimal_precision(precision).ok()?;
    Some(Arc::new(decimals))
}

fn unscaled(number: f64, digits: usize) -> Option<i128> {
    // The fewest digits that are this number, and no exponent.
    let text = number.abs().to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let (kept, next) = match fraction.split_at_checked(digits) {
        Some((kept, rest)) => (kept, rest.bytes().next()),
        None => (fraction, None),
    };
    let size: i128 = format!("{whole}{kept:0<digits$}").parse().ok()?;
    let size = size.checked_add(i128::from(next.is_some_and(|digit| digit >= b'5')))?;
    Some(if number < 0.0 { -size } else { size })
}

/// Times at midnight as days, as `day + INTERVAL '1 day'` comes to one.
fn whole_days(name: &str, times: &ArrayRef) -> Result<ArrayRef, Fault> {
    let days = cast(times, &DataType::Date32);
    let back = days
        .as_ref()
        .ok()
        .and_then(|d| cast(d, times.data_type()).ok());
    match days {
        Ok(days) if back.is_some_and(|back| back.as_ref() == times.as_ref()) => Ok(days),
        _ => Err(Fault::invalid(
            "incompatible_type",
            format!(
                "a value does not fit, column={name}: a DATE has no time of day; CAST(.. AS DATE) drops it"
            ),
        )),
    }
}

/// What a value of a type is cast to before it is judged as one that a stream sends.
fn assigned_type(given: &DataType, due: &ColumnType) -> DataType {
    let part = |field: &Field, due: &ColumnType| {
        let data_type = assigned_type(field.data_type(), due);
        Arc::new(field.clone().with_data_type(data_type))
    };
    match (given, due) {
        (DataType::List(item), ColumnType::Array(of)) => DataType::List(part(item, &of.element)),
        (DataType::Struct(fields), ColumnType::Struct(own)) => {
            // `struct(1, 2)` has no names of its own: c0, c1, ..; its values stand in the fields' order.
            let unnamed = fields.len() == own.len()
                && fields
                    .iter()
                    .enumerate()
                    .all(|(at, f)| *f.name() == format!("c{at}"))
                && !own
                    .iter()
                    .any(|o| fields.iter().any(|f| *f.name() == o.name));
            let fields = fields.iter().enumerate().map(|(at, field)| {
                let by_name = |o: &&StructField| o.name.is_same_name(field.name());
                let found = match unnamed {
                    true => own.get(at),
                    false => own.iter().find(by_name),
                };
                match found {
                    Some(found) if unnamed => {
                        let named = part(field, &found.data_type);
                        Arc::new(named.as_ref().clone().with_name(&found.name))
                    }
                    Some(found) => part(field, &found.data_type),
                    None => field.clone(),
                }
            });
            DataType::Struct(fields.collect())
        }
        (DataType::Map(entries, ordered), ColumnType::Map(of)) => match entries.data_type() {
            DataType::Struct(pair) => match pair.as_ref() {
                [key, value] => {
                    let pair = vec![part(key, &of.key), part(value, &of.value)];
                    let entries = entries.as_ref().clone();
                    let entries = entries.with_data_type(DataType::Struct(pair.into()));
                    DataType::Map(Arc::new(entries), *ordered)
                }
                _ => given.clone(),
            },
            _ => given.clone(),
        },
        (given, due) if due.is_number() => {
            let target = due.to_arrow();
            let exact = given.is_floating() || matches!(given, DataType::Decimal128(..));
            match exact && !target.is_integer() {
                true => target,
                false => given.clone(),
            }
        }
        (given, _) => given.clone(),
    }
}

/// A struct under the names of another one, field by field.
fn by_name(column: &ArrayRef, due: &DataType) -> Option<ArrayRef> {
    let (DataType::Struct(given), DataType::Struct(fields)) = (column.data_type(), due) else {
        return None;
    };
    let named = given.iter().zip(fields);
    let named = named.map(|(g, f)| Arc::new(g.as_ref().clone().with_name(f.name())));
    let own = column.as_struct();
    let made = StructArray::try_new_with_length(
        named.collect(),
        own.columns().to_vec(),
        own.nulls().cloned(),
        own.len(),
    );
    Some(Arc::new(made.ok()?))
}

/// The rows as [`Rows`] of a statement that is a part of a transaction: judged by what can be said of them alone. Nothing is
/// written.
///
/// # Errors
/// As [`append`], but for rules that ask earlier rows.
pub async fn staged(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    rows: Rows<'_>,
) -> Result<Option<StagedRows>, Fault> {
    judged_by(shared, table.validator(), rows).await
}

/// The rows of a statement as `by` judges them. Nothing is written.
///
/// # Errors
/// As [`staged`].
pub async fn judged_by(
    shared: &Arc<Shared>,
    by: Arc<Validator>,
    rows: Rows<'_>,
) -> Result<Option<StagedRows>, Fault> {
    let Some(rows) = Unnamed::of(rows)? else {
        return Ok(None);
    };
    let Named { by, rows } = rows.named(by)?;
    let lookups = &shared.lookups;
    let references = lookups.references(shared, by.contract()).await?;
    let origin = Origin {
        ingest_ts: shared.clock.now(),
        source: &Source::new(SOURCE),
        seq: crate::catalog::lifecycle::offset_i64(shared.log.durable()),
    };
    let scope = Scope {
        keys: None,
        lateness: true,
        bytes_max: shared.config.memory.query_bytes_max.as_usize(),
    };
    let validated = by.judge(&rows, &origin, &references, scope)?;
    refuse_rejects(by.contract(), validated.verdict())?;
    let (applied, ..) = validated.into_parts();
    let accepted = applied.into_sides().0;
    Ok(accepted.map(|rows| StagedRows::new(by, rows)))
}

/// Appends the rows; returns how many.
///
/// # Errors
/// INVALID_ARGUMENT with the first row that breaks a rule; ABORTED `contract_changed`: a column that they fill is not there any
/// more; what a stream to the table could get.
pub async fn append(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    rows: Rows<'_>,
) -> Result<u64, Fault> {
    let Some(rows) = Unnamed::of(rows)? else {
        return Ok(0);
    };
    loop {
        let named = rows.named(table.validator())?;
        match take(shared, table, named).await {
            Err(fault) if fault.reason == CONTRACT_CHANGED => {}
            taken => return taken,
        }
    }
}

/// Appends rows by the contract that has named them.
///
/// # Errors
/// ABORTED `contract_changed`: another one is in force. As [`append`].
pub(super) async fn take(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    named: Named,
) -> Result<u64, Fault> {
    if named.rows.get_array_memory_size() > shared.config.limits.batch_bytes_max.as_usize() {
        return write(shared, table, Some(named), None).await;
    }
    let Named { by, rows } = named;
    let mut stream = IngestStream::strict(shared.clone(), table.clone(), by);
    let pending = stream.push(None, Some(rows)).await?;
    Ok(pending.durable().await?.counts.accepted)
}

/// Puts the rows in the place of those whose partition columns have the values of `matching`, in one version.
///
/// # Errors
/// As [`append`]; a row outside `matching`; a column that is no partition.
pub async fn replace(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    rows: Rows<'_>,
    matching: &[(String, String)],
) -> Result<u64, Fault> {
    let contract = table.contract();
    let own = matching.iter().map(|(column, value)| {
        let partitions = &contract.partition_by;
        let found = partitions.iter().find(|p| p.is_same_name(column));
        found.map(|p| (p.clone(), value.clone())).ok_or_else(|| {
            Fault::invalid(
                "not_a_partition",
                format!(
                    "REPLACE WHERE takes partition columns, column={column}, partitions={}",
                    partitions.join(", ")
                ),
            )
        })
    });
    let matching = own.collect::<Result<Vec<_>, Fault>>()?;
    let rows = Unnamed::of(rows)?;
    loop {
        let named = rows.as_ref().map(|rows| rows.named(table.validator()));
        match write(shared, table, named.transpose()?, Some(&matching)).await {
            Err(fault) if fault.reason == CONTRACT_CHANGED => {}
            written => return written,
        }
    }
}

/// Rows that are judged and stand in files, in no version yet.
struct Written {
    staged: Staged,
    rows: u64,
    additions: Additions,
}

async fn write(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    named: Option<Named>,
    matching: Option<&[(String, String)]>,
) -> Result<u64, Fault> {
    // Before the locks are taken: it asks other tables.
    let asked_by = table.contract();
    let mut references = shared.lookups.references(shared, &asked_by).await?;
    let mut writer = TableWriter::begin(shared, table, "INSERT").await?;
    let batch = match named {
        Some(Named { by, .. }) if !Arc::ptr_eq(&by, writer.validator()) => {
            return Err(other_contract(table));
        }
        named => named.map(|named| named.rows),
    };
    let contract = writer.validator().contract().clone();
    if !Arc::ptr_eq(&contract, &asked_by) {
        references = shared.lookups.references(shared, &contract).await?;
    }
    let (removal, reason) = match matching {
        None => (Removal::Nothing, Reason::Append),
        Some(matching) => {
            let parts: Vec<String> = matching
                .iter()
                .map(|(c, v)| format!("{c} = '{v}'"))
                .collect();
            let predicate = parts.join(" AND ");
            (
                Removal::Partitions(matching.to_vec()),
                Reason::Replace { predicate },
            )
        }
    };
    let written = judged(shared, &mut writer, batch, &references, &removal).await?;
    let files = writer.files(Part::Main);
    let outside = files.outside(&written.staged, matching.unwrap_or_default());
    if let Some(((column, replaced), value)) = outside {
        return Err(Fault::invalid(
            "row_outside_replaced",
            format!(
                "a row to write is outside what is replaced, column={column}, value={}, replaced={replaced}; nothing was written",
                value.unwrap_or("null")
            ),
        ));
    }
    writer
        .rewrite(Part::Main, &removal, written.staged, &reason, &[])
        .await?;
    if matching.is_none() {
        writer.learn(written.additions);
    }
    Ok(written.rows)
}

/// Judges a statement's rows and stages them. They are held against the rows that `removal` leaves.
async fn judged(
    shared: &Arc<Shared>,
    writer: &mut TableWriter<'_>,
    batch: Option<RecordBatch>,
    references: &References,
    removal: &Removal,
) -> Result<Written, Fault> {
    let Some(batch) = batch else {
        return Ok(Written {
            staged: writer.files(Part::Main).stage(Vec::new()).await?,
            rows: 0,
            additions: Additions::default(),
        });
    };
    let origin = Origin {
        ingest_ts: shared.clock.now(),
        source: &Source::new(SOURCE),
        seq: crate::catalog::lifecycle::offset_i64(shared.log.durable()),
    };
    let validator = writer.validator().clone();
    let staying;
    let keys = match removal {
        Removal::Nothing => writer.known().await?.map(|keys| &*keys),
        _ => {
            staying = writer.known_without(removal).await?;
            staying.as_ref()
        }
    };
    let scope = Scope {
        keys,
        lateness: true,
        bytes_max: shared.config.memory.query_bytes_max.as_usize(),
    };
    let validated = validator.judge(&batch, &origin, references, scope)?;
    refuse_rejects(validator.contract(), validated.verdict())?;
    let rows = Totals::of(validated.verdict()).accepted;
    let (applied, _, additions) = validated.into_parts();
    let (accepted, _) = applied.into_sides();
    let accepted = accepted.into_iter().collect();
    Ok(Written {
        staged: writer.files(Part::Main).stage(accepted).await?,
        rows,
        additions,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use arrow::array::{Float64Array, TimestampMicrosecondArray};
    use arrow::datatypes::Date32Type;

    use super::*;

    #[test]
    fn a_number_becomes_the_decimal_of_its_digits() {
        for (number, digits, expected) in [
            (1.005, 2, Some(101)),
            (-1.005, 2, Some(-101)),
            (1.0049, 2, Some(100)),
            (0.125, 2, Some(13)),
            (-0.0, 2, Some(0)),
            (5.0, 0, Some(5)),
            (2.5, 0, Some(3)),
            (1e20, 2, Some(10i128.pow(22))),
            (1e-20, 2, Some(0)),
            (f64::NAN, 2, None),
            (f64::INFINITY, 2, None),
            (1e300, 2, None),
        ] {
            assert_eq!(unscaled(number, digits), expected, "{number}");
        }
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(99.994), None]));
        assert_eq!(as_written(&numbers, 4, 2).unwrap().null_count(), 1);
        assert!(as_written(&numbers, 3, 2).is_none());
    }

    #[test]
    fn a_time_is_assigned_to_a_day_at_midnight_alone() {
        let times = |micros: i64| {
            let times = TimestampMicrosecondArray::from(vec![Some(micros), None]);
            [
                Arc::new(times.clone()) as ArrayRef,
                Arc::new(times.with_timezone("UTC")),
            ]
        };
        for midnight in times(-2 * 86_400_000_000) {
            let days = whole_days("d", &midnight).unwrap();
            assert_eq!(days.as_primitive::<Date32Type>().value(0), -2);
        }
        for later in times(-2 * 86_400_000_000 + 1) {
            let fault = whole_days("d", &later).unwrap_err();
            assert!(fault.message.contains("column=d"), "{fault}");
        }
    }
}
