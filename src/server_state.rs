//! What the server shows of itself (snapshots for queries, `system` tables, the console), and the hands that change tables.

mod console;

use std::collections::HashSet;
use std::sync::{Arc, OnceLock, Weak};

use arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array,
};
use async_trait::async_trait;

use crate::alert::{self, Alerts};
use crate::catalog::alter::Plan;
use crate::catalog::lookup::RowReader;
use crate::catalog::parked::ParkedState;
use crate::catalog::view::Snapshot;
use crate::catalog::{CommitQuality, Shared, lifecycle};
use crate::clock::Micros;
use crate::cold::PinnedFiles;
use crate::dataset::{Contract, show_span};
use crate::fault::Fault;
use crate::flight::ingest::Ingest;
use crate::flight::{PutHandler, PutInput, Sessions};
use crate::ingest;
use crate::query::{Engine, Queries, SnapshotSource};
use crate::records::{DurablePoint, Left, Totals};
use crate::statement::{
    AlertChange, Bound, Insert, Replay, TableAdmin, ViewChange, dml, restore, values,
};
use crate::types::{Lsn, TableName};
use crate::upkeep::Upkeep;
use crate::upkeep::journal::Journal;
use crate::view::{ViewStatus, Views};

/// One table on the console and in `system.tables`.
#[derive(Clone, Debug)]
pub struct TableStatus {
    pub name: TableName,
    pub version: i64,
    pub rows_cold: Option<usize>,
    pub rows_hot: usize,
    pub rows_quarantined: usize,
    pub files: usize,
    pub bytes: u64,
    /// When the newest data file was written, in microseconds since 1970; none: the table has no file.
    pub newest_file: Option<Micros>,
    pub hot_bytes: usize,
    pub committed: u64,
    /// The oldest frame that the log keeps for the table, and how many frames there are from it on, of all tables.
    pub held_from: Option<Lsn>,
    pub held_frames: u64,
    pub producers: usize,
    pub incarnation: u64,
    /// Why nobody can read or write it.
    pub parked: Option<Arc<ParkedState>>,
}

pub struct Status {
    shared: Arc<Shared>,
    queries: Queries,
    sessions: Arc<Sessions>,
    started: Micros,
    journal: Arc<Journal>,
    views: OnceLock<Weak<Views>>,
    alerts: OnceLock<Weak<Alerts>>,
}

impl Status {
    pub fn new(
        shared: Arc<Shared>,
        queries: Queries,
        sessions: Arc<Sessions>,
        journal: Arc<Journal>,
    ) -> Self {
        let started = shared.clock.now();
        Status {
            shared,
            queries,
            sessions,
            started,
            journal,
            views: OnceLock::new(),
            alerts: OnceLock::new(),
        }
    }

    /// Table, name, epoch and newest durable batch of each producer.
    fn producers(&self) -> Vec<(String, String, u64, DurablePoint)> {
        let mut out = Vec::new();
        for table in self.shared.tables() {
            table.in_log_order(|producers| {
                for (name, entry) in producers.iter() {
                    out.push((
                        table.name().to_string(),
                        name.to_string(),
                        entry.state.epoch(),
                        entry.state.durable(),
                    ));
                }
            });
        }
        out.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        out
    }

    /// Set once, when views are refreshed.
    pub fn set_views(&self, views: &Arc<Views>) {
        let _ = self.views.set(Arc::downgrade(views));
    }

    /// Set once, when alerts are looked at.
    pub fn set_alerts(&self, alerts: &Arc<Alerts>) {
        let _ = self.alerts.set(Arc::downgrade(alerts));
    }

    fn alerts(&self) -> Option<Arc<Alerts>> {
        self.alerts.get().and_then(Weak::upgrade)
    }

    pub fn alert_totals(&self) -> alert::Totals {
        self.alerts().map(|a| a.totals()).unwrap_or_default()
    }

