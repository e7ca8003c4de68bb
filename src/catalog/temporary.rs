//! Temporary tables: those of one client session, whose rows are in memory alone. No log and no Delta table has them, and they end
//! with the session's [`TemporaryTables`].
//!
//! A query meets them as tables of its snapshot whose rows are all hot ([`TemporaryTables::over`]); what it has read so far stays
//! while it runs, whatever becomes of the table. The rows of all sessions together, and of each alone, are bounded in bytes. This
//! module knows neither sessions nor SQL.

mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::sync::Mutex;
use arrow::array::RecordBatch;
use tokio::sync::OwnedMutexGuard;

use super::lifecycle::IfThere;
use super::view::{Snapshot, TableView};
use crate::cold::PinnedFiles;
use crate::dataset::TEMPORARY_SCHEMA;
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::types::{SameName, TableName};
use crate::validate::Validator;

pub use memory::{Limits, TemporaryMemory, TemporaryRows};

/// A temporary table as a statement finds it.
#[derive(Clone, Debug)]
pub struct TemporaryTable {
    pub view: TableView,
    /// What its rows are judged by.
    pub by: Arc<Validator>,
}

#[derive(Debug)]
struct Stored {
    name: TableName,
    by: Arc<Validator>,
    /// No files: what a query reads beside the hot rows.
    cold: Arc<PinnedFiles>,
    rows: TemporaryRows,
}

impl Stored {
    fn view(&self) -> TableView {
        let contract = self.by.contract().clone();
        TableView {
            name: self.name.clone(),
            schema: contract.table_schema(),
            contract: Some(contract),
            cold: self.cold.clone(),
            hot: self.rows.chunks().clone(),
            comment: None,
            progress: None,
        }
    }
}

/// The temporary tables of one session.
#[derive(Debug, Default)]
pub struct TemporaryTables {
    memory: Arc<TemporaryMemory>,
    /// Bytes of this session.
    held: Arc<Mutex<usize>>,
    /// By the table's name in lower case.
    tables: Mutex<BTreeMap<String, Stored>>,
    /// Held by each statement that changes a table, so that it finds at its end what it found at its start.
    writing: Arc<tokio::sync::Mutex<()>>,
}

fn key(name: &TableName) -> Option<String> {
    let own = name.schema().eq_ignore_ascii_case(TEMPORARY_SCHEMA);
    own.then(|| name.table().folded_name())
}

fn not_there(name: &TableName) -> Fault {
    Fault::new(
        Kind::NotFound,
        "table_not_found",
        format!(
            "the session has no such temporary table, table={name}; SHOW TABLES FROM {TEMPORARY_SCHEMA} lists its tables while there are any, CREATE TEMP TABLE makes one"
        ),
    )
}

impl TemporaryTables {
    pub fn new(memory: &Arc<TemporaryMemory>) -> Self {
        TemporaryTables {
            memory: memory.clone(),
            ..TemporaryTables::default()
        }
    }

    pub fn is_empty(&self) -> bool {
        self.tables.lock().is_empty()
    }

    pub fn is_there(&self, name: &TableName) -> bool {
        key(name).is_some_and(|key| self.tables.lock().contains_key(&key))
    }

    /// How many tables there are, and the bytes of their rows.
    pub fn held(&self) -> (usize, usize) {
        (self.tables.lock().len(), *self.held.lock())
    }

    /// # Errors
    /// NOT_FOUND `table_not_found`.
    pub fn get(&self, name: &TableName) -> Result<TemporaryTable, Fault> {
        let tables = self.tables.lock();
        let found = key(name).and_then(|key| tables.get(&key));
        let found = found.ok_or_else(|| not_there(name))?;
        Ok(TemporaryTable {
            view: found.view(),
            by: found.by.clone(),
        })
    }

    /// Rows of none of the tables, which are counted as the session's.
    pub fn rows(&self) -> TemporaryRows {
        TemporaryRows::new(&self.memory, &self.held)
    }

    /// Waits until no other statement changes a temporary table of the session.
    ///
    /// # Errors
    /// ABORTED `table_busy`.
    pub async fn begin(&self, wait: Duration) -> Result<OwnedMutexGuard<()>, Fault> {
        let taken = tokio::time::timeout(wait, self.writing.clone().lock_owned()).await;
        taken.map_err(|_| {
            Fault::new(
                Kind::Conflict,
                "table_busy",
                "another statement of the session changes a temporary table for longer than query.timeout; nothing was changed: run this one when it has ended",
            )
        })
    }

    /// False: it is there, and that is fine.
    ///
    /// # Errors
    /// ALREADY_EXISTS `table_exists`; RESOURCE_EXHAUSTED `temporary_tables_max`.
    pub fn may_be_created(&self, name: &TableName, there: IfThere) -> Result<bool, Fault> {
        let is_there = self.is_there(name);
        match there {
            IfThere::Keep if is_there => return Ok(false),
            IfThere::Refuse if is_there => {
                return Err(Fault::new(
                    Kind::AlreadyExists,
                    "table_exists",
                    format!(
                        "the session has this temporary table already, table={name}; DROP TABLE it first, or say IF NOT EXISTS or CREATE OR REPLACE TEMP TABLE"
                    ),
                ));
            }
            _ => {}
        }
        let limit = self.memory.limits.tables;
        if !is_there && self.tables.lock().len() >= limit {
            return Err(Fault::new(
                Kind::Exhausted,
                "temporary_tables_max",
                format!(
                    "the session has as many temporary tables as it may have, limit={limit}; drop some, or raise limits.temporary_tables_max"
                ),
            ));
        }
        Ok(true)
    }

