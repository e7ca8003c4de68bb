//! One server from its start to its end, what is asked of it, and what it answers.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int64Type;
use parking_lot::Mutex;

use super::disk::SimDisk;
use super::model::{MENDED, Model, Row, State, Step, rejected};
use super::store::SimStore;
use super::*;
use crate::catalog::table::Table;
use crate::cold::delta::checksummed_store::ChecksummedStore;
use crate::ingest::{IngestStream, Pending};
use crate::query::QueryContext;
use crate::server::statement_tests::{over, run};
use crate::server_state::Admin;
use crate::types::TableName;

/// 2026-01-01T00:00:00Z, in microseconds.
const BEGIN: i64 = 1_767_225_600_000_000;
const MINUTE: i64 = 60_000_000;

pub(super) const CREATE: &str = "CREATE TABLE public.t (k BIGINT NOT NULL UNIQUE, ts TIMESTAMP NOT NULL, v BIGINT CHECK (v >= 0), s STRING)";
const CREATE_VIEW: &str = "CREATE MATERIALIZED VIEW public.m AS SELECT s, count(*) AS n, sum(v) AS total FROM public.t GROUP BY tumble(ts, '1 minute'), s";

pub(super) struct Life {
    running: Running,
    engine: Arc<Engine>,
    admin: Admin,
    world: Arc<World>,
    model: Arc<Mutex<Model>>,
}

/// A row of key `k`: of the minute `k`, and bad in the way that rules reject where `v` is negative.
pub(super) fn row(k: i64, v: i64) -> Row {
    (k, v, format!("s{}", k % 3))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let longs = |of: fn(&Row) -> i64| Arc::new(rows.iter().map(of).collect::<Int64Array>());
    let times: TimestampMicrosecondArray =
        TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| BEGIN + r.0 * MINUTE));
    let texts: StringArray = rows.iter().map(|r| Some(r.2.as_str())).collect();
    RecordBatch::try_from_iter([
        ("k", longs(|r| r.0) as ArrayRef),
        ("ts", Arc::new(times.with_timezone("UTC"))),
        ("v", longs(|r| r.1)),
        ("s", Arc::new(texts)),
    ])
    .unwrap()
}

fn values(rows: &[Row]) -> String {
    let value = |(k, v, s): &Row| {
        let time = chrono::DateTime::from_timestamp_micros(BEGIN + k * MINUTE).unwrap();
        format!("({k}, TIMESTAMP '{}', {v}, '{s}')", time.format("%F %T"))
    };
    rows.iter().map(value).collect::<Vec<_>>().join(", ")
}

impl Life {
    pub(super) async fn start(
        world: &Arc<World>,
        dir: &Path,
        model: &Arc<Mutex<Model>>,
        cuts: &[Cut],
    ) -> Result<Life, Fault> {
        let life = world.begin_life();
        world.cut(cuts);
        let dir_text = dir.to_string_lossy();
        let resolved = Resolved::default().with(&[
            ("server.data_dir", &*dir_text),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            ("server.shutdown_timeout", "1s"),
            // Commits and upkeep happen when a step says so.
            ("commit.interval", "1h"),
            ("upkeep.retain_min", "0s"),
            // Small enough that a few batches fill a segment.
            ("limits.batch_bytes_max", "8KiB"),
            ("log.segment_bytes", "16KiB"),
            ("log.admission_timeout", "2s"),
        ]);
        let disk = SimDisk {
            world: world.clone(),
            life,
        };
        let store = SimStore {
            world: world.clone(),
            life,
        };
        let lake = Lake::open("memory:///lake").await?;
        let lake = lake.with_store(|_| Arc::new(ChecksummedStore::over(Arc::new(store))));
        let clock = Arc::new(SystemClock);
        let disk: Arc<dyn wal::Disk> = Arc::new(disk);
        let running = Server::start_on(resolved.unwrap(), clock, Some(lake), disk).await?;
        let (engine, admin) = over(&running, dir);
        Ok(Life {
            running,
            engine,
            admin,
            world: world.clone(),
            model: model.clone(),
        })
    }

    /// Ends everything that runs. Nothing that it does on the way changes anything: the power is out.
    pub(super) async fn end(self) {
        let Running {
            shared,
            doors,
            tasks,
            ..
        } = self.running;
        doors.cancel();
        shared.draining.cancel();
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        let _ = shared.log.close().await;
    }

