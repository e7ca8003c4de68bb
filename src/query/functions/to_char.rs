//! Patterns of `to_char` in PostgreSQL's words, `'YYYY-MM-DD HH24:MI'`. DataFusion's have a percent sign before each, and it gives a
//! text without one back as it is.

use datafusion::sql::sqlparser::ast::{Expr, Value};

use crate::fault::Fault;

/// PostgreSQL's patterns, the longer ones before those that they begin with, and chrono's. Those that PostgreSQL fills up with blanks,
/// as `Month`, are not among them.
const PATTERNS: [(&str, &str); 22] = [
    ("YYYY", "%Y"),
    ("IYYY", "%G"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("MS", "%3f"),
    ("MI", "%M"),
    ("Mon", "%b"),
    ("FMMonth", "%B"),
    ("FMDay", "%A"),
    ("DDD", "%j"),
    ("DD", "%d"),
    ("Dy", "%a"),
    ("HH24", "%H"),
    ("HH12", "%I"),
    ("HH", "%I"),
    ("SS", "%S"),
    ("US", "%6f"),
    ("IW", "%V"),
    ("ID", "%u"),
    ("AM", "%p"),
    ("PM", "%p"),
    ("TZ", "%Z"),
];

/// The pattern in chrono's words; none: it is no constant, or it has percent signs.
///
/// # Errors
/// INVALID_ARGUMENT `invalid_query`: a letter that is part of no pattern.
pub(super) fn in_percents(pattern: &Expr) -> Result<Option<String>, Fault> {
    let Expr::Value(value) = pattern else {
        return Ok(None);
    };
    let Value::SingleQuotedString(text) = &value.value else {
        return Ok(None);
    };
    if text.contains('%') {
        return Ok(None);
    }
    let (mut out, mut rest) = (String::new(), text.as_str());
    while let Some(next) = rest.chars().next() {
        // What stands in double quotes is no pattern.
        if let Some((written, behind)) = rest.strip_prefix('"').and_then(|r| r.split_once('"')) {
            out.push_str(written);
            rest = behind;
        } else if let Some((length, chrono)) = begins(rest).filter(|_| !others(rest)) {
            out.push_str(chrono);
            rest = &rest[length..];
        } else if next.is_ascii_alphabetic() {
            return Err(Fault::invalid(
                "invalid_query",
                format!(
                    "no pattern of a time begins so, pattern={text}, from={rest}; write it with percent signs, as in to_char(time, '%Y-%m-%d %H:%M:%S')"
                ),
            ));
        } else {
            out.push(next);
            rest = &rest[next.len_utf8()..];
        }
    }
    Ok(Some(out))
}

/// Does it begin with one of PostgreSQL's that chrono has not: the day of the ISO year, the seconds since midnight?
fn others(text: &str) -> bool {
    let begins = |other: &str| {
        text.get(..other.len())
            .is_some_and(|b| b.eq_ignore_ascii_case(other))
    };
    begins("IDDD") || begins("SSSS")
}

/// The pattern that a text begins with, and how long it is. The case of one that gives digits counts for nothing.
fn begins(text: &str) -> Option<(usize, &'static str)> {
    PATTERNS.iter().find_map(|(theirs, chrono)| {
        let of_words = matches!(*chrono, "%b" | "%B" | "%a" | "%A" | "%p" | "%Z");
        let begin = text.get(..theirs.len())?;
        let same = begin == *theirs || (!of_words && begin.eq_ignore_ascii_case(theirs));
        same.then_some((theirs.len(), *chrono))
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql::parse_own_expr;

    #[test]
    fn patterns_without_percent_signs_are_those_of_postgresql() {
        for (theirs, chrono) in [
            ("YYYY-MM-DD HH24:MI:SS", "%Y-%m-%d %H:%M:%S"),
            ("yyyy-mm-dd hh24:mi", "%Y-%m-%d %H:%M"),
            ("DDD \"at\" HH12 AM", "%j at %I %p"),
            ("Dy, DD Mon YY", "%a, %d %b %y"),
            ("IYYY-\"W\"IW-ID", "%G-W%V-%u"),
            (" - ", " - "),
        ] {
            let pattern = parse_own_expr(&format!("'{theirs}'")).unwrap();
            let found = in_percents(&pattern).unwrap();
            assert_eq!(found.as_deref(), Some(chrono), "{theirs}");
        }
        for other in ["'%Y'", "form", "'%d of YYYY'"] {
            let pattern = parse_own_expr(other).unwrap();
            assert_eq!(in_percents(&pattern).unwrap(), None, "{other}");
        }
        for wrong in ["'YYYY-MM-DDTHH24'", "'Month'", "'mon'", "'IDDD'", "'ssss'"] {
            let pattern = parse_own_expr(wrong).unwrap();
            let fault = in_percents(&pattern).unwrap_err();
            assert!(fault.to_string().contains("'%Y-%m-%d"), "{fault}");
        }
    }
}
