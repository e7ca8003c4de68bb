//! Constants are copied with the plan that they stand in, by each rule that changes it. What folding makes of a short text
//! (`repeat('x', 1000000)`, a hundred times) is refused as soon as it is there, before the rules behind copy it.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use crate::fault::{Fault, Kind};
use crate::query::errors::external;
use crate::query::limits::QueryLimits;

/// Smaller constants are bounded by the text's words.
const LARGE_BYTES: usize = 1024;

/// Ends the planning of a statement whose constants are too large together.
#[derive(Debug, Default)]
pub(in crate::query) struct LargeConstants;

impl LargeConstants {
    /// DataFusion's rule that makes constants of what can be worked out.
    pub(in crate::query) const BEHIND: &'static str = "simplify_expressions";
}

/// Bytes of the large constants in a plan and its subqueries: each as often as it stands there.
fn constant_bytes(plan: &LogicalPlan) -> Result<u64> {
    let mut bytes = 0u64;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|root| {
            root.apply(|expr| {
                if let Expr::Literal(value, _) = expr {
                    let size = value.size();
                    if size >= LARGE_BYTES {
                        bytes = bytes.saturating_add(size as u64);
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(bytes)
}

impl OptimizerRule for LargeConstants {
    fn name(&self) -> &str {
        "large_constants"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let options = config.options();
        let Some(limits) = QueryLimits::of(&options) else {
            return Ok(Transformed::no(plan));
        };
        let (bytes, limit) = (constant_bytes(&plan)?, limits.value_bytes);
        if bytes > limit {
            return Err(external(Fault::new(
                Kind::Exhausted,
                "statement_too_large",
                format!(
                    "the constants of the statement take too many bytes together, bytes={bytes}, limit={limit}; keep them as rows of a table, or raise query.value_bytes_max"
                ),
            )));
        }
        Ok(Transformed::no(plan))
    }
}
