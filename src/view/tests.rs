//! Views of a running server whose clock is put forward and back.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::atomic::Ordering;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;

mod nested;
mod retention;

use super::*;
use crate::catalog::lifecycle;
use crate::clock::ManualClock;
use crate::cold::Lake;
use crate::cold::faulty::{FAIL_AFTER_AND_DEAF, Faulty, SOUND};
use crate::config::Resolved;
use crate::dataset::{ViewDeclaration, ViewSettings};
use crate::ingest::IngestStream;
use crate::query::QueryContext;
use crate::server::{Running, Server};
use crate::statement::Change;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
const DAY: i64 = 24 * HOUR;
/// A noon.
const NOON: i64 = 20_000 * DAY + 12 * HOUR;

struct Bench {
    running: Running,
    clock: Arc<ManualClock>,
    stream: IngestStream,
    seq: u64,
}

async fn open(dir: &Path, clock: &Arc<ManualClock>) -> Running {
    open_over(dir, clock, None).await
}

async fn open_over(dir: &Path, clock: &Arc<ManualClock>, lake: Option<Lake>) -> Running {
    let settings = [
        ("server.data_dir", &*dir.to_string_lossy()),
        ("server.listen", "127.0.0.1:0"),
        ("server.http", "127.0.0.1:0"),
        // Commits happen when the test says so.
        ("commit.interval", "1h"),
        ("upkeep.enabled", "false"),
    ];
    let resolved = Resolved::default().with(&settings).unwrap();
    Server::start_over(resolved, clock.clone(), lake)
        .await
        .unwrap()
}

async fn stream(running: &Running) -> IngestStream {
    stream_of(running, "p").await
}

async fn stream_of(running: &Running, producer: &str) -> IngestStream {
    let table = running.shared().table(&name("t")).unwrap();
    let opened = IngestStream::open(running.shared().clone(), table, producer, None).await;
    opened.unwrap().0
}

