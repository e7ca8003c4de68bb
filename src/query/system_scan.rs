//! Tables of the schema `system` in a plan: a node that makes their rows when it runs. A plan that is only looked at, as for
//! `GetFlightInfo`, `PREPARE` or `EXPLAIN`, makes none.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use futures::future::BoxFuture;
use futures::stream;

use super::errors::external;
use super::scan::scan_by_planned;
use crate::system_table::SystemTable;

/// About how many rows a table has, as plans are told: few, so that nothing is spread over threads for them.
const ROWS: usize = 100;

#[derive(Debug)]
pub(super) struct SystemTableProvider(pub SystemTable);

impl TableProvider for SystemTableProvider {
    fn schema(&self) -> SchemaRef {
        self.0.schema().clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    scan_by_planned!();
}

impl SystemTableProvider {
    fn planned<'a>(
        &'a self,
        _: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, Result<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let all = || (0..self.0.schema().fields().len()).collect();
            let places = projection.cloned().unwrap_or_else(all);
            let schema = Arc::new(self.0.schema().project(&places)?);
            let properties = PlanProperties::new(
                EquivalenceProperties::new(schema.clone()),
                Partitioning::UnknownPartitioning(1),
                EmissionType::Incremental,
                Boundedness::Bounded,
            );
            let plan: Arc<dyn ExecutionPlan> = Arc::new(SystemTableExec {
                table: self.0.clone(),
                places,
                limit,
                schema,
                properties: Arc::new(properties),
            });
            Ok(plan)
        })
    }
}

#[derive(Debug)]
struct SystemTableExec {
    table: SystemTable,
    /// Of the columns that are read.
    places: Vec<usize>,
    limit: Option<usize>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for SystemTableExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SystemTableExec: table={}, columns=[", self.table.name())?;
        for (at, field) in self.schema.fields().iter().enumerate() {
            let between = if at == 0 { "" } else { ", " };
            write!(f, "{between}{}", field.name())?;
        }
        f.write_str("]")?;
        match self.limit {
            Some(limit) => write!(f, ", limit={limit}"),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for SystemTableExec {
    fn name(&self) -> &'static str {
        "SystemTableExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("a system table has no input"),
        }
    }

    fn statistics_from_inputs(
        &self,
        _: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Inexact(self.limit.unwrap_or(ROWS).min(ROWS));
        Ok(Arc::new(statistics))
    }

    fn execute(&self, _: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (table, places, limit) = (self.table.clone(), self.places.clone(), self.limit);
        let schema = self.schema.clone();
        let rows = async move { table.read(&schema, &places, limit).map_err(external) };
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            stream::once(rows),
        )))
    }
}
