//! The one way to change a table past the log. A [`TableWriter`] holds a table's locks, taken in their one order: gate, keys,
//! cold. While it lives, no batch is admitted to a table whose rules ask earlier rows, the contract stays, and nobody else
//! commits. Where it begins, everything that was admitted is durable and committed; where it ends, queries and waiters learn
//! of the new version, and the table's keys are what the table's rows say.
//!
//! A batch that was admitted and is not durable yet is in no query's snapshot. Whoever reads keys, or takes rows out, without
//! waiting for it lets its keys in a second time: so the wait stands here, and not with the callers.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use tokio::sync::MutexGuard;

use super::Shared;
use super::control::settle;
use super::ddl_lock::Patience;
use super::expected::note_unlogged;
use super::locks::{ClosedGate, CommitLock, Gate};
use super::table::{Cold, Hold, Table};
use super::view::ViewProgress;
use super::visible::Part;
use crate::cold::{self, At, ColdTable, Reason, Removal, Staged};
use crate::fault::Fault;
use crate::flush;
use crate::types::ColumnMoves;
use crate::validate::{Additions, Keys, Validator};

/// The right to change one table's files. Dropped, it publishes what the table has come to.
pub struct TableWriter<'a> {
    shared: &'a Arc<Shared>,
    table: &'a Arc<Table>,
    validator: Arc<Validator>,
    cold: CommitLock<'a>,
    /// None: rows stay what they are, only files change.
    keys: Option<MutexGuard<'a, Keys>>,
    /// Rows of the table may have come or gone, and the keys do not know.
    stale: bool,
    shows: Shows,
    /// What those are told who wait.
    _hold: Option<Hold>,
    _gate: Option<Admits<'a>>,
}

/// How others learn of the versions that a writer leaves behind.
enum Shows {
    /// From its end on, also after an error: what is known of the table is what its handle has read last.
    AtEnd,
    /// By a frame of the log, which brings the contract as well.
    ByFrame,
    /// With what the view's rows stand for, in one step; none: nothing new is known of them.
    WithProgress(Option<Arc<ViewProgress>>),
}

/// Do batches come in meanwhile?
enum Admits<'a> {
    /// To tables whose rules ask no earlier rows.
    Yes {
        _gate: Gate<'a>,
    },
    No {
        _gate: ClosedGate<'a>,
    },
}

impl<'a> TableWriter<'a> {
    /// For whoever adds rows, takes rows out or changes them. `what`: as those are told who wait meanwhile.
    ///
    /// # Errors
    /// NOT_FOUND `table_dropped`; ABORTED `table_busy` after `query.timeout`; the log's; the store's.
    pub async fn begin(
        shared: &'a Arc<Shared>,
        table: &'a Arc<Table>,
        what: &str,
    ) -> Result<Self, Fault> {
        let patience = Patience::of_statement(&shared.config);
        let gate = table.open_gate(patience).await?;
        table.check_alive()?;
        let validator = table.validator();
        let keys = gate.keys(patience).await?;
        if validator.needs_history() {
            settle(shared, table).await?;
        }
        let mut cold = table.commit_lock_within(patience).await?;
        let hold = table.hold(what);
        table.check_alive()?;
        make_sure(&mut cold).await?;
        flush::commit_locked(shared, table, &mut cold).await?;
        Ok(TableWriter {
            shared,
            table,
            validator,
            cold,
            keys: Some(keys),
            stale: false,
            shows: Shows::AtEnd,
            _hold: Some(hold),
            _gate: Some(Admits::Yes { _gate: gate }),
        })
    }

    /// For whoever puts the same rows into other files. It holds the commit lock alone, so no stream waits for it.
    ///
    /// # Errors
    /// As [`TableWriter::begin`].
    pub async fn same_rows(shared: &'a Arc<Shared>, table: &'a Arc<Table>) -> Result<Self, Fault> {
        let patience = Patience::of_statement(&shared.config);
        let mut cold = table.commit_lock_within(patience).await?;
        table.check_alive()?;
        // Rows of a flush that may have happened must not be seen twice.
        if cold.unsure {
            flush::settle(shared, table, &mut cold).await?;
        }
        make_sure(&mut cold).await?;
        Ok(TableWriter {
            shared,
            table,
            validator: table.validator(),
            cold,
            keys: None,
            stale: false,
            shows: Shows::AtEnd,
            _hold: None,
            _gate: None,
        })
    }