/// One row, that long after noon.
async fn push(stream: &mut IngestStream, seq: u64, after: i64) {
    let times = TimestampMicrosecondArray::from(vec![NOON + after]).with_timezone("UTC");
    let batch = RecordBatch::try_from_iter([
        ("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
        ("ts", Arc::new(times)),
    ]);
    let pushed = stream.push(Some(seq), Some(batch.unwrap())).await;
    pushed.unwrap().durable().await.unwrap();
}

fn name(table: &str) -> TableName {
    TableName::new("s", table).unwrap()
}

impl Bench {
    /// A table with rows of one producer, and a view of a minute's buckets whose producers are silent after `idle`.
    async fn start(dir: &Path, retention: Option<&str>, idle: i64) -> Bench {
        Self::start_over(dir, None, retention, idle).await
    }

    async fn start_over(
        dir: &Path,
        lake: Option<Lake>,
        retention: Option<&str>,
        idle: i64,
    ) -> Bench {
        let clock = ManualClock::at(NOON);
        let running = open_over(dir, &clock, lake).await;
        let sql = "CREATE TABLE s.t (x BIGINT, ts TIMESTAMP NOT NULL) PARTITIONED BY (event_date) \
                   TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.systemColumns'='true')";
        let Some(Change::Create { mut contract, .. }) =
            Change::parse(&QueryContext::new("tests"), sql).unwrap()
        else {
            panic!("not a create");
        };
        contract.retention = retention.map(str::to_owned);
        lifecycle::create(running.shared(), *contract, false)
            .await
            .unwrap();
        let view = ViewDeclaration {
            name: name("v"),
            settings: ViewSettings {
                idle,
                ..ViewSettings::default()
            },
            sql: "SELECT count(*) AS n FROM t GROUP BY tumble(ts, '1 minute')".to_owned(),
        };
        running.views().create(view, false, false).await.unwrap();
        Bench {
            stream: stream(&running).await,
            running,
            clock,
            seq: 0,
        }
    }

    /// Ends the server and starts it again, its clock at so long after noon.
    async fn restart(self, dir: &Path, after: i64) -> Bench {
        drop(self.stream);
        self.running.shutdown().await.unwrap();
        self.clock.set(NOON + after);
        let running = open(dir, &self.clock).await;
        Bench {
            stream: stream(&running).await,
            running,
            ..self
        }
    }

    /// One round of upkeep; rows that the table has after it.
    async fn upkeep(&self) -> i64 {
        let table = self.running.shared().table(&name("t")).unwrap();
        self.running.upkeep().look_after(&table).await;
        self.one("SELECT count(*) FROM s.t").await[0]
    }

    /// One row, that long after noon.
    async fn row(&mut self, after: i64) {
        self.seq += 1;
        push(&mut self.stream, self.seq, after).await;
    }

    /// Commits and refreshes; where the first open bucket starts, in seconds after noon.
    async fn open_from(&self) -> i64 {
        let views = self.running.views();
        views.refresh_now(&name("v"), false, None).await.unwrap();
        (open_from_of(self, "v") - NOON) / SECOND
    }

    /// The view's count of rows in the minute that begins so long after noon, and in all.
    async fn counts(&self, after: i64) -> (i64, i64) {
        let sql = format!(
            "SELECT coalesce(sum(n) FILTER (WHERE window_start = to_timestamp_micros({})), 0) AS one, sum(n) AS n FROM s.v",
            NOON + after
        );
        let row = self.one(&sql).await;
        (row[0], row[1])
    }

    /// The one row of a query for whole numbers.
    async fn one(&self, sql: &str) -> Vec<i64> {
        let result = self
            .running
            .views()
            .engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .unwrap();
        let batches = result.collect().await.unwrap();
        let columns = batches[0].columns().iter();
        columns
            .map(|c| c.as_primitive::<Int64Type>().value(0))
            .collect()
    }
}

#[tokio::test]
async fn a_clock_put_forward_and_back_closes_no_bucket_early() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), None, HOUR).await;
    bench.row(-180 * SECOND).await;
    bench.row(-30 * SECOND).await;
    assert_eq!(bench.open_from().await, -60);
    // A day ahead: without a row nothing closes, and with one no more than what it passes.
    bench.clock.set(NOON + DAY);
    assert_eq!(bench.open_from().await, -60);
    bench.row(65 * SECOND).await;
    assert_eq!(bench.open_from().await, 60);
    // Two hours back: what is closed stays so and is corrected, and a row that is right but ahead of this clock closes nothing.
    bench.clock.set(NOON - 2 * HOUR);
    assert_eq!(bench.open_from().await, 60);
    bench.row(-170 * SECOND).await;
    bench.row(130 * SECOND).await;
    assert_eq!(bench.open_from().await, 60);
    assert_eq!(bench.counts(-180 * SECOND).await, (2, 5));
    // Right again: the next row closes what is due.
    bench.clock.set(NOON + 200 * SECOND);
    bench.row(190 * SECOND).await;
    assert_eq!(bench.open_from().await, 180);
    assert_eq!(bench.counts(-180 * SECOND).await, (2, 6));
}

#[tokio::test]
async fn rows_that_came_while_the_clock_was_behind_are_closed_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), None, SECOND / 10).await;
    bench.row(-30 * SECOND).await;
    bench.open_from().await;
    bench.clock.set(NOON - 2 * HOUR);
    bench.row(130 * SECOND).await;
    bench.open_from().await;
    // Silence: the last bucket that this clock knows of ends, the one ahead of it does not.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.open_from().await, 0);
    // The clock is right again, and nobody ever sends another row.
    bench.clock.set(NOON + 200 * SECOND);
    assert_eq!(bench.open_from().await, 180);
    assert_eq!(bench.counts(120 * SECOND).await, (1, 2));
}

/// One commit with a row of the near future and one of 2099: the first one's bucket closes when the clock has passed it, though
/// nobody ever sends again.
#[tokio::test]
async fn a_device_in_2099_hides_no_row_that_is_due_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), None, SECOND / 10).await;
    // The contract takes what is up to a day ahead; the view, a minute.
    for after in [-30 * SECOND, 300 * SECOND, 20 * HOUR] {
        bench.row(after).await;
    }
    bench.open_from().await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(bench.open_from().await, 0);
    bench.clock.set(NOON + 400 * SECOND);
    assert_eq!(bench.open_from().await, 360);
    assert_eq!(bench.counts(300 * SECOND).await, (1, 3));
    bench.clock.set(NOON + DAY);
    assert_eq!(bench.open_from().await, 20 * HOUR / SECOND + 60);
}

