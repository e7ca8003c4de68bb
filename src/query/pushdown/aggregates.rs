//! Conditions that name no column stay above what makes rows of none, and conditions that are drawn anew for each row stay above
//! groups, windows and UNNEST.
//!
//! An aggregate without GROUP BY has a row of no rows, and so has the empty grouping set of ROLLUP and CUBE. DataFusion's rule
//! `push_down_filter` moves a condition such as `(SELECT count(*) FROM t) > 100` below it, where it leaves out the rows, and not
//! the result. It moves `random() < 0.1` there as well, where it takes a part of the rows in place of a part of the groups.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// The rule, but for such conditions.
#[derive(Debug)]
pub(in crate::query) struct AboveAggregates(
    pub(in crate::query) Arc<dyn OptimizerRule + Send + Sync>,
);

impl AboveAggregates {
    /// The name of the rule that this is made of.
    pub(in crate::query) const RULE: &'static str = "push_down_filter";
}

impl OptimizerRule for AboveAggregates {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        if stays(&plan) {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

fn stays(plan: &LogicalPlan) -> bool {
    let mut conditions = Vec::new();
    let mut plan = plan;
    // The rule takes conditions above conditions for one.
    while let LogicalPlan::Filter(filter) = plan {
        conditions.extend(split_conjunction(&filter.predicate));
        plan = &filter.input;
    }
    let drawn = || conditions.iter().any(|condition| condition.is_volatile());
    match plan {
        LogicalPlan::Aggregate(aggregate) => {
            let of_no_rows = aggregate.group_expr.is_empty()
                || aggregate
                    .group_expr
                    .iter()
                    .any(|key| matches!(key, Expr::GroupingSet(_)));
            let names_none = |condition: &&Expr| condition.column_refs().is_empty();
            of_no_rows && conditions.iter().any(names_none) || drawn()
        }
        LogicalPlan::Window(_) | LogicalPlan::Unnest(_) => drawn(),
        _ => false,
    }
}