    /// For the refresh of a view, whose rows nobody else writes. What it commits is shown with [`TableWriter::reach`].
    ///
    /// # Errors
    /// As [`TableWriter::same_rows`].
    pub async fn refresh_of(shared: &'a Arc<Shared>, view: &'a Arc<Table>) -> Result<Self, Fault> {
        let mut writer = Self::same_rows(shared, view).await?;
        writer.shows = Shows::WithProgress(None);
        Ok(writer)
    }

    /// For whoever changes the contract: no batch is judged meanwhile, and every batch that was judged before has its place in
    /// the log. It may be a table that is parked, which the change mends; one that could not be opened cannot be changed. The
    /// frame of the change shows the version.
    ///
    /// # Errors
    /// NOT_FOUND `table_dropped`; UNAVAILABLE `table_parked`; ABORTED `table_busy`; the store's.
    pub async fn closed(
        shared: &'a Arc<Shared>,
        table: &'a Arc<Table>,
        what: &str,
        patience: Patience,
    ) -> Result<Self, Fault> {
        let closed = table.close(patience).await?;
        let mut cold = closed.cold;
        let hold = table.hold(what);
        if table.is_dropped() {
            return Err(table.dropped());
        }
        if cold.main.version() < 0 {
            table.served()?;
        }
        // The version of the change would show rows a second time that a flush may have committed.
        if cold.unsure {
            flush::settle(shared, table, &mut cold).await?;
        }
        Ok(TableWriter {
            shared,
            table,
            validator: table.validator(),
            cold,
            keys: Some(closed.keys),
            stale: false,
            shows: Shows::ByFrame,
            _hold: Some(hold),
            _gate: Some(Admits::No { _gate: closed.gate }),
        })
    }

    /// [`TableWriter::closed`], with every batch committed that has its place in the log: no row is hot, and no frame from
    /// before is made rows of again.
    ///
    /// # Errors
    /// As [`TableWriter::closed`]; UNAVAILABLE `table_parked`; the log's.
    pub async fn closed_without_hot_rows(
        shared: &'a Arc<Shared>,
        table: &'a Arc<Table>,
        what: &str,
        patience: Patience,
    ) -> Result<Self, Fault> {
        // Most of them while batches still come.
        let mut cold = table.commit_lock_within(patience).await?;
        flush::commit_locked(shared, table, &mut cold).await?;
        drop(cold);
        let mut writer = Self::closed(shared, table, what, patience).await?;
        // What follows needs room in the log, which the rest of them may fill.
        flush::commit_locked(shared, table, &mut writer.cold).await?;
        settle(shared, table).await?;
        flush::commit_locked(shared, table, &mut writer.cold).await?;
        Ok(writer)
    }

    /// What judges rows while this lives.
    pub fn validator(&self) -> &Arc<Validator> {
        &self.validator
    }

    /// One of the two Delta tables, to read and to stage files.
    pub fn files(&self, part: Part) -> &ColdTable {
        self.cold.part(part)
    }

    /// Reads what others have written to the table.
    ///
    /// # Errors
    /// The store's.
    pub async fn refresh(&mut self, part: Part) -> Result<(), Fault> {
        Ok(self.cold.part_mut(part).refresh().await?)
    }

    /// What is known of the table's rows; none if no rule asks.
    ///
    /// # Errors
    /// The query's that reads it.
    pub async fn known(&mut self) -> Result<Option<&mut Keys>, Fault> {
        let Some(keys) = self.keys.as_deref_mut() else {
            return Ok(None);
        };
        if !self.validator.needs_history() {
            return Ok(None);
        }
        let lookups = &self.shared.lookups;
        lookups
            .load_keys(self.shared, self.table, &self.validator, keys)
            .await?;
        Ok(Some(keys))
    }

