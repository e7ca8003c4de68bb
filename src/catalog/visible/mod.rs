//! What queries see: one read point for the server and, per table, the committed version beside the hot rows above it.
//!
//! The log's writer thread gathers the effects of a group of frames in [`Effects`] and applies them in one step when the
//! group is on disk; a commit swaps a table's version and drops the chunks it covers in one step; a query clones the whole
//! under a read lock. So no query sees half a frame, a gap or a double, at any instant.

mod group;
mod log_room;
#[cfg(test)]
mod model_tests;
mod quality;
mod versions;

pub use group::{Arrival, Effects, FrameEffect, ProducerMove};
pub use quality::Kept;
pub use versions::Span;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::sync::RwLock;

use self::quality::Quality;
use super::in_flight::HotBytes;
use super::table::Table;
use super::view::{Snapshot, TableView, ViewProgress};
use crate::cold::{GONE, PinnedFiles};
use crate::dataset;
use crate::fault::Fault;
use crate::hot::{Buffer, Chunk};
use crate::records::Day;
use crate::types::{Lsn, PUBLIC, TableName};

/// Which of a contract's two Delta tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Main,
    Quarantine,
}

struct Side {
    cold: Arc<PinnedFiles>,
    hot: Buffer,
    /// The last frame that had rows for this side, hot or committed.
    last_rows: Lsn,
}

impl Side {
    fn new(cold: Arc<PinnedFiles>) -> Self {
        Side {
            cold,
            hot: Buffer::default(),
            last_rows: Lsn::ZERO,
        }
    }

    /// What a snapshot is given.
    fn read(&self, parked: &Option<Fault>) -> (Arc<PinnedFiles>, Arc<Vec<Chunk>>) {
        match parked {
            Some(fault) => (
                Arc::new(self.cold.unreadable(fault.clone())),
                Arc::default(),
            ),
            None => (self.cold.clone(), self.hot.chunks().clone()),
        }
    }
}

struct Entry {
    table: Arc<Table>,
    main: Side,
    quarantine: Side,
    /// Producers whose newest durable seq no commit has recorded yet.
    moved: BTreeMap<Arc<str>, u64>,
    days: BTreeMap<i32, Day>,
    /// Hot rows up to here stand in a file beside the log, which need not keep them.
    parked: Lsn,
    /// The newest replay that `days` count.
    replays: i64,
    quality: Quality,
    /// Of a materialized view. Swapped together with its version, by the refresh alone.
    progress: Option<Arc<ViewProgress>>,
}

impl Entry {
    fn new(table: Arc<Table>, main: Arc<PinnedFiles>, quarantine: Arc<PinnedFiles>) -> Self {
        let is_view = table.contract().view.is_some();
        Entry {
            table,
            progress: is_view.then(|| Arc::new(ViewProgress::nothing())),
            main: Side::new(main),
            quarantine: Side::new(quarantine),
            moved: BTreeMap::new(),
            days: BTreeMap::new(),
            parked: Lsn::ZERO,
            replays: 0,
            quality: Quality::default(),
        }
    }

    fn side(&mut self, part: Part) -> &mut Side {
        match part {
            Part::Main => &mut self.main,
            Part::Quarantine => &mut self.quarantine,
        }
    }

    /// Tells those who follow the table that there will be no more.
    fn announce_end(&self) {
        for side in [&self.main, &self.quarantine] {
            if let Some(history) = side.cold.history() {
                history.announce(GONE);
            }
        }
    }
}

#[derive(Default)]
struct State {
    read_point: Lsn,
    tables: BTreeMap<TableName, Entry>,
}

impl State {
    /// None: this incarnation is gone.
    fn entry(&mut self, table: &Table) -> Option<&mut Entry> {
        let entry = self.tables.get_mut(&table.name().folded())?;
        (entry.table.incarnation == table.incarnation).then_some(entry)
    }

    /// False: this incarnation is gone.
    fn rename(&mut self, table: &Table, to: &TableName) -> bool {
        let Some(entry) = self.remove(table) else {
            return false;
        };
        table.rename(to);
        self.tables.insert(to.folded(), entry);
        true
    }

