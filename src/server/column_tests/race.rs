//! Everything that writes rows, beside a table two of whose columns change their names again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64};

use tokio_util::sync::CancellationToken;

use super::super::statement_tests::over;
use super::*;
use crate::catalog::table::Table;
use crate::ingest::bulk::{Bulk, Options};
use crate::server_state::Admin;

/// A server where 4,000 rows are more than one batch, so that a statement commits them past the log.
async fn start(dir: &Path) -> (Running, Arc<Engine>, Admin) {
    let resolved = Resolved::default()
        .with(&[
            ("server.data_dir", &dir.to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            ("commit.interval", "1h"),
            ("limits.batch_bytes_max", "64KiB"),
        ])
        .unwrap();
    let running = Server::start(resolved).await.unwrap();
    let (engine, admin) = over(&running, dir);
    (running, engine, admin)
}

/// What an acked row may be: its two values, by the places of the columns.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Due {
    /// In the order in which they were sent.
    Sent,
    Exchanged,
    /// The columns changed places while it was sent: either.
    Either,
}

struct Race {
    shared: Arc<Shared>,
    admin: Admin,
    next: AtomicI64,
    first_version: u32,
    done: AtomicBool,
    acked: parking_lot::Mutex<BTreeMap<i64, Due>>,
    refused: AtomicUsize,
}

impl Race {
    fn table(&self) -> Arc<Table> {
        self.shared.table(&name()).unwrap()
    }

