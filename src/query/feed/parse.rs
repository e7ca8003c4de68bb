//! `SUBSCRIBE [TO] table [FROM {NOW | START | VERSION n [ROW m]}] [WHERE condition] [WITH PROGRESS]`

use datafusion::sql::sqlparser::ast::ObjectNamePart;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::super::caller::default_schema;
use super::super::text::tokenize;
use crate::fault::Fault;
use crate::types::TableName;

const FORM: &str = "SUBSCRIBE [TO] schema.table [FROM {NOW | START | VERSION n [ROW m]}] [WHERE condition] [WITH PROGRESS]";

/// The first row that is wanted: its version, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub version: i64,
    pub row: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Subscription {
    pub table: TableName,
    /// None: the version that is committed next.
    pub from: Option<Place>,
    pub condition: Option<String>,
    /// Rows that say how far the feed is, also when there is nothing to tell.
    pub progress: bool,
}

fn syntax(text: impl std::fmt::Display) -> Fault {
    let text = text.to_string().replace("sql parser error: ", "");
    Fault::invalid("syntax_error", format!("{text}; {FORM}"))
}

fn word(parser: &mut Parser<'_>, wanted: &str) -> bool {
    let found = matches!(&parser.peek_token().token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(wanted));
    if found {
        parser.next_token();
    }
    found
}

fn number(parser: &mut Parser<'_>, what: &str) -> Result<i64, Fault> {
    let token = parser.next_token().token;
    let number = match &token {
        Token::Number(text, _) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| syntax(format!("{what} takes a whole number, found {token}")))
}

/// None: the text is another statement.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub(super) fn parse(sql: &str) -> Result<Option<Subscription>, Fault> {
    let first = sql.split_whitespace().next().unwrap_or_default();
    if !first.eq_ignore_ascii_case("SUBSCRIBE") {
        return Ok(None);
    }
    let failed = |e: ParserError| syntax(e);
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokenize(sql)?);
    word(&mut parser, "SUBSCRIBE");
    let _ = parser.parse_keyword(Keyword::TO);
    let name = parser.parse_object_name(false).map_err(failed)?;
    let parts: Vec<&str> = name
        .0
        .iter()
        .filter_map(ObjectNamePart::as_ident)
        .map(|i| i.value.as_str())
        .collect();
    let table = match parts.as_slice() {
        [table] => TableName::new(&default_schema(), table),
        [.., schema, table] => TableName::new(schema, table),
        [] => return Err(syntax("a table is missing")),
    };
    let table = table.map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
    let mut from = None;
    if parser.parse_keyword(Keyword::FROM) {
        if word(&mut parser, "VERSION") {
            let version = number(&mut parser, "VERSION")?;
            let row = if word(&mut parser, "ROW") {
                number(&mut parser, "ROW")?
            } else {
                0
            };
            from = Some(Place { version, row });
        } else if word(&mut parser, "START") {
            from = Some(Place { version: 0, row: 0 });
        } else if !word(&mut parser, "NOW") {
            let found = parser.next_token().token;
            return Err(syntax(format!(
                "expected NOW, START or VERSION after FROM, found {found}"
            )));
        }
    }
    let condition = parser
        .parse_keyword(Keyword::WHERE)
        .then(|| parser.parse_expr())
        .transpose()
        .map_err(failed)?;
    let progress = parser.parse_keyword(Keyword::WITH);
    if progress && !word(&mut parser, "PROGRESS") {
        return Err(syntax("expected PROGRESS after WITH"));
    }
    let _ = parser.consume_token(&Token::SemiColon);
    parser.expect_token(&Token::EOF).map_err(failed)?;
    Ok(Some(Subscription {
        table,
        from,
        condition: condition.map(|c| c.to_string()),
        progress,
    }))
}
