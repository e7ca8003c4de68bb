//! `OPTIMIZE` and `VACUUM`, spelled as Delta users know them, `CHECK TABLE` and `REPAIR TABLE`. sqlparser takes these words for other databases' statements,
//! so they are read token by token.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::fault::Fault;
use crate::query::{PUBLIC, tokenize};
use crate::types::TableName;

/// A statement that looks after a table. It changes no row.
#[derive(Clone, Debug, PartialEq)]
pub enum Upkeep {
    /// `OPTIMIZE table [ZORDER BY (column, ..)]`
    Optimize {
        table: TableName,
        /// Empty: by key and event time.
        order: Vec<String>,
    },
    /// `VACUUM table [RETAIN n HOURS] [DRY RUN]`
    Vacuum {
        table: TableName,
        retain: Option<Duration>,
        dry_run: bool,
    },
    /// `CHECK TABLE table`
    Check { table: TableName },
    /// `REPAIR TABLE table [ACCEPT LOSS]`
    Repair { table: TableName, accept_loss: bool },
}

impl Upkeep {
    /// Its first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Upkeep::Optimize { .. } => "OPTIMIZE",
            Upkeep::Vacuum { .. } => "VACUUM",
            Upkeep::Check { .. } => "CHECK TABLE",
            Upkeep::Repair { .. } => "REPAIR TABLE",
        }
    }

    /// The columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        let column = |name: &str, data_type| Field::new(name, data_type, true);
        let long = |name| column(name, DataType::Int64);
        let fields = match self {
            Upkeep::Optimize { .. } => vec![
                column("table", DataType::Utf8),
                long("version"),
                long("partitions"),
                long("files_removed"),
                long("bytes_removed"),
                long("files_added"),
                long("bytes_added"),
                long("rows"),
            ],
            Upkeep::Check { .. } => vec![
                column("table", DataType::Utf8),
                long("version"),
                long("files"),
                long("rows"),
                long("bytes"),
                long("problems"),
                column("detail", DataType::Utf8),
            ],
            Upkeep::Repair { .. } => vec![
                column("table", DataType::Utf8),
                column("state", DataType::Utf8),
                column("detail", DataType::Utf8),
            ],
            Upkeep::Vacuum { dry_run: true, .. } => vec![
                column("path", DataType::Utf8),
                long("bytes"),
                column(
                    "modified",
                    DataType::Timestamp(
                        arrow::datatypes::TimeUnit::Microsecond,
                        Some("UTC".into()),
                    ),
                ),
            ],
            Upkeep::Vacuum { .. } => vec![
                column("table", DataType::Utf8),
                long("files_deleted"),
                long("bytes_deleted"),
            ],
        };
        Arc::new(Schema::new(fields))
    }
}

fn syntax(message: impl Into<String>) -> Fault {
    Fault::invalid("syntax_error", message)
}

fn expected(what: &str, found: Option<&Token>) -> Fault {
    let found = found.map_or_else(|| "the end".to_owned(), ToString::to_string);
    syntax(format!("expected {what}, found {found}"))
}

/// None: the text is neither.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error` says what was expected.
pub(super) fn parse(sql: &str) -> Result<Option<Upkeep>, Fault> {
    let first = sql.split_whitespace().next().unwrap_or_default();
    if !["OPTIMIZE", "VACUUM", "CHECK", "REPAIR"]
        .iter()
        .any(|w| first.eq_ignore_ascii_case(w))
    {
        return Ok(None);
    }
    let tokens: Vec<Token> = tokenize(sql)?
        .into_iter()
        .map(|t| t.token)
        .filter(|t| !matches!(t, Token::Whitespace(_)))
        .collect();
    let mut rest = Rest {
        tokens: &tokens,
        at: 1,
    };
    rest.word("TABLE");
    let table = rest.table()?;
    let parsed = if first.eq_ignore_ascii_case("OPTIMIZE") {
        let order = if rest.word("ZORDER") {
            if !rest.word("BY") {
                return Err(expected("BY after ZORDER", rest.peek()));
            }
            rest.columns()?
        } else {
            Vec::new()
        };
        Upkeep::Optimize { table, order }
    } else if first.eq_ignore_ascii_case("CHECK") {
        Upkeep::Check { table }
    } else if first.eq_ignore_ascii_case("REPAIR") {
        let accept_loss = rest.word("ACCEPT");
        if accept_loss && !rest.word("LOSS") {
            return Err(expected("LOSS after ACCEPT", rest.peek()));
        }
        Upkeep::Repair { table, accept_loss }
    } else {
        let mut retain = None;
        if rest.word("RETAIN") {
            retain = Some(rest.hours()?);
        }
        let dry_run = rest.word("DRY");
        if dry_run && !rest.word("RUN") {
            return Err(expected("RUN after DRY", rest.peek()));
        }
        Upkeep::Vacuum {
            table,
            retain,
            dry_run,
        }
    };
    if matches!(rest.peek(), Some(Token::SemiColon)) {
        rest.at += 1;
    }
    match rest.peek() {
        None => Ok(Some(parsed)),
        found => Err(expected(
            match parsed {
                Upkeep::Optimize { .. } => "ZORDER BY (column, ..) or the end",
                Upkeep::Check { .. } => "the end",
                Upkeep::Repair { .. } => "ACCEPT LOSS or the end",
                Upkeep::Vacuum { .. } => "RETAIN n HOURS, DRY RUN or the end",
            },
            found,
        )),
    }
}

