//! `array_min` and `array_max` where DataFusion's planner calls its own, for `x > ALL (list)`, instead of those that are registered.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::functions_nested::min_max::{array_max_udf, array_min_udf};
use datafusion::logical_expr::{Expr, LogicalPlan, ScalarUDF};
use datafusion::optimizer::AnalyzerRule;

use super::bounded::bounded;
use super::reviewed::of_list;

#[derive(Debug)]
pub struct OwnListExtremes([Arc<ScalarUDF>; 2]);

impl Default for OwnListExtremes {
    fn default() -> Self {
        OwnListExtremes([array_min_udf(), array_max_udf()].map(|f| bounded(f, of_list)))
    }
}

impl OwnListExtremes {
    /// None: it calls no function of these, or the right one.
    fn instead(&self, expr: &Expr) -> Option<&Arc<ScalarUDF>> {
        let Expr::ScalarFunction(call) = expr else {
            return None;
        };
        let own = self.0.iter().find(|own| own.name() == call.func.name());
        own.filter(|own| ***own != *call.func)
    }
}

impl AnalyzerRule for OwnListExtremes {
    fn name(&self) -> &str {
        "own_list_extremes"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut found = false;
        plan.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                found = found || expr.exists(|part| Ok(self.instead(part).is_some()))?;
                Ok(match found {
                    true => TreeNodeRecursion::Stop,
                    false => TreeNodeRecursion::Continue,
                })
            })
        })?;
        if !found {
            return Ok(plan);
        }
        let replaced = plan.transform_up_with_subqueries(|node| {
            node.map_expressions(|expr| {
                expr.transform_up(|mut expr| {
                    let own = self.instead(&expr).cloned();
                    if let (Some(own), Expr::ScalarFunction(call)) = (own, &mut expr) {
                        call.func = own;
                        return Ok(Transformed::yes(expr));
                    }
                    Ok(Transformed::no(expr))
                })
            })
        });
        Ok(replaced?.data)
    }
}
