//! Transactions: what their statements do to one table is held and becomes one version, or one frame of the log, at the end;
//! queries read what is committed, statement by statement, and the transaction's own changes. DDL takes effect at once, as in
//! many databases, and so does what changes temporary tables; what changes rows and cannot be held is refused where it is executed.
//!
//! It knows no tables and no wire; bounded in number, bytes and idle time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::{Bound, Change, Done, TableAdmin, dml};
use crate::fault::{Fault, Kind};
use crate::ingest::staged::StagedRows;
use crate::query::{OfSession, OwnRows, QueryContext};
use crate::types::TableName;
use crate::validate::Validator;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open at once.
    pub count: usize,
    /// Rows held by all of them together.
    pub bytes: usize,
    /// A transaction that was silent for so long is rolled back.
    pub idle: Duration,
}

/// What one transaction has done so far.
struct Work {
    table: Option<TableName>,
    /// Rows of INSERTs.
    rows: Option<StagedRows>,
    /// What UPDATE, DELETE and MERGE exchange, and the rows of INSERTs before them.
    changes: Option<Arc<dml::Held>>,
    bytes: Bytes,
}

/// One transaction's share of the bytes that all hold, given back with it: also by one that ended while a statement ran.
struct Bytes {
    held: usize,
    all: Arc<Mutex<usize>>,
}

impl Bytes {
    fn give_back(&mut self) {
        let mut all = self.all.lock();
        *all = all.saturating_sub(std::mem::take(&mut self.held));
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        self.give_back();
    }
}

struct Open {
    used: Instant,
    /// The session that it was begun in, with which it ends.
    session: OfSession,
    /// Locked for a whole statement: a transaction runs one at a time.
    work: Arc<tokio::sync::Mutex<Work>>,
}

#[derive(Default)]
struct Inner {
    open: HashMap<Vec<u8>, Open>,
}

pub struct Transactions {
    limits: Limits,
    inner: Mutex<Inner>,
    /// Bytes held by all transactions.
    held: Arc<Mutex<usize>>,
}

impl Transactions {
    pub fn new(limits: Limits) -> Self {
        Transactions {
            limits,
            inner: Mutex::default(),
            held: Arc::default(),
        }
    }

    /// Opens a transaction and returns its id. It is rolled back at the end of `session`.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED: too many are open.
    pub fn begin(&self, session: OfSession) -> Result<Vec<u8>, Fault> {
        self.expire();
        let mut inner = self.inner.lock();
        if inner.open.len() >= self.limits.count {
            return Err(Fault::new(
                Kind::Exhausted,
                "transactions_max",
                format!(
                    "too many open transactions, limit={}; end some, or raise limits.transactions_max",
                    self.limits.count
                ),
            ));
        }
        let id = crate::ids::random_id().as_bytes().to_vec();
        let open = Open {
            used: Instant::now(),
            session,
            work: Arc::new(tokio::sync::Mutex::new(Work {
                table: None,
                rows: None,
                changes: None,
                bytes: Bytes {
                    held: 0,
                    all: self.held.clone(),
                },
            })),
        };
        inner.open.insert(id.clone(), open);
        Ok(id)
    }

    /// Is there such a transaction? Asked by statements that only read, which keeps it alive.
    ///
    /// # Errors
    /// NOT_FOUND.
    pub fn touch(&self, id: &[u8]) -> Result<(), Fault> {
        self.work(id).map(|_| ())
    }

    /// What the transaction has done, for its own statements to see. None: nothing yet, or it has ended.
    pub async fn own_rows(&self, id: &[u8]) -> Option<Arc<OwnRows>> {
        let work = self.work(id).ok()?;
        let work = work.lock().await;
        let rows = work.rows.as_ref().map(StagedRows::rows);
        Some(Arc::new(OwnRows {
            table: work.table.clone()?,
            contract: work.by()?.contract().clone(),
            rows: rows.unwrap_or_default().to_vec(),
            files: work.changes.as_ref().map(|changes| changes.files.clone()),
        }))
    }

    fn work(&self, id: &[u8]) -> Result<Arc<tokio::sync::Mutex<Work>>, Fault> {
        self.expire();
        let mut inner = self.inner.lock();
        let open = inner.open.get_mut(id).ok_or_else(unknown)?;
        open.used = Instant::now();
        Ok(open.work.clone())
    }

