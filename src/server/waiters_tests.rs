//! Whoever waits gets an answer in bounded time: each cause that keeps an ack or a statement from coming, against each kind of
//! waiter, with the code that it is told.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use bytes::Bytes;
use deltaplane_client::protocol::{self, ServerMessage};
use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::*;
use crate::catalog::lifecycle;
use crate::catalog::table::Table;
use crate::cold::faulty::{DEAF, FAIL_BEFORE, Faulty, SOUND};
use crate::dataset::{Column, ColumnType, Contract};
use crate::ingest;
use crate::statement::{Change, restore};
use crate::types::TableName;
use crate::wal::{Disk, RealDisk, SegmentFile};

/// `log.admission_timeout`, and what a waiter may take at most from the cause on.
const ADMISSION: Duration = Duration::from_secs(2);
const AT_MOST: Duration = Duration::from_secs(3);
/// For the machine, which does other things as well.
const SLACK: Duration = Duration::from_secs(10);

/// The real disk, until its writes or syncs fail with a given error.
#[derive(Clone, Default)]
struct FailingDisk(Arc<Mutex<Failure>>);

#[derive(Clone, Copy, Default)]
struct Failure {
    write: Option<ErrorKind>,
    sync: Option<ErrorKind>,
}

struct FailingFile(Arc<dyn SegmentFile>, FailingDisk);

fn outcome(failure: Option<ErrorKind>) -> std::io::Result<()> {
    failure.map_or(Ok(()), |kind| Err(kind.into()))
}

impl SegmentFile for FailingFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> std::io::Result<()> {
        outcome(self.1.0.lock().write)?;
        self.0.write_at(bytes, position)
    }
    fn sync(&self) -> std::io::Result<()> {
        outcome(self.1.0.lock().sync)?;
        self.0.sync()
    }
    fn read_all(&self) -> std::io::Result<Vec<u8>> {
        self.0.read_all()
    }
    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }
}

