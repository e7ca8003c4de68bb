//! Transactions: what their statements do to one table is held and becomes one version, or one frame of the log, at the end;
//! queries read what is committed, statement by statement, and the transaction's own changes. DDL takes effect at once, as in
//! many databases; what changes rows and cannot be held is refused where it is executed.
//!
//! It knows no tables and no wire; bounded in number, bytes and idle time.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parking_lot::Mutex;

use super::{Bound, Change, Done, TableAdmin, dml};
use crate::fault::{Fault, Kind};
use crate::query::{OfSession, OwnRows};
use crate::types::TableName;

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
    rows: Vec<RecordBatch>,
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
                rows: Vec::new(),
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
        Some(Arc::new(OwnRows {
            table: work.table.clone()?,
            rows: work.rows.clone(),
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
        admin: &dyn TableAdmin,
        bound: &Bound,
    ) -> Result<Done, Fault> {
        let work = self.work(id)?;
        let mut work = work.lock().await;
        match change {
            Change::Insert(insert) if insert.replace.is_none() => {
                work.may_write(&insert.table)?;
                let rows = admin.stage(&insert, bound).await?;
                self.hold(&mut work, insert.table, rows).map(Done::from)
            }
            Change::Rows(dml) => {
                work.may_write(&dml.table)?;
                let (rows, changes) = (work.rows.clone(), work.changes.clone());
                let table = dml.table.clone();
                let (touched, changes) = admin.hold(*dml, bound, rows, changes).await?;
                // They are in files now.
                work.rows.clear();
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
                other.run(admin, bound).await
            }
        }
    }

    /// Adds rows, already judged and in the table's schema, to the transaction.
    ///
    /// # Errors
    /// As [`Transactions::run`].
    pub async fn add(&self, id: &[u8], table: TableName, rows: RecordBatch) -> Result<u64, Fault> {
        let work = self.work(id)?;
        let mut work = work.lock().await;
        work.may_write(&table)?;
        self.hold(&mut work, table, Some(rows))
    }

    fn hold(
        &self,
        work: &mut Work,
        table: TableName,
        rows: Option<RecordBatch>,
    ) -> Result<u64, Fault> {
        let Some(rows) = rows else {
            return Ok(0);
        };
        let bytes = rows.get_array_memory_size();
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
        let count = rows.num_rows() as u64;
        work.table = Some(table);
        work.bytes.held += bytes;
        work.rows.push(rows);
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
        let (rows, changes) = (std::mem::take(&mut work.rows), work.changes.take());
        match (&work.table, changes) {
            _ if !commit => Ok(()),
            (_, Some(changes)) => admin.commit(changes, rows).await,
            (Some(table), None) => admin.append(table, rows).await.map(|_| ()),
            (None, None) => Ok(()),
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::catalog::alter::Plan;
    use crate::dataset::Contract;
    use crate::statement::Insert;

    /// Notes what is written, and in how many pieces.
    #[derive(Default)]
    struct Recorder(Mutex<Vec<usize>>);

    #[async_trait::async_trait]
    impl TableAdmin for Recorder {
        async fn create(&self, _: Contract, _: bool) -> Result<bool, Fault> {
            Ok(true)
        }
        async fn create_from(
            &self,
            _: crate::statement::create::Creation,
            _: &Bound,
        ) -> Result<u64, Fault> {
            Ok(0)
        }
        async fn rename(&self, _: &TableName, _: &TableName) -> Result<(), Fault> {
            Ok(())
        }
        async fn define(&self, _: crate::statement::define::Define) -> Result<(), Fault> {
            Ok(())
        }
        async fn drop(&self, _: &TableName, _: bool, _: bool) -> Result<bool, Fault> {
            Ok(true)
        }
        async fn alter(&self, _: &TableName, _: &Plan<'_>) -> Result<(), Fault> {
            Ok(())
        }
        async fn change_rows(
            &self,
            _: crate::statement::dml::Dml,
            _: &Bound,
        ) -> Result<u64, Fault> {
            Ok(1)
        }
        async fn hold(
            &self,
            _: crate::statement::dml::Dml,
            _: &Bound,
            _: Vec<RecordBatch>,
            _: Option<Arc<dml::Held>>,
        ) -> Result<(u64, dml::Held), Fault> {
            Err(Fault::internal("no tables here"))
        }
        async fn commit(&self, _: Arc<dml::Held>, _: Vec<RecordBatch>) -> Result<(), Fault> {
            Err(Fault::internal("no tables here"))
        }
        async fn view(&self, _: crate::statement::ViewChange) -> Result<u64, Fault> {
            Ok(0)
        }
        async fn alert(
            &self,
            _: crate::statement::AlertChange,
        ) -> Result<Option<RecordBatch>, Fault> {
            Ok(None)
        }
        async fn restore(&self, _: crate::statement::restore::Restore) -> Result<(), Fault> {
            Ok(())
        }
        async fn replay(
            &self,
            _: crate::statement::Replay,
        ) -> Result<crate::ingest::replay::Outcome, Fault> {
            Ok(crate::ingest::replay::Outcome::default())
        }
        async fn insert(&self, _: Insert, _: &Bound) -> Result<u64, Fault> {
            Ok(1)
        }
        async fn stage(&self, _: &Insert, _: &Bound) -> Result<Option<RecordBatch>, Fault> {
            let column = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
            Ok(Some(RecordBatch::try_from_iter([("a", column)]).unwrap()))
        }
        async fn append(&self, _: &TableName, rows: Vec<RecordBatch>) -> Result<u64, Fault> {
            let count = rows.iter().map(RecordBatch::num_rows).sum();
            self.0.lock().push(count);
            Ok(count as u64)
        }
        async fn upkeep(&self, _: crate::statement::Upkeep) -> Result<RecordBatch, Fault> {
            Err(Fault::internal("no tables here"))
        }
    }

    fn transactions(bytes: usize, idle: Duration) -> Transactions {
        Transactions::new(Limits {
            count: 2,
            bytes,
            idle,
        })
    }

    async fn run(t: &Transactions, id: &[u8], sql: &str, admin: &Recorder) -> Result<u64, Fault> {
        let change = Change::parse(sql).unwrap().unwrap();
        let done = t.run(id, change, admin, Bound::NOTHING).await;
        done.map(|d| d.written)
    }

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn inserts_into_one_table_are_written_as_one_at_the_end() {
        let (t, admin) = (transactions(1 << 20, MINUTE), Recorder::default());
        let id = t.begin(OfSession::default()).unwrap();
        for _ in 0..3 {
            assert_eq!(
                run(&t, &id, "INSERT INTO a SELECT 1", &admin)
                    .await
                    .unwrap(),
                2
            );
        }
        let other = run(&t, &id, "INSERT INTO b SELECT 1", &admin).await;
        assert_eq!(other.unwrap_err().kind, Kind::Precondition);
        let ddl = run(&t, &id, "DROP TABLE a", &admin).await;
        assert_eq!(ddl.unwrap_err().kind, Kind::Precondition);
        assert!(admin.0.lock().is_empty());
        t.end(&id, true, &admin).await.unwrap();
        assert_eq!(*admin.0.lock(), [6]);
        assert_eq!(
            t.end(&id, true, &admin).await.unwrap_err().kind,
            Kind::NotFound
        );
        assert_eq!(*t.held.lock(), 0);
    }

    #[tokio::test]
    async fn a_rollback_writes_nothing_and_what_cannot_be_held_is_refused_where_it_is_executed() {
        let (t, admin) = (transactions(1 << 20, MINUTE), Recorder::default());
        let id = t.begin(OfSession::default()).unwrap();
        run(&t, &id, "INSERT INTO a SELECT 1", &admin)
            .await
            .unwrap();
        t.end(&id, false, &admin).await.unwrap();
        let id = t.begin(OfSession::default()).unwrap();
        // DDL takes effect at once, here as in many databases, and leaves the transaction as it was.
        run(&t, &id, "DROP TABLE a", &admin).await.unwrap();
        for refused in [
            "INSERT INTO a REPLACE WHERE d = '1' SELECT 1",
            "RESTORE TABLE a TO VERSION AS OF 1",
            "REPLAY QUARANTINE a",
        ] {
            let fault = run(&t, &id, refused, &admin).await.unwrap_err();
            assert_eq!(
                (fault.kind, &*fault.reason),
                (Kind::Precondition, "transaction")
            );
        }
        run(&t, &id, "INSERT INTO a SELECT 1", &admin)
            .await
            .unwrap();
        // A statement that fails leaves it as it was.
        run(&t, &id, "DELETE FROM a", &admin).await.unwrap_err();
        t.end(&id, true, &admin).await.unwrap();
        assert_eq!(*admin.0.lock(), [2]);
    }

    #[tokio::test]
    async fn the_end_of_its_session_rolls_a_transaction_back() {
        let (t, admin) = (transactions(1 << 20, MINUTE), Recorder::default());
        let session = Arc::new(crate::query::SessionLife);
        let id = t.begin(OfSession::new(&session)).unwrap();
        let other = t.begin(OfSession::default()).unwrap();
        for id in [&id, &other] {
            run(&t, id, "INSERT INTO a SELECT 1", &admin).await.unwrap();
        }
        let bytes = *t.held.lock();
        // A statement is under way when it ends.
        let work = t.work(&id).unwrap();
        let running = work.lock().await;
        drop(session);
        t.expire();
        assert_eq!((t.count(), *t.held.lock()), (1, bytes));
        drop(running);
        drop(work);
        assert_eq!(*t.held.lock(), bytes / 2);
        let commit = t.end(&id, true, &admin).await.unwrap_err();
        assert_eq!(commit.kind, Kind::NotFound);
        assert!(admin.0.lock().is_empty());
        t.end(&other, true, &admin).await.unwrap();
        assert_eq!(*admin.0.lock(), [2]);
    }

    #[tokio::test]
    async fn number_bytes_and_idle_time_are_bounded() {
        let admin = Recorder::default();
        let t = transactions(10, MINUTE);
        let id = t.begin(OfSession::default()).unwrap();
        let large = run(&t, &id, "INSERT INTO a SELECT 1", &admin).await;
        assert_eq!(large.unwrap_err().reason, "transaction_too_large");
        t.begin(OfSession::default()).unwrap();
        assert_eq!(
            t.begin(OfSession::default()).unwrap_err().reason,
            "transactions_max"
        );

        let t = transactions(1 << 20, Duration::ZERO);
        let id = t.begin(OfSession::default()).unwrap();
        assert_eq!(t.touch(&id).unwrap_err().kind, Kind::NotFound);
        assert_eq!(t.count(), 0);
    }
}
