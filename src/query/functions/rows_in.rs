//! `(a, b) IN (SELECT x, y ..)` in a WHERE, which DataFusion does not plan, as EXISTS over the set's rows. A condition of WHERE need
//! not tell NULL from false, which EXISTS never is: elsewhere the planner refuses it.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Select, UnaryOperator};

use crate::fault::Fault;
use crate::sql::{parse_own_expr, printed};

/// # Errors
/// INTERNAL: what is written here is no expression.
pub(super) fn rewrite(select: &mut Select) -> Result<(), Fault> {
    match &mut select.selection {
        Some(condition) => all(condition),
        None => Ok(()),
    }
}

/// In each of the conditions that have to hold.
fn all(condition: &mut Expr) -> Result<(), Fault> {
    match condition {
        Expr::Nested(inner) => all(inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            right,
        } => {
            all(left)?;
            all(right)
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr,
        } => {
            if let Some(made) = exists(expr, true)? {
                *condition = made;
            }
            Ok(())
        }
        other => {
            if let Some(made) = exists(other, false)? {
                *other = made;
            }
            Ok(())
        }
    }
}

fn exists(expr: &Expr, not: bool) -> Result<Option<Expr>, Fault> {
    if let Expr::Nested(inner) = expr {
        return exists(inner, not);
    }
    let Expr::InSubquery {
        expr,
        subquery,
        negated,
    } = expr
    else {
        return Ok(None);
    };
    let Expr::Tuple(values) = &**expr else {
        return Ok(None);
    };
    let names: Vec<String> = (1..=values.len()).map(|n| format!("__in_{n}")).collect();
    let equal = names.iter().zip(values);
    let equal: Vec<String> = equal
        .map(|(name, value)| format!("({}) = {name}", printed(value)))
        .collect();
    let (names, equal) = (names.join(", "), equal.join(" AND "));
    // Of NOT IN, a row that may be equal is one that is.
    let (exists, condition) = match *negated != not {
        false => ("EXISTS", equal),
        true => ("NOT EXISTS", format!("({equal}) IS DISTINCT FROM false")),
    };
    let set = printed(&**subquery);
    parse_own_expr(&format!(
        "{exists} (SELECT 1 FROM ({set}) AS __in ({names}) WHERE {condition})"
    ))
    .map(Some)
}
