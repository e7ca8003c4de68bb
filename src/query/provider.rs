//! A table as a query sees it: the pinned version's files and the hot rows above it, in one plan.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::memory::MemorySourceConfig;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;

use super::SnapshotSource;
use super::limits::external;
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

#[async_trait]
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

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let cold_wanted = !self.view.cold.files().is_empty();
        if self.hot.is_empty() {
            return self.view.cold.scan(state, projection, filters, limit);
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
        let cold = self.view.cold.scan(state, projection, filters, limit)?;
        UnionExec::try_new(vec![cold, hot])
    }
}

/// A table of the schema `system`: made when it is read, so that a query that does not read it does not pay for it.
pub(super) struct SystemTable {
    name: &'static str,
    schema: SchemaRef,
    source: Arc<dyn SnapshotSource>,
}

impl SystemTable {
    pub(super) fn new(
        name: &'static str,
        schema: SchemaRef,
        source: Arc<dyn SnapshotSource>,
    ) -> Self {
        SystemTable {
            name,
            schema,
            source,
        }
    }
}

impl std::fmt::Debug for SystemTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SystemTable({})", self.name)
    }
}

#[async_trait]
impl TableProvider for SystemTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let rows = self.source.system_table(self.name).map_err(external)?;
        Ok(MemorySourceConfig::try_new_exec(
            &[vec![rows]],
            self.schema.clone(),
            projection.cloned(),
        )?)
    }
}
