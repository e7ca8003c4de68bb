//! `REPLAY QUARANTINE table [SET column = value, ..] [WHERE condition] [DRY RUN]`: rejected rows that the rules in force take go to
//! the table. The condition is about the columns of `<table>_quarantine`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::{Expr, UnaryOperator, Value};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::ddl;
use crate::fault::Fault;
use crate::ingest::replay::Outcome;
use crate::query::tokenize;
use crate::types::{QUARANTINE_SUFFIX, TableName};
use crate::validate::Override;

const FORM: &str = "REPLAY QUARANTINE table [SET column = value, ..] [WHERE condition] [DRY RUN]";

#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub table: TableName,
    pub overrides: Vec<Override>,
    pub condition: Option<String>,
    pub dry_run: bool,
}

fn syntax(error: ParserError) -> Fault {
    let text = error.to_string().replace("sql parser error: ", "");
    Fault::invalid("syntax_error", format!("{text}; {FORM}"))
}

fn word(parser: &mut Parser<'_>, wanted: &str) -> bool {
    let found = matches!(&parser.peek_token().token, Token::Word(w) if w.value.eq_ignore_ascii_case(wanted));
    if found {
        parser.next_token();
    }
    found
}

/// None: the text is no replay.
pub(super) fn parse(sql: &str) -> Result<Option<Replay>, Fault> {
    let first = sql.split_whitespace().next().unwrap_or_default();
    if !first.eq_ignore_ascii_case("REPLAY") {
        return Ok(None);
    }
    let mut parser = Parser::new(&GenericDialect {}).with_tokens_with_locations(tokenize(sql)?);
    word(&mut parser, "REPLAY");
    if !word(&mut parser, "QUARANTINE") {
        return Err(Fault::invalid(
            "syntax_error",
            format!("expected QUARANTINE after REPLAY; {FORM}"),
        ));
    }
    let name = parser.parse_object_name(false).map_err(syntax)?;
    let mut overrides = Vec::new();
    if parser.parse_keyword(Keyword::SET) {
        overrides = parser.parse_comma_separated(assignment).map_err(syntax)?;
    }
    let condition = parser
        .parse_keyword(Keyword::WHERE)
        .then(|| parser.parse_expr())
        .transpose()
        .map_err(syntax)?;
    let dry_run = word(&mut parser, "DRY");
    if dry_run && !word(&mut parser, "RUN") {
        return Err(Fault::invalid(
            "syntax_error",
            format!("expected RUN after DRY; {FORM}"),
        ));
    }
    let _ = parser.consume_token(&Token::SemiColon);
    parser.expect_token(&Token::EOF).map_err(syntax)?;
    Ok(Some(Replay {
        table: of_table(ddl::table_name(&name)?)?,
        overrides,
        condition: condition.map(|c| c.to_string()),
        dry_run,
    }))
}

/// The quarantine may be called by its own name too.
fn of_table(name: TableName) -> Result<TableName, Fault> {
    let lower = name.table().to_ascii_lowercase();
    match lower.strip_suffix(QUARANTINE_SUFFIX) {
        Some(stem) => TableName::new(name.schema(), &name.table()[..stem.len()])
            .map_err(|e| Fault::invalid("invalid_name", e.to_string())),
        None => Ok(name),
    }
}

fn assignment(parser: &mut Parser<'_>) -> Result<Override, ParserError> {
    let column = parser.parse_identifier()?;
    parser.expect_token(&Token::Eq)?;
    // Below AND and the like: the literal ends where the next word begins.
    let value = parser.parse_expr()?;
    match literal(&value) {
        Some(text) => Ok((column.value, text)),
        None => Err(ParserError::ParserError(format!(
            "SET takes a literal, found {value}"
        ))),
    }
}

/// The outer none: no literal. The inner: NULL.
fn literal(expr: &Expr) -> Option<Option<String>> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) | Value::SingleQuotedString(text) => Some(Some(text.clone())),
            Value::Boolean(value) => Some(Some(value.to_string())),
            Value::Null => Some(None),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match literal(expr) {
            Some(Some(text)) => Some(Some(format!("-{text}"))),
            _ => None,
        },
        Expr::TypedString(typed) => match &typed.value.value {
            Value::SingleQuotedString(text) => Some(Some(text.clone())),
            _ => None,
        },
        _ => None,
    }
}

/// One row: what became of the rows that were meant.
pub(super) fn schema() -> SchemaRef {
    let fields = ["examined", "replayed", "duplicates", "rejected"];
    let fields = fields.map(|name| Field::new(name, DataType::Int64, false));
    Arc::new(Schema::new(Vec::from(fields)))
}

pub(super) fn rows(outcome: Outcome) -> Result<RecordBatch, Fault> {
    let counts = [
        outcome.examined,
        outcome.replayed,
        outcome.duplicates,
        outcome.rejected,
    ];
    let columns = counts.map(|n| {
        let n = i64::try_from(n).unwrap_or(i64::MAX);
        Arc::new(Int64Array::from_value(n, 1)) as ArrayRef
    });
    RecordBatch::try_new(schema(), Vec::from(columns))
        .map_err(|e| Fault::internal(format!("replay's result: {e}")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn the_statement_in_all_its_forms() {
        let table = TableName::new("reactor", "raw").unwrap();
        let plain = parse("REPLAY QUARANTINE reactor.raw").unwrap().unwrap();
        assert_eq!(
            plain,
            Replay {
                table: table.clone(),
                overrides: Vec::new(),
                condition: None,
                dry_run: false
            }
        );
        let full = parse(
            "replay quarantine reactor.raw_quarantine set AT = -20.5, id='x''y', V = NULL\n where array_has(rules, 'range:AT') and _seq > 3 dry run;",
        )
        .unwrap()
        .unwrap();
        assert_eq!(full.table, table);
        assert_eq!(
            full.overrides,
            vec![
                ("AT".to_owned(), Some("-20.5".to_owned())),
                ("id".to_owned(), Some("x'y".to_owned())),
                ("V".to_owned(), None)
            ]
        );
        assert_eq!(
            full.condition.as_deref(),
            Some("array_has(rules, 'range:AT') AND _seq > 3")
        );
        assert!(full.dry_run);
        assert!(parse("SELECT 1").unwrap().is_none());
        for bad in [
            "REPLAY t",
            "REPLAY QUARANTINE",
            "REPLAY QUARANTINE t WHERE",
            "REPLAY QUARANTINE t SET a = b",
            "REPLAY QUARANTINE t DRY",
            "REPLAY QUARANTINE t now",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, "syntax_error", "{bad}");
        }
    }
}
