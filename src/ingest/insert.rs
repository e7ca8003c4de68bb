//! Rows from statements: one log frame while they fit a batch, one Delta commit when they do not or when they take the place
//! of others. All of them or none.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema};

use super::{IngestStream, counts};
use crate::catalog::Shared;
use crate::catalog::table::{Committed, Table};
use crate::cold::{Reason, Removal};
use crate::dataset::{ColumnType, Contract};
use crate::fault::Fault;
use crate::flush;
use crate::validate::{self, Context, Origin, Source, Verdict};

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
fn named(
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

/// Numbers as SQL assigns them: `1.5` may be written to a FLOAT or a DECIMAL, which a stream has to send as such.
fn assign(contract: &Contract, name: &str, column: &ArrayRef) -> Result<ArrayRef, Fault> {
    let target = contract
        .columns
        .iter()
        .find(|c| c.name.eq_ignore_ascii_case(name))
        .map(|c| c.data_type);
    let Some(target) = target.filter(|t| t.is_number()).map(ColumnType::to_arrow) else {
        return Ok(column.clone());
    };
    let given = column.data_type();
    if *given == target
        || !(given.is_floating() || matches!(given, DataType::Decimal128(..)))
        || target.is_integer()
    {
        return Ok(column.clone());
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(column, &target, &strict).map_err(|e| {
        Fault::invalid(
            "incompatible_type",
            format!("a value does not fit, column={name}: {e}"),
        )
    })
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
    let contract = table.contract();
    let Some(batch) = named(&contract, columns, rows)? else {
        return Ok(None);
    };
    let now = shared.clock.now();
    let context = Context {
        now,
        references: shared.lookups.references(shared, &contract).await?,
    };
    let conformed = validate::conform(&contract, &batch, now)?;
    let mut verdict = validate::judge(&contract, &conformed, &context)?;
    validate::lateness(&contract, &conformed, &context, &mut verdict)?;
    refuse_rejects(&contract, &verdict)?;
    let origin = Origin {
        ingest_ts: now,
        source: &Source::new(SOURCE),
        seq: crate::catalog::lifecycle::offset_i64(shared.log.durable()),
    };
    let applied = validate::apply(&contract, &batch, &conformed, &verdict, &origin)?;
    Ok(applied.accepted)
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

async fn write(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    batch: Option<RecordBatch>,
    matching: Option<&[(String, String)]>,
) -> Result<u64, Fault> {
    let _gate = table.gate.read().await;
    let contract = &*table.contract();
    // Before the commit lock, as a stream takes them.
    let mut keys = table.keys.lock().await;
    let mut cold = table.cold.lock().await;
    if table.is_dropped() {
        return Err(Fault::invalid(
            "table_dropped",
            format!("the table was dropped meanwhile, table={}", table.name()),
        ));
    }
    flush::commit_locked(shared, table, &mut cold).await?;
    let now = shared.clock.now();
    let mut written = 0;
    let mut rows = Vec::new();
    if let Some(batch) = batch {
        let context = Context {
            now,
            references: shared.lookups.references(shared, contract).await?,
        };
        let origin = Origin {
            ingest_ts: now,
            source: &Source::new(SOURCE),
            seq: crate::catalog::lifecycle::offset_i64(shared.log.durable()),
        };
        let conformed = validate::conform(contract, &batch, now)?;
        let mut verdict = validate::judge(contract, &conformed, &context)?;
        // A replaced partition has no earlier rows to be unique against but the batch's own.
        if contract.needs_history() {
            let mut fresh = validate::Keys::new(batch.num_rows());
            let known = if matching.is_some() {
                &mut fresh
            } else {
                &mut *keys
            };
            if matching.is_none() && !known.is_loaded() {
                let rows = shared.lookups.rows(shared, contract).await?;
                known.load(contract, &rows)?;
            }
            let so_far = validate::apply(contract, &batch, &conformed, &verdict, &origin)?;
            if let Some(rows) = &so_far.accepted {
                let positions = verdict.accepted_rows();
                known.check(contract, rows, &positions, &mut verdict)?;
            }
        }
        validate::lateness(contract, &conformed, &context, &mut verdict)?;
        refuse_rejects(contract, &verdict)?;
        written = counts(&verdict).accepted;
        let applied = validate::apply(contract, &batch, &conformed, &verdict, &origin)?;
        rows.extend(applied.accepted);
    }
    let staged = cold.main.stage(rows).await?;
    for values in staged.partitions() {
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
    let version = cold.main.rewrite(&removal, staged, &reason, &[]).await?;
    shared
        .visible
        .replace_cold(table, cold.main.view(), cold.quarantine.view());
    let offset = table.committed.borrow().offset;
    table.committed.send_replace(Committed { offset, version });
    keys.forget();
    Ok(written)
}
