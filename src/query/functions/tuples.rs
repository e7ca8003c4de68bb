//! `(ts, id) > (TIMESTAMP '2026-01-01', 20)` and `(day, device) IN ((DATE '2026-01-01', 'r1'))`.
//!
//! Which of two rows is the greater is asked value by value, so that files are left out by the first, and a row whose first value is
//! NULL is neither (SQL:2023, 8.2); as structs, where a null is the least value, it would be below every other. For other questions
//! a row is the struct that DataFusion makes of it; of names and literals it does so itself, and of nothing else.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr};

use crate::fault::Fault;
use crate::sql::{parse_own_expr, printed};

/// Each value nests once.
const VALUES_MAX: usize = 16;

/// # Errors
/// INTERNAL: what is written here is no expression.
pub(super) fn write_out(expr: &mut Expr) -> Result<(), Fault> {
    match expr {
        Expr::BinaryOp { left, op, right } => {
            if let Some(written) = in_order(left, op, right) {
                *expr = parse_own_expr(&written)?;
                return Ok(());
            }
            as_struct(left)?;
            as_struct(right)
        }
        Expr::InList { expr, list, .. } => {
            as_struct(expr)?;
            list.iter_mut().try_for_each(as_struct)
        }
        Expr::Between {
            expr, low, high, ..
        } => {
            as_struct(expr)?;
            as_struct(low)?;
            as_struct(high)
        }
        _ => Ok(()),
    }
}

/// `a > c OR a = c AND b > d` for `(a, b) > (c, d)`. None: the sides are not rows of one length that are asked for their order.
fn in_order(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<String> {
    let (strict, whole) = match op {
        BinaryOperator::Lt => ("<", "<"),
        BinaryOperator::LtEq => ("<", "<="),
        BinaryOperator::Gt => (">", ">"),
        BinaryOperator::GtEq => (">", ">="),
        _ => return None,
    };
    let (Expr::Tuple(left), Expr::Tuple(right)) = (left, right) else {
        return None;
    };
    if left.len() != right.len() || left.len() > VALUES_MAX {
        return None;
    }
    let values = |values: &[Expr]| values.iter().map(printed).collect::<Vec<_>>();
    let mut pairs = values(left).into_iter().zip(values(right)).rev();
    let (a, b) = pairs.next()?;
    let last = format!("({a}) {whole} ({b})");
    let written = pairs.fold(last, |rest, (a, b)| {
        format!("({a}) {strict} ({b}) OR (({a}) = ({b}) AND ({rest}))")
    });
    Some(format!("({written})"))
}

fn as_struct(expr: &mut Expr) -> Result<(), Fault> {
    let Expr::Tuple(values) = expr else {
        return Ok(());
    };
    let plain = |value: &Expr| {
        matches!(
            value,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)
        )
    };
    if !values.iter().all(plain) {
        let values: Vec<String> = values.iter().map(printed).collect();
        *expr = parse_own_expr(&format!("struct({})", values.join(", ")))?;
    }
    Ok(())
}
