//! Expressions that ask subqueries, told apart.

use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::Expr;

/// Whether an expression has such a part. The plans of its subqueries are not looked into.
pub(super) fn contains(expr: &Expr, which: fn(&Expr) -> bool) -> bool {
    expr.exists(|expr| Ok(which(expr))).unwrap_or(false)
}

pub(super) fn is_predicate(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
    )
}

pub(super) fn is_subquery(expr: &Expr) -> bool {
    is_predicate(expr) || matches!(expr, Expr::ScalarSubquery(_))
}

/// What cannot be planned but in a condition or a projection.
pub(super) fn is_of_the_rows(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        other => is_predicate(other),
    }
}
