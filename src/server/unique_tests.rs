//! A key is in a table once, whoever writes it: streams, INSERT, MERGE, bulk ingest and REPLACE at the same time, on a disk
//! whose syncs are slow, so that most batches are admitted and not durable when another writer looks at the table.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use super::statement_tests::{over, run};
use super::*;
use crate::ingest::IngestStream;
use crate::ingest::bulk::{Bulk, Options};
use crate::query::QueryContext;
use crate::types::TableName;
use crate::wal::{Disk, RealDisk, SegmentFile};

/// How long a sync of the log takes.
const SYNC: Duration = Duration::from_millis(25);

struct SlowDisk;

struct SlowFile(Arc<dyn SegmentFile>);

impl SegmentFile for SlowFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.0.write_at(bytes, position)
    }
    fn sync(&self) -> io::Result<()> {
        std::thread::sleep(SYNC);
        self.0.sync()
    }
    fn read_all(&self) -> io::Result<Vec<u8>> {
        self.0.read_all()
    }
    fn size(&self) -> io::Result<u64> {
        self.0.size()
    }
}

impl Disk for SlowDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(SlowFile(RealDisk.open(path)?)))
    }
    fn create(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(SlowFile(RealDisk.create(path, bytes)?)))
    }
    fn create_unsynced(&self, path: &Path) -> io::Result<Arc<dyn SegmentFile>> {
        RealDisk.create_unsynced(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

const TABLE: &str = "dataset = \"u\"\n[[table]]\nname = \"t\"\npartition_by = [\"p\"]\n\
    columns = [ { name = \"k\", type = \"long\" }, { name = \"v\", type = \"long\" }, { name = \"p\", type = \"string\" } ]\n\
    rules = [ { unique = [\"k\"] } ]\n";

async fn start(dir: &Path) -> Running {
    let resolved = Resolved::default()
        .with(&[
            ("server.data_dir", &dir.to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            ("commit.interval", "100ms"),
            // A busy machine is no reason to give up on a lock.
            ("log.admission_timeout", "2min"),
            // What is larger goes past the log.
            ("limits.batch_bytes_max", "16KiB"),
        ])
        .unwrap();
    let disk = Arc::new(SlowDisk);
    Server::start_on(resolved, Arc::new(SystemClock), None, disk)
        .await
        .unwrap()
}

fn batch(keys: &[i64], v: i64, p: &str) -> RecordBatch {
    let column = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    RecordBatch::try_from_iter([
        ("k", column(keys.to_vec())),
        ("v", column(vec![v; keys.len()])),
        ("p", Arc::new(StringArray::from(vec![p; keys.len()]))),
    ])
    .unwrap()
}

/// The keys that everybody writes: each until streams have had some acks meanwhile, so that all of them meet over it.
#[derive(Clone)]
struct Round {
    acks: Arc<AtomicI64>,
    keys: i64,
}

/// Acks for each key.
const ACKS: i64 = 3;

impl Round {
    fn new(keys: i64) -> Self {
        Round {
            acks: Arc::default(),
            keys,
        }
    }

    fn key(&self) -> i64 {
        self.acks.load(Ordering::SeqCst) / ACKS
    }

    fn acked(&self) {
        self.acks.fetch_add(1, Ordering::SeqCst);
    }

    fn goes_on(&self) -> bool {
        self.key() < self.keys
    }
}

/// A statement that the rules refused has written nothing, which is all that is asked of it here.
async fn repeat(admin: Arc<crate::server_state::Admin>, round: Round, sql: fn(i64, i64) -> String) {
    let mut n = 0;
    while round.goes_on() {
        n += 1;
        let text = sql(round.key(), n);
        if let Err(fault) = run(&admin, &text).await {
            assert!(
                ["rule_broken", "changed_meanwhile"].contains(&&*fault.reason),
                "{text}: {fault}"
            );
        }
    }
}

async fn stream(running: &Running, round: Round, v: i64) {
    let table = table(running);
    let mut stream = IngestStream::unnamed(running.shared.clone(), table);
    let mut waiting = std::collections::VecDeque::new();
    while round.goes_on() {
        let rows = batch(&[round.key(), round.key() - 1], v, "s");
        waiting.push_back(stream.push(None, Some(rows)).await.unwrap());
        // Several batches are on their way at any time.
        if waiting.len() > 8 {
            waiting.pop_front().unwrap().durable().await.unwrap();
            round.acked();
        }
        tokio::task::yield_now().await;
    }
    for pending in waiting {
        pending.durable().await.unwrap();
    }
}

async fn bulk(running: &Running, round: Round) {
    let mut v = 1000;
    while round.goes_on() {
        v += 1;
        let options = Options {
            quarantine: true,
            ..Options::default()
        };
        let mut bulk = Bulk::begin(running.shared.clone(), table(running), options)
            .await
            .unwrap();
        bulk.push(batch(&[round.key(), round.key() - 1], v, "b"))
            .await
            .unwrap();
        bulk.commit(&CancellationToken::new()).await.unwrap();
    }
}

fn table(running: &Running) -> Arc<crate::catalog::table::Table> {
    let name = TableName::new("u", "t").unwrap();
    running.shared.table(&name).unwrap()
}

async fn each_key_once(keys: i64) {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let (engine, admin) = over(&running, dir.path());
    let admin = Arc::new(admin);
    let contract = crate::dataset::from_toml(TABLE).unwrap().tables.remove(0);
    crate::catalog::lifecycle::create(&running.shared, contract, false)
        .await
        .unwrap();
    let round = Round::new(keys);
    let statement = |sql| repeat(admin.clone(), round.clone(), sql);
    tokio::join!(
        stream(&running, round.clone(), 1),
        stream(&running, round.clone(), 2),
        bulk(&running, round.clone()),
        // One frame of the log.
        statement(|key, n| format!("INSERT INTO u.t VALUES ({key}, {n}, 'i')")),
        // Past the log.
        statement(|key, n| {
            let start = -1_000_000 - 2_000 * n;
            format!(
                "INSERT INTO u.t (k, v, p) SELECT {start} - value, 0, 'j' FROM generate_series(1, 1500) UNION ALL SELECT {key}, {n}, 'j'"
            )
        }),
        statement(|key, n| {
            format!("INSERT INTO u.t (k, v, p) REPLACE WHERE p = 'r' SELECT {key}, {n}, 'r'")
        }),
        statement(|key, n| {
            format!(
                "MERGE INTO u.t USING (SELECT {key} AS k, {n} AS v) AS s ON u.t.k = s.k WHEN NOT MATCHED THEN INSERT (k, v, p) VALUES (s.k, s.v, 'm')"
            )
        }),
        statement(|key, _| format!("DELETE FROM u.t WHERE k = {} AND p = 's'", key - 2)),
    );
    let sql = "SELECT k, count(*) FROM u.t GROUP BY k";
    let mut counts = BTreeMap::new();
    for rows in engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap()
    {
        let keys = rows.column(0).as_primitive::<Int64Type>().values().to_vec();
        let times = rows.column(1).as_primitive::<Int64Type>().values().to_vec();
        counts.extend(keys.into_iter().zip(times));
    }
    assert!(counts.range(0..).next().is_some(), "nothing was written");
    counts.retain(|_, n| *n > 1);
    assert!(
        counts.is_empty(),
        "keys that are there more than once: {counts:?}"
    );
    running.shutdown().await.unwrap();
}

/// `DELTAPLANE_TEST_UNIQUE_RUNS` runs it more often.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_key_enters_once_whoever_writes_it_while_syncs_are_slow() {
    let runs = std::env::var("DELTAPLANE_TEST_UNIQUE_RUNS");
    let runs = runs.ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    for _ in 0..runs {
        each_key_once(30).await;
    }
}
