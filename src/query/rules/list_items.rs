//! `x IN (a, CASE .. END, NULL)`: what stands in a list and is no value.
//!
//! DataFusion asks once, without rows, whether the values of a list are constants, and keeps those that are. A CASE without rows gives
//! one value, that of its ELSE, which is then taken for its value in every row. Of two lists, `x IN (a, 1) AND x NOT IN (b, 1)`, it makes one,
//! `x IN (a)`, as if `a` and `b` could not be equal; and so it does with NULL. Here all that is no value is compared one by one, also
//! subqueries beside others: a list in which one subquery is left would be read as `x IN (SELECT ..)`.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::disjunction;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{AnalyzerRule, OptimizerConfig, OptimizerRule};

/// A rule of the analyzer, and of the optimizer behind all that put an expression in a column's place: `5 IN (q.c, 7)` of a subquery `q`
/// whose `c` is a CASE.
#[derive(Debug)]
pub(in crate::query) struct ComputedItems;

impl AnalyzerRule for ComputedItems {
    fn name(&self) -> &str {
        "computed_items"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(items_compared);
        Ok(plan?.data)
    }
}

impl OptimizerRule for ComputedItems {
    fn name(&self) -> &str {
        "computed_items"
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
        items_compared(plan)
    }
}

/// A node's lists without values that are computed.
fn items_compared(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| {
            Ok(match expr {
                // What gives another value each time is asked for one value, and not once for each of the list.
                Expr::InList(list) if list.list.len() > 1 && list.expr.is_volatile() => {
                    Transformed::no(Expr::InList(list))
                }
                Expr::InList(list) if list.list.iter().any(is_computed) => {
                    Transformed::yes(one_by_one(list))
                }
                other => Transformed::no(other),
            })
        })?;
        Ok(match expr.transformed {
            true => expr.update_data(|expr| name.restore(expr)),
            false => expr,
        })
    })
}

/// Not known before there are rows, or maybe null.
fn is_computed(item: &Expr) -> bool {
    !is_value(item)
}

/// A value, or what will be one, that is not null.
pub(super) fn is_value(item: &Expr) -> bool {
    match item {
        Expr::Literal(value, _) => !value.is_null(),
        Expr::Placeholder(_) => true,
        Expr::Cast(cast) => is_value(&cast.expr),
        Expr::Negative(inner) => is_value(inner),
        _ => false,
    }
}

/// True, false or unknown as the list is: unknown if no value is equal and one is null.
fn one_by_one(list: InList) -> Expr {
    let InList {
        expr,
        list,
        negated,
    } = list;
    let (computed, others): (Vec<Expr>, Vec<Expr>) = list.into_iter().partition(is_computed);
    let computed = computed.into_iter().map(|item| (*expr).clone().eq(item));
    let equal: Vec<Expr> = match others.is_empty() {
        true => computed.collect(),
        false => {
            let others = (*expr).clone().in_list(others, false);
            std::iter::once(others).chain(computed).collect()
        }
    };
    let any = disjunction(equal).unwrap_or(Expr::InList(InList::new(expr, Vec::new(), false)));
    match negated {
        true => Expr::Not(Box::new(any)),
        false => any,
    }
}