    fn views(&self) -> Result<RecordBatch, arrow::error::ArrowError> {
        let known = self.views.get().and_then(Weak::upgrade);
        let notes = known.map(|v| v.status()).unwrap_or_default();
        let snapshot = self.shared.visible.snapshot();
        let rows: Vec<_> = snapshot
            .tables
            .values()
            .filter_map(|v| {
                let spec = v.contract.as_ref()?.view.clone()?;
                let source = snapshot.tables.get(&spec.source.folded())?;
                let note = notes.iter().find(|(n, _)| n.folded() == v.name.folded());
                let note = note.map(|(_, s)| s.clone()).unwrap_or_default();
                let progress = v.progress.as_ref()?.over(&source.cold);
                let read = progress.source.as_ref().map_or(-1, |s| s.version());
                let time = |at: i64| (at > i64::MIN / 8).then_some(at);
                Some((
                    v,
                    spec,
                    note,
                    read,
                    source.cold.version(),
                    time(progress.open_from),
                    time(progress.frozen),
                ))
            })
            .collect();
        let integer = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
        let instant = |values: Vec<Option<i64>>| {
            Arc::new(TimestampMicrosecondArray::from(values).with_timezone("UTC")) as ArrayRef
        };
        let each = |f: &dyn Fn(&ViewStatus) -> Option<i64>| {
            integer(rows.iter().map(|r| f(&r.2)).collect())
        };
        let now = self.shared.clock.now();
        let whole = |n: u64| i64::try_from(n).ok();
        let stored =
            |r: &crate::catalog::view::TableView| r.cold.rows().and_then(|n| i64::try_from(n).ok());
        RecordBatch::try_from_iter_with_nullable([
            (
                "table_schema",
                text(rows.iter().map(|r| r.0.name.schema())),
                true,
            ),
            (
                "table_name",
                text(rows.iter().map(|r| r.0.name.table())),
                true,
            ),
            (
                "source",
                text(rows.iter().map(|r| r.1.source.to_string())),
                true,
            ),
            (
                "bucket",
                text(rows.iter().map(|r| {
                    let bucket = r.1.bucket;
                    let size = show_span(bucket.size);
                    if bucket.step == bucket.size {
                        size
                    } else {
                        format!("{size} every {}", show_span(bucket.step))
                    }
                })),
                true,
            ),
            (
                "watermark",
                instant(rows.iter().map(|r| r.2.watermark).collect()),
                true,
            ),
            (
                // How long ago the watermark was; zero where what is known goes up to now.
                "lag_us",
                each(&|s| s.watermark.map(|at| now.saturating_sub(at).max(0))),
                true,
            ),
            (
                "stored_until",
                instant(rows.iter().map(|r| r.5).collect()),
                true,
            ),
            (
                // Before it nothing is computed again, and retention may take the source's rows.
                "frozen_until",
                instant(rows.iter().map(|r| r.6).collect()),
                true,
            ),
            (
                "version",
                integer(rows.iter().map(|r| Some(r.0.cold.version())).collect()),
                true,
            ),
            (
                "rows_stored",
                integer(rows.iter().map(|r| stored(r.0)).collect()),
                true,
            ),
            (
                "source_version",
                integer(rows.iter().map(|r| Some(r.3)).collect()),
                true,
            ),
            (
                "lag_versions",
                integer(rows.iter().map(|r| Some(r.4 - r.3.min(r.4))).collect()),
                true,
            ),
            ("buckets_computed", each(&|s| whole(s.buckets)), true),
            ("refreshes", each(&|s| whole(s.refreshes)), true),
            (
                "last_refresh_ms",
                each(&|s| {
                    s.last_refresh
                        .and_then(|d| i64::try_from(d.as_millis()).ok())
                }),
                true,
            ),
            (
                "last_files_read",
                each(&|s| whole(s.last_scanned.files)),
                true,
            ),
            (
                "last_bytes_read",
                each(&|s| whole(s.last_scanned.bytes)),
                true,
            ),
            (
                "last_error",
                Arc::new(StringArray::from_iter(
                    rows.iter().map(|r| r.2.last_error.clone()),
                )),
                true,
            ),
        ])
    }

