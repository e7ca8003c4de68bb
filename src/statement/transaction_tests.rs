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
    async fn change_rows(&self, _: crate::statement::dml::Dml, _: &Bound) -> Result<u64, Fault> {
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
    async fn alert(&self, _: crate::statement::AlertChange) -> Result<Option<RecordBatch>, Fault> {
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
