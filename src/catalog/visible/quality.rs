//! Counts of rows by their day of arrival and by commit, and what a checkpoint of the log keeps of them.

use std::collections::{BTreeMap, VecDeque};

use super::super::CommitQuality;
use super::super::table::{Committed, Table};
use super::{Entry, Visible};
use crate::records::{Day, Expected, Left, Replayed, Totals};
use crate::types::{Lsn, TableName};

/// What a checkpoint keeps of a table's arrivals and commits.
#[derive(Default)]
pub struct Kept {
    /// Counts per day of arrival.
    pub days: BTreeMap<i32, Day>,
    /// The newest replay that `days` count.
    pub replays: i64,
    pub expected: Expected,
}

/// Commits that are remembered for each table.
const COMMITS_KEPT: usize = 1000;

/// Counts on their way from arrival to commit.
#[derive(Default)]
pub(super) struct Quality {
    /// Of frames that no commit has taken yet.
    pub(super) open: Totals,
    /// Of frames up to the cut of the commit under way.
    pub(super) taken: Totals,
    commits: VecDeque<CommitQuality>,
}

impl Quality {
    pub(super) fn push(&mut self, commit: CommitQuality) {
        if self.commits.len() >= COMMITS_KEPT {
            self.commits.pop_front();
        }
        self.commits.push_back(commit);
    }
}

impl Visible {
    /// The table's version by which the frame at `offset` was committed first, among the commits that are remembered.
    pub fn version_of(&self, table: &Table, offset: Lsn) -> Option<i64> {
        let state = self.0.read();
        let commits = &state.tables.get(&table.name().folded())?.quality.commits;
        let first = commits.iter().position(|c| c.offset >= offset)?;
        // Whether the oldest one was the first, nobody knows: what was before it is forgotten.
        let known = first > 0 || commits.len() < COMMITS_KEPT;
        commits.get(first).filter(|_| known).map(|c| c.version)
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
            (e.table.name(), commits, open)
        });
        tables.collect()
    }

    /// Counts per day of arrival, per table.
    pub fn days(&self) -> Vec<(TableName, i32, Day)> {
        let state = self.0.read();
        let rows = state
            .tables
            .values()
            .flat_map(|e| e.days.iter().map(|(d, c)| (e.table.name(), *d, c.clone())));
        rows.collect()
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
    pub(super) fn count_replay(&mut self, replayed: &Replayed) {
        if replayed.number <= self.replays {
            return;
        }
        self.replays = replayed.number;
        for (day, left) in &replayed.days {
            self.days.entry(*day).or_default().replay(*left);
        }
    }
}
