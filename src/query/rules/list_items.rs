//! `x IN (a, CASE .. END)`: values of a list that are computed from columns.
//!
//! DataFusion asks once, without rows, whether the values of a list are constants, and keeps those that are. A CASE without rows gives
//! one value, that of its ELSE, which is then taken for its value in every row. Here such values are compared one by one, and subqueries
//! beside others with them: a list in which one subquery is left would be read as `x IN (SELECT ..)`.

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
                Expr::InList(list)
                    if list.list.len() > 1 && list.list.iter().any(is_computed)
                        || list.list.iter().any(is_made_of_columns) =>
                {
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

/// Neither a constant nor a column as it is.
fn is_computed(item: &Expr) -> bool {
    matches!(item, Expr::ScalarSubquery(_)) || is_made_of_columns(item)
}

/// Computed from columns, and not a column as it is.
fn is_made_of_columns(item: &Expr) -> bool {
    let is_column = matches!(item, Expr::Column(_) | Expr::OuterReferenceColumn(..));
    !is_column && (item.contains_outer() || !item.column_refs().is_empty())
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
