//! `t VERSION AS OF n` and `t TIMESTAMP AS OF '..'`: a table as one of its committed versions has it.
//!
//! sqlparser reads the words in other dialects only, so they are taken out of the text's tokens before it parses: the table
//! is called `t@v5` or `t@t1767225600000000` from there on, names that no table can bear, and the snapshot that the query
//! is planned over gets an entry under that name. Hot rows are in no version.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, ObjectName, ObjectNamePart, Statement, TableAlias, TableFactor, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan, Word};

use super::caller::default_schema;
use crate::catalog::view::{Snapshot, TableView};
use crate::cold::At;
use crate::fault::{Fault, Kind};
use crate::types::TableName;

const USAGE: &str =
    "VERSION AS OF takes a whole number, TIMESTAMP AS OF a text such as '2026-01-31 12:00:00'";

fn syntax(message: impl Into<String>) -> Fault {
    Fault::invalid("syntax_error", message)
}

/// A time without a zone is UTC.
pub(super) fn micros(text: &str) -> Result<i64, Fault> {
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
    let words: Vec<usize> = (0..tokens.len())
        .filter(|at| !matches!(tokens[*at].token, Token::Whitespace(_)))
        .collect();
    let bare: Vec<&Token> = words.iter().map(|at| &tokens[*at].token).collect();
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
        for gone in words.iter().skip(at + 1).take(after + 3 + taken - (at + 1)) {
            changes.insert(*gone, None);
        }
        if let Some(place) = words.get(at) {
            changes.insert(*place, Some(name));
        }
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

/// `raw@v5`: the table and the version.
fn split(name: &str) -> Option<(&str, At)> {
    let (table, mark) = name.rsplit_once('@')?;
    let number = mark.get(1..)?;
    match mark.as_bytes().first()? {
        b'v' | b'V' => Some((table, At::Version(number.parse().ok()?))),
        b't' | b'T' => Some((table, At::Time(number.parse().ok()?))),
        _ => None,
    }
}

fn idents(name: &ObjectName) -> Vec<&str> {
    name.0
        .iter()
        .filter_map(ObjectNamePart::as_ident)
        .map(|i| i.value.as_str())
        .collect()
}

#[derive(Default)]
struct Asked(Vec<(TableName, At)>);

impl VisitorMut for Asked {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table { name, alias, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let default = default_schema();
        let (schema, table) = match idents(name).as_slice() {
            [table] => (&*default, *table),
            [.., schema, table] => (*schema, *table),
            [] => return ControlFlow::Continue(()),
        };
        if let Some((table, at)) = split(table)
            && let Ok(table) = TableName::new(schema, table)
        {
            // Columns are spelled with the table's own name.
            if alias.is_none() {
                *alias = Some(TableAlias {
                    explicit: true,
                    name: Ident::with_quote('"', table.table()),
                    columns: Vec::new(),
                    at: None,
                });
            }
            self.0.push((table, at));
        }
        ControlFlow::Continue(())
    }
}

/// `schema.table.column` becomes `table.column` where the table has become an alias.
struct Shorten<'a>(&'a [(TableName, At)]);

impl VisitorMut for Shorten<'_> {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(idents) = expr
            && let [.., schema, table, _] = idents.as_slice()
            && self.0.iter().any(|(name, _)| {
                name.schema().eq_ignore_ascii_case(&schema.value)
                    && name.table().eq_ignore_ascii_case(&table.value)
            })
        {
            idents.drain(..idents.len() - 2);
        }
        ControlFlow::Continue(())
    }
}

/// The snapshot with the versions that the statement asks for.
///
/// # Errors
/// NOT_FOUND; OUT_OF_RANGE names the versions that are there.
pub(super) async fn resolve(
    statement: &mut Statement,
    snapshot: Snapshot,
) -> Result<Snapshot, Fault> {
    let mut asked = Asked::default();
    let _ = statement.visit(&mut asked);
    let Asked(asked) = asked;
    if asked.is_empty() {
        return Ok(snapshot);
    }
    let _ = statement.visit(&mut Shorten(&asked));
    let mut tables = (*snapshot.tables).clone();
    for (name, at) in asked {
        let view = snapshot.tables.get(&name.folded()).ok_or_else(|| {
            Fault::new(
                Kind::NotFound,
                "table_not_found",
                format!("no such table, table={name}"),
            )
        })?;
        let mark = match at {
            At::Version(number) => format!("v{number}"),
            At::Time(micros) => format!("t{micros}"),
        };
        let name = view.name.variant(&mark);
        if tables.contains_key(&name.folded()) {
            continue;
        }
        let Some(history) = view.cold.history() else {
            return Err(Fault::invalid(
                "no_versions",
                format!("{} has no versions", view.name),
            ));
        };
        let cold = history
            .view(at, &view.cold)
            .await
            .map_err(|e| named(e.into(), &view.name))?;
        tables.insert(
            name.folded(),
            TableView {
                name,
                contract: None,
                schema: cold.schema(),
                cold,
                hot: Arc::default(),
                comment: None,
                progress: None,
            },
        );
    }
    Ok(Snapshot {
        read_point: snapshot.read_point,
        tables: Arc::new(tables),
    })
}

pub(super) fn named(mut fault: Fault, table: &TableName) -> Fault {
    fault.message.push_str(&format!(", table={table}"));
    fault
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::parse_one;
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
