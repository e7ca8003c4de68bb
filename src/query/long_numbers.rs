//! Numbers with more digits than a double keeps. DataFusion reads a number with a fraction as a double and an integer above a
//! BIGINT as one, too: 1234567890123456.7891 would be ..456.7168 before anything looks at the DECIMAL column that it is for. With more
//! than 15 digits such a number is a DECIMAL here, with as many digits as are written.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Statement, UnaryOperator, Value, ValueWithSpan, VisitorMut,
};

use crate::fault::Fault;
use crate::sql::{parse_own_expr, visit_mut};

/// All numbers of so many digits are told apart by a double.
const DIGITS_OF_DOUBLE: usize = 15;
/// Digits of a DECIMAL.
const DIGITS_MAX: usize = 38;
/// With a sign before it the least BIGINT, and without one no BIGINT.
const LEAST: &str = "9223372036854775808";

/// # Errors
/// None: the numbers are read again as they were.
pub(super) fn rewrite(statement: &mut Statement) -> Result<(), Fault> {
    let mut rewriter = Rewriter {
        least: None,
        failed: None,
    };
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.failed.map_or(Ok(()), Err)
}

struct Rewriter {
    /// What became of [`LEAST`], to be taken back if a sign stands before it.
    least: Option<Expr>,
    failed: Option<Fault>,
}

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let made = match &*expr {
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: inner,
            } if self.least.as_ref() == Some(&**inner) => format!("-{LEAST}"),
            Expr::Value(ValueWithSpan {
                value: Value::Number(text, _),
                ..
            }) => match digits(text) {
                Some((precision, scale)) => {
                    format!("CAST('{text}' AS DECIMAL({precision}, {scale}))")
                }
                None => return ControlFlow::Continue(()),
            },
            _ => return ControlFlow::Continue(()),
        };
        let of_least = expr.to_string() == LEAST;
        match parse_own_expr(&made) {
            Ok(made) => {
                if of_least {
                    self.least = Some(made.clone());
                }
                *expr = made;
            }
            Err(fault) => self.failed = self.failed.take().or(Some(fault)),
        }
        ControlFlow::Continue(())
    }
}

/// Precision and scale of a number that a double may not keep; none for others, and for those that no DECIMAL keeps either.
fn digits(text: &str) -> Option<(usize, usize)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    if fraction.is_empty() && text.parse::<i64>().is_ok() {
        return None;
    }
    if !fraction.is_empty() && is_held(text, fraction.len()) {
        return None;
    }
    let kept = fraction.trim_end_matches('0');
    let significant = match whole.is_empty() {
        true => kept.trim_start_matches('0').len(),
        false => whole.len() + kept.len(),
    };
    let precision = whole.len() + fraction.len();
    (significant > DIGITS_OF_DOUBLE && precision <= DIGITS_MAX)
        .then_some((precision, fraction.len()))
}

/// Whether a double rounds to the number as it is written.
fn is_held(text: &str, scale: usize) -> bool {
    let Ok(double) = text.parse::<f64>() else {
        return false;
    };
    format!("{double:.scale$}").trim_start_matches('0') == text.trim_start_matches('0')
}

#[cfg(test)]
mod tests {
    use super::digits;

    #[test]
    fn numbers_that_a_double_keeps_stay_doubles() {
        for (text, expected) in [
            ("1.5", None),
            ("0.000000000000000000001", None),
            ("123456789012345", None),
            ("9223372036854775807", None),
            ("12345678901234.5", None),
            ("1.50000000000000000000", None),
            ("1e300", None),
            ("1234567890123456.7891", Some((20, 4))),
            ("0.12345678901234567", Some((17, 17))),
            (".1234567890123456", None),
            ("9007199254740992.0", None),
            ("9223372036854775808", Some((19, 0))),
            ("12345678901234567890123456789012345678", Some((38, 0))),
            ("123456789012345678901234567890123456789", None),
        ] {
            assert_eq!(digits(text), expected, "{text}");
        }
    }
}
