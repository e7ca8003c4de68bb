//! What keeps tables small and fast while they grow: small files made into good ones, old partitions and files that nobody
//! needs taken away, idle producers forgotten. In the server's own process, one job at a time, beside its writers: everything
//! slow happens on immutable files, and the commit lock is held for a commit only.
//!
//! A crash at any point leaves files that no version has; vacuum takes them.

mod answer;
pub mod check;
pub mod compact;
pub mod journal;
mod plan;
mod producers;
mod repair;
mod retention;
pub mod state;
#[cfg(test)]
mod tests;
pub mod vacuum;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::catalog::ddl_lock::Patience;
use crate::catalog::running::{Task, Work};
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::catalog::{Shared, background};
use crate::fault::{Fault, Kind};
use crate::query::Engine;
use crate::types::TableName;
use journal::Journal;

/// The tables' keeper. Its handle is cheap to share.
pub struct Upkeep {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    /// One job at a time, whoever asks for it.
    turn: tokio::sync::Mutex<()>,
    /// CHECK TABLE changes nothing, and has places of its own.
    checks: tokio::sync::Semaphore,
    /// Suspended work that the journal has told of.
    told: Mutex<BTreeSet<Work>>,
    /// The table at whose turn a test panics.
    #[cfg(test)]
    panics: Mutex<Option<TableName>>,
    /// Files that turned out to be no better after compaction than before: by table and partition.
    settled: Mutex<HashMap<(u64, bool, String), Vec<String>>>,
    /// When each table was last vacuumed by itself, by incarnation.
    vacuumed: Mutex<BTreeMap<u64, crate::clock::Micros>>,
}

/// Far more than a step takes that goes on: a listing, the deletion of some hundred files, a commit. Compaction gets what its
/// pace takes besides.
const STUCK: Duration = Duration::from_secs(600);

/// A contract's two Delta tables, in the order in which they are looked after.
const PARTS: [Part; 2] = [Part::Main, Part::Quarantine];

impl Upkeep {
    pub fn new(shared: Arc<Shared>, engine: Arc<Engine>, journal: Arc<Journal>) -> Arc<Self> {
        Arc::new(Upkeep {
            shared,
            engine,
            journal,
            turn: tokio::sync::Mutex::new(()),
            checks: tokio::sync::Semaphore::new(check::AT_ONCE),
            told: Mutex::default(),
            #[cfg(test)]
            panics: Mutex::default(),
            settled: Mutex::default(),
            vacuumed: Mutex::default(),
        })
    }

    /// Looks at every table again and again until the server drains.
    pub fn spawn(self: &Arc<Self>) {
        self.retry_parked();
        if !self.shared.config.upkeep.enabled {
            return;
        }
        let this = self.clone();
        background::keep("upkeep", move || this.clone().rounds());
    }

