//! The parameters of a statement. Each `?` gets its number from its place in the text, on the tokens, before anything is
//! parsed: what the parser, the planner and our own writing out make of them may be in another order, or twice.

use datafusion::sql::sqlparser::ast::{Expr, Value};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::text_limits::{TextLimits, too_large};
use crate::fault::Fault;

/// Makes `$1`, `$2`, .. of each `?`, and `$5` of `?5`. A `?` after numbered ones goes on behind the highest.
///
/// # Errors
/// RESOURCE_EXHAUSTED `statement_too_large`; INVALID_ARGUMENT `parameters`: a number out of range, or a name.
pub(super) fn number(tokens: &mut [TokenWithSpan], limits: &TextLimits) -> Result<(), Fault> {
    let mut highest = 0usize;
    for token in tokens {
        let Token::Placeholder(name) = &mut token.token else {
            continue;
        };
        if name == "?" {
            highest += 1;
            if highest > limits.parameters {
                return Err(too_large(
                    "too many parameters",
                    highest,
                    "parameters_max",
                    limits.parameters,
                    "bind rows instead",
                ));
            }
            *name = format!("${highest}");
        } else {
            let n = numbered(name, limits)?;
            highest = highest.max(n);
            *name = format!("${n}");
        }
    }
    Ok(())
}

/// The number behind `$` or `?` is what memory for parameters is taken by.
fn numbered(name: &str, limits: &TextLimits) -> Result<usize, Fault> {
    let shown: String = name.chars().take(24).collect();
    let digits = name.strip_prefix(['$', '?']).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Fault::invalid(
            "parameters",
            format!("parameters have no names here, parameter={shown}; write ?, or $1, $2, .."),
        ));
    }
    match digits.parse::<usize>() {
        Ok(n) if (1..=limits.parameters).contains(&n) => Ok(n),
        _ => Err(Fault::invalid(
            "parameters",
            format!(
                "no such parameter, parameter={shown}, known: $1 to ${} (query.parameters_max)",
                limits.parameters
            ),
        )),
    }
}

/// How many parameters tokens have: the highest number.
pub fn parameters(tokens: &[TokenWithSpan]) -> usize {
    let numbers = tokens.iter().filter_map(|t| match &t.token {
        Token::Placeholder(name) => parameter(name),
        _ => None,
    });
    numbers.max().unwrap_or(0)
}

/// The number of `$1`.
pub fn parameter(placeholder: &str) -> Option<usize> {
    placeholder.strip_prefix('$')?.parse().ok()
}

/// The number of an expression that is a parameter and nothing else.
pub fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(text) => parameter(text),
            _ => None,
        },
        Expr::Nested(inner) => placeholder(inner),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::{parse_one, tokenize};
    use super::*;

    #[test]
    fn parameters_are_numbered_as_they_stand_in_the_text() {
        for (sql, expected) in [
            (
                "SELECT a FROM t ORDER BY a OFFSET ? LIMIT ?",
                "SELECT a FROM t ORDER BY a LIMIT $2 OFFSET $1",
            ),
            ("SELECT a FROM t LIMIT ?, ?", "SELECT a FROM t LIMIT $1, $2"),
            (
                "SELECT percentile_cont(?) WITHIN GROUP (ORDER BY i * ?) FILTER (WHERE i > ?) FROM t",
                "SELECT percentile_cont($1) WITHIN GROUP (ORDER BY i * $2) FILTER (WHERE i > $3) FROM t",
            ),
            (
                "SELECT '?', \"?\", ? -- ?\n, ? /* ? */",
                "SELECT '?', \"?\", $1, $2",
            ),
            ("SELECT ?2, ?, $1", "SELECT $2, $3, $1"),
        ] {
            let text = parse_one(sql).unwrap().to_string();
            assert_eq!(text, expected, "{sql}");
            let marks = expected.matches('$').count();
            assert_eq!(parameters(&tokenize(sql).unwrap()), marks, "{sql}");
        }
    }

    #[test]
    fn a_parameter_that_no_memory_is_taken_for_is_refused() {
        for bad in ["$0", "$65536", "?65536", "$99999999999999999999999999"] {
            let fault = tokenize(&format!("SELECT {bad}")).unwrap_err();
            assert_eq!(&*fault.reason, "parameters");
            assert!(fault.message.contains("query.parameters_max"), "{fault}");
        }
        let fault = tokenize("SELECT $65535, ?").unwrap_err();
        assert!(fault.message.contains("parameters_max"), "{fault}");
        let fault = tokenize("SELECT $name").unwrap_err();
        assert!(fault.message.contains("parameter=$name"), "{fault}");
    }
}
