//! `CHECK (..)` as rules: what a rule can say of one column, and ANDs of that.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, UnaryOperator, Value,
};

use crate::dataset::{Action, Contract, Rule, RuleKind};
use crate::fault::Fault;
use crate::types::SameName;

/// Adds the rules that a CHECK says: ranges, lists, patterns, lengths, and ANDs of them.
///
/// # Errors
/// INVALID_ARGUMENT `invalid_contract`: it is no rule kind, or names no column.
pub(super) fn rules(check: &Expr, contract: &mut Contract) -> Result<(), Fault> {
    let unknown = || {
        Fault::invalid(
            "invalid_contract",
            format!(
                "this CHECK is no rule kind: {check}; known: c BETWEEN a AND b, c >= a, c <= b, c IN ('x', ..), c ~ 'pattern', length(c) <= n, c IS NOT NULL, and AND of them"
            ),
        )
    };
    let column_of = |e: &Expr, contract: &Contract| match e {
        Expr::Identifier(ident) => {
            let found = contract
                .columns
                .iter()
                .find(|c| c.name.is_same_name(&ident.value));
            found.map(|c| c.name.clone()).ok_or_else(|| {
                Fault::invalid(
                    "invalid_contract",
                    format!("CHECK names no column of the table: {ident}"),
                )
            })
        }
        _ => Err(unknown()),
    };
    let number = |e: &Expr| {
        let text = literal(e).ok_or_else(unknown)?;
        let bound = text.parse::<f64>().map_err(|_| unknown())?;
        if is_other(&text, bound) {
            return Err(Fault::invalid(
                "invalid_contract",
                format!(
                    "a bound is kept as a DOUBLE, which {text} is not: it would be {bound}; say a bound of at most 15 digits"
                ),
            ));
        }
        Ok(bound)
    };
    match check {
        Expr::Nested(inner) => rules(inner, contract),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            rules(left, contract)?;
            rules(right, contract)
        }
        Expr::Between {
            expr,
            negated: false,
            low,
            high,
        } => {
            let column = column_of(expr, contract)?;
            add_range(contract, &column, Some(number(low)?), Some(number(high)?));
            Ok(())
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::GtEq,
            right,
        } => {
            let column = column_of(left, contract)?;
            add_range(contract, &column, Some(number(right)?), None);
            Ok(())
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::LtEq,
            right,
        } if length_of(left).is_some() => {
            let column = column_of(length_of(left).unwrap_or(left), contract)?;
            let chars = literal(right).and_then(|t| t.parse().ok());
            let chars = chars.ok_or_else(unknown)?;
            add(contract, &column, RuleKind::MaxLength { chars });
            Ok(())
        }
        Expr::BinaryOp {
            left,
            op: BinaryOperator::LtEq,
            right,
        } => {
            let column = column_of(left, contract)?;
            add_range(contract, &column, None, Some(number(right)?));
            Ok(())
        }
        Expr::InList {
            expr,
            list,
            negated: false,
        } => {
            let column = column_of(expr, contract)?;
            let values = list
                .iter()
                .map(|e| literal(e).ok_or_else(unknown))
                .collect::<Result<Vec<_>, _>>()?;
            add(contract, &column, RuleKind::Enum { values });
            Ok(())
        }
        Expr::IsNotNull(expr) => {
            let column = column_of(expr, contract)?;
            contract
                .columns
                .iter_mut()
                .filter(|c| c.name == column)
                .for_each(|c| c.required = true);
            Ok(())
        }
        other => {
            let (expr, pattern, flags) = matched(other).ok_or_else(unknown)?;
            let column = column_of(expr, contract)?;
            let text = text(pattern).ok_or_else(unknown)?;
            let pattern = whole(&format!("{flags}{text}"));
            add(contract, &column, RuleKind::Regex { pattern });
            Ok(())
        }
    }
}

/// Is the double another number than the text? Asked where a double may be one: of 0.1 nobody minds.
fn is_other(text: &str, bound: f64) -> bool {
    if let Ok(whole) = text.parse::<i128>() {
        return bound as i128 != whole;
    }
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    let plain = |text: &str| {
        let text = text.trim_start_matches(['+', '-']).trim_start_matches('0');
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text.to_owned(),
        }
    };
    digits > 15 && !text.contains(['e', 'E']) && plain(text) != plain(&format!("{bound}"))
}

fn add(contract: &mut Contract, column: &str, kind: RuleKind) {
    contract.rules.push(Rule::new(column, kind, Action::Reject));
}

