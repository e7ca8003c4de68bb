#![expect(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use futures::future::BoxFuture;

use super::*;
use crate::catalog::alter::Plan;
use crate::dataset::Contract;
use crate::query::QueryContext;
use crate::statement::Insert;

/// Notes what is written, and in how many pieces.
struct Recorder {
    written: Mutex<Vec<usize>>,
    contract: Mutex<Arc<Validator>>,
}

fn contract() -> Arc<Validator> {
    let column = crate::dataset::Column::new("a", crate::dataset::ColumnType::Long);
    let contract = Contract::plain(TableName::new("public", "a").unwrap(), vec![column]);
    Arc::new(Validator::new(Arc::new(contract)))
}

impl Default for Recorder {
    fn default() -> Self {
        Recorder {
            written: Mutex::default(),
            contract: Mutex::new(contract()),
        }
    }
}

impl TableAdmin for Recorder {
    fn create(&self, _: Contract, _: bool) -> BoxFuture<'_, Result<bool, Fault>> {
        Box::pin(async move { Ok(true) })
    }
    fn create_from<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::create::Creation,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Ok(0) })
    }
    fn rename<'a>(
        &'a self,
        _: &'a TableName,
        _: &'a TableName,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { Ok(()) })
    }
    fn temporary<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::Temporary,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Ok(1) })
    }
    fn define<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::define::Define,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { Ok(()) })
    }
    fn drop<'a>(
        &'a self,
        _: &'a TableName,
        _: bool,
        _: bool,
    ) -> BoxFuture<'a, Result<bool, Fault>> {
        Box::pin(async move { Ok(true) })
    }
    fn alter<'a>(&'a self, _: &'a TableName, _: &'a Plan<'a>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { Ok(()) })
    }
    fn change_rows<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::dml::Dml,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Ok(1) })
    }
    fn hold<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::dml::Dml,
        _: &'a Bound,
        _: Option<StagedRows>,
        _: Option<Arc<dml::Held>>,
    ) -> BoxFuture<'a, Result<(u64, dml::Held), Fault>> {
        Box::pin(async move { Err(Fault::internal("no tables here")) })
    }
    fn commit(&self, _: Arc<dml::Held>, _: Option<StagedRows>) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { Err(Fault::internal("no tables here")) })
    }
    fn view<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::ViewChange,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Ok(0) })
    }
    fn alert<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::AlertChange,
    ) -> BoxFuture<'a, Result<Option<RecordBatch>, Fault>> {
        Box::pin(async move { Ok(None) })
    }
    fn restore(&self, _: crate::statement::restore::Restore) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { Ok(()) })
    }
    fn replay(
        &self,
        _: crate::statement::Replay,
    ) -> BoxFuture<'_, Result<crate::ingest::replay::Outcome, Fault>> {
        Box::pin(async move { Ok(crate::ingest::replay::Outcome::default()) })
    }
    fn insert<'a>(
        &'a self,
        _: &'a QueryContext,
        _: Insert,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Ok(1) })
    }
    fn stage<'a>(
        &'a self,
        _: &'a QueryContext,
        _: &'a Insert,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<Option<StagedRows>, Fault>> {
        Box::pin(async move {
            let column = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
            let rows = RecordBatch::try_from_iter([("a", column)]).unwrap();
            Ok(Some(StagedRows::new(self.contract.lock().clone(), rows)))
        })
    }
    fn append<'a>(
        &'a self,
        _: &'a TableName,
        rows: StagedRows,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move {
            let count = rows.rows().iter().map(RecordBatch::num_rows).sum();
            self.written.lock().push(count);
            Ok(count as u64)
        })
    }
    fn upkeep(&self, _: crate::statement::Upkeep) -> BoxFuture<'_, Result<RecordBatch, Fault>> {
        Box::pin(async move { Err(Fault::internal("no tables here")) })
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
    let caller = QueryContext::new("tests");
    let change = Change::parse(&caller, sql).unwrap().unwrap();
    let done = t.run(id, change, (admin, &caller), Bound::NOTHING).await;
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
    assert!(admin.written.lock().is_empty());
    t.end(&id, true, &admin).await.unwrap();
    assert_eq!(*admin.written.lock(), [6]);
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
    assert_eq!(*admin.written.lock(), [2]);
}

/// Rows that two contracts have judged are never written as one: their columns may not be the same ones.
#[tokio::test]
async fn rows_of_another_contract_do_not_join_a_transaction() {
    let (t, admin) = (transactions(1 << 20, MINUTE), Recorder::default());
    let id = t.begin(OfSession::default()).unwrap();
    let insert = "INSERT INTO a SELECT 1";
    run(&t, &id, insert, &admin).await.unwrap();
    *admin.contract.lock() = contract();
    let fault = run(&t, &id, insert, &admin).await.unwrap_err();
    let found = (fault.kind, &*fault.reason);
    assert_eq!(found, (Kind::Conflict, "contract_changed"));
    t.end(&id, true, &admin).await.unwrap();
    assert_eq!(*admin.written.lock(), [2], "what it held before");
}

#[tokio::test]
async fn the_end_of_its_session_rolls_a_transaction_back() {
    let (t, admin) = (transactions(1 << 20, MINUTE), Recorder::default());
    let session = Arc::new(crate::query::SessionLife::default());
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
    assert!(admin.written.lock().is_empty());
    t.end(&other, true, &admin).await.unwrap();
    assert_eq!(*admin.written.lock(), [2]);
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
