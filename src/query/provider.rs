//! A table as a query sees it: the pinned version's files and the hot rows above it, in one plan.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use futures::future::BoxFuture;

use super::null_fields;
use super::scan::scan_by_planned;
use crate::catalog::view::TableView;

#[derive(Debug)]
pub(super) struct SnapshotTable {
    view: TableView,
    hot: Vec<RecordBatch>,
}

impl SnapshotTable {
    pub(super) fn new(view: TableView) -> Self {
        let hot = view.hot.iter().map(|chunk| chunk.batch.clone()).collect();
        SnapshotTable { view, hot }
    }
}

impl TableProvider for SnapshotTable {
    fn schema(&self) -> SchemaRef {
        self.view.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        // They prune; what is left is filtered again above.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    scan_by_planned!();
}

impl SnapshotTable {
    fn planned<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let cold_wanted = !self.view.cold.files().is_empty();
            let cold = || -> Result<Arc<dyn ExecutionPlan>> {
                let scan = self.view.cold.scan(state, projection, filters, limit)?;
                Ok(null_fields::over(scan))
            };
            if self.hot.is_empty() {
                return cold();
            }
            let partitions = state.config().target_partitions().clamp(1, self.hot.len());
            let mut groups: Vec<Vec<RecordBatch>> = vec![Vec::new(); partitions];
            for (index, batch) in self.hot.iter().enumerate() {
                groups[index * partitions / self.hot.len()].push(batch.clone());
            }
            let hot: Arc<dyn ExecutionPlan> =
                MemorySourceConfig::try_new_exec(&groups, self.schema(), projection.cloned())?;
            if !cold_wanted {
                return Ok(hot);
            }
            UnionExec::try_new(vec![cold()?, hot])
        })
    }
}
