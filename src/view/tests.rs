//! Views of a running server whose clock is put forward and back.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;

use super::*;
use crate::catalog::lifecycle;
use crate::clock::ManualClock;
use crate::config::Resolved;
use crate::dataset::{ViewDeclaration, ViewSettings};
use crate::ingest::IngestStream;
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

fn name(table: &str) -> TableName {
    TableName::new("s", table).unwrap()
}

impl Bench {
    /// A table with rows of one producer, and a view of a minute's buckets whose producers are silent after `idle`.
    async fn start(dir: &Path, retention: Option<&str>, idle: i64) -> Bench {
        let clock = ManualClock::at(NOON);
        let settings = [
            ("server.data_dir", &*dir.to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            // Commits happen when the test says so.
            ("commit.interval", "1h"),
            ("upkeep.enabled", "false"),
        ];
        let resolved = Resolved::default().with(&settings).unwrap();
        let running = Server::start_with(resolved, clock.clone()).await.unwrap();
        let sql = "CREATE TABLE s.t (x BIGINT, ts TIMESTAMP NOT NULL) PARTITIONED BY (event_date) \
                   TBLPROPERTIES ('deltaplane.eventTime'='ts', 'deltaplane.systemColumns'='true')";
        let Some(Change::Create { mut contract, .. }) = Change::parse(sql).unwrap() else {
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
        let table = running.shared().table(&name("t")).unwrap();
        let opened = IngestStream::open(running.shared().clone(), table, "p", None).await;
        let (stream, ..) = opened.unwrap();
        Bench {
            running,
            clock,
            stream,
            seq: 0,
        }
    }

    /// One row, that long after noon.
    async fn row(&mut self, after: i64) {
        self.seq += 1;
        let times = TimestampMicrosecondArray::from(vec![NOON + after]).with_timezone("UTC");
        let batch = RecordBatch::try_from_iter([
            ("x", Arc::new(Int64Array::from(vec![1])) as ArrayRef),
            ("ts", Arc::new(times)),
        ]);
        let pushed = self.stream.push(Some(self.seq), Some(batch.unwrap())).await;
        pushed.unwrap().durable().await.unwrap();
    }

    /// Commits and refreshes; where the first open bucket starts, in seconds after noon.
    async fn open_from(&self) -> i64 {
        let views = self.running.views();
        views.refresh_now(&name("v"), false).await.unwrap();
        let snapshot = views.shared.visible.snapshot();
        let view = &snapshot.tables[&name("v").folded()];
        (view.progress.as_ref().unwrap().open_from - NOON) / SECOND
    }

    /// The view's count of rows in the minute that begins so long after noon, and in all.
    async fn counts(&self, after: i64) -> (i64, i64) {
        let sql = format!(
            "SELECT coalesce(sum(n) FILTER (WHERE window_start = to_timestamp_micros({})), 0) AS one, sum(n) AS n FROM s.v",
            NOON + after
        );
        let result = self.running.views().engine.query(&sql, None).await.unwrap();
        let batches = result.collect().await.unwrap();
        let of = |column: usize| {
            batches[0]
                .column(column)
                .as_primitive::<Int64Type>()
                .value(0)
        };
        (of(0), of(1))
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

#[tokio::test]
async fn a_clock_put_forward_and_back_freezes_and_unfreezes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), Some("1d"), HOUR).await;
    let old = -2 * DAY;
    for after in [old, old + HOUR, 0] {
        bench.row(after).await;
        bench.open_from().await;
    }
    assert_eq!(bench.counts(old).await.0, 1);
    // A month ahead: the day before is within the retention of the newest row, and still corrected.
    bench.clock.set(NOON + 30 * DAY);
    let recent = -10 * HOUR;
    bench.row(recent).await;
    assert_eq!(bench.counts(recent).await.0, 1);
    bench.open_from().await;
    assert_eq!(bench.counts(recent).await.0, 1);
    // Twenty hours behind: by this clock two days ago would be kept. It may be gone, so it is not counted again.
    bench.clock.set(NOON - 20 * HOUR);
    bench.row(old + SECOND).await;
    assert_eq!(bench.counts(old).await.0, 1);
    bench.open_from().await;
    assert_eq!(bench.counts(old).await.0, 1);
    bench.row(recent + SECOND).await;
    bench.open_from().await;
    assert_eq!(bench.counts(recent).await.0, 2);
}
