//! A contract changes: producers wait at the gate, the Delta table is told in one commit, then the log, and from its frame on
//! the new contract judges. A crash in between is decided by the Delta table: what it tells at the next start is in force.

use std::sync::Arc;

use super::Shared;
use super::lifecycle::{append_control, control_frame};
use super::table::{Committed, Table};
use super::visible::FrameEffect;
use crate::dataset::{Alteration, Contract};
use crate::fault::Fault;
use crate::types::TableName;
use crate::wal::FrameKind;

/// Turns a statement into changes, given the contract in force. No change at all is fine.
pub type Plan<'a> = dyn Fn(&Contract) -> Result<Vec<Alteration>, Fault> + Send + Sync + 'a;

/// # Errors
/// NOT_FOUND; INVALID_ARGUMENT for a change that cannot be; the store's: nothing has changed then.
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
        let work = tokio::spawn(put_in_force(shared.clone(), table, old, Arc::new(next)));
        let done = work
            .await
            .map_err(|e| Fault::internal(format!("alter: {e}")))??;
        if done {
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
    let _one_at_a_time = shared.lifecycle.lock().await;
    if !Arc::ptr_eq(&table.contract(), &old) || table.is_dropped() {
        return Ok(false);
    }
    let payload = serde_json::to_vec(&*next)
        .map_err(|e| Fault::internal(format!("cannot encode the contract: {e}")))?;

    // Every batch that was judged by the old contract has its place in the log now, before the frame that changes it.
    let _closed = table.gate.write().await;
    let mut keys = table.keys.lock().await;
    let mut cold = table.cold.lock().await;
    if cold.main.version() < 0 {
        // It could not be opened; one that was parked later may need this very change.
        table.served()?;
    }
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
    cold.main
        .alter(next.table_schema(), properties, &dropped)
        .await?;
    let mut frame = control_frame(FrameKind::Alter, &table, payload);
    frame.contract_version = next.version;
    let effect = FrameEffect::Alter {
        table: table.clone(),
        contract: next,
        main: cold.main.view(),
    };
    append_control(&shared, frame, effect).await?;
    keys.forget();
    let offset = table.committed.borrow().offset;
    table.committed.send_replace(Committed {
        offset,
        version: cold.main.version(),
    });
    tracing::info!(table = %table.name(), version = table.contract().version, "contract changed");
    Ok(true)
}