impl Disk for FailingDisk {
    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(FailingFile(RealDisk.open(path)?, self.clone())))
    }
    fn create(&self, path: &Path, bytes: u64) -> std::io::Result<Arc<dyn SegmentFile>> {
        let file = RealDisk.create(path, bytes)?;
        Ok(Arc::new(FailingFile(file, self.clone())))
    }
    fn create_unsynced(&self, path: &Path) -> std::io::Result<Arc<dyn SegmentFile>> {
        let file = RealDisk.create_unsynced(path)?;
        Ok(Arc::new(FailingFile(file, self.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}

struct Bench {
    running: Running,
    disk: FailingDisk,
    store: Arc<AtomicU8>,
    _dir: tempfile::TempDir,
}

fn settings(dir: &Path, more: &[(&str, &str)]) -> Resolved {
    let seconds = |d: Duration| format!("{}ms", d.as_millis());
    Resolved::default()
        .with(&[
            ("server.data_dir", &dir.to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            // Commits happen because someone waits for them.
            ("commit.interval", "1h"),
            ("upkeep.enabled", "false"),
            ("log.admission_timeout", &seconds(ADMISSION)),
            ("limits.ddl_timeout", "300ms"),
            ("query.timeout", "500ms"),
        ])
        .unwrap()
        .with(more)
        .unwrap()
}

fn name(table: &str) -> TableName {
    TableName::new("public", table).unwrap()
}

fn contract(table: &str) -> Contract {
    Contract::plain(name(table), vec![Column::new("id", ColumnType::Long)])
}

fn rows(from: i64) -> RecordBatch {
    let ids = Arc::new(Int64Array::from_iter_values(from..from + 10)) as ArrayRef;
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

impl Bench {
    async fn start() -> Self {
        Self::start_with(&[], "public/t/_delta_log/").await
    }

    /// `log`: which Delta log the store may fail for.
    async fn start_with(more: &[(&str, &str)], log: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let resolved = settings(dir.path(), more);
        let lake = Lake::open(&resolved.config.tables_root()).await.unwrap();
        let (lake, store) = Faulty::under(lake, log);
        let disk = FailingDisk::default();
        let log_disk = Arc::new(disk.clone());
        let running = Server::start_on(resolved, Arc::new(SystemClock), Some(lake), log_disk)
            .await
            .unwrap();
        lifecycle::create(&running.shared, contract("t"), false)
            .await
            .unwrap();
        Bench {
            running,
            disk,
            store,
            _dir: dir,
        }
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.running.shared
    }

    fn table(&self) -> Arc<Table> {
        self.shared().table(&name("t")).unwrap()
    }
}

/// A client of DoPut without a network.
struct Client {
    send: mpsc::Sender<Result<FlightData, Status>>,
    answers: BoxStream<'static, Result<PutResult, Status>>,
    seq: u64,
    named: bool,
}

impl Client {
    async fn open(bench: &Bench, producer: Option<&str>, level: &str) -> Self {
        let (send, input) = mpsc::channel(16);
        let input = tokio_stream::wrappers::ReceiverStream::new(input);
        let descriptor = FlightDescriptor::new_path(vec!["public".to_owned(), "t".to_owned()]);
        let limits = flight::wire::Limits::of(&bench.shared().config);
        let connection = flight::wire::Wire::new(limits).connect().unwrap();
        let input = flight::PutInput::over(input, connection);
        let answers = flight::put::serve(bench.shared().clone(), descriptor, input);
        let mut client = Client {
            send,
            answers,
            seq: 0,
            named: producer.is_some(),
        };
        let schema = rows(0).schema();
        let schema = arrow_flight::utils::batches_to_flight_data(&schema, Vec::new()).unwrap();
        for data in schema {
            client.send.send(Ok(data)).await.unwrap();
        }
        if let Some(producer) = producer {
            let open =
                format!(r#"{{"open":{{"producer":"{producer}","epoch":null,"ack":"{level}"}}}}"#);
            let data = FlightData {
                app_metadata: Bytes::from(open),
                ..FlightData::default()
            };
            client.send.send(Ok(data)).await.unwrap();
            assert!(matches!(client.answer().await, Ok(ServerMessage::Ready(_))));
        }
        client
    }

    async fn batch(&mut self, seq: u64) {
        let batch = rows(i64::try_from(seq).unwrap() * 10);
        let data = arrow_flight::utils::batches_to_flight_data(&batch.schema(), vec![batch]);
        let mut data = data.unwrap().pop().unwrap();
        if self.named {
            data.app_metadata = Bytes::from(format!(r#"{{"seq":{seq}}}"#));
        }
        self.seq = seq;
        // One that has ended says so with its answer.
        let _ = self.send.send(Ok(data)).await;
    }

    async fn answer(&mut self) -> Result<ServerMessage, Status> {
        let next = tokio::time::timeout(AT_MOST + SLACK, self.answers.next()).await;
        let result = next
            .expect("an answer in bounded time")
            .expect("an answer")?;
        Ok(protocol::decode_server(&result.app_metadata).unwrap().0)
    }

    async fn ack(&mut self) -> protocol::Ack {
        match self.answer().await.unwrap() {
            ServerMessage::Ack(ack) => ack,
            other => panic!("no ack: {other:?}"),
        }
    }

    /// The code and reason with which the stream ends; acks of what was durable may come before.
    async fn end(&mut self) -> (Code, String) {
        loop {
            if let Err(status) = self.answer().await {
                let reason = status.message().split(':').next().unwrap().to_owned();
                return (status.code(), reason);
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cause {
    /// A sync fails: the log is poisoned.
    Sync,
    DiskFull,
    /// The table's store takes no commit.
    StoreDead,
    Drop,
    Shutdown,
    /// A newer stream of the same producer.
    Fence,
    /// A statement holds the table, as a long DELETE does.
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Waiter {
    Plain,
    Durable,
    Committed,
    /// At level committed, without a word since its batch.
    Silent,
}

/// What the waiter is told; none: its ack.
fn expected(cause: Cause, waiter: Waiter) -> Option<(Code, &'static str)> {
    use Waiter::{Committed, Plain, Silent};
    let waits_for_commit = matches!(waiter, Committed | Silent);
    match cause {
        Cause::Sync => Some((Code::Unavailable, "log_poisoned")),
        Cause::DiskFull => Some((Code::ResourceExhausted, "log_full")),
        Cause::StoreDead if waits_for_commit => Some((Code::Unavailable, "store_unavailable")),
        Cause::Held if waits_for_commit => Some((Code::Unavailable, "commit_delayed")),
        Cause::StoreDead | Cause::Held => None,
        Cause::Drop => Some((Code::NotFound, "table_dropped")),
        Cause::Shutdown => Some((Code::Unavailable, "shutting_down")),
        Cause::Fence if waiter == Plain => None,
        Cause::Fence => Some((Code::FailedPrecondition, "producer_fenced")),
    }
}

async fn check(cause: Cause, waiter: Waiter) {
    let bench = Bench::start().await;
    let level = match waiter {
        Waiter::Committed | Waiter::Silent => "committed",
        _ => "durable",
    };
    let producer = (waiter != Waiter::Plain).then_some("p");
    let mut client = Client::open(&bench, producer, level).await;
    client.batch(1).await;
    assert_eq!(client.ack().await.seq, 1, "{cause:?} {waiter:?}");
    let table = bench.table();
    let mut held = None;
    // What waits for a commit has to wait for one: the store is dead from before the batch on.
    let commits_wait = matches!(
        cause,
        Cause::StoreDead | Cause::Drop | Cause::Shutdown | Cause::Fence
    );
    if commits_wait {
        bench.store.store(DEAF, Ordering::SeqCst);
    }
    match cause {
        Cause::Sync => bench.disk.0.lock().sync = Some(ErrorKind::Other),
        Cause::DiskFull => bench.disk.0.lock().write = Some(ErrorKind::StorageFull),
        Cause::Held => held = Some((table.commit_lock().await, table.hold("DELETE"))),
        _ => {}
    }
    client.batch(2).await;
    if waiter == Waiter::Durable && commits_wait && cause != Cause::StoreDead {
        assert_eq!(client.ack().await.seq, 2);
    }
    let since = Instant::now();
    match cause {
        Cause::Drop => {
            lifecycle::drop(bench.shared(), &name("t"), false)
                .await
                .unwrap();
        }
        Cause::Shutdown => bench.shared().draining.cancel(),
        Cause::Fence => drop(Client::open(&bench, Some("p"), "durable").await),
        _ => {}
    }
    let told = match expected(cause, waiter) {
        None => {
            client.ack().await;
            None
        }
        Some(_) => {
            if !matches!(waiter, Waiter::Silent) {
                client.batch(3).await;
            }
            Some(client.end().await)
        }
    };
    let took = since.elapsed();
    let told = told.as_ref().map(|(code, reason)| (*code, reason.as_str()));
    assert_eq!(told, expected(cause, waiter), "{cause:?} {waiter:?}");
    assert!(took < AT_MOST + SLACK, "{cause:?} {waiter:?}: {took:?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_is_told_what_keeps_its_ack_from_coming() {
    use Cause::{DiskFull, Drop, Fence, Held, Shutdown, StoreDead, Sync};
    use Waiter::{Committed, Durable, Plain, Silent};
    let causes = [Sync, DiskFull, StoreDead, Drop, Shutdown, Fence, Held];
    let waiters = [Plain, Durable, Committed, Silent];
    let cases = causes.iter().flat_map(|c| waiters.iter().map(|w| (*c, *w)));
    let all: Vec<(Cause, Waiter)> = cases.collect();
    for some in all.chunks(7) {
        let mut running = tokio::task::JoinSet::new();
        for (cause, waiter) in some {
            running.spawn(check(*cause, *waiter));
        }
        while let Some(case) = running.join_next().await {
            case.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resend_at_level_committed_is_told_its_own_offset_and_version() {
    let bench = Bench::start().await;
    let mut client = Client::open(&bench, Some("p"), "committed").await;
    let mut acks = Vec::new();
    for seq in 1..=3 {
        client.batch(seq).await;
        acks.push(client.ack().await);
    }
    let mut again = Client::open(&bench, Some("p"), "committed").await;
    for (seq, ack) in (1..=3).zip(&acks) {
        again.batch(seq).await;
        assert_eq!(&again.ack().await, ack);
        assert_eq!(ack.accepted, seq * 10, "the totals up to it");
    }
    let offsets: Vec<u64> = acks.iter().map(|a| a.offset).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ddl_waits_for_a_statement_on_its_own_table_only_and_not_for_ever() {
    let bench = Bench::start().await;
    let shared = bench.shared().clone();
    let table = bench.table();
    lifecycle::create(&shared, contract("other"), false)
        .await
        .unwrap();
    let held = (table.commit_lock().await, table.hold("DELETE"));
    let add = |_: &Contract| {
        let column = Column::new("x", ColumnType::Double);
        Ok(vec![crate::dataset::Alteration::AddColumn(column)])
    };
    let (own, others) = (name("t"), name("other"));
    let busy = async {
        let drop = lifecycle::drop(&shared, &own, false).await;
        let alter = crate::catalog::alter::alter(&shared, &own, &add).await;
        (drop.map(|_| ()).unwrap_err(), alter.unwrap_err())
    };
    let free = async {
        let since = Instant::now();
        crate::catalog::alter::alter(&shared, &others, &add)
            .await
            .unwrap();
        lifecycle::create(&shared, contract("third"), false)
            .await
            .unwrap();
        lifecycle::drop(&shared, &others, false).await.unwrap();
        // The table's own streams go on, whatever waits for it.
        for _ in 0..20 {
            let columns = vec!["id".to_owned()];
            ingest::insert::append(&shared, &table, &columns, vec![rows(0)])
                .await
                .unwrap();
        }
        since.elapsed()
    };
    let ((drop_fault, alter_fault), took) = tokio::join!(busy, free);
    for fault in [drop_fault, alter_fault] {
        assert_eq!((fault.kind, &*fault.reason), (Kind::Conflict, "table_busy"));
        assert!(fault.message.contains("DELETE"), "{fault}");
    }
    assert!(took < SLACK, "{took:?}");
    // A statement that changes rows waits longer, and not for ever either.
    let statement = Change::parse("RESTORE TABLE public.t TO VERSION AS OF 0").unwrap();
    let Some(Change::Restore(statement)) = statement else {
        panic!("not a restore: {statement:?}");
    };
    let fault = restore::run(&shared, statement).await.unwrap_err();
    assert_eq!(&*fault.reason, "table_busy");
    drop(held);
    lifecycle::drop(&shared, &own, false).await.unwrap();
}

/// Rows that do not compress.
fn noise(seed: i64) -> RecordBatch {
    let mix =
        |n: i64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64) ^ seed).wrapping_mul(n | 1);
    let ids = Arc::new(Int64Array::from_iter_values((0..30_000).map(mix))) as ArrayRef;
    RecordBatch::try_from_iter([("id", ids)]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_full_log_ddl_is_refused_as_a_whole_and_drop_makes_room() {
    let small = [
        ("log.segment_bytes", "2MiB"),
        ("log.bytes_max", "8MiB"),
        ("log.queue_bytes_max", "4MiB"),
        ("limits.batch_bytes_max", "1MiB"),
    ];
    let bench = Bench::start_with(&small, "none").await;
    let shared = bench.shared().clone();
    let table = bench.table();
    let columns = vec!["id".to_owned()];
    lifecycle::create(&shared, contract("other"), false)
        .await
        .unwrap();
    let mut seed = 0;
    let full = loop {
        seed += 1;
        let rows = vec![noise(seed)];
        if let Err(fault) = ingest::insert::append(&shared, &table, &columns, rows).await {
            break fault;
        }
        assert!(seed < 100, "the log was to be full");
    };
    assert_eq!(full.reason, "log_full");
    let folders = || {
        let listed = std::fs::read_dir(bench._dir.path().join("tables/public")).unwrap();
        listed.count()
    };
    let version = async || {
        let other = shared.table(&name("other")).unwrap();
        (
            other.contract(),
            other.files(|cold| cold.main.version()).await,
        )
    };
    let before = (folders(), version().await);
    let add = |_: &Contract| {
        let column = Column::new("x", ColumnType::Double);
        Ok(vec![crate::dataset::Alteration::AddColumn(column)])
    };
    let outcomes = [
        lifecycle::create(&shared, contract("fresh"), false)
            .await
            .map(|_| ()),
        crate::catalog::alter::alter(&shared, &name("other"), &add).await,
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().reason, "log_full");
    }
    assert_eq!((folders(), version().await), before);
    assert!(shared.table(&name("fresh")).is_err());
    // What lets go of rows is taken, and everyone goes on.
    lifecycle::drop(&shared, &name("t"), false).await.unwrap();
    let other = shared.table(&name("other")).unwrap();
    ingest::insert::append(&shared, &other, &columns, vec![noise(0)])
        .await
        .unwrap();
    crate::catalog::alter::alter(&shared, &name("other"), &add)
        .await
        .unwrap();
    assert!(
        lifecycle::create(&shared, contract("t"), false)
            .await
            .unwrap()
    );
}

/// A crash at each step of a creation leaves these folders and no frame.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_creation_was_cut_can_be_created_and_dropped() {
    for cut in [&["t_quarantine"][..], &["t"], &["t", "t_quarantine"]] {
        let bench = Bench::start().await;
        let shared = bench.shared().clone();
        let tables = bench._dir.path().join("tables/public");
        for folder in cut {
            let own = folder.replacen('t', "lost", 1);
            copy(&tables.join(folder), &tables.join(own));
        }
        for _ in 0..2 {
            assert!(
                lifecycle::create(&shared, contract("lost"), false)
                    .await
                    .unwrap()
            );
            let table = shared.table(&name("lost")).unwrap();
            let columns = vec!["id".to_owned()];
            ingest::insert::append(&shared, &table, &columns, vec![rows(0)])
                .await
                .unwrap();
            flush::commit(&shared, &table).await.unwrap();
            assert!(
                lifecycle::drop(&shared, &name("lost"), false)
                    .await
                    .unwrap()
            );
        }
    }
}

/// The store fails between a table's quarantine and the table: the name is free, and nothing is left in the store.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_the_store_refuses_half_way_is_taken_back() {
    let bench = Bench::start_with(&[], "public/u/_delta_log/").await;
    let shared = bench.shared().clone();
    bench.store.store(FAIL_BEFORE, Ordering::SeqCst);
    let refused = lifecycle::create(&shared, contract("u"), false).await;
    assert!(refused.is_err());
    assert_eq!(
        bench.store.load(Ordering::SeqCst),
        SOUND,
        "it was written to"
    );
    let files = |folder: &str| {
        let folder = bench._dir.path().join("tables/public").join(folder);
        let listed = std::fs::read_dir(folder.join("_delta_log"));
        listed.map(|files| files.count()).unwrap_or(0)
    };
    assert_eq!(files("u_quarantine") + files("u"), 0);
    assert!(
        lifecycle::create(&shared, contract("u"), false)
            .await
            .unwrap()
    );
    assert_eq!(shared.table(&name("u")).unwrap().folder, "public/u");
    lifecycle::drop(&shared, &name("u"), false).await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
