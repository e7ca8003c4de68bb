//! A contract changes: producers wait at the gate, the Delta table is told in one commit, then the log, and from its frame on
//! the new contract judges. A crash in between is decided by the Delta table: what it tells at the next start is in force.

use std::sync::Arc;

use super::Shared;
use super::control::{FRAME_BYTES, enqueue};
use super::ddl_lock::Patience;
use super::lifecycle::to_its_end;
use super::table::Table;
use super::visible::{FrameEffect, Part};
use super::write::TableWriter;
use crate::dataset::{Alteration, Contract};
use crate::fault::Fault;
use crate::records::{Record, Stamp};
use crate::types::TableName;

/// Turns a statement into changes, given the contract in force. No change at all is fine.
pub type Plan<'a> = dyn Fn(&Contract) -> Result<Vec<Alteration>, Fault> + Send + Sync + 'a;

/// # Errors
/// NOT_FOUND; INVALID_ARGUMENT for a change that cannot be; ABORTED `table_busy`; the store's and the log's: nothing has changed
/// then, unless the log's says that nobody knows.
pub async fn alter(shared: &Arc<Shared>, name: &TableName, plan: &Plan<'_>) -> Result<(), Fault> {
    loop {
        let table = shared.table(name)?;
        let old = table.contract();
        let changes = plan(&old)?;
        if changes.is_empty() {
            return Ok(());
        }
        let next = old
            .altered(&changes)
            .map_err(|e| Fault::invalid("invalid_contract", e.to_string()))?;
        // Delta and the log are told both or none, whether or not the caller still waits.
        let work = put_in_force(shared.clone(), table, old, Arc::new(next));
        if to_its_end(work).await? {
            return Ok(());
        }
    }
}

/// False, and nothing done: another change came first, and `next` does not know of it.
async fn put_in_force(
    shared: Arc<Shared>,
    table: Arc<Table>,
    old: Arc<Contract>,
    next: Arc<Contract>,
) -> Result<bool, Fault> {
    let patience = Patience::of_ddl(&shared.config);
    let what = format!("ALTER {}", table.name());
    let _name = shared.ddl.lock(&[&table.name()], &what, patience).await?;
    if !Arc::ptr_eq(&table.contract(), &old) || table.is_dropped() {
        return Ok(false);
    }
    let stamp = Stamp {
        incarnation: table.incarnation,
        contract_version: next.version,
    };
    let frame = Record::Alter(Box::new((*next).clone())).encode(stamp)?;
    // Room first: Delta is told only when the log can be told as well.
    let room = shared
        .log
        .reserve(frame.payload.len() + FRAME_BYTES)
        .await?;
    let mut writer = TableWriter::closed(&shared, &table, &what, patience).await?;
    let mut properties = next.to_properties();
    properties.insert(
        "deltaplane.incarnation".to_owned(),
        table.incarnation.to_string(),
    );
    let dropped: Vec<String> = old
        .to_properties()
        .into_keys()
        .filter(|key| !properties.contains_key(key))
        .collect();
    writer
        .alter(next.table_schema(), properties, &dropped)
        .await?;
    let effect = FrameEffect::Alter {
        table: table.clone(),
        contract: next,
        main: writer.files(Part::Main).view(),
    };
    let ticket = enqueue(&shared, room, frame, effect)?;
    shared.synced(ticket.wait()).await?;
    tracing::info!(table = %table.name(), version = table.contract().version, "contract changed");
    Ok(true)
}
