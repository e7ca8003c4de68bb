//! Crashes at each step from hot to cold, in one process: a server that is dropped without a shutdown has crashed.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

mod acks;
mod columns;
mod damage;
mod large_replay;
mod replay;

use super::*;
use crate::catalog::visible::Part;
use crate::catalog::{lifecycle, parking};
use crate::ingest::{Ack, IngestStream, NewestBatch};
use crate::types::TableName;

const SEQS: u64 = 5;

async fn start(dir: &Path) -> Running {
    let resolved = Resolved::default()
        .with(&[
            ("server.data_dir", &dir.to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            // Commits happen when the test says so.
            ("commit.interval", "1h"),
        ])
        .unwrap();
    Server::start(resolved).await.unwrap()
}

/// Ends everything that runs, and leaves the directory as a crash does: nothing flushed, nothing trimmed.
pub(crate) async fn crash(running: Running) {
    let Running {
        shared,
        doors,
        tasks,
        _lock,
        ..
    } = running;
    doors.cancel();
    shared.draining.cancel();
    for task in tasks {
        let _ = task.await;
    }
    shared.log.close().await.unwrap();
}

fn batch(seq: u64) -> RecordBatch {
    let column = |v: f64| Arc::new(Float64Array::from(vec![v, v])) as ArrayRef;
    let time = 1_700_000_000_000_000 + i64::try_from(seq).unwrap() * 10;
    RecordBatch::try_from_iter([
        (
            "reactor_id",
            Arc::new(StringArray::from(vec!["R1", "R1"])) as ArrayRef,
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![time, time + 1]).with_timezone("UTC")),
        ),
        ("AT", column(20.0)),
        ("V", column(50.0)),
        ("AP", column(1000.0)),
        ("RH", column(70.0)),
        // One good row and one bad one.
        ("PE", Arc::new(Float64Array::from(vec![450.0, 999.0]))),
    ])
    .unwrap()
}

fn table(running: &Running) -> Arc<crate::catalog::table::Table> {
    running
        .shared
        .table(&TableName::new("reactor", "raw").unwrap())
        .unwrap()
}

async fn ingested(dir: &Path) -> Running {
    let running = start(dir).await;
    let contract = crate::dataset::from_toml(include_str!("../../data/reactor/dataset.toml"))
        .unwrap()
        .tables
        .remove(0);
    lifecycle::create(&running.shared, contract, false)
        .await
        .unwrap();
    let (mut stream, ..) = IngestStream::open(running.shared.clone(), table(&running), "p", None)
        .await
        .unwrap();
    for seq in 1..=SEQS {
        let pending = stream.push(Some(seq), Some(batch(seq))).await.unwrap();
        pending.durable().await.unwrap();
    }
    running
}

/// Good and bad rows, by what queries see.
fn rows(running: &Running) -> (usize, usize) {
    let snapshot = running.shared.visible.snapshot();
    let count = |name: &str| {
        let view = &snapshot.tables[&TableName::new("reactor", name).unwrap()];
        let hot: usize = view.hot.iter().map(|c| c.batch.num_rows()).sum();
        view.cold.rows().unwrap() + hot
    };
    (count("raw"), count("raw_quarantine"))
}

