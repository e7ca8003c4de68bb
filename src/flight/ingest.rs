//! `CommandStatementIngest`, ADBC's `adbc_ingest`: `command` reads it, the rows (`batches`) go to `ingest::bulk`, or to a temporary table
//! (`temporary`).

mod batches;
mod command;
mod temporary;

pub use command::Ingest;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tokio_util::sync::CancellationToken;

use batches::{Batches, parts};
use command::IfExists;

use super::decode::expand;
use super::put_input::PutInput;
use crate::catalog::table::Table;
use crate::catalog::{Shared, lifecycle};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::ingest::bulk::{self, Bulk, Options};
use crate::ingest::insert::{Rows, staged};
use crate::ingest::staged::StagedRows;

/// Runs an ingest by itself. Returns how many rows are in the table by it. `abandoned`: the client has cancelled, or went away.
///
/// # Errors
/// ALREADY_EXISTS, NOT_FOUND as the mode says; what `bulk` can meet. Nothing was written then, and a table that was created
/// for it is gone again.
pub async fn run(
    shared: Arc<Shared>,
    asked: Ingest,
    input: PutInput,
    abandoned: CancellationToken,
) -> Result<u64, Fault> {
    let mut batches = Batches::new(&shared, input);
    if asked.temporary {
        return temporary::run(&shared, &asked, batches).await;
    }
    let schema = batches.schema().await?;
    if let (Ok(table), Some(once)) = (shared.table(&asked.table), &asked.once)
        && let Some(rows) = bulk::already(&shared, &table, once).await?
    {
        // Read to the end: a client that is still sending takes an early answer for an error.
        while batches.next().await?.is_some() {}
        return Ok(rows);
    }
    let (table, created) = target(&shared, &asked, &schema).await?;
    let options = Options {
        quarantine: asked.quarantine,
        replace: asked.if_exists == IfExists::Replace && !created,
        once: asked.once,
    };
    let outcome = async {
        let mut bulk = Bulk::begin(shared.clone(), table.clone(), options).await?;
        while let Some(batch) = batches.next().await? {
            for part in parts(&shared, &table.contract(), &batch) {
                let part = part?;
                let more = part.bytes.saturating_sub(batches.message_bytes);
                let _room = batches.input.connection().charge(more).await?;
                bulk.push(part.rows).await?;
            }
        }
        bulk.commit(&abandoned).await
    };
    let outcome = outcome.await;
    if outcome.is_err() && created && is_empty(&shared, &table) {
        lifecycle::drop(&shared, &asked.table, true).await?;
    }
    outcome
}

/// The table to ingest into, and whether it was created for that.
async fn target(
    shared: &Arc<Shared>,
    asked: &Ingest,
    schema: &SchemaRef,
) -> Result<(Arc<Table>, bool), Fault> {
    match (shared.table(&asked.table), asked.if_exists) {
        (Ok(_), IfExists::Fail) => Err(Fault::new(
            Kind::AlreadyExists,
            "table_exists",
            format!(
                "the table is there already, table={}; ingest with mode append or replace, or drop it first",
                asked.table
            ),
        )),
        (Ok(table), IfExists::Append | IfExists::Replace) => Ok((table, false)),
        (Err(fault), _) if !asked.create => Err(fault),
        (Err(_), _) => {
            let contract = Contract::from_arrow(asked.table.clone(), schema)
                .map_err(|e| Fault::invalid("invalid_contract", e.to_string()))?;
            let created = lifecycle::create(shared, contract, true).await?;
            Ok((shared.writable(&asked.table)?, created))
        }
    }
}

/// Has nobody written to the table since it was created?
fn is_empty(shared: &Shared, table: &Table) -> bool {
    let snapshot = shared.visible.snapshot();
    let view = snapshot.tables.get(&table.name().folded());
    view.is_none_or(|v| v.hot.is_empty() && v.cold.files().is_empty())
}

/// The rows of an ingest that is a part of a transaction: judged, in the table's columns, not written.
///
/// # Errors
/// As [`run`]; FAILED_PRECONDITION for what a transaction cannot hold.
pub async fn stage(
    shared: Arc<Shared>,
    asked: &Ingest,
    input: PutInput,
) -> Result<Option<StagedRows>, Fault> {
    if asked.if_exists != IfExists::Append || asked.quarantine || asked.once.is_some() {
        return Err(Fault::new(
            Kind::Precondition,
            "transaction",
            "in a transaction an ingest appends, without options; ingest without a transaction id, which commits by itself",
        ));
    }
    let table = shared.writable(&asked.table)?;
    let since = table.contract();
    let mut batches = Batches::new(&shared, input);
    batches.schema().await?;
    let limit = shared.config.limits.transaction_bytes_max.as_usize();
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(batch) = batches.next().await? {
        bytes += batch.get_array_memory_size();
        if bytes > limit {
            return Err(Fault::new(
                Kind::Exhausted,
                "transaction_too_large",
                format!(
                    "the rows take more than {limit} bytes; ingest without a transaction id, which commits by itself, or raise limits.transaction_bytes_max"
                ),
            ));
        }
        expand::check(
            &batch,
            &table.contract(),
            shared.config.limits.batch_memory_max.get(),
        )?;
        rows.push(batch);
    }
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let columns: Vec<String> = first
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let rows = Rows {
        since,
        columns: &columns,
        batches: rows,
    };
    staged(&shared, &table, rows).await
}
