//! The locks of one table, and the one order in which they are taken: gate, keys, commit lock, producers. The locks themselves
//! are private to this file. Nobody takes the keys but from an open gate; the producers are never held across an await, and
//! what only reads files never holds the commit lock across one.
//!
//! Those who hold the commit lock take none of the others but the producers. [`super::write::TableWriter`] takes all that a
//! change past the log needs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use tokio::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::{Instant, timeout_at};

use super::ddl_lock::{Patience, busy};
use super::table::{Cold, DEDUP_KEYS_MAX, ProducerEntry, Table};
use crate::fault::Fault;
use crate::validate::Keys;

/// The producers of one table.
pub type Producers = HashMap<Arc<str>, ProducerEntry>;

/// The right to commit to the two Delta tables, held across awaits (DESIGN, section 4).
pub type CommitLock<'a> = MutexGuard<'a, Cold>;

pub(super) struct Locks {
    /// Open from a batch's judgement to its place in the log; closed while the contract changes.
    gate: tokio::sync::RwLock<()>,
    /// What rules about earlier rows know. Held across the admission of a batch, for tables that have such rules.
    keys: tokio::sync::Mutex<Keys>,
    cold: tokio::sync::Mutex<Cold>,
    /// The order in which it is taken is the order in the log.
    producers: Mutex<Producers>,
}

impl Locks {
    pub(super) fn new(cold: Cold) -> Self {
        Locks {
            gate: tokio::sync::RwLock::new(()),
            keys: tokio::sync::Mutex::new(Keys::new(DEDUP_KEYS_MAX)),
            cold: tokio::sync::Mutex::new(cold),
            producers: Mutex::default(),
        }
    }
}

/// The gate, open: the contract stays what it is for as long as this lives.
pub struct Gate<'a> {
    table: &'a Table,
    _open: RwLockReadGuard<'a, ()>,
}

impl<'a> Gate<'a> {
    /// What is known of earlier rows. Nothing that such a rule looks at is admitted meanwhile.
    ///
    /// # Errors
    /// ABORTED `table_busy`.
    pub async fn keys(&self, patience: Patience) -> Result<MutexGuard<'a, Keys>, Fault> {
        let keys = self.table.locks.keys.lock();
        patience.wait_for(self.table, keys).await
    }
}

/// All of a table's locks, with the gate closed: every batch that was judged before has its place in the log.
pub struct Closed<'a> {
    pub keys: MutexGuard<'a, Keys>,
    pub cold: CommitLock<'a>,
    pub gate: ClosedGate<'a>,
}

/// No batch is judged while this lives.
pub struct ClosedGate<'a> {
    _closed: RwLockWriteGuard<'a, ()>,
}

/// How long the gate may be closed for batches while its closer waits for those that are being judged. Longer, and they go
/// first.
const GATE_WAIT: Duration = Duration::from_millis(500);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(50);

impl Table {
    /// Holds the gate open: for a batch that is judged, and for whoever changes rows by the contract in force.
    ///
    /// # Errors
    /// ABORTED `table_busy`.
    pub async fn open_gate(&self, patience: Patience) -> Result<Gate<'_>, Fault> {
        let open = patience.wait_for(self, self.locks.gate.read()).await?;
        Ok(Gate {
            table: self,
            _open: open,
        })
    }

    /// Closes the gate and takes keys and commit lock: for whoever changes the contract, or puts the table in another's place.
    ///
    /// Whoever waits for a gate holds up the batches that come after him. So a statement that holds the table is waited for
    /// with the gate open, and the gate is closed only for as long as batches take; if that does not do, batches go on and it
    /// is tried again.
    ///
    /// # Errors
    /// ABORTED `table_busy`.
    pub async fn close(&self, patience: Patience) -> Result<Closed<'_>, Fault> {
        let deadline = Instant::now() + patience.wait;
        let late = || busy(&self.name(), self.holder(), patience);
        let locks = &self.locks;
        loop {
            let free = async {
                let _keys = locks.keys.lock().await;
                let _cold = locks.cold.lock().await;
            };
            timeout_at(deadline, free).await.map_err(|_| late())?;
            let all = async {
                let closed = locks.gate.write().await;
                let keys = locks.keys.lock().await;
                let cold = locks.cold.lock().await;
                Closed {
                    keys,
                    cold,
                    gate: ClosedGate { _closed: closed },
                }
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

    /// Nobody else commits while this lives. There is no way to wait for it without a limit.
    ///
    /// # Errors
    /// ABORTED `table_busy`.
    pub async fn commit_lock_within(&self, patience: Patience) -> Result<CommitLock<'_>, Fault> {
        patience.wait_for(self, self.locks.cold.lock()).await
    }

    /// Looks at the two Delta tables between two commits.
    ///
    /// # Errors
    /// ABORTED `table_busy`.
    pub async fn files_within<T>(
        &self,
        patience: Patience,
        look: impl FnOnce(&Cold) -> T,
    ) -> Result<T, Fault> {
        let cold = self.commit_lock_within(patience).await?;
        Ok(look(&cold))
    }

    /// [`Table::commit_lock_within`] for a test, which knows that nobody holds it.
    #[cfg(test)]
    pub async fn commit_lock(&self) -> CommitLock<'_> {
        self.locks.cold.lock().await
    }

    /// [`Table::files_within`] for a test.
    #[cfg(test)]
    pub async fn files<T>(&self, look: impl FnOnce(&Cold) -> T) -> T {
        look(&*self.locks.cold.lock().await)
    }

    /// Looks at the table's producers, or changes them. What is appended to the log meanwhile stands there in the order in
    /// which this is called.
    pub fn in_log_order<T>(&self, work: impl FnOnce(&mut Producers) -> T) -> T {
        work(&mut self.locks.producers.lock())
    }
}
