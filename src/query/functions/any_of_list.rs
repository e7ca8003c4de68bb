//! `x = ANY (list)` and its like, where a null is among the list's values: the answer is unknown unless another value decides
//! (SQL:2023, 8.9). DataFusion's answer is false then; its ALL is right. A value that is not written is none of `= ANY (?)`, whose
//! list is bound as a list of constants. A list that is written is asked value by value, so that files are left out by it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Statement, UnaryOperator, Visitor, VisitorMut,
};

use crate::fault::Fault;
use crate::sql::{parse_own_expr, placeholder, visit, visit_mut};

/// A longer list stays one, because each condition is planned by itself.
const VALUES_MAX: usize = 100;

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
    if let Some(written) = value_by_value(expr) {
        return Ok(Some(written));
    }
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

/// `x < a OR x < b` for `x < ANY ([a, b])`, and `x < a AND x < b` for ALL. None where x is another value each time, or a query: it is asked
/// once.
fn value_by_value(expr: &Expr) -> Option<Expr> {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    let (left, op, right, between) = match expr {
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => (left, compare_op, right, BinaryOperator::Or),
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => (left, compare_op, right, BinaryOperator::And),
        _ => return None,
    };
    let (Lt | LtEq | Gt | GtEq | Eq | NotEq) = op else {
        return None;
    };
    let list = match &**right {
        Expr::Nested(inner) => inner,
        other => other,
    };
    let Expr::Array(values) = list else {
        return None;
    };
    // `= ANY` is IN.
    if !is_plain(left)
        || values.elem.len() > VALUES_MAX
        || matches!((op, &between), (Eq, BinaryOperator::Or))
    {
        return None;
    }
    let asked = values.elem.iter().map(|value| Expr::BinaryOp {
        left: left.clone(),
        op: op.clone(),
        right: Box::new(Expr::Nested(Box::new(value.clone()))),
    });
    let all = asked.reduce(|before, next| Expr::BinaryOp {
        left: Box::new(before),
        op: between.clone(),
        right: Box::new(next),
    });
    all.map(|all| Expr::Nested(Box::new(all)))
}

/// Is it the same however often it is asked for?
fn is_plain(expr: &Expr) -> bool {
    struct Finder;
    impl Visitor for Finder {
        type Break = ();

        fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
            ControlFlow::Break(())
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            const OTHER_EACH_TIME: [&str; 3] = ["random", "uuid", "gen_random_uuid"];
            if let Expr::Function(call) = expr {
                let name = call.name.to_string().to_ascii_lowercase();
                if call.over.is_some() || OTHER_EACH_TIME.contains(&name.as_str()) {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        }
    }
    visit(expr, &mut Finder).is_continue()
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
