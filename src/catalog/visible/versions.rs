//! What commits do: versions in, and the hot rows that they cover out, in one step.

use std::sync::Arc;

use super::super::table::Table;
use super::super::view::ViewProgress;
use super::{Part, Visible};
use crate::cold::PinnedFiles;
use crate::hot::Chunk;
use crate::types::Lsn;

/// The hot rows that one commit takes: everything of a table up to `cut`.
pub struct Span {
    pub cut: Lsn,
    pub main: Arc<Vec<Chunk>>,
    pub quarantine: Arc<Vec<Chunk>>,
    pub moved: Vec<(Arc<str>, u64)>,
}

impl Visible {
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
}