/// `c >= a AND c <= b` is one range.
fn add_range(contract: &mut Contract, column: &str, low: Option<f64>, high: Option<f64>) {
    for rule in contract.rules.iter_mut().filter(|r| r.column == column) {
        if let RuleKind::Range { min, max } = &mut rule.kind
            && ((min.is_none() && high.is_none()) || (max.is_none() && low.is_none()))
        {
            *min = min.or(low);
            *max = max.or(high);
            return;
        }
    }
    let kind = RuleKind::Range {
        min: low,
        max: high,
    };
    add(contract, column, kind);
}

/// `length(c)` under each of its names.
fn length_of(e: &Expr) -> Option<&Expr> {
    let (name, arguments) = call(e)?;
    match arguments.as_slice() {
        [one] if ["length", "char_length", "character_length"].contains(&name.as_str()) => {
            Some(one)
        }
        _ => None,
    }
}

/// What is matched with which pattern: `c ~ 'p'`, `c ~* 'p'`, `c RLIKE 'p'`, `regexp_like(c, 'p')`; and the flags that go before
/// the pattern.
fn matched(e: &Expr) -> Option<(&Expr, &Expr, &'static str)> {
    match e {
        Expr::BinaryOp { left, op, right } => match op {
            BinaryOperator::PGRegexMatch => Some((left, right, "")),
            BinaryOperator::PGRegexIMatch => Some((left, right, "(?i)")),
            _ => None,
        },
        Expr::RLike {
            negated: false,
            expr,
            pattern,
            ..
        } => Some((expr, pattern, "")),
        _ => match call(e)? {
            (name, arguments) if name == "regexp_like" => match arguments.as_slice() {
                [column, pattern] => Some((column, pattern, "")),
                _ => None,
            },
            _ => None,
        },
    }
}

fn call(e: &Expr) -> Option<(String, Vec<&Expr>)> {
    let Expr::Function(function) = e else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let arguments = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
        _ => None,
    });
    let name = function.name.to_string().to_ascii_lowercase();
    Some((name, arguments.collect::<Option<_>>()?))
}

/// A pattern that finds a place in the text, as the one that a rule has: the whole text matches it.
fn whole(pattern: &str) -> String {
    let is_pattern = |text: &&str| regex::Regex::new(text).is_ok();
    // As a rule is shown.
    let shown = pattern
        .strip_prefix("^(?:")
        .and_then(|p| p.strip_suffix(")$"));
    // A bar would reach beyond the anchors, and flags might change what they mean.
    let anchored = pattern
        .strip_prefix('^')
        .and_then(|p| p.strip_suffix('$'))
        .filter(|p| !p.contains('|') && !p.contains("(?"));
    let bare = shown
        .filter(is_pattern)
        .or_else(|| anchored.filter(is_pattern));
    bare.map_or_else(|| format!("(?s:.*)(?:{pattern})(?s:.*)"), ToOwned::to_owned)
}

fn text(e: &Expr) -> Option<&str> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::SingleQuotedString(s) => Some(s),
            _ => None,
        },
        _ => None,
    }
}

/// A number, or a text.
pub(super) fn literal(e: &Expr) -> Option<String> {
    match e {
        Expr::Value(v) => match &v.value {
            Value::Number(n, _) => Some(n.to_string()),
            Value::SingleQuotedString(s) => Some(s.clone()),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => literal(expr).map(|n| format!("-{n}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::whole;

    #[test]
    fn a_pattern_that_finds_becomes_one_that_matches_the_whole_text() {
        for (given, expected) in [
            ("^R[0-9]+$", "R[0-9]+"),
            ("^(?:a|b)$", "a|b"),
            ("b", "(?s:.*)(?:b)(?s:.*)"),
            ("^b", "(?s:.*)(?:^b)(?s:.*)"),
            // The anchors are of one side each.
            ("^a|b$", "(?s:.*)(?:^a|b$)(?s:.*)"),
            ("^(?:a)|(?:b)$", "(?s:.*)(?:^(?:a)|(?:b)$)(?s:.*)"),
            (r"^a\$", r"(?s:.*)(?:^a\$)(?s:.*)"),
            ("(?i)^a$", "(?s:.*)(?:(?i)^a$)(?s:.*)"),
        ] {
            assert_eq!(whole(given), expected, "{given}");
            let Ok(finds) = regex::Regex::new(given) else {
                panic!("{given}");
            };
            let Ok(matches) = regex::Regex::new(&format!("^(?:{})$", whole(given))) else {
                panic!("{given}");
            };
            for text in ["R1", "a", "A", "b", "ab", "ba", "xbx", "a$", "a\nb", ""] {
                assert_eq!(
                    finds.is_match(text),
                    matches.is_match(text),
                    "{given} {text}"
                );
            }
        }
    }
}
