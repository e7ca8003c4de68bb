//! How rules read other rows.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use futures::future::BoxFuture;

use crate::catalog::lookup::RowReader;
use crate::cold::PinnedFiles;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::query::{Engine, QueryContext};
use crate::types::{TableName, quote_name};

/// Answers what rules ask of other rows.
pub struct EngineReader {
    engine: Arc<Engine>,
}

impl EngineReader {
    pub fn new(engine: Arc<Engine>) -> Self {
        EngineReader { engine }
    }
}

impl RowReader for EngineReader {
    fn values<'a>(
        &'a self,
        table: &'a TableName,
        column: &'a str,
    ) -> BoxFuture<'a, Result<HashSet<String>, Fault>> {
        Box::pin(async move {
            let column = quote_name(column);
            let sql = format!(
                "SELECT DISTINCT CAST({column} AS VARCHAR) FROM {} WHERE {column} IS NOT NULL",
                table.sql()
            );
            let mut out = HashSet::new();
            for batch in self
                .engine
                .query(&QueryContext::server(), &sql, None)
                .await?
                .collect()
                .await?
            {
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
        })
    }

    fn newest<'a>(
        &'a self,
        contract: &'a Contract,
        limit: usize,
        files: Option<Arc<PinnedFiles>>,
    ) -> BoxFuture<'a, Result<Vec<RecordBatch>, Fault>> {
        Box::pin(async move {
            let columns: Vec<String> = contract
                .columns
                .iter()
                .map(|c| quote_name(&c.name))
                .collect();
            let order = contract
                .event_time
                .as_ref()
                .map_or_else(String::new, |t| format!(" ORDER BY {} DESC", quote_name(t)));
            let name = &contract.table;
            let sql = format!(
                "SELECT {} FROM {}{order} LIMIT {limit}",
                columns.join(", "),
                name.sql()
            );
            let rows = match files {
                None => {
                    self.engine
                        .query(&QueryContext::server(), &sql, None)
                        .await?
                }
                Some(files) => {
                    let mut snapshot = self.engine.snapshot();
                    let mut tables = (*snapshot.tables).clone();
                    if let Some(own) = tables.get_mut(&name.folded()) {
                        own.cold = files;
                        own.hot = Arc::default();
                    }
                    snapshot.tables = Arc::new(tables);
                    self.engine
                        .query_over(&QueryContext::server(), snapshot, &sql, None)
                        .await?
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
        })
    }
}
