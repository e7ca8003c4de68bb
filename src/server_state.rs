//! What the server shows of itself (snapshots for queries, `system` tables, the console), and the hands that change tables.

use std::sync::Arc;

use std::collections::HashSet;

use arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, UInt32Array};
use async_trait::async_trait;

use crate::catalog::alter::Plan;
use crate::catalog::lookup::RowReader;
use crate::catalog::view::Snapshot;
use crate::catalog::{Shared, lifecycle};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::flight::PutHandler;
use crate::ingest;
use crate::query::{Engine, SnapshotSource};
use crate::statement::{Insert, TableAdmin, dml, restore};
use crate::types::TableName;

/// One table on the console and in `system.tables`.
#[derive(Clone, Debug)]
pub struct TableStatus {
    pub name: TableName,
    pub version: i64,
    pub rows_cold: Option<usize>,
    pub rows_hot: usize,
    pub rows_quarantined_hot: usize,
    pub hot_bytes: usize,
    pub committed: u64,
    pub producers: usize,
    pub incarnation: u64,
}

pub struct Status {
    shared: Arc<Shared>,
}

impl Status {
    pub fn new(shared: Arc<Shared>) -> Self {
        Status { shared }
    }

    pub fn tables(&self) -> Vec<TableStatus> {
        let snapshot = self.shared.visible.snapshot();
        let tables = self.shared.tables();
        let status = tables.iter().filter_map(|table| {
            let view = snapshot.tables.get(&table.name().folded())?;
            let hot = self.shared.visible.hot_status(table);
            Some(TableStatus {
                name: table.name().clone(),
                version: view.cold.version(),
                rows_cold: view.cold.rows(),
                rows_hot: hot.rows,
                rows_quarantined_hot: hot.quarantine_rows,
                hot_bytes: hot.bytes,
                committed: table.committed.borrow().offset.get(),
                producers: table.producers.lock().len(),
                incarnation: table.incarnation.get(),
            })
        });
        status.collect()
    }
}

fn text<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
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

    fn system_tables(&self) -> Vec<(&'static str, RecordBatch)> {
        let t = self.tables();
        let tables = RecordBatch::try_from_iter([
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
            ("producers", long(t.iter().map(|t| t.producers as u64))),
        ]);
        let mut p = Vec::new();
        for table in self.shared.tables() {
            for (name, entry) in table.producers.lock().iter() {
                p.push((
                    table.name().to_string(),
                    name.to_string(),
                    entry.state.epoch(),
                    entry.state.durable(),
                ));
            }
        }
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
        // Columns of one table come from one list, so they have one length.
        let made = [
            ("tables", tables),
            ("producers", producers),
            ("quality", quality),
            ("rules", rules),
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

    async fn newest(&self, contract: &Contract, limit: usize) -> Result<Vec<RecordBatch>, Fault> {
        let columns: Vec<String> = contract
            .columns
            .iter()
            .map(|c| format!("\"{}\"", c.name))
            .collect();
        let order = contract
            .event_time
            .as_ref()
            .map_or_else(String::new, |t| format!(" ORDER BY \"{t}\" DESC"));
        let sql = format!(
            "SELECT {} FROM {}.{}{order} LIMIT {limit}",
            columns.join(", "),
            contract.table.schema(),
            contract.table.table()
        );
        let mut batches = self.engine.query(&sql, None).await?.collect().await?;
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
}

impl Admin {
    pub fn new(shared: Arc<Shared>, engine: Arc<Engine>) -> Self {
        Admin { shared, engine }
    }
}

#[async_trait]
impl TableAdmin for Admin {
    async fn create(&self, contract: Contract, if_not_exists: bool) -> Result<bool, Fault> {
        lifecycle::create(&self.shared, contract, if_not_exists).await
    }

    async fn drop(&self, name: &TableName, if_exists: bool) -> Result<bool, Fault> {
        lifecycle::drop(&self.shared, name, if_exists).await
    }

    async fn alter(&self, name: &TableName, plan: &Plan<'_>) -> Result<(), Fault> {
        crate::catalog::alter::alter(&self.shared, name, plan).await
    }

    async fn insert(&self, insert: Insert) -> Result<u64, Fault> {
        let table = self.shared.table(&insert.table)?;
        let mut result = self.engine.query(&insert.query, None).await?;
        let limit = self.shared.config.memory.query_bytes_max.as_usize();
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(batch) = result.batches.recv().await {
            let batch = batch?;
            bytes += batch.get_array_memory_size();
            if bytes > limit {
                return Err(Fault::new(
                    Kind::Exhausted,
                    "insert_too_large",
                    format!(
                        "the rows to insert take more than {limit} bytes; insert less at a time, or raise memory.query_bytes_max"
                    ),
                ));
            }
            rows.push(batch);
        }
        match &insert.replace {
            None => ingest::insert::append(&self.shared, &table, &insert.columns, rows).await,
            Some(matching) => {
                ingest::insert::replace(&self.shared, &table, &insert.columns, rows, matching).await
            }
        }
    }

    async fn change_rows(&self, dml: dml::Dml) -> Result<u64, Fault> {
        dml::run(&self.shared, &self.engine, dml, None).await
    }

    async fn restore(&self, restore: restore::Restore) -> Result<(), Fault> {
        restore::run(&self.shared, restore).await
    }
}

impl PutHandler for Admin {
    fn put(
        &self,
        descriptor: arrow_flight::FlightDescriptor,
        input: crate::flight::PutInput,
    ) -> futures::stream::BoxStream<'static, Result<arrow_flight::PutResult, tonic::Status>> {
        crate::flight::put::serve(self.shared.clone(), descriptor, input)
    }
}