/// After the crash: everything once, also when committed; and the producer is where it was.
async fn everything_is_there_once(dir: &Path) {
    let expected = (
        usize::try_from(SEQS).unwrap(),
        usize::try_from(SEQS).unwrap(),
    );
    for _ in 0..2 {
        let running = start(dir).await;
        assert_eq!(rows(&running), expected);
        flush::commit(&running.shared, &table(&running))
            .await
            .unwrap();
        assert_eq!(rows(&running), expected);
        let (_, durable, epoch) =
            IngestStream::open(running.shared.clone(), table(&running), "p", Some(1))
                .await
                .unwrap();
        assert_eq!(
            (durable.seq, durable.totals.accepted, epoch),
            (SEQS, SEQS, 1)
        );
        crash(running).await;
    }
    let running = start(dir).await;
    running.shutdown().await.unwrap();
    let running = start(dir).await;
    assert_eq!(
        rows(&running),
        expected,
        "after a clean stop, from an empty log"
    );
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_before_any_commit_brings_the_rows_back_once() {
    let dir = tempfile::tempdir().unwrap();
    crash(ingested(dir.path()).await).await;
    everything_is_there_once(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_between_intent_and_commit_leaves_orphan_files_and_no_double() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    let table = table(&running);
    let span = running.shared.visible.span(&table).unwrap();
    let staged = table
        .commit_lock()
        .await
        .main
        .stage(span.main.iter().map(|c| c.batch.clone()).collect())
        .await
        .unwrap();
    assert_eq!(staged.paths().len(), 1);
    crash(running).await;
    everything_is_there_once(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_between_the_quarantines_commit_and_the_tables_doubles_neither() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    let table = table(&running);
    let span = running.shared.visible.span(&table).unwrap();
    flush::part(
        &running.shared,
        &table,
        &mut table.commit_lock().await.quarantine,
        Part::Quarantine,
        &span,
        &[],
    )
    .await
    .unwrap();
    crash(running).await;
    everything_is_there_once(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_between_commit_and_trim_replays_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    flush::commit(&running.shared, &table(&running))
        .await
        .unwrap();
    crash(running).await;
    everything_is_there_once(dir.path()).await;
}

/// Parks the table and lets the log go of everything that it need not keep.
async fn parked(running: &Running) {
    let table = table(running);
    assert!(parking::park(&running.shared, &table).await.unwrap());
    assert!(
        !parking::park(&running.shared, &table).await.unwrap(),
        "nothing new"
    );
    running.shared.log.roll().await.unwrap();
    running.shared.log.trim(running.shared.visible.trim_point());
    running.shared.log.roll().await.unwrap();
    assert!(running.shared.visible.is_parked(&table));
}

/// A fenced stream may have sent a batch of its own under a number that the newer stream then gave to another.
#[tokio::test(flavor = "multi_thread")]
async fn the_acks_of_a_fenced_stream_name_no_batch_of_the_newer_one() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    let open = || IngestStream::open(running.shared.clone(), table(&running), "p", None);
    let (mut old, ..) = open().await.unwrap();
    // As many as it takes for the first one to be forgotten, so that a resend of it can name the newest batch alone.
    let last = SEQS + crate::catalog::producer::RECENT_CRCS as u64;
    for seq in SEQS + 1..=last {
        let pending = old.push(Some(seq), Some(batch(seq))).await.unwrap();
        pending.durable().await.unwrap();
    }
    let newest = old.newest().unwrap();
    assert_eq!(newest.durable().unwrap().seq, last);
    let again = old.push(Some(1), Some(batch(1))).await.unwrap();
    assert_eq!(again.durable().await.unwrap().seq(), last);
    let known = old.push(Some(last), Some(batch(last))).await.unwrap();
    let forgotten = old.push(Some(1), Some(batch(1))).await.unwrap();
    let (mut new, ..) = open().await.unwrap();
    let pending = new.push(Some(last + 1), Some(batch(99))).await.unwrap();
    pending.durable().await.unwrap();
    let of_new = new.newest();
    let of_new = of_new.as_ref().and_then(NewestBatch::durable);
    assert_eq!(of_new.unwrap().seq, last + 1);

    let acked = known.durable().await.unwrap();
    assert_eq!(Ack::durable(&acked, newest.durable()).seq(), last);
    let fault = forgotten.durable().await.unwrap_err();
    assert_eq!(fault.reason, "producer_fenced");
    drop((old, new));
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_rows_outlive_the_log_that_let_go_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    parked(&running).await;
    assert_eq!(rows(&running), (5, 5), "queries see them");
    crash(running).await;
    everything_is_there_once(dir.path()).await;
    assert_eq!(
        std::fs::read_dir(dir.path().join("wal/parked"))
            .unwrap()
            .count(),
        0,
        "committed, so the file is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn crash_between_parking_and_trim_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    parking::park(&running.shared, &table(&running))
        .await
        .unwrap();
    crash(running).await;
    everything_is_there_once(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_after_parking_are_in_the_log_and_come_back_too() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    parked(&running).await;
    let (mut stream, ..) = IngestStream::open(running.shared.clone(), table(&running), "q", None)
        .await
        .unwrap();
    stream
        .push(Some(1), Some(batch(99)))
        .await
        .unwrap()
        .durable()
        .await
        .unwrap();
    crash(running).await;
    let running = start(dir.path()).await;
    assert_eq!(rows(&running), (6, 6));
    flush::commit(&running.shared, &table(&running))
        .await
        .unwrap();
    assert_eq!(rows(&running), (6, 6));
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_rows_that_a_commit_took_before_the_crash_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    parked(&running).await;
    let span = running.shared.visible.span(&table(&running)).unwrap();
    // The quarantine's half of a commit; its file is still there.
    flush::part(
        &running.shared,
        &table(&running),
        &mut table(&running).commit_lock().await.quarantine,
        Part::Quarantine,
        &span,
        &[],
    )
    .await
    .unwrap();
    crash(running).await;
    everything_is_there_once(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_an_old_copy_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    crash(running).await;
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir.path().join("wal")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let running = start(dir.path()).await;
    let (mut stream, ..) =
        IngestStream::open(running.shared.clone(), table(&running), "p", Some(1))
            .await
            .unwrap();
    stream
        .push(Some(SEQS + 1), Some(batch(SEQS + 1)))
        .await
        .unwrap()
        .durable()
        .await
        .unwrap();
    flush::commit(&running.shared, &table(&running))
        .await
        .unwrap();
    crash(running).await;
    std::fs::remove_dir_all(dir.path().join("wal")).unwrap();
    std::fs::create_dir(dir.path().join("wal")).unwrap();
    for entry in std::fs::read_dir(copy.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), dir.path().join("wal").join(entry.file_name())).unwrap();
    }
    let resolved = Resolved::default()
        .with(&[
            ("server.data_dir", &dir.path().to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
        ])
        .unwrap();
    let fault = Server::start(resolved).await.map(|_| ()).unwrap_err();
    assert_eq!(fault.reason, "log_is_old_copy");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_whose_folder_is_gone_is_parked_and_keeps_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    crash(ingested(dir.path()).await).await;
    let tables = dir.path().join("tables");
    std::fs::rename(&tables, dir.path().join("elsewhere")).unwrap();
    let running = start(dir.path()).await;
    let parked = table(&running).parked().unwrap();
    assert_eq!(parked.reason, "table_missing");
    let refused = running
        .shared
        .writable(&table(&running).name())
        .unwrap_err();
    assert_eq!(refused.reason, "table_parked");
    crash(running).await;
    let _ = std::fs::remove_dir_all(&tables);
    std::fs::rename(dir.path().join("elsewhere"), &tables).unwrap();
    everything_is_there_once(dir.path()).await;
}