    /// What is known of the rows that a removal leaves; none if no rule asks.
    ///
    /// # Errors
    /// The query's that reads it.
    pub async fn known_without(&self, removal: &Removal) -> Result<Option<Keys>, Fault> {
        if !self.validator.needs_history() {
            return Ok(None);
        }
        let left = self.cold.main.view_without(removal)?;
        let lookups = &self.shared.lookups;
        lookups.keys_in(&self.validator, left).await.map(Some)
    }

    /// Commits a version: `removal` out, `staged` in.
    ///
    /// # Errors
    /// As [`ColdTable::rewrite`].
    pub async fn rewrite(
        &mut self,
        part: Part,
        removal: &Removal,
        staged: Staged,
        reason: &Reason,
        txns: &[(String, i64)],
    ) -> Result<i64, cold::Error> {
        // Before the outcome is known: after an error too the table may hold what the keys do not say.
        self.stale |= part == Part::Main;
        self.cold
            .part_mut(part)
            .rewrite(removal, staged, reason, txns)
            .await
    }

    /// Commits an older version's files as the newest version.
    ///
    /// # Errors
    /// As [`ColdTable::restore`].
    pub async fn restore(&mut self, part: Part, at: At) -> Result<Option<i64>, cold::Error> {
        self.stale |= part == Part::Main;
        self.cold.part_mut(part).restore(at).await
    }

    /// Commits the columns and properties of another contract; `dropped`: properties that it has no more; `moves`: what becomes
    /// of the columns that are there. Its version is in no frame, and a start has to find it: that is noted before the frame of
    /// the change.
    ///
    /// # Errors
    /// As [`ColdTable::alter`].
    pub async fn alter(
        &mut self,
        schema: SchemaRef,
        properties: BTreeMap<String, String>,
        dropped: &[String],
        moves: &ColumnMoves,
    ) -> Result<(), cold::Error> {
        self.stale = true;
        let main = &mut self.cold.main;
        main.alter(schema, properties, dropped, moves).await?;
        note_unlogged(self.shared, self.table, &self.cold);
        Ok(())
    }

    /// What a view's rows stand for from now on.
    pub fn reach(&mut self, progress: ViewProgress) {
        self.shows = Shows::WithProgress(Some(Arc::new(progress)));
    }

    /// The rows of the one commit are known from now on, and need not be read again.
    pub fn learn(&mut self, additions: Additions) {
        if let Some(keys) = self.keys.as_deref_mut()
            && keys.is_loaded()
        {
            keys.add(additions);
            self.stale = false;
        }
    }

    /// The keys were told of rows that are not in the table.
    pub fn forget(&mut self) {
        self.stale = true;
    }

    /// The commit lock's own, for what is more than a version.
    pub fn cold(&mut self) -> &mut Cold {
        &mut self.cold
    }
}

impl Drop for TableWriter<'_> {
    fn drop(&mut self) {
        if self.stale
            && let Some(keys) = self.keys.as_deref_mut()
        {
            keys.forget();
        }
        // Nothing is shown of a table whose last flush may or may not have happened.
        if self.cold.unsure {
            return;
        }
        let main = self.cold.main.view();
        match &self.shows {
            Shows::AtEnd => publish(self.shared, self.table, &self.cold),
            // The frame has shown it, or never will: then the next start decides.
            Shows::ByFrame => self.table.note_version(&self.cold),
            Shows::WithProgress(None) => {}
            Shows::WithProgress(Some(progress)) => {
                let visible = &self.shared.visible;
                visible.set_progress(self.table, main, progress.clone());
                note_unlogged(self.shared, self.table, &self.cold);
                self.table.note_version(&self.cold);
            }
        }
    }
}

/// Reads the log of a table whose last commit has an outcome that nobody waited for, or could learn: what a writer decides by the
/// table's files must not be decided by old ones.
async fn make_sure(cold: &mut Cold) -> Result<(), cold::Error> {
    cold.main.make_sure().await?;
    cold.quarantine.make_sure().await
}

/// Queries and waiters learn of the versions that the table has come to. With the commit lock held. Also after an error: what
/// is known of the table is what its handle has read last.
pub fn publish(shared: &Shared, table: &Table, cold: &Cold) {
    shared
        .visible
        .replace_cold(table, cold.main.view(), cold.quarantine.view());
    note_unlogged(shared, table, cold);
    table.note_version(cold);
}
