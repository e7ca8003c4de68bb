//! Expressions over floats are computed above a scan, where the floats have their one form, and not within it, where they are what a
//! file says: `nullif(x, 0.0)` of a column that holds -0.0.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use super::floats::{OneForm, is_scan_of_floats};
use crate::query::pass_through::{PassThrough, PassThroughExec};

/// DataFusion's rule that moves projections into scans, kept out of those that read floats.
#[derive(Debug)]
pub(in crate::query) struct AboveScans(pub Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for AboveScans {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let marked = plan.transform_up(|node| {
            Ok(match is_scan_of_floats(&node) {
                true => Transformed::yes(PassThroughExec::over(node, OneForm)),
                false => Transformed::no(node),
            })
        })?;
        let moved = self.0.optimize(marked.data, options)?;
        if !marked.transformed {
            return Ok(moved);
        }
        let plan = moved.transform_up(|node| match node.children().as_slice() {
            [scan] if node.name() == OneForm::NAME => Ok(Transformed::yes(Arc::clone(scan))),
            _ => Ok(Transformed::no(node)),
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}
