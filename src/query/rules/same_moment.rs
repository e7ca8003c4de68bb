//! A time with a zone and one without are two values although they name one moment. DataFusion's constants are equal then, so that
//! its rule for expressions that occur twice would compute one of them for both, and answer it in the type of the other.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use arrow::datatypes::TimeUnit;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

/// DataFusion's rule, which leaves plans alone that hold such constants: what occurs twice is computed twice.
#[derive(Debug)]
pub(in crate::query) struct EachMoment(pub Arc<dyn OptimizerRule + Send + Sync>);

impl EachMoment {
    pub(in crate::query) const RULE: &'static str = "common_sub_expression_eliminate";
}

impl OptimizerRule for EachMoment {
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
        if one_moment_in_two_zones(&plan)? {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

type Moment = (TimeUnit, Option<i64>);

/// With its zone.
fn time_of(value: &ScalarValue) -> Option<(Moment, Option<&str>)> {
    let (moment, zone) = match value {
        ScalarValue::TimestampSecond(at, zone) => ((TimeUnit::Second, *at), zone),
        ScalarValue::TimestampMillisecond(at, zone) => ((TimeUnit::Millisecond, *at), zone),
        ScalarValue::TimestampMicrosecond(at, zone) => ((TimeUnit::Microsecond, *at), zone),
        ScalarValue::TimestampNanosecond(at, zone) => ((TimeUnit::Nanosecond, *at), zone),
        _ => return None,
    };
    Some((moment, zone.as_deref()))
}

fn one_moment_in_two_zones(plan: &LogicalPlan) -> Result<bool> {
    let mut zones: HashMap<Moment, Option<String>> = HashMap::new();
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::Literal(value, _) = expr
                    && let Some((moment, zone)) = time_of(value)
                {
                    match zones.entry(moment) {
                        Entry::Vacant(free) => {
                            free.insert(zone.map(str::to_owned));
                        }
                        Entry::Occupied(known) => found |= known.get().as_deref() != zone,
                    }
                }
                Ok(match found {
                    true => TreeNodeRecursion::Stop,
                    false => TreeNodeRecursion::Continue,
                })
            })
        })
    })?;
    Ok(found)
}
