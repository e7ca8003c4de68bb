//! One lock for each table name, taken by the statements that create, alter and drop: so a statement on one table waits for
//! nobody who works on another. Each wait has a bound, and its error names who holds what.
//!
//! Lock order of the whole: these locks, in the order of the folded names; then those of one table (see [`super::locks`]);
//! then the registry and `Visible`, which nobody holds across an await.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::table::Table;
use crate::config::Config;
use crate::fault::{Fault, Kind};
use crate::types::TableName;

/// What upkeep waits for one table at most: others wait for it meanwhile.
const UPKEEP_WAIT: Duration = Duration::from_secs(10);
/// No limit, in a form that can be added to a time.
const OWN_WORK_WAIT: Duration = Duration::from_secs(365 * 86_400);

/// How long someone waits for a table, and which setting says so.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    pub wait: Duration,
    pub setting: &'static str,
}

impl Patience {
    /// Of CREATE, ALTER and DROP.
    pub fn of_ddl(config: &Config) -> Self {
        Patience {
            wait: config.limits.ddl_timeout,
            setting: "limits.ddl_timeout",
        }
    }

    /// Of statements that change rows, and of upkeep that a statement asks for.
    pub fn of_statement(config: &Config) -> Self {
        Patience {
            wait: config.query.timeout,
            setting: "query.timeout",
        }
    }

    /// Of a stream's batches.
    pub fn of_stream(config: &Config) -> Self {
        Patience {
            wait: config.log.admission_timeout,
            setting: "log.admission_timeout",
        }
    }

    /// Of upkeep that runs by itself: it passes by a table that is held, and comes back at its next round.
    pub fn of_upkeep(config: &Config) -> Self {
        Patience {
            wait: config.query.timeout.min(UPKEEP_WAIT),
            setting: "query.timeout",
        }
    }

    /// Of a start and a stop, and of what belongs to one table alone, such as its flush: no client waits for these. Whoever
    /// holds the table goes first, however long that takes.
    pub fn of_own_work() -> Self {
        Patience {
            wait: OWN_WORK_WAIT,
            setting: "no setting",
        }
    }

    /// Waits for a lock of the table.
    ///
    /// # Errors
    /// ABORTED `table_busy`, with who holds the table: nothing has changed.
    pub async fn wait_for<T>(
        self,
        table: &Table,
        lock: impl Future<Output = T>,
    ) -> Result<T, Fault> {
        let taken = tokio::time::timeout(self.wait, lock).await;
        taken.map_err(|_| busy(&table.name(), table.holder(), self))
    }
}

/// Who holds a name.
type Holder = Mutex<Option<(String, Instant)>>;

#[derive(Default)]
struct Slot {
    lock: Arc<tokio::sync::Mutex<()>>,
    holder: Holder,
}

/// The locks by folded name. A name that nobody holds or waits for takes no memory.
#[derive(Clone, Default)]
pub struct DdlLocks(Arc<Mutex<BTreeMap<TableName, Arc<Slot>>>>);

/// Holds names until it is dropped.
pub struct DdlGuard {
    locks: DdlLocks,
    held: Vec<(TableName, Arc<Slot>, Option<OwnedMutexGuard<()>>)>,
}

impl DdlLocks {
    /// Takes the names, for `what`.
    ///
    /// # Errors
    /// ABORTED `table_busy`: another statement holds one of them for longer. Nothing has changed.
    pub async fn lock(
        &self,
        names: &[&TableName],
        what: &str,
        patience: Patience,
    ) -> Result<DdlGuard, Fault> {
        let mut names: Vec<TableName> = names.iter().map(|name| name.folded()).collect();
        names.sort();
        names.dedup();
        let deadline = Instant::now() + patience.wait;
        let mut guard = DdlGuard {
            locks: self.clone(),
            held: Vec::with_capacity(names.len()),
        };
        for name in names {
            let slot = self.0.lock().entry(name.clone()).or_default().clone();
            // In the guard before the wait: a wait that is given up lets go of the slot as well.
            guard.held.push((name.clone(), slot.clone(), None));
            let taken = tokio::time::timeout_at(deadline, slot.lock.clone().lock_owned()).await;
            let Ok(taken) = taken else {
                let holder = slot.holder.lock().as_ref().map(|(what, since)| {
                    format!("{what}, for {:.1} s", since.elapsed().as_secs_f64())
                });
                return Err(busy(&name, holder, patience));
            };
            *slot.holder.lock() = Some((what.to_owned(), Instant::now()));
            if let Some(last) = guard.held.last_mut() {
                last.2 = Some(taken);
            }
        }
        Ok(guard)
    }
}