    pub(super) fn model(&self) -> Model {
        self.model.lock().clone()
    }

    pub(super) fn table(&self) -> Result<Arc<Table>, Fault> {
        let name = TableName::new("public", "t").unwrap();
        self.running.shared.table(&name)
    }

    async fn step(
        &self,
        step: Step,
        work: impl Future<Output = Result<u64, Fault>>,
    ) -> Result<(), Fault> {
        self.model.lock().begin(step);
        work.await?;
        self.model.lock().done();
        Ok(())
    }

    /// A statement that changes no row.
    pub(super) async fn sql(&self, sql: &str) -> Result<(), Fault> {
        run(&self.admin, sql).await.map(drop)
    }

    pub(super) async fn create(&self) -> Result<(), Fault> {
        self.step(Step::Create, run(&self.admin, CREATE)).await
    }

    pub(super) async fn create_view(&self) -> Result<(), Fault> {
        self.step(Step::CreateView, run(&self.admin, CREATE_VIEW))
            .await
    }

    pub(super) async fn drop_table(&self) -> Result<(), Fault> {
        self.step(Step::Drop, run(&self.admin, "DROP TABLE public.t"))
            .await
    }

    pub(super) async fn add_column(&self, name: &str) -> Result<(), Fault> {
        let sql = format!("ALTER TABLE public.t ADD COLUMN {name} BIGINT");
        self.step(Step::AddColumn, run(&self.admin, &sql)).await
    }

    pub(super) async fn insert(&self, rows: Vec<Row>) -> Result<(), Fault> {
        let sql = format!(
            "INSERT INTO public.t (k, ts, v, s) VALUES {}",
            values(&rows)
        );
        self.step(Step::Insert(rows), run(&self.admin, &sql)).await
    }

    pub(super) async fn delete_below(&self, k: i64) -> Result<(), Fault> {
        let sql = format!("DELETE FROM public.t WHERE k < {k}");
        self.step(Step::DeleteBelow(k), run(&self.admin, &sql))
            .await
    }

    pub(super) async fn replay(&self) -> Result<(), Fault> {
        let sql = format!("REPLAY QUARANTINE public.t SET v = {MENDED}");
        self.step(Step::Replay, run(&self.admin, &sql)).await
    }

    /// The version with these rows.
    pub(super) async fn restore(&self, version: i64, rows: Vec<Row>) -> Result<(), Fault> {
        let sql = format!("RESTORE TABLE public.t TO VERSION AS OF {version}");
        self.step(Step::Restore(rows), run(&self.admin, &sql)).await
    }

    /// The newest version of the table.
    pub(super) fn version(&self) -> Result<i64, Fault> {
        let table = self.table()?;
        let snapshot = self.running.shared.visible.snapshot();
        Ok(snapshot.tables[&table.name()].cold.version())
    }

    /// Commits what is hot. Where the store fails, rows come in before it is asked again: then the next commit is another one.
    pub(super) async fn commit(&self) -> Result<(), Fault> {
        let table = self.table()?;
        let mut tries = 0;
        loop {
            tries += 1;
            match flush::commit(&self.running.shared, &table).await {
                Ok(_) => return Ok(()),
                Err(fault) if tries == 3 || !self.world.has_power() => return Err(fault),
                Err(_) => {
                    let newest = self.model().state.rows.last().map_or(0, |row| row.0);
                    self.insert(vec![row(newest + 1, 1)]).await?;
                }
            }
        }
    }