struct Rest<'a> {
    tokens: &'a [Token],
    at: usize,
}

impl<'a> Rest<'a> {
    fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.at)
    }

    fn next(&mut self) -> Option<&'a Token> {
        let token = self.peek();
        self.at += 1;
        token
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn name(&mut self) -> Result<String, Fault> {
        match self.next() {
            Some(Token::Word(w)) => Ok(w.value.clone()),
            other => Err(expected("a name", other)),
        }
    }

    fn table(&mut self) -> Result<TableName, Fault> {
        let mut parts = vec![self.name()?];
        while matches!(self.peek(), Some(Token::Period)) {
            self.at += 1;
            parts.push(self.name()?);
        }
        let made = match parts.as_slice() {
            [table] => TableName::new(PUBLIC, table),
            [schema, table] | [_, schema, table] => TableName::new(schema, table),
            _ => return Err(syntax("a table's name is schema.table")),
        };
        made.map_err(|e| Fault::invalid("invalid_name", e.to_string()))
    }

    fn columns(&mut self) -> Result<Vec<String>, Fault> {
        let open = matches!(self.peek(), Some(Token::LParen));
        self.at += usize::from(open);
        let mut out = Vec::new();
        loop {
            out.push(self.name()?);
            match self.peek() {
                Some(Token::Comma) => self.at += 1,
                Some(Token::RParen) if open => {
                    self.at += 1;
                    return Ok(out);
                }
                _ if !open => return Ok(out),
                other => return Err(expected(", or )", other)),
            }
        }
    }

    fn hours(&mut self) -> Result<Duration, Fault> {
        let number = match self.next() {
            Some(Token::Number(text, _)) => text.parse::<f64>().ok(),
            _ => None,
        };
        let hours = number.filter(|n| n.is_finite() && (0.0..=1e6).contains(n));
        let hours = hours.ok_or_else(|| syntax("expected RETAIN n HOURS, with n 0 or more"))?;
        if !self.word("HOURS") && !self.word("HOUR") {
            return Err(expected("HOURS", self.peek()));
        }
        Ok(Duration::from_secs_f64(hours * 3600.0))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn name(text: &str) -> TableName {
        let (schema, table) = text.split_once('.').unwrap();
        TableName::new(schema, table).unwrap()
    }

    #[test]
    fn statements_are_read_as_delta_writes_them() {
        let optimize = |order: &[&str]| Upkeep::Optimize {
            table: name("a.b"),
            order: order.iter().map(|s| (*s).to_owned()).collect(),
        };
        assert_eq!(parse("optimize a.b;").unwrap().unwrap(), optimize(&[]));
        for sql in [
            "OPTIMIZE a.b ZORDER BY (x, \"Y\")",
            "OPTIMIZE TABLE deltaplane.a.b ZORDER BY x, Y",
        ] {
            assert_eq!(parse(sql).unwrap().unwrap(), optimize(&["x", "Y"]), "{sql}");
        }
        let vacuum = |retain: Option<u64>, dry_run| Upkeep::Vacuum {
            table: name("a.b"),
            retain: retain.map(|h| Duration::from_secs(h * 3600)),
            dry_run,
        };
        assert_eq!(parse("VACUUM a.b").unwrap().unwrap(), vacuum(None, false));
        assert_eq!(
            parse("vacuum a.b retain 168 hours dry run")
                .unwrap()
                .unwrap(),
            vacuum(Some(168), true)
        );
        let Some(Upkeep::Vacuum { table, .. }) = parse("VACUUM a.b_quarantine").unwrap() else {
            panic!("not a vacuum");
        };
        assert_eq!(table, name("a.b").quarantine());
        assert_eq!(
            parse("CHECK TABLE a.b").unwrap(),
            Some(Upkeep::Check { table: name("a.b") })
        );
        for (sql, accept_loss) in [
            ("repair table a.b;", false),
            ("REPAIR TABLE a.b ACCEPT LOSS", true),
        ] {
            let table = name("a.b");
            assert_eq!(
                parse(sql).unwrap(),
                Some(Upkeep::Repair { table, accept_loss })
            );
        }
        assert!(parse("SELECT 1").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (sql, word) in [
            ("OPTIMIZE", "expected a name"),
            ("OPTIMIZE a.b WHERE x = 1", "ZORDER BY"),
            ("OPTIMIZE a.b ZORDER (x)", "BY after ZORDER"),
            ("VACUUM a.b RETAIN soon", "RETAIN n HOURS"),
            ("VACUUM a.b RETAIN 5 DAYS", "expected HOURS, found DAYS"),
            ("VACUUM a.b DRY", "RUN after DRY"),
            ("VACUUM a.b; SELECT 1", "found SELECT"),
            ("REPAIR TABLE a.b ACCEPT", "LOSS after ACCEPT"),
            ("REPAIR TABLE a.b NOW", "ACCEPT LOSS or the end"),
        ] {
            let fault = parse(sql).unwrap_err();
            assert!(fault.to_string().contains(word), "{sql}: {fault}");
        }
    }
}
