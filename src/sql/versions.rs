//! `t VERSION AS OF n` and `t TIMESTAMP AS OF '..'`: sqlparser reads the words in other dialects only, so they are taken
//! out of the tokens before it parses. The table is called `t@v5` or `t@t1767225600000000` from there on, names that no
//! table can bear.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::syntax_error::syntax;
use crate::cold::At;
use crate::fault::Fault;

const USAGE: &str =
    "VERSION AS OF takes a whole number, TIMESTAMP AS OF a text such as '2026-01-31 12:00:00'";

/// A time without a zone is UTC.
fn micros(text: &str) -> Result<i64, Fault> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_micros());
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%dT%H:%M:%S%.f%#z"] {
        if let Ok(time) = DateTime::parse_from_str(text, format) {
            return Ok(time.timestamp_micros());
        }
    }
    for format in ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
        if let Ok(time) = NaiveDateTime::parse_from_str(text, format) {
            return Ok(time.and_utc().timestamp_micros());
        }
    }
    NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .ok()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .map(|time| time.and_utc().timestamp_micros())
        .ok_or_else(|| {
            Fault::invalid(
                "invalid_timestamp",
                format!("not a time, value={text}; {USAGE}"),
            )
        })
}

/// The version that a clause means: what it says behind `AS OF`, and how many tokens that takes.
///
/// # Errors
/// INVALID_ARGUMENT: no literal, or one that is no number or time.
pub fn literal(version: bool, tokens: &[&Token]) -> Result<(At, usize), Fault> {
    let number = |text: &str| {
        text.parse()
            .map(At::Version)
            .map_err(|_| syntax(format!("not a version, value={text}; {USAGE}")))
    };
    match tokens {
        [Token::Number(text, _), ..] if version => Ok((number(text)?, 1)),
        [Token::SingleQuotedString(text), ..] if version => Ok((number(text)?, 1)),
        [Token::SingleQuotedString(text), ..] => Ok((At::Time(micros(text)?), 1)),
        [Token::Word(word), Token::SingleQuotedString(text), ..]
            if !version && matches!(word.keyword, Keyword::TIMESTAMP | Keyword::DATE) =>
        {
            Ok((At::Time(micros(text)?), 2))
        }
        [other, ..] => Err(syntax(format!("{USAGE}, found {other}"))),
        [] => Err(syntax(USAGE)),
    }
}

fn word(token: Option<&&Token>) -> Option<Keyword> {
    match token {
        Some(Token::Word(word)) if word.quote_style.is_none() => Some(word.keyword),
        _ => None,
    }
}

/// Puts the version into the table's name.
///
/// # Errors
/// INVALID_ARGUMENT: `AS OF` without a number or time.
pub(super) fn rewrite(tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>, Fault> {
    let bare: Vec<&Token> = tokens.iter().map(|t| &t.token).collect();
    // Places in `tokens`: a new name, or nothing.
    let mut changes: BTreeMap<usize, Option<Token>> = BTreeMap::new();
    for at in 0..bare.len() {
        let Some(Token::Word(table)) = bare.get(at) else {
            continue;
        };
        if table.quote_style.is_none() && table.keyword == Keyword::FOR {
            continue;
        }
        let after = at + 1 + usize::from(word(bare.get(at + 1)) == Some(Keyword::FOR));
        let version = match word(bare.get(after)) {
            Some(Keyword::VERSION) => true,
            Some(Keyword::TIMESTAMP | Keyword::SYSTEM_TIME) => false,
            _ => continue,
        };
        if word(bare.get(after + 1)) != Some(Keyword::AS)
            || word(bare.get(after + 2)) != Some(Keyword::OF)
        {
            continue;
        }
        // `SELECT version AS of`: a column and its alias. `RESTORE TABLE t TO VERSION AS OF` is read elsewhere.
        let own_name = table.quote_style.is_some() || table.keyword == Keyword::NoKeyword;
        let rest = bare.get(after + 3..).unwrap_or_default();
        let (asked, taken) = match literal(version, rest) {
            Ok(found) if table.keyword != Keyword::TO => found,
            Err(fault) if own_name => return Err(fault),
            _ => continue,
        };
        let name = match asked {
            At::Version(number) => format!("{}@v{number}", table.value),
            At::Time(micros) => format!("{}@t{micros}", table.value),
        };
        let name = Token::Word(Word {
            value: name,
            quote_style: Some('"'),
            keyword: Keyword::NoKeyword,
        });
        changes.extend((at + 1..after + 3 + taken).map(|gone| (gone, None)));
        changes.insert(at, Some(name));
    }
    let changed = tokens.into_iter().enumerate().filter_map(|(at, token)| {
        let span = token.span;
        match changes.remove(&at) {
            None => Some(token),
            Some(None) => None,
            Some(Some(token)) => Some(TokenWithSpan { token, span }),
        }
    });
    Ok(changed.collect())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::parser::parse_one;
    use super::*;

    #[test]
    fn the_words_go_into_the_name_and_nothing_else_is_touched() {
        for (sql, expected) in [
            ("SELECT a FROM t VERSION AS OF 5", r#"SELECT a FROM "t@v5""#),
            (
                "select * from s.T version as of 3 AS x join s.t timestamp as of '1970-01-01 00:00:01' y on x.a = y.a",
                r#"SELECT * FROM s."T@v3" AS x JOIN s."t@t1000000" y ON x.a = y.a"#,
            ),
            (
                r#"SELECT * FROM "q" FOR VERSION AS OF '2', r FOR SYSTEM_TIME AS OF TIMESTAMP '1970-01-01T00:00:00.5Z'"#,
                r#"SELECT * FROM "q@v2", "r@t500000""#,
            ),
            (
                "SELECT version AS of, timestamp AS of FROM t",
                "SELECT version AS of, timestamp AS of FROM t",
            ),
        ] {
            let text = parse_one(sql).unwrap().to_string();
            assert_eq!(text, expected);
            // What is written reads back as it was.
            assert_eq!(parse_one(&text).unwrap().to_string(), expected);
        }
        for bad in [
            "SELECT * FROM t VERSION AS OF x",
            "SELECT * FROM t VERSION AS OF ?",
            "SELECT * FROM t VERSION AS OF 1.5",
            "SELECT * FROM t TIMESTAMP AS OF 5",
            "SELECT * FROM t TIMESTAMP AS OF 'yesterday'",
            "SELECT * FROM t VERSION AS OF",
        ] {
            let fault = parse_one(bad).unwrap_err();
            assert!(fault.message.contains("whole number"), "{bad}: {fault}");
        }
    }

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        for (text, expected) in [
            ("1970-01-02", 86_400_000_000),
            ("1970-01-01 00:00:01.25", 1_250_000),
            ("1970-01-01T01:00:00+01:00", 0),
            ("1970-01-01 01:00:00+0100", 0),
        ] {
            assert_eq!(micros(text).unwrap(), expected, "{text}");
        }
    }
}