    pub fn tables(&self) -> Vec<TableStatus> {
        let snapshot = self.shared.visible.snapshot();
        let tables = self.shared.tables();
        let durable = self.shared.log.durable().get();
        let status = tables.iter().filter_map(|table| {
            let view = snapshot.tables.get(&table.name().folded())?;
            let hot = self.shared.visible.hot_status(table);
            let quarantine = snapshot.tables.get(&table.name().quarantine().folded());
            let quarantined = quarantine.and_then(|q| q.cold.rows()).unwrap_or(0);
            let files = view.cold.files();
            Some(TableStatus {
                name: table.name().clone(),
                version: view.cold.version(),
                rows_cold: view.cold.rows(),
                rows_hot: hot.rows,
                rows_quarantined: hot.quarantine_rows + quarantined,
                files: files.len(),
                bytes: files.iter().map(|f| f.size()).sum(),
                newest_file: files.iter().map(|f| f.modified().timestamp_micros()).max(),
                hot_bytes: hot.bytes,
                committed: table.committed().offset.get(),
                held_from: hot.held_from,
                held_frames: hot
                    .held_from
                    .map_or(0, |from| durable.saturating_sub(from.get()) + 1),
                producers: table.in_log_order(|producers| producers.len()),
                incarnation: table.incarnation.get(),
                parked: table.parked(),
            })
        });
        status.collect()
    }
}

fn text<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

