//! What the log has to keep of the tables: frames with hot rows, but for those that stand in a file beside it.

use std::sync::Arc;

use super::super::parking::Parked;
use super::super::table::Table;
use super::{Entry, Visible};
use crate::types::Lsn;

impl Visible {
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
        parked: Parked,
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

    /// Producers of a table whose newest durable batch no commit has recorded yet.
    pub fn unrecorded(&self, table: &Table) -> Vec<Arc<str>> {
        let state = self.0.read();
        let entry = state.tables.get(&table.name().folded());
        entry.map_or_else(Vec::new, |e| e.moved.keys().cloned().collect())
    }
}

impl Entry {
    /// The oldest frame with hot rows that only the log keeps.
    pub(super) fn oldest_pinned(&self) -> Option<Lsn> {
        let held = self.table.backlog.lock().first_pinned(self.parked);
        [&self.main, &self.quarantine]
            .into_iter()
            .filter_map(|s| s.hot.chunks().iter().find(|c| c.last > self.parked))
            .map(|c| c.first)
            .chain(held)
            .min()
    }
}
