//! Filters that stay above what has two columns of one name.
//!
//! DataFusion's rule `FilterPushdown` finds the columns of a filter in a node's input by their names, and takes the first of a
//! name. The two sides of a join, and a projection above it, may both have a column `ts`: then `a.ts <> b.ts` becomes
//! `a.ts <> a.ts` below, and rows are lost. So a node that no filter passes stands above every node whose columns share a name,
//! while the rule runs.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use crate::query::pass_through::{PassThrough, PassThroughExec};

#[derive(Clone, Debug)]
struct KeepFilters;

impl fmt::Display for KeepFilters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeepFiltersExec: columns of one name")
    }
}

impl PassThrough for KeepFilters {
    const NAME: &'static str = "KeepFiltersExec";
    const FILTERS_PASS: bool = false;

    fn stream(
        &self,
        input: SendableRecordBatchStream,
        _: &TaskContext,
    ) -> SendableRecordBatchStream {
        input
    }
}

/// A rule that finds columns by name, where names tell columns apart.
#[derive(Debug)]
pub(in crate::query) struct ByName(
    pub(in crate::query) Arc<dyn PhysicalOptimizerRule + Send + Sync>,
);

impl PhysicalOptimizerRule for ByName {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|plan| {
            if plan.name() == KeepFilters::NAME || !shares_names(&plan.schema()) {
                return Ok(Transformed::no(plan));
            }
            Ok(Transformed::yes(PassThroughExec::over(plan, KeepFilters)))
        })?;
        self.0.optimize(plan.data, options)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Takes the nodes away again, for the rules that look at a node's neighbours.
#[derive(Debug)]
pub(in crate::query) struct Unmark;

impl PhysicalOptimizerRule for Unmark {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|plan| match plan.children().as_slice() {
            [input] if plan.name() == KeepFilters::NAME => Ok(Transformed::yes(Arc::clone(input))),
            _ => Ok(Transformed::no(plan)),
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "filters_kept"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn shares_names(schema: &Schema) -> bool {
    let mut seen = HashSet::with_capacity(schema.fields().len());
    !schema
        .fields()
        .iter()
        .all(|field| seen.insert(field.name()))
}
