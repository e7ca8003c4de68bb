//! Projections that give a column twice stay where they are.
//!
//! That `c1` and `c2` are equal is known of a projection, and not of a union of several: DataFusion sorts rows by one of the two, moves the
//! projection below the union of a table's hot and committed rows, and finds the rows in no order then.

use std::fmt;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};
use datafusion::physical_plan::projection::ProjectionExec;

use crate::query::pass_through::{PassThrough, PassThroughExec};

/// A node that no projection passes.
#[derive(Clone, Debug)]
struct KeepAbove;

impl fmt::Display for KeepAbove {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepAboveExec: a column twice")
    }
}

impl PassThrough for KeepAbove {
    const NAME: &'static str = "KeepAboveExec";

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        input
    }
}

/// The rule, but for such projections.
#[derive(Debug)]
pub(in crate::query) struct EachOnce(
    pub(in crate::query) Arc<dyn PhysicalOptimizerRule + Send + Sync>,
);

impl EachOnce {
    /// The name of the rule that this is made of.
    pub(in crate::query) const RULE: &'static str = "ProjectionPushdown";
}

impl PhysicalOptimizerRule for EachOnce {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let marked = plan.transform_up(|plan| match plan.downcast_ref::<ProjectionExec>() {
            Some(projection) if gives_twice(projection) => {
                let input = PassThroughExec::over(projection.input().clone(), KeepAbove);
                let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
                plan.replace_children(vec![input], options)
                    .map(Transformed::yes)
            }
            _ => Ok(Transformed::no(plan)),
        })?;
        let moved = self.0.optimize(marked.data, options)?;
        let plan = moved.transform_up(|plan| match plan.children().as_slice() {
            [input] if plan.name() == KeepAbove::NAME => Ok(Transformed::yes(Arc::clone(input))),
            _ => Ok(Transformed::no(plan)),
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

fn gives_twice(projection: &ProjectionExec) -> bool {
    let mut seen = std::collections::HashSet::new();
    let mut exprs = projection.expr().iter();
    !exprs.all(|each| seen.insert(each.expr.clone()))
}
