//! What goes wrong with one table leaves the upkeep of the others as it is.

use super::*;
use crate::query::QueryContext;

/// Upkeep that runs by itself, all the time.
const BUSY: [(&str, &str); 4] = [
    ("upkeep.enabled", "true"),
    ("upkeep.interval", "50ms"),
    ("upkeep.min_files", "2"),
    ("query.timeout", "300ms"),
];

async fn second(running: &Running) -> Arc<Table> {
    let sql = "CREATE TABLE s.u (id STRING NOT NULL, ts TIMESTAMP NOT NULL, v DOUBLE) \
               PARTITIONED BY (event_date) TBLPROPERTIES ('deltaplane.eventTime'='ts')";
    let Some(Change::Create { contract, .. }) =
        Change::parse(&QueryContext::new("tests"), sql).unwrap()
    else {
        panic!("not a create");
    };
    lifecycle::create(running.shared(), *contract, false)
        .await
        .unwrap();
    let name = TableName::new("s", "u").unwrap();
    running.shared().table(&name).unwrap()
}

/// Three files of it become one by themselves.
async fn is_looked_after(running: &Running, table: &Arc<Table>) {
    for n in 0..3 {
        commit(running, table, &[(n, 0, 1.0)]).await;
    }
    let compacted = async {
        while active(table).await > 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), compacted).await;
    assert!(waited.is_ok(), "its files stay as they are");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_at_one_table_is_noted_and_the_others_are_looked_after() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &BUSY).await;
    *running.upkeep().panics.lock() = Some(name());
    create(&running, "").await;
    let other = second(&running).await;
    is_looked_after(&running, &other).await;
    let entries = running.upkeep().journal.entries();
    let panicked = entries.iter().find(|e| e.task == "upkeep").unwrap();
    assert_eq!(panicked.table, name());
    assert!(panicked.error.as_ref().unwrap().contains("panicked"));
    // .. and so is this one, once it does not panic any more.
    *running.upkeep().panics.lock() = None;
    let own = running.shared().table(&name()).unwrap();
    is_looked_after(&running, &own).await;
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_somebody_holds_stops_the_upkeep_of_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &BUSY).await;
    let own = create(&running, ", 'deltaplane.retention'='3d'").await;
    let other = second(&running).await;
    // As a commit to a store that does not answer.
    let held = own.commit_lock().await;
    is_looked_after(&running, &other).await;
    drop(held);
    is_looked_after(&running, &own).await;
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_store_does_not_answer_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, "").await;
    let step = std::future::pending::<Result<(), Fault>>();
    let limit = Duration::from_millis(20);
    let fault = unless_stuck((&table, "the vacuum"), limit, step).await;
    let fault = fault.unwrap_err();
    assert_eq!(&*fault.reason, "upkeep_stuck");
    assert!(fault.message.contains("s.t"), "{fault}");
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_nobody_waits_for_is_not_running_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    create(&running, "").await;
    let journal = &running.upkeep().journal;
    drop(journal.begin("optimize", &name()));
    let entries = journal.entries();
    let last = entries.last().unwrap();
    assert!(last.ms.is_some() && last.error.as_ref().unwrap().contains("broken off"));
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_wait_for_each_other_and_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[("query.timeout", "300ms")]).await;
    let table = create(&running, "").await;
    commit(&running, &table, &[(1, 0, 1.0)]).await;
    let upkeep = running.upkeep();
    let places = upkeep
        .checks
        .acquire_many(u32::try_from(check::AT_ONCE).unwrap())
        .await;
    let table_name = name();
    let waiting = tokio::time::timeout(Duration::from_secs(30), upkeep.check(&table_name));
    let fault = waiting.await.unwrap().unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.reason),
        (Kind::Conflict, "checks_busy")
    );
    drop(places);
    upkeep.check(&name()).await.unwrap();
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_statement_without_a_query_holds_is_counted_and_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[("memory.query_bytes_max", "64MiB")]).await;
    let engine = &running.upkeep().engine;
    let hungry = || async {
        let mut held = Vec::new();
        for _ in 0..1000 {
            held.push(vec![1u8; 1 << 20]);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok::<_, Fault>(held.len())
    };
    let fault = engine.counted(hungry()).await.unwrap_err();
    assert_eq!(&*fault.reason, "query_memory");
    // Told to stop, it ends where it can.
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = async {
        tokio::select! {
            done = hungry() => done,
            () = stop.cancelled() => Err(Fault::new(Kind::Cancelled, "cancelled", "stopped")),
        }
    };
    let fault = engine.counted_until_stopped(&stop, stopped).await;
    assert_eq!(&*fault.unwrap_err().reason, "query_memory");
    running.shutdown().await.unwrap();
}
