//! Whoever waits gets an answer in bounded time: each cause that keeps an ack or a statement from coming, against each kind of
//! waiter, with the code that it is told.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use tonic::Code;

mod client;
mod ddl;
mod failing_disk;
mod statements;

use super::*;
use crate::catalog::lifecycle;
use crate::catalog::table::Table;
use crate::cold::faulty::{DEAF, Faulty};
use crate::dataset::{Column, ColumnType, Contract};
use crate::types::TableName;
use client::Client;
use failing_disk::FailingDisk;

/// `log.admission_timeout`, and what a waiter may take at most from the cause on.
const ADMISSION: Duration = Duration::from_secs(2);
const AT_MOST: Duration = Duration::from_secs(3);
/// For the machine, which does other things as well.
const SLACK: Duration = Duration::from_secs(10);

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

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cause {
    /// A sync fails: the log is poisoned.
    Sync,
    DiskFull,
    /// The log's disk does not answer.
    Hangs,
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
        Cause::Hangs => Some((Code::Unavailable, "log_stalled")),
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
        Cause::Hangs => bench.disk.0.lock().hangs = true,
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
    bench.disk.0.lock().hangs = false;
    let told = told.as_ref().map(|(code, reason)| (*code, reason.as_str()));
    assert_eq!(told, expected(cause, waiter), "{cause:?} {waiter:?}");
    assert!(took < AT_MOST + SLACK, "{cause:?} {waiter:?}: {took:?}");
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stream_is_told_what_keeps_its_ack_from_coming() {
    use Cause::{DiskFull, Drop, Fence, Hangs, Held, Shutdown, StoreDead, Sync};
    use Waiter::{Committed, Durable, Plain, Silent};
    let causes = [
        Sync, DiskFull, Hangs, StoreDead, Drop, Shutdown, Fence, Held,
    ];
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
