//! What queries see: one read point for the server and, per table, the committed version beside the hot rows above it.
//!
//! The log's writer thread gathers the effects of a group of frames in [`Effects`] and applies them in one step when the
//! group is on disk; a commit swaps a table's version and drops the chunks it covers in one step; a query clones the whole
//! under a read lock. So no query sees half a frame, a gap or a double, at any instant.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use parking_lot::{Mutex, RwLock};

use super::expected::Expected;
use super::in_flight::Charge;
use super::producer::Totals;
use super::table::{Committed, Table};
use super::view::{Snapshot, TableView, ViewProgress};
use super::{CommitQuality, Day, Left, Registry, Replayed};
use crate::cold::{GONE, PinnedFiles};
use crate::dataset::{self, Contract};
use crate::fault::Fault;
use crate::hot::{Buffer, Chunk};
use crate::types::{Lsn, TableName};
use crate::validate::Applied;

/// A named producer's progress, to be recorded in the next commit's `txn`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerMove {
    pub producer: Arc<str>,
    pub seq: u64,
}

/// What is noted of a frame's rows beside the rows.
pub struct Arrival {
    /// The UTC day on which they came, in days since 1970.
    pub day: i32,
    pub counts: Totals,
    /// How often each rule was broken.
    pub violations: BTreeMap<String, u64>,
    /// None: an unnamed stream.
    pub moved: Option<ProducerMove>,
    pub offset: Lsn,
}

/// What a frame does once it is durable.
pub enum FrameEffect {
    Rows {
        table: Arc<Table>,
        applied: Applied,
        arrival: Arrival,
        /// Until the rows are counted as hot ones.
        charge: Charge,
    },
    Epoch {
        table: Arc<Table>,
        producer: Arc<str>,
        epoch: u64,
    },
    Create {
        table: Arc<Table>,
        main: Arc<PinnedFiles>,
        quarantine: Arc<PinnedFiles>,
    },
    Drop {
        table: Arc<Table>,
    },
    /// Rows have left the quarantine: both tables' versions, and the counts, in one step.
    Replayed {
        table: Arc<Table>,
        replayed: Replayed,
        /// Microseconds since 1970.
        at: i64,
        main: Arc<PinnedFiles>,
        quarantine: Arc<PinnedFiles>,
    },
    /// Another contract from here on, and the Delta version that tells it.
    Alter {
        table: Arc<Table>,
        contract: Arc<Contract>,
        main: Arc<PinnedFiles>,
    },
}

/// What a checkpoint keeps of a table's arrivals and commits.
#[derive(Default)]
pub struct Kept {
    /// Counts per day of arrival.
    pub days: BTreeMap<i32, Day>,
    /// The newest replay that `days` count.
    pub replays: i64,
    pub expected: Expected,
}

/// Effects of the group being written. Filled and drained by the log's writer thread alone; the lock only makes that visible to the compiler.
#[derive(Default)]
pub struct Effects(Mutex<Vec<FrameEffect>>);

impl Effects {
    pub fn push(&self, effect: FrameEffect) {
        self.0.lock().push(effect);
    }

    pub fn take(&self) -> Vec<FrameEffect> {
        std::mem::take(&mut *self.0.lock())
    }
}

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

/// Commits that are remembered for each table.
const COMMITS_KEPT: usize = 1000;

/// Counts on their way from arrival to commit.
#[derive(Default)]
struct Quality {
    /// Of frames that no commit has taken yet.
    open: Totals,
    /// Of frames up to the cut of the commit under way.
    taken: Totals,
    commits: VecDeque<CommitQuality>,
}

impl Quality {
    fn push(&mut self, commit: CommitQuality) {
        if self.commits.len() >= COMMITS_KEPT {
            self.commits.pop_front();
        }
        self.commits.push_back(commit);
    }
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

    fn count_replay(&mut self, replayed: &Replayed) {
        if replayed.number <= self.replays {
            return;
        }
        self.replays = replayed.number;
        for (day, left) in &replayed.days {
            self.days.entry(*day).or_default().replay(*left);
        }
    }