    /// Commits while a thread counts the rows again and again, of which none may be missing or twice at any moment.
    pub(super) async fn commit_beside_a_reader(&self) -> Result<(), Fault> {
        let name = self.table()?.name();
        let shared = self.running.shared.clone();
        let count = move || {
            let snapshot = shared.visible.snapshot();
            let view = &snapshot.tables[&name];
            let hot: usize = view.hot.iter().map(|c| c.batch.num_rows()).sum();
            view.cold.rows().unwrap() + hot
        };
        let expected = self.model().state.rows.len();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = stop.clone();
        let reader = std::thread::spawn(move || {
            let mut wrong = None;
            while !stopped.load(std::sync::atomic::Ordering::Acquire) {
                wrong = wrong.or(Some(count()).filter(|seen| *seen != expected));
            }
            wrong
        });
        let table = self.table()?;
        let mut done = flush::commit(&self.running.shared, &table).await;
        if done.is_err() && self.world.has_power() {
            done = flush::commit(&self.running.shared, &table).await;
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
        let wrong = reader.join().unwrap();
        assert_eq!(
            wrong, None,
            "rows that a reader saw during a commit, of {expected}"
        );
        done.map(drop)
    }

    /// The log's newest segment ends, and what is committed is let go of.
    pub(super) async fn roll(&self) -> Result<(), Fault> {
        self.running.shared.log.roll().await?;
        let shared = &self.running.shared;
        shared.log.trim(shared.visible.trim_point());
        Ok(())
    }

    pub(super) async fn refresh(&self) {
        self.running.views.refresh_all().await;
    }

    pub(super) async fn producer(&self, name: &'static str) -> Result<Producer<'_>, Fault> {
        let shared = self.running.shared.clone();
        let (stream, durable, _) = IngestStream::open(shared, self.table()?, name, None).await?;
        Ok(Producer {
            life: self,
            name,
            stream,
            durable: durable.seq,
        })
    }

    async fn asked(&self, sql: &str) -> Result<Vec<RecordBatch>, Fault> {
        let caller = QueryContext::new("tests");
        let stream = self.engine.query(&caller, sql, None).await?;
        stream.collect().await
    }

    async fn rows(&self, sql: &str) -> Result<Vec<Row>, Fault> {
        let mut out = Vec::new();
        for batch in self.asked(sql).await? {
            let longs = |i| batch.column(i).as_primitive::<Int64Type>();
            let (k, v, s) = (longs(0), longs(1), batch.column(2).as_string::<i32>());
            out.extend(
                (0..batch.num_rows()).map(|i| (k.value(i), v.value(i), s.value(i).to_owned())),
            );
        }
        out.sort();
        Ok(out)
    }

    async fn rejected(&self) -> Result<Vec<Row>, Fault> {
        let mut out = Vec::new();
        for batch in self.asked("SELECT raw FROM public.t_quarantine").await? {
            for raw in batch.column(0).as_string::<i32>().iter().flatten() {
                let sent: serde_json::Value = serde_json::from_str(raw).unwrap();
                let s = sent["s"].as_str().unwrap_or_default();
                out.push(rejected(&(sent["k"].as_i64().unwrap(), 0, s.to_owned())));
            }
        }
        out.sort();
        Ok(out)
    }

    /// All that can be asked of the table, but for the producers.
    async fn seen(&self) -> Result<State, String> {
        let table = match self.table() {
            Ok(table) => table,
            Err(fault) if fault.kind == Kind::NotFound => return Ok(State::default()),
            Err(fault) => return Err(fault.to_string()),
        };
        let rows = |sql| async move { self.rows(sql).await.map_err(|e| format!("{sql}: {e}")) };
        let state = State {
            is_there: true,
            has_view: self
                .running
                .shared
                .table(&TableName::new("public", "m").unwrap())
                .is_ok(),
            columns: table.contract().columns.len(),
            rows: rows("SELECT k, v, s FROM public.t").await?,
            rejected: self
                .rejected()
                .await
                .map_err(|e| format!("the quarantine: {e}"))?,
            seqs: std::collections::BTreeMap::new(),
        };
        if state.has_view {
            let viewed = rows("SELECT CAST(sum(n) AS BIGINT), CAST(sum(total) AS BIGINT), s FROM public.m GROUP BY s").await?;
            let expected = ["s0", "s1", "s2"].into_iter().filter_map(|s| {
                let of: Vec<&Row> = state.rows.iter().filter(|r| r.2 == s).collect();
                let total = of.iter().map(|r| r.1).sum();
                (!of.is_empty()).then(|| (of.len() as i64, total, s.to_owned()))
            });
            let mut expected: Vec<Row> = expected.collect();
            expected.sort();
            if viewed != expected {
                return Err(format!(
                    "the view has {viewed:?} and its table {expected:?}"
                ));
            }
        }
        Ok(state)
    }

    /// Holds what the server answers against the model, does again what was cut short, and holds it against the model again.
    pub(super) async fn verify(&self) -> Result<(), String> {
        let told = |fault: Fault| fault.to_string();
        let mut seen = self.seen().await?;
        let names: Vec<&'static str> = ["p", "q"].into_iter().filter(|_| seen.is_there).collect();
        for name in names {
            // A name that is new to the server has sent nothing.
            let known = self
                .table()
                .map_err(told)?
                .in_log_order(|producers| producers.contains_key(name));
            let newest = match known {
                true => self.producer(name).await.map_err(told)?.durable,
                false => 0,
            };
            if newest > 0 {
                seen.seqs.insert(name, newest);
            }
        }
        let left = self.model.lock().adopt(&seen)?;
        for step in left {
            self.again(step).await.map_err(told)?;
        }
        for _ in 0..2 {
            let mut seen = self.seen().await?;
            let model = self.model();
            seen.seqs.clone_from(&model.state.seqs);
            if seen != model.state {
                return Err(format!("expected {:?}\nseen {seen:?}", model.state));
            }
            if !model.state.is_there {
                break;
            }
            self.commit().await.map_err(told)?;
        }
        Ok(())
    }

    /// After damage: does the server answer with less than there was, or with other rows? It may refuse to answer.
    pub(super) async fn is_silently_wrong(&self) -> Option<String> {
        let mut seen = self.seen().await.ok()?;
        let state = self.model().state;
        seen.seqs.clone_from(&state.seqs);
        (seen != state).then(|| format!("expected {state:?}\nseen {seen:?}"))
    }

    async fn again(&self, step: Step) -> Result<(), Fault> {
        match step {
            Step::Create => self.create().await,
            Step::Drop => self.drop_table().await,
            Step::CreateView => self.create_view().await,
            Step::AddColumn => {
                self.add_column(&format!("e{}", self.model().state.columns))
                    .await
            }
            Step::Batch {
                producer,
                seq,
                rows,
            } => self.producer(producer).await?.send(seq, rows).await,
            Step::Insert(rows) => self.insert(rows).await,
            Step::DeleteBelow(k) => self.delete_below(k).await,
            Step::Replay => self.replay().await,
            Step::Restore(_) => Ok(()),
        }
    }

    /// The server ends by itself. Whether it could do all that it wanted is its own business: nothing may be lost.
    pub(super) async fn shutdown(self) -> Result<(), Fault> {
        self.running.shutdown().await
    }
}

/// A named producer of one life.
pub(super) struct Producer<'a> {
    life: &'a Life,
    name: &'static str,
    stream: IngestStream,
    /// The newest batch that the server had when the stream was opened.
    pub(super) durable: u64,
}

impl Producer<'_> {
    /// The batch is on its way: [`Producer::acked`] waits for its ack.
    pub(super) async fn push(&mut self, seq: u64, rows: Vec<Row>) -> Result<Pending, Fault> {
        let sent = batch(&rows);
        self.life.model.lock().begin(Step::Batch {
            producer: self.name,
            seq,
            rows,
        });
        self.stream.push(Some(seq), Some(sent)).await
    }

    pub(super) async fn acked(&mut self, pending: Pending) -> Result<(), Fault> {
        pending.durable().await?;
        self.life.model.lock().done();
        Ok(())
    }

    pub(super) async fn send(&mut self, seq: u64, rows: Vec<Row>) -> Result<(), Fault> {
        let pending = self.push(seq, rows).await?;
        self.acked(pending).await
    }

    /// Sends a number again, with other rows: whatever the answer is, it is no step.
    pub(super) async fn repeat(&mut self, seq: u64, rows: Vec<Row>) -> Result<(), Fault> {
        let pending = self.stream.push(Some(seq), Some(batch(&rows))).await?;
        pending.durable().await.map(drop)
    }

    /// A batch of an older stream of the producer is refused, and is no step.
    pub(super) async fn is_fenced(&mut self, seq: u64, rows: Vec<Row>) -> Result<(), Fault> {
        let sent = batch(&rows);
        let answer = match self.stream.push(Some(seq), Some(sent)).await {
            Ok(pending) => pending.durable().await.map(drop),
            Err(fault) => Err(fault),
        };
        match answer {
            Ok(()) => panic!("a fenced stream's batch was acked"),
            Err(fault) if fault.kind == Kind::Precondition => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}
