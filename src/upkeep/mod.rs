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

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::catalog::Shared;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::fault::Fault;
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
    /// Files that turned out to be no better after compaction than before: by table and partition.
    settled: Mutex<HashMap<(u64, bool, String), Vec<String>>>,
    /// When each table was last vacuumed by itself, by incarnation.
    vacuumed: Mutex<BTreeMap<u64, crate::clock::Micros>>,
}

/// A contract's two Delta tables, in the order in which they are looked after.
const PARTS: [Part; 2] = [Part::Main, Part::Quarantine];

impl Upkeep {
    pub fn new(shared: Arc<Shared>, engine: Arc<Engine>, journal: Arc<Journal>) -> Arc<Self> {
        Arc::new(Upkeep {
            shared,
            engine,
            journal,
            turn: tokio::sync::Mutex::new(()),
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
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(this.shared.config.upkeep.interval);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {}
                    () = this.shared.draining.cancelled() => return,
                }
                for table in this.shared.tables() {
                    if table.is_parked() {
                        continue;
                    }
                    tokio::select! {
                        () = this.look_after(&table) => {}
                        () = this.shared.draining.cancelled() => return,
                    }
                }
            }
        });
    }

    /// One round for one table. What goes wrong is written down, and tried again at the next round.
    pub async fn look_after(&self, table: &Arc<Table>) {
        self.forget_producers(table);
        {
            let _turn = self.turn.lock().await;
            self.expire(table).await;
        }
        for part in PARTS {
            let _turn = self.turn.lock().await;
            self.compact_when_worth(table, part).await;
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
        if now.saturating_sub(last) >= every {
            self.vacuumed.lock().insert(table.incarnation.get(), now);
            let _turn = self.turn.lock().await;
            for part in PARTS {
                let run = self.journal.begin("vacuum", &part_name(table, part));
                let ended = self.vacuum_part(table, part, None, false).await;
                self.journal.end(run, ended.map(|v| v.outcome()));
            }
        }
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

fn part_name(table: &Table, part: Part) -> TableName {
    match part {
        Part::Main => table.name(),
        Part::Quarantine => table.name().quarantine(),
    }
}
