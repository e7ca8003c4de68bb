//! Aggregates that bear the name of the column that they make.
//!
//! `first_value(v ORDER BY t DESC)` over rows in the order of `t` is computed as `last_value(v ORDER BY t)`, and DataFusion gives it that
//! name as well. It then says of a column of that name that it is constant in an aggregate of all rows, and the aggregate's
//! output has no such column: what was planned because the column is constant is refused when the aggregate is next made anew.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::physical_expr::aggregate::{AggregateExprBuilder, AggregateFunctionExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateOutputMode};
use datafusion::physical_plan::execution_plan::{ChildrenPropertiesMode, ReplaceChildrenOptions};

/// Stands first, and behind the rule [`AggregateNames::BEHIND`].
#[derive(Debug, Default)]
pub(super) struct AggregateNames;

impl AggregateNames {
    /// DataFusion's rule that turns aggregates round.
    pub(super) const BEHIND: &'static str = "OptimizeAggregateOrder";
}

impl PhysicalOptimizerRule for AggregateNames {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = plan.transform_up(|plan| {
            let named = plan
                .downcast_ref::<AggregateExec>()
                .map(named)
                .transpose()?;
            Ok(match named.flatten() {
                Some(named) => Transformed::yes(named),
                None => Transformed::no(plan),
            })
        })?;
        Ok(plan.data)
    }

    fn name(&self) -> &str {
        "aggregate_names"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// `None`: every name is the column's already, or the step makes states, which have names of their own.
fn named(aggregate: &AggregateExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if aggregate.mode().output_mode() != AggregateOutputMode::Final {
        return Ok(None);
    }
    let schema = aggregate.schema();
    let computed = aggregate.aggr_expr();
    let keys = schema.fields().len().saturating_sub(computed.len());
    let names = || schema.fields().iter().skip(keys).map(|field| field.name());
    if computed.iter().map(|e| e.name()).eq(names()) {
        return Ok(None);
    }
    let computed = computed.iter().zip(names());
    let computed = computed.map(|(of, name)| match of.name() == name {
        true => Ok(of.clone()),
        false => Ok(Arc::new(called(of, name, aggregate)?)),
    });
    let named = aggregate.with_new_aggr_exprs(computed.collect::<Result<Vec<_>>>()?);
    let input = named.input().clone();
    let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::new(named)
        .replace_children(vec![input], anew)
        .map(Some)
}

fn called(
    of: &AggregateFunctionExpr,
    name: &str,
    aggregate: &AggregateExec,
) -> Result<AggregateFunctionExpr> {
    let mut builder = AggregateExprBuilder::new(Arc::new(of.fun().clone()), of.expressions())
        .schema(aggregate.input_schema())
        .order_by(of.order_bys().to_vec())
        .with_distinct(of.is_distinct())
        .with_ignore_nulls(of.ignore_nulls())
        .with_reversed(of.is_reversed())
        .alias(name);
    if let Some(display) = of.human_display() {
        builder = builder.human_display(display);
    }
    if let Some(alias) = of.human_display_alias() {
        builder = builder.human_display_alias(alias);
    }
    builder.build()
}