    /// Puts a table with its first rows in its place. Returns how many they are.
    ///
    /// # Errors
    /// As [`TemporaryTables::may_be_created`].
    pub fn create(
        &self,
        by: Arc<Validator>,
        cold: Arc<PinnedFiles>,
        there: IfThere,
        rows: TemporaryRows,
    ) -> Result<u64, Fault> {
        let name = by.contract().table.clone();
        if !self.may_be_created(&name, there)? {
            return Ok(0);
        }
        let count = rows.count();
        let stored = Stored {
            by,
            cold,
            rows,
            name: name.clone(),
        };
        let key = key(&name).ok_or_else(|| not_there(&name))?;
        let old = self.tables.lock().insert(key, stored);
        drop(old);
        Ok(count)
    }

    /// # Errors
    /// NOT_FOUND; ABORTED `contract_changed`: the table was made anew since `by` judged the rows.
    fn with<T>(
        &self,
        name: &TableName,
        by: &Arc<Validator>,
        work: impl FnOnce(&mut Stored) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let mut tables = self.tables.lock();
        let found = key(name).and_then(|key| tables.get_mut(&key));
        let found = found.ok_or_else(|| not_there(name))?;
        if !Arc::ptr_eq(&found.by, by) {
            return Err(Fault::new(
                Kind::Conflict,
                "contract_changed",
                format!(
                    "the temporary table was made anew while the statement ran, table={name}; nothing was written, run it again"
                ),
            ));
        }
        work(found)
    }

    /// Adds rows that `by` has judged. Returns how many.
    ///
    /// # Errors
    /// NOT_FOUND; ABORTED `contract_changed`.
    pub fn append(
        &self,
        name: &TableName,
        by: &Arc<Validator>,
        rows: TemporaryRows,
    ) -> Result<u64, Fault> {
        self.with(name, by, |stored| {
            let count = rows.count();
            stored.rows.append(rows);
            Ok(count)
        })
    }

    /// Puts rows in the place of all that the table has. Batches that it had before are counted once.
    ///
    /// # Errors
    /// As [`TemporaryTables::append`]; RESOURCE_EXHAUSTED `temporary_full`: the table is as it was then.
    pub fn exchange(
        &self,
        name: &TableName,
        by: &Arc<Validator>,
        rows: Vec<RecordBatch>,
    ) -> Result<(), Fault> {
        self.with(name, by, |stored| stored.rows.exchange(rows))
    }

    /// True if it was there.
    ///
    /// # Errors
    /// NOT_FOUND, unless it need not be there.
    pub fn drop_table(&self, name: &TableName, if_exists: bool) -> Result<bool, Fault> {
        let gone = key(name).and_then(|key| self.tables.lock().remove(&key));
        match gone {
            Some(_) => Ok(true),
            None if if_exists => Ok(false),
            None => Err(not_there(name)),
        }
    }

    /// The snapshot with these tables.
    pub fn over(&self, mut snapshot: Snapshot) -> Snapshot {
        let own = self.tables.lock();
        if own.is_empty() {
            return snapshot;
        }
        let views = own.values().map(|stored| {
            let view = stored.view();
            (view.name.folded(), view)
        });
        let mut tables = (*snapshot.tables).clone();
        tables.extend(views);
        snapshot.tables = Arc::new(tables);
        snapshot
    }
}

impl TableView {
    /// Is it a session's own?
    pub fn is_temporary(&self) -> bool {
        // Older servers took the schema's name for stored tables, which have a history.
        self.name.schema().eq_ignore_ascii_case(TEMPORARY_SCHEMA) && self.cold.history().is_none()
    }
}

impl Snapshot {
    /// The temporary table of this name, which goes before any other one where no schema is written.
    pub fn temporary(&self, table: &str) -> Option<&TableView> {
        let name = TableName::new(TEMPORARY_SCHEMA, table).ok()?;
        let found = self.tables.get(&name.folded());
        found.filter(|view| view.is_temporary())
    }

    /// What stored views see, whose names mean the same for everyone.
    pub fn without_temporary(&self) -> Snapshot {
        let mut snapshot = self.clone();
        if snapshot.tables.values().any(TableView::is_temporary) {
            let mut tables = (*snapshot.tables).clone();
            tables.retain(|_, view| !view.is_temporary());
            snapshot.tables = Arc::new(tables);
        }
        snapshot
    }
}

/// All rows of a table, chunk by chunk.
pub fn batches(hot: &[Chunk]) -> Vec<RecordBatch> {
    hot.iter().map(|chunk| chunk.batch.clone()).collect()
}

#[cfg(test)]
mod tests;
