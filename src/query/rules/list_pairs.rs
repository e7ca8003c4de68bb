//! Two lists that one expression is looked for in: `x NOT IN (1, 2) OR x NOT IN (3, 4)`.
//!
//! DataFusion makes one list of the two, and TRUE or FALSE where none of their values is left, also for an `x` that is NULL, for which it
//! is unknown: a DELETE with this condition would take the rows without an `x`. Here the two become one before it sees them.

use std::collections::HashSet;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;

use super::list_items::is_value;

/// Stands behind [`super::ComputedItems`], which leaves values in lists and nothing else, and behind [`super::long_chains`], whose casts would
/// stand between two lists of a long chain.
#[derive(Debug)]
pub(super) struct ListPairs;

impl AnalyzerRule for ListPairs {
    fn name(&self) -> &str {
        "list_pairs"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| {
                    let expr = united(expr);
                    Ok(match joined(&expr.data) {
                        Some(joined) => Transformed::yes(joined),
                        None => expr,
                    })
                })?;
                Ok(match expr.transformed {
                    true => expr.update_data(|expr| name.restore(expr)),
                    false => expr,
                })
            })
        })?;
        Ok(plan.data)
    }
}

/// `x IN (1) OR x IN (2)` and `x NOT IN (1) AND x NOT IN (2)` with all values in one list. DataFusion does that too, and copies the values that it
/// has for each list that comes.
fn united(expr: Expr) -> Transformed<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return Transformed::no(expr);
    };
    match (*left, *right) {
        (Expr::InList(mut one), Expr::InList(other))
            if one.expr == other.expr
                && one.negated == other.negated
                && op == [Operator::Or, Operator::And][usize::from(one.negated)]
                && !one.expr.is_volatile() =>
        {
            one.list.extend(other.list);
            Transformed::yes(Expr::InList(one))
        }
        (left, right) => Transformed::no(Expr::BinaryExpr(BinaryExpr::new(
            Box::new(left),
            op,
            Box::new(right),
        ))),
    }
}

/// The values that an expression is compared with.
struct Values {
    of: Expr,
    negated: bool,
    values: Vec<Expr>,
    /// All of one type, and known before anything is computed.
    known: bool,
}

impl Values {
    fn new(of: &Expr, negated: bool, values: Vec<Expr>) -> Values {
        let known = values.iter().all(|v| matches!(v, Expr::Literal(..)));
        Values {
            of: of.clone(),
            negated,
            values,
            known,
        }
    }

    /// What DataFusion takes for a list: one, `x = 1 OR x = 2`, and NOT of these.
    fn of(expr: &Expr) -> Option<Values> {
        match expr {
            Expr::InList(list) if list.list.iter().all(is_value) => {
                Some(Values::new(&list.expr, list.negated, list.list.clone()))
            }
            Expr::Not(inner) => Values::of(inner).map(|values| Values {
                negated: !values.negated,
                ..values
            }),
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::Eq if is_constant(right) => {
                    Some(Values::new(left, false, vec![right.as_ref().clone()]))
                }
                Operator::Eq if is_constant(left) => {
                    Some(Values::new(right, false, vec![left.as_ref().clone()]))
                }
                Operator::Or => {
                    let (one, other) = (Values::of(left)?, Values::of(right)?);
                    let fit = one.is_about(&other) && !one.negated && !other.negated;
                    fit.then(|| one.and_those_of(other))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether both are about one expression. A cast of it is taken away later, with those of the values.
    fn is_about(&self, other: &Values) -> bool {
        fn without_casts(mut expr: &Expr) -> &Expr {
            while let Expr::Cast(cast) = expr {
                expr = &cast.expr;
            }
            expr
        }
        without_casts(&self.of) == without_casts(&other.of)
    }

    fn and_those_of(mut self, other: Values) -> Values {
        self.known &= other.known && self.of == other.of;
        self.values.extend(other.values);
        self
    }

    /// Of a list that no value is left of: FALSE, or TRUE if it is negated, and unknown where what is looked for is NULL.
    fn unknown_if_null(&self) -> Expr {
        let unknown = lit(ScalarValue::Boolean(None));
        let of = self.of.clone();
        match self.negated {
            false => of.is_null().and(unknown),
            true => of.is_not_null().or(unknown),
        }
    }
}

/// The same condition with one list in place of two; none: there are no two, or DataFusion is right about them.
fn joined(expr: &Expr) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op, right }) = expr else {
        return None;
    };
    if !matches!(op, Operator::And | Operator::Or) || is_equality(left) || is_equality(right) {
        return None;
    }
    let (one, other) = (Values::of(left)?, Values::of(right)?);
    if !one.is_about(&other) || one.of.is_volatile() {
        return None;
    }
    let (kept, beside, stay_common) = match (op, one.negated, other.negated) {
        (Operator::And, false, true) => (one, other, false),
        (Operator::And, true, false) => (other, one, false),
        (Operator::And, false, false) | (Operator::Or, true, true) => (one, other, true),
        _ => return None,
    };
    if !(kept.known && beside.known && kept.of == beside.of) {
        // Which are equal is known when they have been computed.
        return Some(match kept.negated {
            false => expr.clone().or(kept.unknown_if_null()),
            true => expr.clone().and(kept.unknown_if_null()),
        });
    }
    let others: HashSet<&Expr> = beside.values.iter().collect();
    let stays = |value: &&Expr| others.contains(value) == stay_common;
    let left: Vec<Expr> = kept.values.iter().filter(stays).cloned().collect();
    Some(match left.is_empty() {
        true => kept.unknown_if_null(),
        false => kept.of.clone().in_list(left, kept.negated),
    })
}

fn is_equality(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::BinaryExpr(BinaryExpr {
            op: Operator::Eq,
            ..
        })
    )
}

/// What DataFusion makes a value of.
fn is_constant(expr: &Expr) -> bool {
    is_value(expr) || !expr.contains_outer() && expr.column_refs().is_empty()
}
