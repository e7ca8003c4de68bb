//! `REPLAY QUARANTINE table [SET column = value, ..] [WHERE condition] [DRY RUN]`: rejected rows that the rules in force take go to
//! the table. The condition is about the columns of `<table>_quarantine`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::fault::Fault;
use crate::ingest::replay::Outcome;
use crate::sql::{Cursor, printed};
use crate::types::TableName;
use crate::validate::Override;

const FORM: &str = "REPLAY QUARANTINE table [SET column = value, ..] [WHERE condition] [DRY RUN]";

#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub table: TableName,
    pub overrides: Vec<Override>,
    pub condition: Option<String>,
    pub dry_run: bool,
}

pub(super) fn parse(mut rest: Cursor<'_>) -> Result<Replay, Fault> {
    let formed = |mut fault: Fault| {
        if fault.reason == "syntax_error" {
            fault.message.push_str("; ");
            fault.message.push_str(FORM);
        }
        fault
    };
    read(&mut rest).map_err(formed)
}

fn read(rest: &mut Cursor<'_>) -> Result<Replay, Fault> {
    rest.skip();
    if !rest.words(&["QUARANTINE"]) {
        return Err(rest.expected("QUARANTINE after REPLAY"));
    }
    let name = rest.name()?;
    let mut overrides = Vec::new();
    if rest.words(&["SET"]) {
        overrides = rest.list(assignment)?;
    }
    let condition = rest.words(&["WHERE"]).then(|| rest.expression());
    let condition = condition.transpose()?.map(|c| printed(&c));
    let dry_run = rest.words(&["DRY"]);
    if dry_run && !rest.words(&["RUN"]) {
        return Err(rest.expected("RUN after DRY"));
    }
    rest.end()?;
    Ok(Replay {
        table: of_table(name)?,
        overrides,
        condition,
        dry_run,
    })
}

/// The quarantine may be called by its own name too.
fn of_table(name: TableName) -> Result<TableName, Fault> {
    match name.quarantined() {
        Some(table) => TableName::new(name.schema(), table)
            .map_err(|e| Fault::invalid("invalid_name", e.to_string())),
        None => Ok(name),
    }
}

fn assignment(rest: &mut Cursor<'_>) -> Result<Override, Fault> {
    let column = rest.word("a column's name")?;
    if !rest.sign(&Token::Eq) {
        return Err(rest.expected("="));
    }
    Ok((column, literal(rest)?))
}

/// None: NULL.
fn literal(rest: &mut Cursor<'_>) -> Result<Option<String>, Fault> {
    let before = rest.clone();
    let minus = rest.sign(&Token::Minus);
    // A type may stand before a text, as in DATE '2026-01-31'.
    let typed = !minus
        && matches!(rest.peek(), Some(Token::Word(w)) if w.quote_style.is_none())
        && matches!(rest.ahead(1), Some(Token::SingleQuotedString(_)));
    if typed {
        rest.skip();
    }
    let value = match rest.peek() {
        Some(Token::Number(text, _)) if minus => Some(format!("-{text}")),
        Some(Token::Number(text, _)) => Some(text.clone()),
        Some(Token::SingleQuotedString(text)) if !minus => Some(text.clone()),
        Some(Token::Word(w)) if !minus => match w.keyword {
            Keyword::TRUE => Some("true".to_owned()),
            Keyword::FALSE => Some("false".to_owned()),
            Keyword::NULL => None,
            _ => return Err(before.expected("a literal")),
        },
        _ => return Err(before.expected("a literal")),
    };
    rest.skip();
    Ok(value)
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
    use crate::sql;

    fn parse(sql: &str) -> Result<Replay, Fault> {
        super::parse(sql::parse(sql).unwrap().cursor("table", "public"))
    }

    #[test]
    fn the_statement_in_all_its_forms() {
        let table = TableName::new("reactor", "raw").unwrap();
        let plain = parse("REPLAY QUARANTINE reactor.raw").unwrap();
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
            "replay quarantine reactor.raw_quarantine set AT = -20.5, id='x''y', d = date '2026-01-31', V = NULL\n where array_has(rules, 'range:AT') and _seq > 3 dry run;",
        )
        .unwrap();
        assert_eq!(full.table, table);
        assert_eq!(
            full.overrides,
            vec![
                ("AT".to_owned(), Some("-20.5".to_owned())),
                ("id".to_owned(), Some("x'y".to_owned())),
                ("d".to_owned(), Some("2026-01-31".to_owned())),
                ("V".to_owned(), None)
            ]
        );
        assert_eq!(
            full.condition.as_deref(),
            Some("array_has(rules, 'range:AT') AND _seq > 3")
        );
        assert!(full.dry_run);
        for bad in [
            "REPLAY t",
            "REPLAY QUARANTINE",
            "REPLAY QUARANTINE t WHERE",
            "REPLAY QUARANTINE t SET a = b",
            "REPLAY QUARANTINE t SET a = 1 + 1",
            "REPLAY QUARANTINE t SET a = -'1'",
            "REPLAY QUARANTINE t DRY",
            "REPLAY QUARANTINE t now",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, "syntax_error", "{bad}");
        }
    }
}
