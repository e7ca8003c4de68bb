//! `SELECT sum(DISTINCT a), sum(b)`. DataFusion groups by `a` first and adds up the sums of `b`; the sum of a DECIMAL has ten digits more, and
//! the sum of sums ten more again, which is not the type that the columns of the answer were said to have.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// DataFusion's rule, without what it would give another type.
#[derive(Debug)]
pub(in crate::query) struct SumsOfOneType(pub Arc<dyn OptimizerRule + Send + Sync>);

impl SumsOfOneType {
    pub(in crate::query) const RULE: &'static str = "single_distinct_aggregation_to_group_by";
}

impl OptimizerRule for SumsOfOneType {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if !matches!(plan, LogicalPlan::Aggregate(_)) {
            return self.0.rewrite(plan, config);
        }
        let grouped = self.0.rewrite(plan.clone(), config)?;
        let types = |plan: &LogicalPlan| {
            let fields = plan.schema().fields().iter();
            fields.map(|f| f.data_type().clone()).collect::<Vec<_>>()
        };
        Ok(match types(&grouped.data) == types(&plan) {
            true => grouped,
            false => Transformed::no(plan),
        })
    }
}