    fn side(&mut self, part: Part) -> &mut Side {
        match part {
            Part::Main => &mut self.main,
            Part::Quarantine => &mut self.quarantine,
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

/// The hot rows that one commit takes: everything of a table up to `cut`.
pub struct Span {
    pub cut: Lsn,
    pub main: Arc<Vec<Chunk>>,
    pub quarantine: Arc<Vec<Chunk>>,
    pub moved: Vec<(Arc<str>, u64)>,
}

/// What the console and `system.tables` say of a table's hot rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStatus {
    pub rows: usize,
    pub bytes: usize,
    pub quarantine_rows: usize,
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
            tables: Arc::new(tables),
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

    /// Makes a durable group visible as a whole, then moves the read point. Returns the tables whose hot rows passed `flush_bytes`.
    ///
    /// Creates and drops enter the registry here too, on the log's writer thread, so that a checkpoint made behind them knows them.
    pub fn apply_group(
        &self,
        registry: &RwLock<Registry>,
        effects: Vec<FrameEffect>,
        durable: Lsn,
        flush_bytes: usize,
    ) -> Vec<Arc<Table>> {
        let mut full = Vec::new();
        let (mut news, mut gone) = (Vec::new(), Vec::new());
        let mut state = self.0.write();
        for effect in effects {
            match effect {
                FrameEffect::Rows {
                    table,
                    applied,
                    arrival,
                    charge,
                } => {
                    if let Some(m) = &arrival.moved
                        && let Some(entry) = table.producers.lock().get_mut(&m.producer)
                    {
                        entry
                            .state
                            .on_durable(m.seq, arrival.offset, arrival.counts);
                    }
                    let Some(entry) = state.tables.get_mut(&table.name().folded()) else {
                        continue;
                    };
                    if entry.table.incarnation != table.incarnation {
                        continue;
                    }
                    entry.push_rows(applied, arrival, Lsn::ZERO, Lsn::ZERO);
                    drop(charge);
                    if entry.main.hot.bytes() + entry.quarantine.hot.bytes() >= flush_bytes {
                        full.push(table);
                    }
                }
                FrameEffect::Epoch {
                    table,
                    producer,
                    epoch,
                } => {
                    if let Some(entry) = table.producers.lock().get_mut(&producer) {
                        entry.state.on_durable_epoch(epoch);
                    }
                }
                FrameEffect::Create {
                    table,
                    main,
                    quarantine,
                } => {
                    registry.write().insert(table.clone());
                    // Where a view is given another query, its old life ends here.
                    let entry = Entry::new(table.clone(), main, quarantine);
                    gone.extend(state.tables.insert(table.name().folded(), entry));
                }
                FrameEffect::Replayed {
                    table,
                    replayed,
                    at,
                    main,
                    quarantine,
                } => {
                    if let Some(entry) = state.entry(&table) {
                        let mut left = Left::default();
                        for day in replayed.days.values() {
                            left.accepted += day.accepted;
                            left.duplicates += day.duplicates;
                        }
                        entry.quality.push(CommitQuality {
                            version: main.version(),
                            quarantine_version: quarantine.version(),
                            offset: table.committed.borrow().offset,
                            at,
                            counts: Totals::default(),
                            left,
                        });
                        news.extend([main.clone(), quarantine.clone()]);
                        entry.main.cold = main;
                        entry.quarantine.cold = quarantine;
                        entry.count_replay(&replayed);
                    }
                }
                FrameEffect::Alter {
                    table,
                    contract,
                    main,
                } => {
                    table.set_contract(contract.clone());
                    if let Some(entry) = state.tables.get_mut(&table.name().folded()) {
                        entry.main.hot.conform_to(&contract.table_schema());
                        news.push(main.clone());
                        entry.main.cold = main;
                    }
                }
                FrameEffect::Drop { table } => {
                    // Here and not when the statement began: a batch behind this frame is told of the drop, not acked, and a
                    // drop that the log did not take has changed nothing.
                    table.mark_dropped();
                    registry.write().remove(&table);
                    gone.extend(state.remove(&table));
                }
            }
        }
        state.read_point = state.read_point.max(durable);
        drop(state);
        news.iter().for_each(|view| view.announce());
        gone.iter().for_each(Entry::announce_end);
        full
    }

    /// Replay of one frame: rows that a commit already holds stay out, each side by its own `txn`.
    pub fn replay_rows(
        &self,
        table: &Arc<Table>,
        applied: Applied,
        arrival: Arrival,
        committed: Lsn,
        quarantine_committed: Lsn,
    ) {
        let mut state = self.0.write();
        if let Some(entry) = state.tables.get_mut(&table.name().folded()) {
            entry.push_rows(applied, arrival, committed, quarantine_committed);
        }
    }

    /// A frame of a parked table: its counts, without its rows.
    pub fn count_arrival(&self, table: &Table, arrival: &Arrival) {
        if let Some(entry) = self.0.write().entry(table) {
            entry.count(arrival);
        }
    }

    /// Rows of a repaired table that waited in its backlog. `counted`: [`Visible::count_arrival`] has had them.
    pub fn restore_rows(
        &self,
        table: &Table,
        applied: Applied,
        arrival: Arrival,
        counted: bool,
        (committed, quarantined): (Lsn, Lsn),
    ) {
        if let Some(entry) = self.0.write().entry(table) {
            if !counted {
                entry.count(&arrival);
            }
            entry.push_durable(applied, arrival, committed, quarantined);
        }
    }

    /// A table was opened anew: its versions, and its hot rows under its columns, without those that are committed.
    pub fn reopen(
        &self,
        table: &Table,
        (main, quarantine): (Arc<PinnedFiles>, Arc<PinnedFiles>),
        (committed, quarantined): (Lsn, Lsn),
    ) {
        if let Some(entry) = self.0.write().entry(table) {
            for (side, cold, offset) in [
                (&mut entry.main, main, committed),
                (&mut entry.quarantine, quarantine, quarantined),
            ] {
                side.hot.drop_up_to(offset);
                side.hot.conform_to(&cold.schema());
                side.cold = cold;
            }
        }
    }

    /// New versions without new rows (a claim, a checkpoint's clean-up).
    pub fn replace_cold(
        &self,
        table: &Table,
        main: Arc<PinnedFiles>,
        quarantine: Arc<PinnedFiles>,
    ) {
        let mut state = self.0.write();
        if let Some(entry) = state.tables.get_mut(&table.name().folded()) {
            entry.main.cold = main.clone();
            entry.quarantine.cold = quarantine.clone();
        }
        drop(state);
        main.announce();
        quarantine.announce();
    }

    /// A view's refresh: its version and what that version stands for, in one step.
    pub fn set_progress(&self, table: &Table, main: Arc<PinnedFiles>, progress: Arc<ViewProgress>) {
        let mut state = self.0.write();
        if let Some(entry) = state.tables.get_mut(&table.name().folded())
            && entry.table.incarnation == table.incarnation
        {
            entry.main.cold = main.clone();
            entry.progress = Some(progress);
        }
        drop(state);
        main.announce();
    }

    pub fn set_read_point(&self, durable: Lsn) {
        let mut state = self.0.write();
        state.read_point = state.read_point.max(durable);
    }

    /// The rows that a commit of this table takes now; none if there is nothing hot. Rows that come later stay apart from them.
    pub fn span(&self, table: &Table) -> Option<Span> {
        let mut state = self.0.write();
        let cut = state.read_point;
        let entry = state.tables.get_mut(&table.name().folded())?;
        if entry.table.incarnation != table.incarnation
            || (entry.main.hot.chunks().is_empty() && entry.quarantine.hot.chunks().is_empty())
        {
            return None;
        }
        entry.main.hot.seal(cut);
        entry.quarantine.hot.seal(cut);
        let open = std::mem::take(&mut entry.quality.open);
        entry.quality.taken.add(open);
        Some(Span {
            cut,
            main: entry.main.hot.chunks().clone(),
            quarantine: entry.quarantine.hot.chunks().clone(),
            moved: entry.moved.iter().map(|(p, s)| (p.clone(), *s)).collect(),
        })
    }

    /// The read point, if the table has no hot rows up to it.
    pub fn all_cold(&self, table: &Table) -> Option<Lsn> {
        let state = self.0.read();
        let entry = state.tables.get(&table.name().folded())?;
        let hot = [&entry.main.hot, &entry.quarantine.hot];
        let cold = hot.iter().all(|side| side.chunks().is_empty());
        (cold && entry.table.incarnation == table.incarnation).then_some(state.read_point)
    }

    /// The table's version by which the frame at `offset` was committed first, among the commits that are remembered.
    pub fn version_of(&self, table: &Table, offset: Lsn) -> Option<i64> {
        let state = self.0.read();
        let commits = &state.tables.get(&table.name().folded())?.quality.commits;
        let first = commits.iter().position(|c| c.offset >= offset)?;
        // Whether the oldest one was the first, nobody knows: what was before it is forgotten.
        let known = first > 0 || commits.len() < COMMITS_KEPT;
        commits.get(first).filter(|_| known).map(|c| c.version)
    }

    /// A commit has happened: the version in and the chunks out, in one step.
    pub fn swap(
        &self,
        table: &Table,
        part: Part,
        cold: Arc<PinnedFiles>,
        cut: Lsn,
        recorded: &[(Arc<str>, u64)],
    ) {
        let mut state = self.0.write();
        let Some(entry) = state.tables.get_mut(&table.name().folded()) else {
            return;
        };
        if entry.table.incarnation != table.incarnation {
            return;
        }
        let side = entry.side(part);
        side.cold = cold.clone();
        side.hot.drop_up_to(cut);
        for (producer, seq) in recorded {
            if entry.moved.get(producer).is_some_and(|now| now <= seq) {
                entry.moved.remove(producer);
            }
        }
        drop(state);
        cold.announce();
    }

    /// All of a span is in Delta now: what it was made of goes into the history of commits.
    pub fn committed(&self, table: &Table, committed: Committed, at: i64) {
        if let Some(entry) = self.0.write().entry(table) {
            let counts = std::mem::take(&mut entry.quality.taken);
            let commit = CommitQuality {
                version: entry.main.cold.version(),
                quarantine_version: entry.quarantine.cold.version(),
                offset: committed.offset,
                at,
                counts,
                left: Left::default(),
            };
            entry.quality.push(commit);
        }
    }

    /// The newest commits of each table, oldest first, and the counts of what no commit has taken yet.
    pub fn quality(&self) -> Vec<(TableName, Vec<CommitQuality>, Totals)> {
        let state = self.0.read();
        let tables = state.tables.values().map(|e| {
            let mut open = e.quality.open;
            open.add(e.quality.taken);
            let commits = e.quality.commits.iter().copied().collect();
            (e.table.name().clone(), commits, open)
        });
        tables.collect()
    }

    /// Every data frame up to here is in Delta: what the log may let go of.
    pub fn trim_point(&self) -> Lsn {
        let state = self.0.read();
        let oldest_hot = state.tables.values().filter_map(Entry::oldest_pinned).min();
        oldest_hot.map_or(state.read_point, |lsn| {
            Lsn::new(lsn.get().saturating_sub(1))
        })
    }

    /// Does the log have to keep rows of this table?
    pub fn is_pinning(&self, table: &Table) -> bool {
        let state = self.0.read();
        let entry = state.tables.get(&table.name().folded());
        entry.is_some_and(|e| {
            e.table.incarnation == table.incarnation && e.oldest_pinned().is_some()
        })
    }

    pub fn set_parked(&self, table: &Table, cut: Lsn) {
        let mut state = self.0.write();
        if let Some(entry) = state.tables.get_mut(&table.name().folded())
            && entry.table.incarnation == table.incarnation
        {
            entry.parked = entry.parked.max(cut);
        }
    }

    /// A commit up to `cut` has happened. True if it holds all that was parked.
    pub fn unpark(&self, table: &Table, cut: Lsn) -> bool {
        let mut state = self.0.write();
        match state.tables.get_mut(&table.name().folded()) {
            Some(entry) if entry.parked > Lsn::ZERO && entry.parked <= cut => {
                entry.parked = Lsn::ZERO;
                true
            }
            _ => false,
        }
    }

    /// Is part of the table's rows in a file beside the log?
    pub fn is_parked(&self, table: &Table) -> bool {
        let state = self.0.read();
        let entry = state.tables.get(&table.name().folded());
        entry.is_some_and(|e| e.parked > Lsn::ZERO)
    }

    /// Recovery: what a file beside the log held, but for what commits hold by now.
    pub fn restore_parked(
        &self,
        table: &Table,
        parked: super::parking::Parked,
        main_committed: Lsn,
        quarantine_committed: Lsn,
    ) {
        let mut state = self.0.write();
        let Some(entry) = state.tables.get_mut(&table.name().folded()) else {
            return;
        };
        let sides = [
            (&mut entry.main, parked.main, main_committed),
            (
                &mut entry.quarantine,
                parked.quarantine,
                quarantine_committed,
            ),
        ];
        for (side, chunks, committed) in sides {
            let schema = side.cold.schema();
            let hot = chunks.into_iter().filter(|c| c.last > committed);
            hot.for_each(|chunk| side.hot.restore(chunk));
            side.hot.conform_to(&schema);
        }
        for (producer, seq) in parked.moved {
            let newest = entry.moved.entry(producer.as_str().into()).or_default();
            *newest = (*newest).max(seq);
        }
        entry.parked = parked.cut;
    }

    pub fn hot_status(&self, table: &Table) -> HotStatus {
        let state = self.0.read();
        let Some(entry) = state.tables.get(&table.name().folded()) else {
            return HotStatus::default();
        };
        HotStatus {
            rows: entry.main.hot.rows(),
            bytes: entry.main.hot.bytes()
                + entry.quarantine.hot.bytes()
                + entry.table.backlog.lock().bytes(),
            quarantine_rows: entry.quarantine.hot.rows(),
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

    /// Bytes of hot rows over all tables, against which `memory.hot_bytes_max` pushes back; and those of tables that
    /// cannot commit, which may have a part of it only.
    pub fn hot_bytes(&self) -> (usize, usize) {
        let state = self.0.read();
        state.tables.values().fold((0, 0), |(all, failing), e| {
            let bytes = e.main.hot.bytes() + e.quarantine.hot.bytes();
            let failing = failing + if e.table.is_failing() { bytes } else { 0 };
            (all + bytes, failing)
        })
    }

    /// Counts per day of arrival, per table.
    pub fn days(&self) -> Vec<(TableName, i32, Day)> {
        let state = self.0.read();
        let rows = state.tables.values().flat_map(|e| {
            e.days
                .iter()
                .map(|(d, c)| (e.table.name().clone(), *d, c.clone()))
        });
        rows.collect()
    }

    /// Producers of a table whose newest durable batch no commit has recorded yet.
    pub fn unrecorded(&self, table: &Table) -> Vec<Arc<str>> {
        let state = self.0.read();
        let entry = state.tables.get(&table.name().folded());
        entry.map_or_else(Vec::new, |e| e.moved.keys().cloned().collect())
    }

    /// What a checkpoint tells of arrivals, and of the replays that they count.
    pub fn restore_days(&self, table: &Table, days: BTreeMap<i32, Day>, replays: i64) {
        if let Some(entry) = self.0.write().entry(table) {
            entry.days = days;
            entry.replays = replays;
        }
    }

    /// Replay of the log: a frame that tells of rows that left the quarantine.
    pub fn count_replay(&self, table: &Table, replayed: &Replayed) {
        if let Some(entry) = self.0.write().entry(table) {
            entry.count_replay(replayed);
        }
    }

    /// The newest replay of the table's quarantine that the counts know of.
    pub fn replays(&self, table: &Table) -> i64 {
        let mut state = self.0.write();
        state.entry(table).map_or(0, |e| e.replays)
    }

    /// What a checkpoint tells of the Delta tables, and the rows that the table's own `txn`s say are in them.
    pub fn restore_expected(&self, table: &Table, expected: Expected, committed: [Lsn; 2]) {
        *table.expected.lock() = expected;
        if let Some(entry) = self.0.write().entry(table) {
            entry.main.last_rows = expected.main.offset.max(committed[0]);
            entry.quarantine.last_rows = expected.quarantine.offset.max(committed[1]);
        }
    }

    /// What the checkpoint of a segment keeps of a table. On the log's writer thread: all frames before the segment are applied.
    pub fn kept_of(&self, table: &Table) -> Kept {
        let mut expected = *table.expected.lock();
        let state = self.0.read();
        let Some(entry) = state.tables.get(&table.name().folded()) else {
            return Kept::default();
        };
        expected.main.offset = entry.main.last_rows;
        expected.quarantine.offset = entry.quarantine.last_rows;
        Kept {
            days: entry.days.clone(),
            replays: entry.replays,
            expected,
        }
    }
}

impl Entry {
    /// Tells those who follow the table that there will be no more.
    fn announce_end(&self) {
        for side in [&self.main, &self.quarantine] {
            if let Some(history) = side.cold.history() {
                history.announce(GONE);
            }
        }
    }

    /// The oldest frame with hot rows that only the log keeps.
    fn oldest_pinned(&self) -> Option<Lsn> {
        let held = self.table.backlog.lock().first_pinned(self.parked);
        [&self.main, &self.quarantine]
            .into_iter()
            .filter_map(|s| s.hot.chunks().iter().find(|c| c.last > self.parked))
            .map(|c| c.first)
            .chain(held)
            .min()
    }

    fn push_rows(
        &mut self,
        applied: Applied,
        arrival: Arrival,
        committed: Lsn,
        quarantine_committed: Lsn,
    ) {
        self.count(&arrival);
        self.push_durable(applied, arrival, committed, quarantine_committed);
    }

    fn count(&mut self, arrival: &Arrival) {
        let day = self.days.entry(arrival.day).or_default();
        day.add(arrival.counts, &arrival.violations);
    }

    /// [`Entry::push_rows`] for rows that are counted already.
    fn push_durable(
        &mut self,
        applied: Applied,
        arrival: Arrival,
        committed: Lsn,
        quarantine_committed: Lsn,
    ) {
        let Arrival {
            counts,
            moved,
            offset,
            ..
        } = arrival;
        let unnamed = moved.is_none();
        if offset > committed {
            self.quality.open.add(counts);
        }
        if let Some(m) = moved
            && offset > committed
        {
            let newest = self.moved.entry(m.producer).or_default();
            *newest = (*newest).max(m.seq);
        }
        let (accepted, rejected) = applied.into_sides();
        if let Some(batch) = accepted
            && offset > committed
        {
            self.main.last_rows = self.main.last_rows.max(offset);
            self.main.hot.push(
                if unnamed {
                    with_seq(batch, offset)
                } else {
                    batch
                },
                offset,
            );
        }
        if let Some(batch) = rejected
            && offset > quarantine_committed
        {
            self.quarantine.last_rows = self.quarantine.last_rows.max(offset);
            self.quarantine.hot.push(
                if unnamed {
                    with_seq(batch, offset)
                } else {
                    batch
                },
                offset,
            );
        }
    }
}

/// Rows of unnamed streams bear their frame's offset as `_seq`, which is known only now.
fn with_seq(batch: RecordBatch, offset: Lsn) -> RecordBatch {
    let schema = batch.schema();
    let Ok(index) = schema.index_of("_seq") else {
        return batch;
    };
    let value = i64::try_from(offset.get()).unwrap_or(i64::MAX);
    let mut columns = batch.columns().to_vec();
    columns[index] = Arc::new(Int64Array::from_value(value, batch.num_rows()));
    // The column keeps its type and has no nulls, so the batch stays what it was.
    RecordBatch::try_new(schema, columns).unwrap_or(batch)
}