    fn version(&self) -> u32 {
        self.table().contract().version
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// So many new ids, and their values.
    fn fresh(&self, count: usize) -> (Vec<i64>, Vec<i64>, Vec<i64>) {
        let count = i64::try_from(count).unwrap();
        let from = self.next.fetch_add(count, Ordering::Relaxed);
        let ids: Vec<i64> = (from..from + count).collect();
        let twice = |more: i64| ids.iter().map(|id| id * 2 + more).collect();
        (ids.clone(), twice(0), twice(1))
    }

    /// Notes rows that were sent by name while the contract had these versions.
    fn named(&self, ids: &[i64], before: u32) {
        let due = match (before == self.version(), (before - self.first_version) % 2) {
            (false, _) => Due::Either,
            (true, 0) => Due::Sent,
            (true, _) => Due::Exchanged,
        };
        self.sent(ids, due);
    }

    fn sent(&self, ids: &[i64], due: Due) {
        self.acked.lock().extend(ids.iter().map(|id| (*id, due)));
    }

    fn refuse(&self, fault: &Fault) {
        let found = (fault.kind, &*fault.reason);
        assert_eq!(found, (Kind::Conflict, "contract_changed"), "{fault}");
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    async fn by_place(&self, count: usize) {
        while !self.is_done() {
            let (ids, a, b) = self.fresh(count);
            let values = (0..count).map(|n| format!("({}, {}, {})", ids[n], a[n], b[n]));
            let values = values.collect::<Vec<_>>().join(", ");
            let sql = match count {
                1 => format!("INSERT INTO public.c VALUES {values}"),
                _ => format!(
                    "INSERT INTO public.c SELECT value, value * 2, value * 2 + 1 FROM range({}, {})",
                    ids[0],
                    ids[0] + count as i64
                ),
            };
            run(&self.admin, &sql).await.unwrap();
            self.sent(&ids, Due::Sent);
            if count > 1 {
                // Others are to have the table as well.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    async fn by_name(&self) {
        while !self.is_done() {
            let ((ids, a, b), before) = (self.fresh(1), self.version());
            let sql = format!(
                "INSERT INTO public.c (b, id, a) VALUES ({}, {}, {})",
                b[0], ids[0], a[0]
            );
            run(&self.admin, &sql).await.unwrap();
            self.named(&ids, before);
        }
    }

    async fn stream(&self, producer: Option<&str>) {
        let (shared, table) = (self.shared.clone(), self.table());
        let (mut stream, mut seq) = match producer {
            Some(producer) => {
                let opened = IngestStream::open(shared, table, producer, None).await;
                (opened.unwrap().0, Some(0))
            }
            None => (IngestStream::unnamed(shared, table), None),
        };
        while !self.is_done() {
            let ((ids, a, b), before) = (self.fresh(3), self.version());
            seq = seq.map(|seq: u64| seq + 1);
            let rows = batch(&[("a", a.as_slice()), ("b", &b), ("id", &ids)]);
            let pending = stream.push(seq, Some(rows)).await.unwrap();
            pending.durable().await.unwrap();
            self.named(&ids, before);
        }
    }

    async fn bulk(&self) {
        while !self.is_done() {
            let ((ids, a, b), before) = (self.fresh(5), self.version());
            let shared = self.shared.clone();
            let bulk = Bulk::begin(shared, self.table(), Options::default()).await;
            let mut bulk = bulk.unwrap();
            let rows = batch(&[("id", ids.as_slice()), ("a", &a), ("b", &b)]);
            bulk.push(rows).await.unwrap();
            match bulk.commit(&CancellationToken::new()).await {
                Ok(_) => self.named(&ids, before),
                Err(fault) => self.refuse(&fault),
            }
        }
    }

    async fn renames(&self) {
        let mut made = 0;
        while made < 15 {
            match run(&self.admin, SWAP).await {
                Ok(_) => made += 1,
                // Statements that commit past the log hold the table for long.
                Err(fault) if fault.reason == "table_busy" => {}
                Err(fault) => panic!("{fault}"),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.done.store(true, Ordering::Relaxed);
    }
}

/// `SELECT *` gives the columns by their places, whatever they are called.
async fn check(engine: &Engine, acked: &BTreeMap<i64, Due>, when: &str) {
    let found = rows(engine, "SELECT * FROM public.c").await;
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for [id, one, other] in &found {
        let sent = [*one, *other] == [id * 2, id * 2 + 1];
        let exchanged = [*one, *other] == [id * 2 + 1, id * 2];
        let right = match acked.get(id) {
            Some(Due::Sent) => sent,
            Some(Due::Exchanged) => exchanged,
            Some(Due::Either) => sent || exchanged,
            None => false,
        };
        if !right || !seen.insert(*id) {
            wrong.push((*id, *one, *other, acked.get(id).copied()));
        }
    }
    assert!(
        wrong.is_empty(),
        "{when}: {} of {}: {:?}",
        wrong.len(),
        found.len(),
        &wrong[..wrong.len().min(5)]
    );
    assert_eq!(found.len(), acked.len(), "{when}: rows that were acked");
}

/// Two names are exchanged again and again beside everything that writes rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acked_row_has_the_value_of_another_column_whatever_is_renamed_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    let create = "CREATE TABLE public.c (id BIGINT, a BIGINT, b BIGINT)";
    run(&admin, create).await.unwrap();
    let race = Race {
        first_version: running.shared.table(&name()).unwrap().contract().version,
        shared: running.shared.clone(),
        admin,
        next: AtomicI64::new(1),
        done: AtomicBool::new(false),
        acked: parking_lot::Mutex::default(),
        refused: AtomicUsize::new(0),
    };
    let race = Arc::new(race);
    let beside = |kind: usize| {
        let race = race.clone();
        tokio::spawn(async move {
            match kind {
                0 => race.renames().await,
                1 => race.by_place(1).await,
                2 => race.by_place(4000).await,
                3 => race.by_name().await,
                4 => race.stream(None).await,
                5 => race.stream(Some("p")).await,
                _ => race.bulk().await,
            }
        })
    };
    for task in (0..7).map(beside).collect::<Vec<_>>() {
        task.await.unwrap();
    }
    let acked = race.acked.lock().clone();
    check(&engine, &acked, "hot and cold").await;
    let told = acked.values().filter(|due| **due != Due::Either).count();
    assert!(told > 100, "{told} rows of which it is known what they are");
    drop((race, engine));
    crash(running).await;
    let (running, engine, _admin) = start(dir.path()).await;
    check(&engine, &acked, "after a crash").await;
    crash(running).await;
}
