//! `x SIMILAR TO pattern [ESCAPE sign]`: the whole text is matched, by a regular expression in which `%` is any text and `_` any
//! character (SQL:2023, 8.6; PostgreSQL, 9.7.2). DataFusion takes the pattern for a regular expression that may match a part.
//!
//! `similar_to_escape(pattern [, sign])` makes the regular expression, as PostgreSQL's function of that name does. It is called where the
//! pattern stands, so that a pattern may come from a column or a parameter as well.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};
use datafusion::sql::sqlparser::ast::{Expr, Statement, Value, ValueWithSpan, VisitorMut};

use crate::fault::Fault;
use crate::sql::{parse_own_expr, syntax, visit_mut};

const NAME: &str = "similar_to_escape";
/// Where a statement says no other.
const BACKSLASH: char = '\\';

/// # Errors
/// INVALID_ARGUMENT: the escape is not one sign.
pub(super) fn rewrite(statement: &mut Statement) -> std::result::Result<(), Fault> {
    struct Rewriter(Option<Fault>);
    impl VisitorMut for Rewriter {
        type Break = ();

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            let Expr::SimilarTo {
                pattern,
                escape_char,
                ..
            } = expr
            else {
                return ControlFlow::Continue(());
            };
            match as_expression(pattern, escape_char.take()) {
                Ok(made) => {
                    **pattern = made;
                    ControlFlow::Continue(())
                }
                Err(fault) => {
                    self.0 = Some(fault);
                    ControlFlow::Break(())
                }
            }
        }
    }
    let mut rewriter = Rewriter(None);
    let _ = visit_mut(statement, &mut rewriter);
    rewriter.0.map_or(Ok(()), Err)
}

fn as_expression(
    pattern: &Expr,
    escape: Option<ValueWithSpan>,
) -> std::result::Result<Expr, Fault> {
    match escape.map(|sign| sign.value) {
        None => parse_own_expr(&format!("{NAME}({pattern})")),
        Some(Value::SingleQuotedString(text)) if text.chars().count() <= 1 => {
            let sign = Value::SingleQuotedString(text);
            parse_own_expr(&format!("{NAME}({pattern}, {sign})"))
        }
        Some(other) => Err(syntax(format!(
            "the escape of SIMILAR TO is one sign in quotes, or '' for none, found {other}"
        ))),
    }
}

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(SimilarToEscape {
        signature: Signature::one_of(
            vec![
                TypeSignature::Exact(vec![DataType::Utf8]),
                TypeSignature::Exact(vec![DataType::Utf8, DataType::Utf8]),
            ],
            Volatility::Immutable,
        ),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SimilarToEscape {
    signature: Signature,
}

impl ScalarUDFImpl for SimilarToEscape {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let (patterns, signs) = match arrays.as_slice() {
            [patterns] => (patterns.as_string::<i32>(), None),
            [patterns, signs] => (patterns.as_string::<i32>(), Some(signs.as_string::<i32>())),
            _ => return exec_err!("{NAME} takes a pattern, and perhaps the sign that escapes"),
        };
        let made = patterns.iter().enumerate().map(|(row, pattern)| {
            let sign = match signs {
                None => Some(Some(BACKSLASH)),
                Some(signs) if signs.is_null(row) => None,
                Some(signs) => Some(signs.value(row).chars().next()),
            };
            match (pattern, sign) {
                (Some(pattern), Some(sign)) => expression(pattern, sign).map(Some),
                _ => Ok(None),
            }
        });
        let made: ArrayRef = Arc::new(made.collect::<Result<StringArray>>()?);
        // Of constants it is one itself.
        match args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)))
        {
            true => ScalarValue::try_from_array(&made, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(made)),
        }
    }
}

/// The regular expression that matches what the pattern is similar to.
///
/// # Errors
/// The pattern ends in the sign that escapes what follows.
fn expression(pattern: &str, escape: Option<char>) -> Result<String> {
    // Any sign is matched by `%` and `_`, a line's end as well.
    let mut out = String::from("(?s)^(?:");
    let mut within_list = false;
    let mut signs = pattern.chars();
    while let Some(sign) = signs.next() {
        if Some(sign) == escape {
            let Some(next) = signs.next() else {
                return exec_err!(
                    "a pattern of SIMILAR TO ends in the sign that escapes what follows, pattern={pattern}, sign={sign}; write it twice"
                );
            };
            // As in PostgreSQL, a letter stands for a class, such as a digit's.
            match next.is_ascii_alphanumeric() {
                true => out.extend([BACKSLASH, next]),
                false => literal(next, &mut out),
            }
            continue;
        }
        match sign {
            '[' if !within_list => {
                within_list = true;
                out.push('[');
            }
            ']' if within_list => {
                within_list = false;
                out.push(']');
            }
            '^' | '-' if within_list => out.push(sign),
            sign if within_list => literal(sign, &mut out),
            '%' => out.push_str(".*"),
            '_' => out.push('.'),
            '(' => out.push_str("(?:"),
            '|' | '*' | '+' | '?' | '{' | '}' | ')' => out.push(sign),
            sign => literal(sign, &mut out),
        }
    }
    out.push_str(")$");
    Ok(out)
}

fn literal(sign: char, out: &mut String) {
    if "\\.+*?()|[]{}^$#&-~".contains(sign) {
        out.push(BACKSLASH);
    }
    out.push(sign);
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text() {
        for (pattern, expected) in [
            ("b", "(?s)^(?:b)$"),
            ("a%|b_", "(?s)^(?:a.*|b.)$"),
            ("(ab)+c{2}", "(?s)^(?:(?:ab)+c{2})$"),
            ("[^a-c.%]x", "(?s)^(?:[^a-c\\.%]x)$"),
            ("1.5$\\%", "(?s)^(?:1\\.5\\$%)$"),
            ("\\(\\_", "(?s)^(?:\\(_)$"),
        ] {
            let found = expression(pattern, Some(BACKSLASH)).unwrap();
            assert_eq!(found, expected, "{pattern}");
        }
        assert_eq!(expression("a!%", Some('!')).unwrap(), "(?s)^(?:a%)$");
        assert_eq!(expression("a\\%", None).unwrap(), "(?s)^(?:a\\\\.*)$");
        assert!(expression("a\\", Some(BACKSLASH)).is_err());
    }
}