impl Drop for DdlGuard {
    fn drop(&mut self) {
        for (name, slot, taken) in self.held.drain(..) {
            if taken.is_some() {
                *slot.holder.lock() = None;
            }
            drop(taken);
            let mut locks = self.locks.0.lock();
            // The map's and this one: nobody else holds it or waits.
            if Arc::strong_count(&slot) <= 2 {
                locks.remove(&name);
            }
            // Before the map is free, or the next one to let go would count this one as well.
            drop(slot);
        }
    }
}

/// A statement has waited for a table for as long as it may.
pub fn busy(name: &TableName, holder: Option<String>, patience: Patience) -> Fault {
    let Patience { wait, setting } = patience;
    let holder = holder.unwrap_or_else(|| "batches or a commit under way".to_owned());
    Fault::new(
        Kind::Conflict,
        "table_busy",
        format!(
            "the table is held by {holder}, table={name}, waited={wait:?}; nothing was changed: try again when that has ended, cancel it, or raise {setting}"
        ),
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const SOON: Patience = Patience {
        wait: Duration::from_millis(20),
        setting: "limits.ddl_timeout",
    };
    const LATE: Patience = Patience {
        wait: Duration::from_secs(10),
        ..SOON
    };

    fn name(table: &str) -> TableName {
        TableName::new("public", table).unwrap()
    }

    #[tokio::test]
    async fn a_name_is_held_by_one_statement_and_other_names_are_free() {
        let locks = DdlLocks::default();
        let (a, b) = (name("a"), name("b"));
        let held = locks
            .lock(&[&a], "DROP TABLE public.a", SOON)
            .await
            .unwrap();
        locks.lock(&[&b], "CREATE TABLE", SOON).await.unwrap();
        let fault = locks.lock(&[&b, &name("A")], "ALTER", SOON).await.err();
        let fault = fault.unwrap();
        assert_eq!((fault.kind, &*fault.reason), (Kind::Conflict, "table_busy"));
        assert!(fault.message.contains("DROP TABLE public.a"), "{fault}");
        drop(held);
        locks.lock(&[&b, &a], "ALTER", SOON).await.unwrap();
        assert!(locks.0.lock().is_empty(), "no slot is left behind");
    }

    #[tokio::test]
    async fn two_who_want_the_same_names_in_another_order_do_not_wait_for_each_other() {
        let locks = DdlLocks::default();
        let (a, b) = (name("a"), name("b"));
        let mut tasks = Vec::new();
        for round in 0..50 {
            let (locks, a, b) = (locks.clone(), a.clone(), b.clone());
            tasks.push(tokio::spawn(async move {
                let pair = if round % 2 == 0 { [&a, &b] } else { [&b, &a] };
                let held = locks.lock(&pair, "x", LATE).await;
                tokio::task::yield_now().await;
                held.map(drop)
            }));
        }
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert!(locks.0.lock().is_empty());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_leaves_the_name_to_the_next() {
        let locks = DdlLocks::default();
        let a = name("a");
        let held = locks.lock(&[&a], "x", SOON).await.unwrap();
        {
            let names = [&a];
            let waiting = locks.lock(&names, "y", LATE);
            assert!(tokio::time::timeout(SOON.wait, waiting).await.is_err());
        }
        drop(held);
        locks.lock(&[&a], "z", SOON).await.unwrap();
        assert!(locks.0.lock().is_empty());
    }
}
