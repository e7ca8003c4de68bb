//! `ON CAST(a.note AS DOUBLE) = b.value`: what two sides are compared by gets a name of its own.
//!
//! DataFusion computes such a key in a projection beside the columns of its side. A cast has the name of what is cast, so DataFusion names
//! a key that is a cast anew, but none within which the cast stands, as that which brings a float to its one form.

use datafusion::common::Result;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::query::arithmetic::bare;
use crate::query::functions::hidden_by_another;

/// Prefix of the names. No table's column can have such a name.
const KEY: &str = "deltaplane.compared.";

#[derive(Debug)]
pub(in crate::query) struct NamedKeys;

impl OptimizerRule for NamedKeys {
    fn name(&self) -> &str {
        "named_keys"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Join(mut join) = plan else {
            return Ok(Transformed::no(plan));
        };
        let mut changed = false;
        for (at, (left, right)) in join.on.iter_mut().enumerate() {
            for (key, side) in [(left, "left"), (right, "right")] {
                if is_hidden_cast(key) {
                    *key = key.clone().alias(format!("{KEY}{side}{at}"));
                    changed = true;
                }
            }
        }
        Ok(Transformed::new_transformed(
            LogicalPlan::Join(join),
            changed,
        ))
    }
}

/// A cast that is brought to another form: it has the name of what is cast.
fn is_hidden_cast(key: &Expr) -> bool {
    let is_cast = |expr: &Expr| matches!(expr, Expr::Cast(_) | Expr::TryCast(_));
    let mut within = bare(key);
    while let Some(hidden) = hidden_by_another(within) {
        within = bare(hidden);
    }
    !is_cast(key) && is_cast(within)
}
