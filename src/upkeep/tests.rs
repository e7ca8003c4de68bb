//! Upkeep of a running server's table, in one process.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

mod compaction;
mod others;
mod retention;
mod vacuum;

use super::*;
use crate::catalog::{alter, lifecycle};
use crate::clock::ManualClock;
use crate::config::Resolved;
use crate::dataset::{Alteration, Contract};
use crate::ingest::IngestStream;
use crate::query::QueryContext;
use crate::server::{Running, Server};
use crate::statement::Change;

const DAY: i64 = 86_400_000_000;

/// Noon of tomorrow: files that are written now are old by it.
fn noon() -> i64 {
    use crate::clock::Clock;
    let now = crate::clock::SystemClock.now();
    now - now.rem_euclid(DAY) + DAY + DAY / 2
}

async fn start(dir: &Path, settings: &[(&str, &str)]) -> Running {
    let dir = dir.to_string_lossy();
    let mut values = vec![
        ("server.data_dir", &*dir),
        ("server.listen", "127.0.0.1:0"),
        ("server.http", "127.0.0.1:0"),
        // Commits and upkeep happen when the test says so.
        ("commit.interval", "1h"),
        ("upkeep.enabled", "false"),
    ];
    values.extend_from_slice(settings);
    let resolved = Resolved::default().with(&values).unwrap();
    Server::start_with(resolved, ManualClock::at(noon()))
        .await
        .unwrap()
}

async fn create(running: &Running, properties: &str) -> Arc<Table> {
    let sql = format!(
        "CREATE TABLE s.t (id STRING NOT NULL, ts TIMESTAMP NOT NULL, v DOUBLE, CONSTRAINT range CHECK (v BETWEEN -1 AND 1000000)) \
         PARTITIONED BY (event_date) TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.key'='id'{properties})"
    );
    let Some(Change::Create { contract, .. }) =
        Change::parse(&QueryContext::new("tests"), &sql).unwrap()
    else {
        panic!("not a create");
    };
    lifecycle::create(running.shared(), *contract, false)
        .await
        .unwrap();
    running.shared().table(&name()).unwrap()
}

fn name() -> TableName {
    TableName::new("s", "t").unwrap()
}

/// One commit of rows (id, days before now, value).
async fn commit(running: &Running, table: &Arc<Table>, rows: &[(u8, i64, f64)]) {
    push(running, table, rows).await;
    crate::flush::commit(running.shared(), table).await.unwrap();
}

async fn named(running: &Running, table: &Arc<Table>, seqs: std::ops::RangeInclusive<u64>) -> u64 {
    let shared = running.shared().clone();
    let (mut stream, ready, _) = IngestStream::open(shared, table.clone(), "p", None)
        .await
        .unwrap();
    for seq in seqs {
        let row = made(&[(u8::try_from(seq).unwrap(), 0, 1.0)]);
        let pending = stream.push(Some(seq), Some(row)).await.unwrap();
        pending.durable().await.unwrap();
    }
    ready.seq
}

fn made(rows: &[(u8, i64, f64)]) -> RecordBatch {
    let ids: StringArray = rows.iter().map(|r| Some(format!("id{}", r.0))).collect();
    let times = TimestampMicrosecondArray::from_iter_values(
        rows.iter().map(|r| noon() - r.1 * DAY - i64::from(r.0)),
    );
    RecordBatch::try_from_iter([
        ("id", Arc::new(ids) as ArrayRef),
        ("ts", Arc::new(times.with_timezone("UTC"))),
        (
            "v",
            Arc::new(Float64Array::from_iter_values(rows.iter().map(|r| r.2))),
        ),
    ])
    .unwrap()
}

async fn push(running: &Running, table: &Arc<Table>, rows: &[(u8, i64, f64)]) {
    let mut stream = IngestStream::unnamed(running.shared().clone(), table.clone());
    let pending = stream.push(None, Some(made(rows))).await.unwrap();
    pending.durable().await.unwrap();
}

/// Every row as text, in no order: a multiset.
async fn rows(running: &Running, table: &str) -> Vec<String> {
    query(running, &format!("SELECT * FROM s.{table}")).await
}