    fn remove(&mut self, table: &Table) -> Option<Entry> {
        let name = table.name().folded();
        if self
            .tables
            .get(&name)
            .is_some_and(|e| e.table.incarnation == table.incarnation)
        {
            return self.tables.remove(&name);
        }
        None
    }
}

/// What the console and `system.tables` say of a table's hot rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStatus {
    pub rows: usize,
    pub bytes: usize,
    pub quarantine_rows: usize,
    /// The oldest frame that the log keeps for the table.
    pub held_from: Option<Lsn>,
}

#[derive(Default)]
pub struct Visible(RwLock<State>);

impl Visible {
    /// One snapshot of everything: cheap, a few reference counts a table.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.0.read();
        let mut tables = BTreeMap::new();
        for entry in state.tables.values() {
            let contract = entry.table.contract();
            let name = contract.table.clone();
            let quarantine = name.quarantine();
            // Whoever reads a parked table has its reason as the error.
            let parked = entry.table.parked().map(|state| state.fault(&name));
            let (main, rejected) = (entry.main.read(&parked), entry.quarantine.read(&parked));
            tables.insert(
                name.folded(),
                TableView {
                    name,
                    contract: Some(contract.clone()),
                    schema: contract.table_schema(),
                    cold: main.0,
                    hot: main.1,
                    comment: None,
                    progress: entry.progress.clone(),
                },
            );
            // Nobody sends rows to a view, so none is rejected.
            if contract.view.is_some() {
                continue;
            }
            tables.insert(
                quarantine.folded(),
                TableView {
                    name: quarantine,
                    contract: None,
                    schema: dataset::quarantine_schema(),
                    cold: rejected.0,
                    hot: rejected.1,
                    comment: Some(format!("rejected rows of {}", contract.table)),
                    progress: None,
                },
            );
        }
        Snapshot {
            read_point: state.read_point,
            schema: PUBLIC.into(),
            tables: Arc::new(tables),
            defined: Arc::default(),
        }
    }

    pub fn read_point(&self) -> Lsn {
        self.0.read().read_point
    }

    pub fn add_table(
        &self,
        table: Arc<Table>,
        main: Arc<PinnedFiles>,
        quarantine: Arc<PinnedFiles>,
    ) {
        self.0
            .write()
            .tables
            .insert(table.name().folded(), Entry::new(table, main, quarantine));
    }

    pub fn remove_table(&self, table: &Table) {
        let gone = self.0.write().remove(table);
        gone.iter().for_each(Entry::announce_end);
    }

    /// At replay, when nobody reads yet.
    pub fn rename_table(&self, table: &Table, to: &TableName) -> bool {
        self.0.write().rename(table, to)
    }

    pub fn set_read_point(&self, durable: Lsn) {
        let mut state = self.0.write();
        state.read_point = state.read_point.max(durable);
    }

    pub fn hot_status(&self, table: &Table) -> HotStatus {
        let state = self.0.read();
        let Some(entry) = state.tables.get(&table.name().folded()) else {
            return HotStatus::default();
        };
        let waiting = entry.table.backlog.lock().bytes();
        HotStatus {
            rows: entry.main.hot.rows(),
            bytes: entry.main.hot.bytes() + entry.quarantine.hot.bytes() + waiting,
            quarantine_rows: entry.quarantine.hot.rows(),
            held_from: entry.oldest_pinned(),
        }
    }

    /// Changes whenever a table's rows may have: incarnation, version, hot rows. None if there is no such table.
    pub fn stamp(&self, table: &TableName) -> Option<(u64, i64, usize)> {
        let state = self.0.read();
        let entry = state.tables.get(&table.folded())?;
        Some((
            entry.table.incarnation.get(),
            entry.main.cold.version(),
            entry.main.hot.rows(),
        ))
    }

    /// Bytes of hot rows, against which `memory.hot_bytes_max` pushes back: over all tables, of those that cannot commit, and of
    /// `table`.
    pub fn hot_bytes(&self, table: &Table) -> HotBytes {
        let state = self.0.read();
        let mut sum = HotBytes::default();
        for entry in state.tables.values() {
            let bytes = entry.main.hot.bytes() + entry.quarantine.hot.bytes();
            sum.all += bytes;
            if entry.table.is_failing() {
                sum.failing += bytes;
            }
            if entry.table.incarnation == table.incarnation {
                sum.own += bytes;
            }
        }
        sum
    }
}