/// Columns of a system table, of which these may be null.
fn nullable<const N: usize>(
    columns: [(&'static str, ArrayRef); N],
) -> [(&'static str, ArrayRef, bool); N] {
    const NULLABLE: [&str; 8] = [
        "rows_committed",
        "log_held_from",
        "newest_file",
        "parked_stage",
        "parked_reason",
        "parked_problem",
        "way_out",
        "parked_since",
    ];
    columns.map(|(name, values)| (name, values, NULLABLE.contains(&name)))
}

fn instants(values: impl IntoIterator<Item = Micros>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
}

fn long(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(
        values
            .into_iter()
            .map(|v| i64::try_from(v).unwrap_or(i64::MAX)),
    ))
}

impl SnapshotSource for Status {
    fn snapshot(&self) -> Snapshot {
        self.shared.visible.snapshot()
    }

    fn queries(&self) -> Queries {
        self.queries.clone()
    }

    fn stopping(&self) -> tokio_util::sync::CancellationToken {
        self.shared.draining.clone()
    }

    fn system_table(&self, name: &str) -> Option<RecordBatch> {
        match (name, self.alerts()) {
            ("alerts", Some(alerts)) => alerts.table().ok(),
            _ => {
                let all = self.system_tables().into_iter();
                all.into_iter()
                    .find_map(|(known, batch)| (known == name).then_some(batch))
            }
        }
    }

    fn system_tables(&self) -> Vec<(&'static str, RecordBatch)> {
        let t = self.tables();
        let parked = |of: &dyn Fn(&ParkedState, &TableName) -> String| -> ArrayRef {
            let told = t
                .iter()
                .map(|t| t.parked.as_ref().map(|state| of(state, &t.name)));
            Arc::new(told.collect::<StringArray>())
        };
        let tables = RecordBatch::try_from_iter_with_nullable(nullable([
            ("table_schema", text(t.iter().map(|t| t.name.schema()))),
            ("table_name", text(t.iter().map(|t| t.name.table()))),
            ("incarnation", long(t.iter().map(|t| t.incarnation))),
            (
                "version",
                Arc::new(Int64Array::from_iter_values(t.iter().map(|t| t.version))) as ArrayRef,
            ),
            (
                "rows_committed",
                Arc::new(
                    t.iter()
                        .map(|t| t.rows_cold.and_then(|r| i64::try_from(r).ok()))
                        .collect::<Int64Array>(),
                ),
            ),
            ("rows_hot", long(t.iter().map(|t| t.rows_hot as u64))),
            ("hot_bytes", long(t.iter().map(|t| t.hot_bytes as u64))),
            ("committed_offset", long(t.iter().map(|t| t.committed))),
            (
                "log_held_from",
                Arc::new(
                    t.iter()
                        .map(|t| t.held_from.and_then(|at| i64::try_from(at.get()).ok()))
                        .collect::<Int64Array>(),
                ),
            ),
            ("producers", long(t.iter().map(|t| t.producers as u64))),
            (
                "rows_quarantined",
                long(t.iter().map(|t| t.rows_quarantined as u64)),
            ),
            ("files", long(t.iter().map(|t| t.files as u64))),
            ("bytes", long(t.iter().map(|t| t.bytes))),
            (
                "newest_file",
                Arc::new(
                    t.iter()
                        .map(|t| t.newest_file)
                        .collect::<TimestampMicrosecondArray>()
                        .with_timezone("UTC"),
                ),
            ),
            (
                "state",
                text(t.iter().map(|t| {
                    if t.parked.is_some() {
                        "parked"
                    } else {
                        "served"
                    }
                })),
            ),
            ("parked_stage", parked(&|p, _| p.stage.word().to_owned())),
            ("parked_reason", parked(&|p, _| p.reason.clone())),
            ("parked_problem", parked(&|p, _| p.problem.clone())),
            ("way_out", parked(&|p, name| p.way_out(name))),
            (
                "parked_since",
                Arc::new(
                    t.iter()
                        .map(|t| t.parked.as_ref().map(|p| p.since))
                        .collect::<TimestampMicrosecondArray>()
                        .with_timezone("UTC"),
                ),
            ),
        ]));
        let p = self.producers();
        let producers = RecordBatch::try_from_iter([
            ("table", text(p.iter().map(|p| &p.0))),
            ("producer", text(p.iter().map(|p| &p.1))),
            ("epoch", long(p.iter().map(|p| p.2))),
            ("seq", long(p.iter().map(|p| p.3.seq))),
            ("offset", long(p.iter().map(|p| p.3.offset.get()))),
            ("accepted", long(p.iter().map(|p| p.3.totals.accepted))),
            (
                "quarantined",
                long(p.iter().map(|p| p.3.totals.quarantined)),
            ),
            ("duplicates", long(p.iter().map(|p| p.3.totals.duplicates))),
        ]);
        let d = self.shared.visible.days();
        let day = |n: &i32| {
            chrono::DateTime::from_timestamp(i64::from(*n) * 86_400, 0)
                .map_or_else(String::new, |t| t.date_naive().to_string())
        };
        let quality = RecordBatch::try_from_iter([
            ("table", text(d.iter().map(|d| d.0.to_string()))),
            ("ingest_date", text(d.iter().map(|d| day(&d.1)))),
            ("received", long(d.iter().map(|d| d.2.received))),
            ("accepted", long(d.iter().map(|d| d.2.accepted))),
            ("quarantined", long(d.iter().map(|d| d.2.quarantined))),
            ("duplicates", long(d.iter().map(|d| d.2.duplicates))),
            ("replayed", long(d.iter().map(|d| d.2.replayed))),
        ]);
        // A commit a row; the last row of a table, without a version, is what no commit has taken yet.
        let mut q = Vec::new();
        for (table, commits, open) in self.shared.visible.quality() {
            let table = table.to_string();
            q.extend(
                commits
                    .into_iter()
                    .map(|c| (table.clone(), Some(c), c.counts, c.left)),
            );
            q.push((table, None, open, Left::default()));
        }
        let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let commit = |of: fn(&CommitQuality) -> i64| -> ArrayRef {
            Arc::new(
                q.iter()
                    .map(|q| q.1.as_ref().map(of))
                    .collect::<Int64Array>(),
            )
        };
        let count = |of: &dyn Fn(&Totals, &Left) -> i64| -> ArrayRef {
            Arc::new(q.iter().map(|q| of(&q.2, &q.3)).collect::<Int64Array>())
        };
        let at: TimestampMicrosecondArray = q.iter().map(|q| q.1.map(|c| c.at)).collect();
        let quality_commits = RecordBatch::try_from_iter_with_nullable([
            ("table", text(q.iter().map(|q| &q.0)), false),
            ("version", commit(|c| c.version), true),
            ("quarantine_version", commit(|c| c.quarantine_version), true),
            ("offset", commit(|c| lifecycle::offset_i64(c.offset)), true),
            (
                "committed_at",
                Arc::new(at.with_timezone("UTC")) as ArrayRef,
                true,
            ),
            (
                "received",
                count(&|c, _| signed(c.accepted + c.quarantined + c.duplicates)),
                false,
            ),
            (
                "accepted",
                count(&|c, l| signed(c.accepted + l.accepted)),
                false,
            ),
            (
                "quarantined",
                count(&|c, l| signed(c.quarantined) - signed(l.accepted + l.duplicates)),
                false,
            ),
            (
                "duplicates",
                count(&|c, l| signed(c.duplicates + l.duplicates)),
                false,
            ),
            (
                "replayed",
                count(&|_, l| signed(l.accepted + l.duplicates)),
                false,
            ),
        ]);
        let r: Vec<(String, String, &String, u64)> = d
            .iter()
            .flat_map(|(t, n, c)| c.rules.iter().map(|(r, k)| (t.to_string(), day(n), r, *k)))
            .collect();
        let rules = RecordBatch::try_from_iter([
            ("table", text(r.iter().map(|r| &r.0))),
            ("ingest_date", text(r.iter().map(|r| &r.1))),
            ("rule", text(r.iter().map(|r| r.2))),
            ("violations", long(r.iter().map(|r| r.3))),
        ]);
        let q = self.queries.list();
        let queries = RecordBatch::try_from_iter([
            ("id", text(q.iter().map(|q| &q.id))),
            ("principal", text(q.iter().map(|q| &q.principal))),
            ("state", text(q.iter().map(|q| q.state.word()))),
            ("started", instants(q.iter().map(|q| q.started))),
            ("ms", long(q.iter().map(|q| q.ms))),
            ("rows", long(q.iter().map(|q| q.rows))),
            ("memory_bytes", long(q.iter().map(|q| q.bytes))),
            ("sql", text(q.iter().map(|q| &q.sql))),
        ]);
        let o = self.shared.streams.list();
        let streams = RecordBatch::try_from_iter([
            ("table", text(o.iter().map(|o| o.table.to_string()))),
            (
                "producer",
                Arc::new(o.iter().map(|o| o.producer()).collect::<StringArray>()) as ArrayRef,
            ),
            ("seq", long(o.iter().map(|o| o.seq()))),
            ("inflight", long(o.iter().map(|o| o.inflight()))),
            ("since", instants(o.iter().map(|o| o.since))),
        ]);
        let s = self.sessions.list();
        let sessions = RecordBatch::try_from_iter([
            ("id", text(s.iter().map(|s| &s.id))),
            ("principal", text(s.iter().map(|s| &s.principal))),
            ("schema", text(s.iter().map(|s| &s.schema))),
            ("began", instants(s.iter().map(|s| s.began))),
            ("idle_ms", long(s.iter().map(|s| s.idle_ms))),
        ]);
        // Columns of one table come from one list, so they have one length.
        let made = [
            ("queries", queries),
            ("sessions", sessions),
            ("streams", streams),
            ("tables", tables),
            ("producers", producers),
            ("quality", quality),
            ("quality_commits", quality_commits),
            ("rules", rules),
            ("commits", crate::upkeep::state::commits(&self.shared)),
            ("upkeep", crate::upkeep::state::runs(&self.journal)),
            ("views", self.views()),
            // Its rows may be many: they are made for a query that reads them.
            ("alerts", alert::empty_table()),
        ];
        made.into_iter()
            .filter_map(|(name, batch)| batch.ok().map(|b| (name, b)))
            .collect()
    }
}

/// Answers what rules ask of other rows.
pub struct EngineReader {
    engine: Arc<Engine>,
}

impl EngineReader {
    pub fn new(engine: Arc<Engine>) -> Self {
        EngineReader { engine }
    }
}

#[async_trait]
impl RowReader for EngineReader {
    async fn values(&self, table: &TableName, column: &str) -> Result<HashSet<String>, Fault> {
        let sql = format!(
            "SELECT DISTINCT CAST(\"{column}\" AS VARCHAR) FROM {}.{} WHERE \"{column}\" IS NOT NULL",
            table.schema(),
            table.table()
        );
        let mut out = HashSet::new();
        for batch in self.engine.query(&sql, None).await?.collect().await? {
            out.extend(
                batch
                    .column(0)
                    .as_string::<i32>()
                    .iter()
                    .flatten()
                    .map(str::to_owned),
            );
        }
        Ok(out)
    }

    async fn newest(
        &self,
        contract: &Contract,
        limit: usize,
        files: Option<Arc<PinnedFiles>>,
    ) -> Result<Vec<RecordBatch>, Fault> {
        let columns: Vec<String> = contract
            .columns
            .iter()
            .map(|c| format!("\"{}\"", c.name))
            .collect();
        let order = contract
            .event_time
            .as_ref()
            .map_or_else(String::new, |t| format!(" ORDER BY \"{t}\" DESC"));
        let name = &contract.table;
        let sql = format!(
            "SELECT {} FROM \"{}\".\"{}\"{order} LIMIT {limit}",
            columns.join(", "),
            name.schema(),
            name.table()
        );
        let rows = match files {
            None => self.engine.query(&sql, None).await?,
            Some(files) => {
                let mut snapshot = self.engine.snapshot();
                let mut tables = (*snapshot.tables).clone();
                if let Some(own) = tables.get_mut(&name.folded()) {
                    own.cold = files;
                    own.hot = Arc::default();
                }
                snapshot.tables = Arc::new(tables);
                let types = std::collections::BTreeMap::new();
                self.engine.query_over(snapshot, &sql, None, &types).await?
            }
        };
        let mut batches = rows.collect().await?;
        batches.reverse();
        let oldest_first = batches.iter().map(|batch| {
            let rows = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
            let back: UInt32Array = (0..rows).rev().collect();
            arrow::compute::take_record_batch(batch, &back)
        });
        oldest_first
            .collect::<Result<_, _>>()
            .map_err(|e| Fault::internal(format!("newest rows: {e}")))
    }
}

/// Changes tables, and lets producers in.
pub struct Admin {
    shared: Arc<Shared>,
    engine: Arc<Engine>,
    upkeep: Arc<Upkeep>,
    views: Arc<Views>,
    alerts: Arc<Alerts>,
}

impl Admin {
    pub fn new(
        shared: Arc<Shared>,
        engine: Arc<Engine>,
        upkeep: Arc<Upkeep>,
        views: Arc<Views>,
        alerts: Arc<Alerts>,
    ) -> Self {
        Admin {
            alerts,
            shared,
            engine,
            upkeep,
            views,
        }
    }
}

#[async_trait]
impl TableAdmin for Admin {
    async fn create(&self, contract: Contract, if_not_exists: bool) -> Result<bool, Fault> {
        if contract.view.is_some() {
            return Err(Fault::invalid(
                "invalid_contract",
                "a view is made by CREATE MATERIALIZED VIEW, not by a property",
            ));
        }
        lifecycle::create(&self.shared, contract, if_not_exists).await
    }

    async fn drop(&self, name: &TableName, if_exists: bool) -> Result<bool, Fault> {
        if let Ok(table) = self.shared.table(name)
            && table.contract().view.is_some()
        {
            return Err(Fault::invalid(
                "is_a_view",
                format!("{name} is a materialized view; use DROP MATERIALIZED VIEW"),
            ));
        }
        lifecycle::drop(&self.shared, name, if_exists).await
    }

    async fn alter(&self, name: &TableName, plan: &Plan<'_>) -> Result<(), Fault> {
        let table = self.shared.table(name)?;
        if table.contract().view.is_some() {
            return Err(Fault::invalid(
                "is_a_view",
                format!(
                    "{name} is a materialized view; use ALTER MATERIALIZED VIEW {name} SET (delay = '5s') or .. AS SELECT .."
                ),
            ));
        }
        crate::catalog::alter::alter(&self.shared, name, plan).await?;
        if table.is_parked() {
            // The change may be what it needed. What it still lacks, the table's state says.
            self.upkeep.repair(name, false).await?;
        }
        Ok(())
    }

    async fn upkeep(&self, upkeep: crate::statement::Upkeep) -> Result<RecordBatch, Fault> {
        self.upkeep.answer(upkeep).await
    }

    async fn view(&self, change: ViewChange) -> Result<u64, Fault> {
        let views = &self.views;
        match change {
            ViewChange::Create {
                view,
                if_not_exists,
                or_replace,
            } => views.create(view, if_not_exists, or_replace).await?,
            ViewChange::Drop { name, if_exists } => views.remove(&name, if_exists).await?,
            ViewChange::Refresh { name, full, day } => {
                return views.refresh_now(&name, full, day).await;
            }
            ViewChange::Set { name, settings } => views.set(&name, &settings).await?,
            ViewChange::Query { name, sql } => views.query(&name, sql, None).await?,
        }
        Ok(0)
    }

    async fn alert(&self, change: AlertChange) -> Result<Option<RecordBatch>, Fault> {
        let alerts = &self.alerts;
        match change {
            AlertChange::Create {
                alert,
                if_not_exists,
                or_replace,
                text,
            } => {
                let creation = alert::Creation {
                    alert: *alert,
                    if_not_exists,
                    or_replace,
                    text: &text,
                };
                alerts.create(creation).await?;
            }
            AlertChange::Drop { name, if_exists } => alerts.remove(&name, if_exists).await?,
            AlertChange::Pause { name, paused } => alerts.pause(&name, paused).await?,
            AlertChange::Show { ref name } => {
                let ddl = text([alerts.definition(name)?]);
                let rows = RecordBatch::try_new(change.schema(), vec![ddl]);
                let rows = rows.map_err(|e| Fault::internal(e.to_string()))?;
                return Ok(Some(rows));
            }
        }
        Ok(None)
    }

    async fn insert(&self, insert: Insert, bound: &Bound) -> Result<u64, Fault> {
        let table = self.shared.writable(&insert.table)?;
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let gathered = values::rows(&self.engine, &insert, bound, limit).await?;
        let (batches, _charged) = (gathered.batches, gathered.bytes);
        match &insert.replace {
            None => ingest::insert::append(&self.shared, &table, &insert.columns, batches).await,
            Some(matching) => {
                ingest::insert::replace(&self.shared, &table, &insert.columns, batches, matching)
                    .await
            }
        }
    }

    async fn change_rows(&self, dml: dml::Dml, bound: &Bound) -> Result<u64, Fault> {
        dml::run(&self.shared, &self.engine, dml, bound.once()?).await
    }

    async fn restore(&self, restore: restore::Restore) -> Result<(), Fault> {
        restore::run(&self.shared, restore).await
    }

    async fn stage(&self, insert: &Insert, bound: &Bound) -> Result<Option<RecordBatch>, Fault> {
        let table = self.shared.writable(&insert.table)?;
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let gathered = values::rows(&self.engine, insert, bound, limit).await?;
        let (batches, _charged) = (gathered.batches, gathered.bytes);
        ingest::insert::staged(&self.shared, &table, &insert.columns, batches).await
    }

    async fn append(&self, table: &TableName, rows: Vec<RecordBatch>) -> Result<u64, Fault> {
        let table = self.shared.writable(table)?;
        ingest::insert::append_staged(&self.shared, &table, rows).await
    }

    async fn replay(&self, replay: Replay) -> Result<ingest::replay::Outcome, Fault> {
        let table = self.shared.writable(&replay.table)?;
        let quarantine = replay.table.quarantine();
        let filter = match &replay.condition {
            Some(condition) => Some(self.engine.filter(&quarantine, condition).await?),
            None => None,
        };
        let request = ingest::replay::Request {
            overrides: replay.overrides,
            filter,
            dry_run: replay.dry_run,
        };
        // A move that has begun is finished, whether or not its caller still waits.
        let shared = self.shared.clone();
        tokio::spawn(async move { ingest::replay::replay(&shared, &table, &request).await })
            .await
            .map_err(|e| Fault::internal(format!("replay: {e}")))?
    }
}

#[async_trait]
impl PutHandler for Admin {
    fn put(
        &self,
        descriptor: arrow_flight::FlightDescriptor,
        input: PutInput,
    ) -> futures::stream::BoxStream<'static, Result<arrow_flight::PutResult, tonic::Status>> {
        crate::flight::put::serve(self.shared.clone(), descriptor, input)
    }

    async fn ingest(&self, asked: Ingest, input: PutInput) -> Result<u64, Fault> {
        crate::flight::ingest::run(self.shared.clone(), asked, input).await
    }

    async fn stage(&self, asked: &Ingest, input: PutInput) -> Result<Option<RecordBatch>, Fault> {
        crate::flight::ingest::stage(self.shared.clone(), asked, input).await
    }
}
