//! A view that cannot be planned: it fails the statement that reads it, and no list of tables.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

use super::errors::{external, fault_of};
use super::scan::scan_by_planned;
use crate::fault::Fault;

/// In the view's place.
#[derive(Debug)]
pub(super) struct Broken {
    pub schema: SchemaRef,
    pub fault: Fault,
}

impl TableProvider for Broken {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    scan_by_planned!();
}

impl Broken {
    fn planned<'a>(
        &'a self,
        _: &'a dyn Session,
        _: Option<&'a Vec<usize>>,
        _: &'a [Expr],
        _: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move { Err(external(self.fault.clone())) })
    }
}

/// # Errors
/// What planning a view met that the plan reads.
pub(super) fn refuse_broken(plan: &LogicalPlan) -> Result<(), Fault> {
    let mut found = None;
    let walked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
        {
            let provider: &dyn std::any::Any = &*provider;
            if let Some(broken) = provider.downcast_ref::<Broken>() {
                found = Some(broken.fault.clone());
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.map_err(fault_of)?;
    found.map_or(Ok(()), Err)
}
