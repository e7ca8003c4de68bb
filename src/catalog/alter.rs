//! A contract changes: producers wait at the gate, the Delta table is told in one commit, then the log, and from its frame on
//! the new contract judges. A crash in between is decided by the Delta table: what it tells at the next start is in force.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{MutexGuard, RwLockWriteGuard};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::control::{FRAME_BYTES, enqueue};
use super::ddl_lock::{Patience, busy};
use super::expected::note_unlogged;
use super::lifecycle::to_its_end;
use super::table::{Cold, Committed, Table};
use super::visible::FrameEffect;
use crate::dataset::{Alteration, Contract};
use crate::fault::Fault;
use crate::records::{Record, Stamp};
use crate::types::TableName;
use crate::validate::Keys;

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

/// How long the gate may be closed for batches while ALTER waits for those that are being judged. Longer, and they go first.
const GATE_WAIT: Duration = Duration::from_millis(500);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

/// False, and nothing done: another change came first, and `next` does not know of it.
async fn put_in_force(
    shared: Arc<Shared>,
    table: Arc<Table>,
    old: Arc<Contract>,
    next: Arc<Contract>,
) -> Result<bool, Fault> {
    let patience = Patience::of_ddl(&shared.config);
    let what = format!("ALTER {}", table.name());
    let _name = shared.ddl.lock(&[table.name()], &what, patience).await?;
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
    let (_closed, mut keys, mut cold) = closed(&table, patience).await?;
    let _hold = table.hold(what);
    if table.is_dropped() {
        return Ok(false);
    }
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
    note_unlogged(&shared, &table, &cold);
    let effect = FrameEffect::Alter {
        table: table.clone(),
        contract: next,
        main: cold.main.view(),
    };
    let ticket = enqueue(&shared, room, frame, effect)?;
    shared.synced(ticket.wait()).await?;
    keys.forget();
    let offset = table.committed.borrow().offset;
    table.committed.send_replace(Committed {
        offset,
        version: cold.main.version(),
    });
    tracing::info!(table = %table.name(), version = table.contract().version, "contract changed");
    Ok(true)
}

type Closed<'a> = (
    RwLockWriteGuard<'a, ()>,
    MutexGuard<'a, Keys>,
    MutexGuard<'a, Cold>,
);

/// All of a table's locks, with the gate closed: every batch that was judged by the old contract has its place in the log.
///
/// Whoever waits for a gate holds up the batches that come after him. So a statement that holds the table is waited for with
/// the gate open, and the gate is closed only for as long as batches take; if that does not do, batches go on and it is tried
/// again.
///
/// # Errors
/// ABORTED `table_busy`.
async fn closed(table: &Table, patience: Patience) -> Result<Closed<'_>, Fault> {
    let deadline = Instant::now() + patience.wait;
    let late = || busy(table.name(), table.holder(), patience);
    loop {
        let free = async {
            let _keys = table.keys.lock().await;
            let _cold = table.cold.lock().await;
        };
        timeout_at(deadline, free).await.map_err(|_| late())?;
        let all = async {
            let gate = table.gate.write().await;
            let keys = table.keys.lock().await;
            let cold = table.cold.lock().await;
            (gate, keys, cold)
        };
        let until = deadline.min(Instant::now() + GATE_WAIT);
        if let Ok(all) = timeout_at(until, all).await {
            return Ok(all);
        }
        if Instant::now() + PAUSE >= deadline {
            return Err(late());
        }
        tokio::time::sleep(PAUSE).await;
    }
}