async fn query(running: &Running, sql: &str) -> Vec<String> {
    let result = running
        .upkeep()
        .engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap();
    let mut out = Vec::new();
    for batch in result.collect().await.unwrap() {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|c| {
                let value = datafusion::common::ScalarValue::try_from_array(c, row).unwrap();
                format!("{value:?}")
            });
            out.push(cells.collect::<Vec<_>>().join("|"));
        }
    }
    out.sort();
    out
}

fn files(dir: &Path) -> Vec<PathBuf> {
    fn walk(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("_delta_log") {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "parquet") {
                out.push(path);
            }
        }
    }
    let mut out = Vec::new();
    walk(&dir.join("tables/s/t"), &mut out);
    out
}

async fn active(table: &Table) -> usize {
    table.files(|cold| cold.main.view().files().len()).await
}

/// A flush whose answer was lost, and whose log could not be read again either: the rows are in Delta, and nobody knows.
async fn lose_the_answer(running: &Running, table: &Arc<Table>) {
    let mut cold = table.commit_lock().await;
    let span = running.shared().visible.span(table).unwrap();
    let batches = span.main.iter().map(|c| c.batch.clone()).collect();
    let staged = cold.main.stage(batches).await.unwrap();
    let app = running.shared().app_id(table.incarnation);
    cold.main
        .commit(staged, vec![(app, lifecycle::offset_i64(span.cut))])
        .await
        .unwrap();
    cold.unsure = true;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_unknown_outcome_is_settled_before_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, "").await;
    push(&running, &table, &[(1, 0, 1.0), (2, 0, -5.0)]).await;
    lose_the_answer(&running, &table).await;
    push(&running, &table, &[(3, 0, 1.0)]).await;
    running.upkeep().optimize(&name(), &[]).await.unwrap();
    assert_eq!(
        (
            rows(&running, "t").await.len(),
            rows(&running, "t_quarantine").await.len()
        ),
        (2, 1)
    );
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_changes_after_a_commit_of_unknown_outcome_shows_no_row_twice() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, "").await;
    push(&running, &table, &[(1, 0, 1.0)]).await;
    lose_the_answer(&running, &table).await;
    assert_eq!(rows(&running, "t").await.len(), 1);
    let comment = [("deltaplane.retention".to_owned(), "30d".to_owned())];
    let plan = move |_: &Contract| Ok(vec![Alteration::Set(comment.clone().into())]);
    alter::alter(running.shared(), &name(), &plan)
        .await
        .unwrap();
    assert_eq!(table.contract().retention.as_deref(), Some("30d"));
    assert_eq!(rows(&running, "t").await.len(), 1);
    crate::flush::commit(running.shared(), &table)
        .await
        .unwrap();
    assert_eq!(rows(&running, "t").await.len(), 1);
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_come_on_time_and_old_log_entries_go() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[("commit.checkpoint_every", "5")]).await;
    let table = create(&running, "").await;
    let log = dir.path().join("tables/s/t/_delta_log");
    let entries = |end: &str| {
        std::fs::read_dir(&log)
            .unwrap()
            .filter(|e| e.as_ref().unwrap().path().to_string_lossy().ends_with(end))
            .count()
    };
    for n in 0..18 {
        commit(&running, &table, &[(n, 0, 1.0)]).await;
        let due = table.files(|cold| cold.main.checkpoint_due(5)).await;
        if let Some(due) = due {
            due.write(Duration::ZERO).await.unwrap();
        }
    }
    // Versions 5, 10, 15; what is before 10 may go since 15 is there.
    assert!(entries(".checkpoint.parquet") >= 2);
    assert_eq!(entries(".json"), 9, "10 to 18");
    assert!(
        table
            .commit_lock()
            .await
            .quarantine
            .checkpoint_due(5)
            .is_none()
    );
    let before = rows(&running, "t").await;
    running.shutdown().await.unwrap();
    let running = start(dir.path(), &[("commit.checkpoint_every", "5")]).await;
    assert_eq!(rows(&running, "t").await, before);
    let table = running.shared().table(&name()).unwrap();
    assert!(
        table
            .files(|cold| cold.main.checkpoint_due(5))
            .await
            .is_none(),
        "known from the log"
    );
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_producer_goes_on_where_delta_says_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[("log.producer_idle", "1h")]).await;
    let table = create(&running, "").await;
    assert_eq!(named(&running, &table, 1..=3).await, 0);
    let long = 2 * 3_600_000_000;
    // Its rows are not committed: it stays, however long it is silent.
    age(&table, long);
    running.upkeep().forget_producers(&table);
    assert_eq!(table.in_log_order(|producers| producers.len()), 1);
    crate::flush::commit(running.shared(), &table)
        .await
        .unwrap();
    // A stream is open: it stays.
    let shared = running.shared().clone();
    let opened = IngestStream::open(shared, table.clone(), "p", None)
        .await
        .unwrap();
    age(&table, long);
    running.upkeep().forget_producers(&table);
    assert_eq!(table.in_log_order(|producers| producers.len()), 1);
    drop(opened);
    running.upkeep().forget_producers(&table);
    assert!(table.in_log_order(|producers| producers.is_empty()) && table.is_forgetful());
    // A name that nobody knows begins at 1; the one that was forgotten goes on.
    let (_, ready, epoch) =
        IngestStream::open(running.shared().clone(), table.clone(), "new", None)
            .await
            .unwrap();
    assert_eq!((ready.seq, epoch), (0, 1));
    assert_eq!(named(&running, &table, 4..=5).await, 3);
    // Batch 3 again, whose ack was lost: nothing is written.
    assert_eq!(named(&running, &table, 3..=3).await, 5);
    assert_eq!(rows(&running, "t").await.len(), 5);
    crate::server::tests::crash(running).await;
    let running = start(dir.path(), &[("log.producer_idle", "1h")]).await;
    let table = running.shared().table(&name()).unwrap();
    assert!(table.is_forgetful());
    assert_eq!(named(&running, &table, 6..=6).await, 5);
    assert_eq!(rows(&running, "t").await.len(), 6);
    running.shutdown().await.unwrap();
}