    /// Runs a statement as a part of the transaction.
    ///
    /// # Errors
    /// NOT_FOUND: it has ended, or was rolled back for its silence. FAILED_PRECONDITION: the statement does not go together
    /// with what the transaction did before. What the statement itself can meet: the transaction goes on without it.
    pub async fn run(
        &self,
        id: &[u8],
        change: Change,
        (admin, caller): (&dyn TableAdmin, &QueryContext),
        bound: &Bound,
    ) -> Result<Done, Fault> {
        let work = self.work(id)?;
        let mut work = work.lock().await;
        match change {
            // No rollback takes it back, so that it can come before and behind anything.
            Change::Temporary(_) => change.run(admin, caller, bound).await,
            Change::Insert(insert) if insert.replace.is_none() => {
                work.may_write(&insert.table)?;
                let rows = admin.stage(caller, &insert, bound).await?;
                self.hold(&mut work, insert.table, rows).map(Done::from)
            }
            Change::Rows(dml) => {
                work.may_write(&dml.table)?;
                let (rows, changes) = (work.rows.clone(), work.changes.clone());
                let table = dml.table.clone();
                let (touched, changes) = admin.hold(caller, *dml, bound, rows, changes).await?;
                // They are in files now.
                work.rows = None;
                work.bytes.give_back();
                work.table = Some(table);
                work.changes = Some(Arc::new(changes));
                Ok(Done::from(touched))
            }
            other if other.changes_rows() => Err(conflict(format!(
                "{} cannot be held until the end of a transaction and takes effect by itself; commit, and set autocommit for it",
                other.verb()
            ))),
            other => {
                if work.table.is_some() {
                    return Err(conflict(format!(
                        "{} cannot join a transaction that has written already; commit first, or set autocommit",
                        other.verb()
                    )));
                }
                other.run(admin, caller, bound).await
            }
        }
    }

    /// Adds rows, already judged and in the table's schema, to the transaction.
    ///
    /// # Errors
    /// As [`Transactions::run`].
    pub async fn add(&self, id: &[u8], table: TableName, rows: StagedRows) -> Result<u64, Fault> {
        let work = self.work(id)?;
        let mut work = work.lock().await;
        work.may_write(&table)?;
        self.hold(&mut work, table, Some(rows))
    }

    fn hold(
        &self,
        work: &mut Work,
        table: TableName,
        rows: Option<StagedRows>,
    ) -> Result<u64, Fault> {
        let Some(rows) = rows else {
            return Ok(0);
        };
        if let Some(by) = work.by() {
            rows.refuse_unless(by)?;
        }
        let sizes = rows.rows().iter().map(RecordBatch::get_array_memory_size);
        let bytes = sizes.sum::<usize>();
        {
            let mut held = self.held.lock();
            if *held + bytes > self.limits.bytes {
                return Err(Fault::new(
                    Kind::Exhausted,
                    "transaction_too_large",
                    format!(
                        "open transactions hold too many rows, bytes={}, limit={}; commit more often, use bulk ingest without a transaction, or raise limits.transaction_bytes_max",
                        *held + bytes,
                        self.limits.bytes
                    ),
                ));
            }
            *held += bytes;
        }
        let count = rows.rows().iter().map(|r| r.num_rows() as u64).sum();
        work.table = Some(table);
        work.bytes.held += bytes;
        match &mut work.rows {
            Some(held) => held.add(rows)?,
            none => *none = Some(rows),
        }
        Ok(count)
    }

    /// Ends the transaction: all that it did is written as one, or nothing is.
    ///
    /// # Errors
    /// NOT_FOUND. At a commit what its statements can meet, and ABORTED if others have changed the same rows: nothing was
    /// written, and the transaction is over.
    pub async fn end(&self, id: &[u8], commit: bool, admin: &dyn TableAdmin) -> Result<(), Fault> {
        self.expire();
        let open = self.inner.lock().open.remove(id).ok_or_else(unknown)?;
        let mut work = open.work.lock().await;
        let (rows, changes) = (work.rows.take(), work.changes.take());
        match (&work.table, rows, changes) {
            _ if !commit => Ok(()),
            (_, rows, Some(changes)) => admin.commit(changes, rows).await,
            (Some(table), Some(rows), None) => admin.append(table, rows).await.map(|_| ()),
            (_, _, None) => Ok(()),
        }
    }

    /// Rolls back those that were silent for too long, and those whose session has ended.
    pub fn expire(&self) {
        let idle = self.limits.idle;
        self.inner.lock().open.retain(|_, open| {
            let is_running = || open.work.try_lock().is_err();
            !open.session.is_over() && (open.used.elapsed() < idle || is_running())
        });
    }

    /// How long a transaction may be silent.
    pub fn idle(&self) -> Duration {
        self.limits.idle
    }

    pub fn count(&self) -> usize {
        self.inner.lock().open.len()
    }
}

impl Work {
    /// What judged its rows.
    fn by(&self) -> Option<&Arc<Validator>> {
        let changes = self.changes.as_ref().map(|changes| changes.by());
        self.rows.as_ref().map(StagedRows::by).or(changes)
    }

    fn may_write(&self, table: &TableName) -> Result<(), Fault> {
        match &self.table {
            Some(other) if other.folded() != table.folded() => Err(conflict(format!(
                "a transaction writes to one table, table={other}, also asked={table}; commit first, or set autocommit"
            ))),
            _ => Ok(()),
        }
    }
}

fn conflict(message: String) -> Fault {
    Fault::new(Kind::Precondition, "transaction", message)
}

fn unknown() -> Fault {
    Fault::new(
        Kind::NotFound,
        "transaction_not_found",
        "no such transaction; it has ended, or was rolled back because it was idle for too long or its session was closed: begin a new one",
    )
}

#[cfg(test)]
#[path = "transaction_tests.rs"]
mod tests;
