//! Rows from statements: one log frame while they fit a batch, one Delta commit when they do not or when they take the place
//! of others. All of them or none.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, StructArray};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema};

use super::IngestStream;
use crate::catalog::Shared;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::{Reason, Removal, Staged};
use crate::dataset::{ColumnType, Contract, StructField};
use crate::fault::Fault;
use crate::records::Totals;
use crate::validate::{Additions, Origin, References, Scope, Source, Verdict};

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

/// A result's columns under the names of the table's, by position. `columns` empty: all of them in the table's order.
pub(super) fn named(
    contract: &Contract,
    columns: &[String],
    rows: Vec<RecordBatch>,
) -> Result<Option<RecordBatch>, Fault> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let all: Vec<String> = contract.columns.iter().map(|c| c.name.clone()).collect();
    let names = if columns.is_empty() { &all } else { columns };
    if names.len() != first.num_columns() {
        return Err(Fault::invalid(
            "column_count",
            format!(
                "{} columns are due, the query gives {}; {} takes {}",
                names.len(),
                first.num_columns(),
                contract.table,
                names.join(", ")
            ),
        ));
    }
    let internal = |e: arrow::error::ArrowError| Fault::internal(format!("rows to insert: {e}"));
    let batch = concat_batches(&first.schema(), &rows).map_err(internal)?;
    let columns = names
        .iter()
        .zip(batch.columns())
        .map(|(name, column)| assign(contract, name, column));
    let columns = columns.collect::<Result<Vec<ArrayRef>, Fault>>()?;
    let fields: Vec<Field> = names
        .iter()
        .zip(&columns)
        .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
        .collect();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns);
    batch.map(Some).map_err(internal)
}

/// Numbers as SQL assigns them: `1.5` may be written to a FLOAT or a DECIMAL, which a stream has to send as such. Within a nested
/// value, too.
///
/// # Errors
/// INVALID_ARGUMENT: a value has no place in the column's type.
pub fn assign(contract: &Contract, name: &str, column: &ArrayRef) -> Result<ArrayRef, Fault> {
    let mut columns = contract.columns.iter();
    let Some(target) = columns.find(|c| c.name.eq_ignore_ascii_case(name)) else {
        return Ok(column.clone());
    };
    let given = column.data_type();
    let assigned = assigned_type(given, &target.data_type);
    if assigned == *given {
        return Ok(column.clone());
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let column = by_name(column, &assigned).unwrap_or_else(|| column.clone());
    cast_with_options(&column, &assigned, &strict).map_err(|e| {
        Fault::invalid(
            "incompatible_type",
            format!("a value does not fit, column={name}: {e}"),
        )
    })
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
                let by_name = |o: &&StructField| o.name.eq_ignore_ascii_case(field.name());
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

/// The rows in the table's schema, judged by what can be said of them alone. Nothing is written.
///
/// # Errors
/// As [`append`], but for rules that ask earlier rows.
pub async fn staged(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    columns: &[String],
    rows: Vec<RecordBatch>,
) -> Result<Option<RecordBatch>, Fault> {
    let validator = table.validator();
    let contract = validator.contract().clone();
    let Some(batch) = named(&contract, columns, rows)? else {
        return Ok(None);
    };
    let references = shared.lookups.references(shared, &contract).await?;
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
    let validated = validator.judge(&batch, &origin, &references, scope)?;
    refuse_rejects(&contract, validated.verdict())?;
    let (applied, ..) = validated.into_parts();
    Ok(applied.into_sides().0)
}

/// Appends rows that were [`staged`]: as a statement's, all or none.
///
/// # Errors
/// As [`append`].
pub async fn append_staged(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    rows: Vec<RecordBatch>,
) -> Result<u64, Fault> {
    let Some(first) = rows.first().map(RecordBatch::schema) else {
        return Ok(0);
    };
    // What the server fills is filled again, with the time of the commit.
    let contract = table.contract();
    let own = first.fields().iter().enumerate();
    let (positions, columns): (Vec<usize>, Vec<String>) = own
        .filter(|(_, f)| contract.column(f.name()).is_some())
        .map(|(at, f)| (at, f.name().clone()))
        .unzip();
    let rows = rows.iter().map(|r| r.project(&positions));
    let rows = rows
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Fault::internal(format!("staged rows: {e}")))?;
    append(shared, table, &columns, rows).await
}

/// Appends the rows; returns how many.
///
/// # Errors
/// INVALID_ARGUMENT with the first row that breaks a rule; what a stream to the table could get.
pub async fn append(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    columns: &[String],
    rows: Vec<RecordBatch>,
) -> Result<u64, Fault> {
    let Some(batch) = named(&table.contract(), columns, rows)? else {
        return Ok(0);
    };
    if batch.get_array_memory_size() > shared.config.limits.batch_bytes_max.as_usize() {
        return write(shared, table, Some(batch), None).await;
    }
    let mut stream = IngestStream::strict(shared.clone(), table.clone());
    let pending = stream.push(None, Some(batch)).await?;
    Ok(pending.durable().await?.counts.accepted)
}

/// Puts the rows in the place of those whose partition columns have the values of `matching`, in one version.
///
/// # Errors
/// As [`append`]; a row outside `matching`; a column that is no partition.
pub async fn replace(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    columns: &[String],
    rows: Vec<RecordBatch>,
    matching: &[(String, String)],
) -> Result<u64, Fault> {
    let contract = table.contract();
    let own = matching.iter().map(|(column, value)| {
        let partitions = &contract.partition_by;
        let found = partitions.iter().find(|p| p.eq_ignore_ascii_case(column));
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
    let batch = named(&contract, columns, rows)?;
    write(shared, table, batch, Some(&matching)).await
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
    batch: Option<RecordBatch>,
    matching: Option<&[(String, String)]>,
) -> Result<u64, Fault> {
    // Before the locks are taken: it asks other tables.
    let asked_by = table.contract();
    let mut references = shared.lookups.references(shared, &asked_by).await?;
    let mut writer = TableWriter::begin(shared, table, "INSERT").await?;
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
    for values in written.staged.partitions() {
        let outside = matching
            .into_iter()
            .flatten()
            .find(|(column, value)| values.get(column).and_then(|v| v.as_ref()) != Some(value));
        if let Some((column, value)) = outside {
            return Err(Fault::invalid(
                "row_outside_replaced",
                format!(
                    "a row to write is outside what is replaced, column={column}, value={}, replaced={value}; nothing was written",
                    values
                        .get(column)
                        .cloned()
                        .flatten()
                        .unwrap_or_else(|| "null".to_owned())
                ),
            ));
        }
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