/// The view's commit is in the log, its answer was lost, and the log could not be read again: nobody knows. The next refresh has
/// other rows of the same bucket, and must neither take the lost version for its own nor store the bucket a second time.
#[tokio::test]
async fn a_refresh_whose_answer_was_lost_stores_every_bucket_once_and_with_all_its_rows() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().join("tables").to_string_lossy()).await;
    let (lake, mode) = Faulty::under(lake.unwrap(), "s/v/_delta_log/");
    let mut bench = Bench::start_over(dir.path(), Some(lake), None, HOUR).await;
    bench.row(-180 * SECOND).await;
    bench.row(-30 * SECOND).await;
    mode.store(FAIL_AFTER_AND_DEAF, Ordering::SeqCst);
    let views = bench.running.views();
    let refused = views.refresh_now(&name("v"), false, None).await;
    assert!(refused.is_err(), "the view's log cannot be read");
    assert_eq!(bench.counts(-180 * SECOND).await, (1, 2));
    mode.store(SOUND, Ordering::SeqCst);
    bench.row(-170 * SECOND).await;
    bench.row(45 * SECOND).await;
    assert_eq!(bench.open_from().await, 0);
    assert_eq!(bench.counts(-180 * SECOND).await, (2, 4));
    // What Delta has: two closed buckets, each once.
    let table = bench.running.shared().table(&name("v")).unwrap();
    assert_eq!(table.files(|cold| cold.main.view().rows()).await, Some(2));
    let bench = bench.restart(dir.path(), 0).await;
    assert_eq!(bench.counts(-180 * SECOND).await, (2, 4));
    assert_eq!(bench.open_from().await, 0);
    assert_eq!(bench.counts(-180 * SECOND).await, (2, 4));
}

fn open_from_of(bench: &Bench, table: &str) -> i64 {
    let snapshot = bench.running.views().shared.visible.snapshot();
    let view = &snapshot.tables[&name(table).folded()];
    view.progress.as_ref().unwrap().open_from
}

/// One device that is a day ahead (what says 2099 does not get past the contract), one that falls silent, and a server's clock
/// that steps by a month and back.
#[tokio::test]
async fn a_device_ahead_a_silent_one_and_a_stepping_clock_close_no_bucket_early_or_never_and_take_nothing_young()
 {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), Some("1d"), HOUR).await;
    let mut ahead = stream_of(&bench.running, "ahead").await;
    push(&mut ahead, 1, 20 * HOUR).await;
    push(&mut ahead, 2, 73 * 365 * DAY).await;
    let mut silent = stream_of(&bench.running, "silent").await;
    push(&mut silent, 1, -180 * SECOND).await;
    for after in [-18 * HOUR, -30 * SECOND] {
        bench.row(after).await;
    }
    assert_eq!(bench.open_from().await, -180);
    bench.clock.set(NOON + 30 * DAY);
    assert_eq!(bench.open_from().await, -180);
    assert_eq!(bench.upkeep().await, 4, "yesterday evening is young");
    bench.clock.set(NOON - 6 * HOUR);
    bench.row(10 * SECOND).await;
    assert_eq!(bench.open_from().await, -180);
    assert_eq!(bench.upkeep().await, 5);
    // Right again. Who is silent holds nothing any more, and then all are: what is due closes, and nothing else.
    bench.clock.set(NOON + 60 * SECOND);
    let idle = [("idle".to_owned(), "50ms".to_owned())];
    bench.running.views().set(&name("v"), &idle).await.unwrap();
    bench.row(50 * SECOND).await;
    bench.open_from().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(bench.open_from().await, 60);
    assert_eq!(bench.counts(0).await, (2, 6));
    bench.clock.set(NOON + 21 * HOUR);
    assert_eq!(bench.open_from().await, 20 * HOUR / SECOND + 60);
    assert_eq!(bench.counts(20 * HOUR).await, (1, 6));
}

#[tokio::test]
async fn a_query_that_began_before_keeps_the_files_of_a_table_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), None, HOUR).await;
    bench.row(-180 * SECOND).await;
    bench.row(-30 * SECOND).await;
    assert_eq!(bench.open_from().await, -60);
    let views = bench.running.views();
    let there = || {
        let folder = dir.path().join("tables/s/v/event_date=2024-10-04");
        std::fs::read_dir(folder).map_or(0, Iterator::count)
    };
    let snapshot = views.shared.visible.snapshot();
    let other = "SELECT 10 * count(*) AS n FROM t GROUP BY tumble(ts, '1 minute')";
    let given = views.query(&name("v"), other.to_owned(), None).await;
    given.unwrap();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(there(), 1, "a query has the old version");
    drop(snapshot);
    let deadline = Instant::now() + Duration::from_secs(10);
    while there() > 0 {
        assert!(Instant::now() < deadline, "nobody has it any more");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
