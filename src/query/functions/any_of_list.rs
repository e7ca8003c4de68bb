//! `x = ANY (list)` and its like, where a null is among the list's values: the answer is unknown unless another value decides
//! (SQL:2023, 8.9). DataFusion's answer is false then; its ALL is right. A value that is not written is none of `= ANY (?)`, whose
//! list is bound as a list of constants.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Statement, UnaryOperator, VisitorMut};

use crate::fault::Fault;
use crate::sql::{parse_own_expr, placeholder, visit_mut};

/// # Errors
/// INTERNAL: what is written here is no expression.
pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Fault> {
    struct Rewriter(Option<Fault>);
    impl VisitorMut for Rewriter {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            match with_nulls(expr) {
                Ok(None) => {}
                Ok(Some(made)) => *expr = made,
                Err(fault) => {
                    self.0 = Some(fault);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut rewriter = Rewriter(None);
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.0.map_or(Ok(()), Err)
}

/// The same question so that a null among the values counts as one; none: it is another expression, or right as it is.
fn with_nulls(expr: &Expr) -> Result<Option<Expr>, Fault> {
    let Expr::AnyOp {
        left,
        compare_op,
        right,
        ..
    } = expr
    else {
        return Ok(None);
    };
    let opposite = match compare_op {
        BinaryOperator::Eq => return is_one_of(left, right),
        BinaryOperator::NotEq => BinaryOperator::Eq,
        BinaryOperator::Lt => BinaryOperator::GtEq,
        BinaryOperator::LtEq => BinaryOperator::Gt,
        BinaryOperator::Gt => BinaryOperator::LtEq,
        BinaryOperator::GtEq => BinaryOperator::Lt,
        _ => return Ok(None),
    };
    if matches!(**right, Expr::Subquery(_)) {
        return Ok(None);
    }
    let all = Expr::AllOp {
        left: left.clone(),
        compare_op: opposite,
        right: right.clone(),
    };
    Ok(Some(Expr::Nested(Box::new(Expr::UnaryOp {
        op: UnaryOperator::Not,
        expr: Box::new(all),
    }))))
}

fn is_one_of(value: &Expr, list: &Expr) -> Result<Option<Expr>, Fault> {
    let list = match list {
        Expr::Nested(inner) => inner,
        other => other,
    };
    match list {
        Expr::Subquery(_) => Ok(None),
        // Files are left out by such a list.
        Expr::Array(values) if !values.elem.is_empty() => Ok(Some(Expr::InList {
            expr: Box::new(value.clone()),
            list: values.elem.clone(),
            negated: false,
        })),
        Expr::Array(_) => Ok(None),
        bound if placeholder(bound).is_some() => Ok(None),
        list => parse_own_expr(&format!(
            "(array_has({list}, {value}) OR (array_position({list}, NULL) IS NOT NULL AND NULL))"
        ))
        .map(Some),
    }
}