/// As if the table's producers had been heard of so much earlier.
fn age(table: &Table, by: i64) {
    table.in_log_order(|producers| {
        for entry in producers.values_mut() {
            entry.seen -= by;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_names_what_is_damaged_missing_or_told_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path(), &[]).await;
    let table = create(&running, "").await;
    for n in 0..4 {
        commit(
            &running,
            &table,
            &[(n, 0, f64::NAN), (n, 0, 7.0), (n, 1, 0.5)],
        )
        .await;
    }
    let upkeep = running.upkeep();
    let sound = upkeep.check(&name()).await.unwrap();
    assert_eq!(
        (sound.files, sound.rows, sound.problems.len()),
        (8, Some(8), 0),
        "{sound:?}"
    );
    let paths = files(dir.path());
    std::fs::remove_file(&paths[0]).unwrap();
    // Another file's rows under this one's name, of the same size: statistics tell. Sizes differ by a few bytes now and then.
    let of_day = |i: usize| paths[i].parent().unwrap().to_owned();
    let size = |i: usize| std::fs::metadata(&paths[i]).unwrap().len();
    let other = (2..8).find(|i| of_day(*i) != of_day(1) && size(*i) == size(1));
    if let Some(other) = other {
        std::fs::copy(&paths[other], &paths[1]).unwrap();
    }
    let mut bytes = std::fs::read(&paths[2]).unwrap();
    if other != Some(2) {
        let middle = bytes.len() / 3;
        bytes[4..middle].fill(0xa5);
        std::fs::write(&paths[2], bytes).unwrap();
    }
    let found = upkeep.check(&name()).await.unwrap();
    let detail = found.detail().unwrap();
    assert!(detail.contains("is missing"), "{detail}");
    assert!(found.problems.len() >= 2, "{detail}");
    assert!(
        other.is_none() || detail.contains("the log says") || detail.contains("outside the bounds"),
        "{detail}"
    );
    // What is not sound is not compacted into something that looks so.
    let fault = upkeep.optimize(&name(), &[]).await.unwrap_err();
    assert!(
        matches!(
            fault.kind,
            crate::fault::Kind::Corrupt | crate::fault::Kind::Unavailable
        ),
        "{fault}"
    );
    running.shutdown().await.unwrap();
}