    async fn rounds(self: Arc<Self>) {
        let mut tick = tokio::time::interval(self.shared.config.upkeep.interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = self.shared.draining.cancelled() => return,
            }
            for table in self.shared.tables() {
                if table.is_parked() {
                    continue;
                }
                tokio::select! {
                    () = self.look_after_guarded(&table) => {}
                    () = self.shared.draining.cancelled() => return,
                }
            }
        }
    }

    /// A panic is this table's alone, and so is a lock that somebody holds: the others have their turn.
    async fn look_after_guarded(&self, table: &Arc<Table>) {
        let name = table.name();
        let patience = Patience::of_upkeep(&self.shared.config);
        if let Err(fault) = table.files_within(patience, |_| ()).await {
            tracing::info!(table = %name, "upkeep passes by the table until its next round: {fault}");
            return;
        }
        let work = self.look_after(table);
        if let Err(fault) = background::piece("upkeep", &name.to_string(), work).await {
            let run = self.journal.begin("upkeep", &name);
            self.journal.end(run, Err(fault));
        }
    }

    /// One round for one table. What goes wrong is written down, and tried again at the next round.
    pub async fn look_after(&self, table: &Arc<Table>) {
        #[cfg(test)]
        assert!(*self.panics.lock() != Some(table.name()), "on purpose");
        self.forget_producers(table);
        if self.may_run(table, Task::Retention) {
            let _turn = self.turn.lock().await;
            self.expire(table).await;
        }
        if self.may_run(table, Task::Compaction) {
            for part in PARTS {
                let _turn = self.turn.lock().await;
                self.compact_when_worth(table, part).await;
            }
        }
        let now = self.shared.clock.now();
        let every = i64::try_from(self.shared.config.upkeep.vacuum_interval.as_micros())
            .unwrap_or(i64::MAX);
        let last = self
            .vacuumed
            .lock()
            .get(&table.incarnation.get())
            .copied()
            .unwrap_or(0);
        if now.saturating_sub(last) >= every && self.may_run(table, Task::Vacuum) {
            self.vacuumed.lock().insert(table.incarnation.get(), now);
            let _turn = self.turn.lock().await;
            for part in PARTS {
                let run = self.journal.begin("vacuum", &part_name(table, part));
                let ended = self.vacuum_part(table, part, None, false).await;
                self.journal.end(run, ended.map(|v| v.outcome()));
            }
        }
    }

    fn work(table: &Table, task: Task) -> Work {
        Work::Upkeep(table.incarnation.get(), task)
    }

    /// Is it not left to an operator? The journal tells of it once.
    fn may_run(&self, table: &Table, task: Task) -> bool {
        let work = Self::work(table, task);
        let suspended = self.shared.running.suspended(&work);
        let Some(fault) = suspended else {
            self.told.lock().remove(&work);
            return true;
        };
        if self.told.lock().insert(work) {
            let run = self.journal.begin(task.word(), &table.name());
            self.journal.end(run, Err(fault));
        }
        false
    }

    /// The turn of upkeep, for a statement that asks for some: it waits for what is under way, and not for ever.
    ///
    /// # Errors
    /// ABORTED `table_busy`: nothing was done.
    pub(super) async fn turn_for(
        &self,
        table: &Table,
    ) -> Result<tokio::sync::MutexGuard<'_, ()>, Fault> {
        let patience = Patience::of_statement(&self.shared.config);
        patience.wait_for(table, self.turn.lock()).await
    }

    /// The table of this name, or the one whose quarantine it is.
    fn find(&self, name: &TableName) -> Result<(Arc<Table>, Part), Fault> {
        let (table, part) = match self.shared.table(name) {
            Ok(table) => (table, Part::Main),
            Err(fault) => {
                let tables = self.shared.tables();
                let owner = tables
                    .into_iter()
                    .find(|t| t.name().quarantine().folded() == name.folded());
                owner.map(|t| (t, Part::Quarantine)).ok_or(fault)?
            }
        };
        table.served()?;
        Ok((table, part))
    }
}

/// Runs a step that asks the store, with a limit: whoever hangs holds up the upkeep of every table.
///
/// # Errors
/// UNAVAILABLE `upkeep_stuck`, beside the step's own. It was given up: nothing is committed by it, or the next try finds it
/// committed.
fn unless_stuck<T, E: Into<Fault>>(
    (table, what): (&Table, &str),
    limit: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> impl Future<Output = Result<T, Fault>> {
    // In a box: a time-out holds what it waits for by value, and these are large.
    let step = tokio::time::timeout(limit, Box::pin(step));
    async move {
        match step.await {
            Ok(done) => done.map_err(Into::into),
            Err(_) => Err(Fault::new(
                Kind::Unavailable,
                "upkeep_stuck",
                format!(
                    "{what} of the table has not ended and was given up, table={}, waited={limit:?}; look whether the table's store answers, upkeep tries again at its next round",
                    table.name()
                ),
            )),
        }
    }
}

fn part_name(table: &Table, part: Part) -> TableName {
    match part {
        Part::Main => table.name(),
        Part::Quarantine => table.name().quarantine(),
    }
}
