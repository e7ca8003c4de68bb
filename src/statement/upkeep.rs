//! `OPTIMIZE` and `VACUUM`, spelled as Delta users know them, `CHECK TABLE` and `REPAIR TABLE`. sqlparser takes these words for other databases' statements,
//! so they are read token by token.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::fault::Fault;
use crate::sql::Cursor;
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

    pub fn table(&self) -> &TableName {
        match self {
            Upkeep::Optimize { table, .. }
            | Upkeep::Vacuum { table, .. }
            | Upkeep::Check { table }
            | Upkeep::Repair { table, .. } => table,
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

/// # Errors
/// INVALID_ARGUMENT `syntax_error` says what was expected.
pub(super) fn parse(mut rest: Cursor<'_>) -> Result<Upkeep, Fault> {
    let verb = rest.word("a verb")?.to_ascii_uppercase();
    rest.words(&["TABLE"]);
    let table = rest.name()?;
    let (parsed, could_be) = match verb.as_str() {
        "OPTIMIZE" => {
            let order = if rest.words(&["ZORDER"]) {
                columns(&mut rest)?
            } else {
                Vec::new()
            };
            let parsed = Upkeep::Optimize { table, order };
            (parsed, "ZORDER BY (column, ..) or the end")
        }
        "CHECK" => (Upkeep::Check { table }, "the end"),
        "REPAIR" => {
            let accept_loss = rest.words(&["ACCEPT"]);
            if accept_loss && !rest.words(&["LOSS"]) {
                return Err(rest.expected("LOSS after ACCEPT"));
            }
            let parsed = Upkeep::Repair { table, accept_loss };
            (parsed, "ACCEPT LOSS or the end")
        }
        _ => {
            let retain = rest.words(&["RETAIN"]).then(|| hours(&mut rest));
            let retain = retain.transpose()?;
            let dry_run = rest.words(&["DRY"]);
            if dry_run && !rest.words(&["RUN"]) {
                return Err(rest.expected("RUN after DRY"));
            }
            let parsed = Upkeep::Vacuum {
                table,
                retain,
                dry_run,
            };
            (parsed, "RETAIN n HOURS, DRY RUN or the end")
        }
    };
    rest.end_or(could_be)?;
    Ok(parsed)
}

fn columns(rest: &mut Cursor<'_>) -> Result<Vec<String>, Fault> {
    if !rest.words(&["BY"]) {
        return Err(rest.expected("BY after ZORDER"));
    }
    let column = |rest: &mut Cursor<'_>| rest.word("a column's name");
    if rest.peek() == Some(&Token::LParen) {
        rest.group("columns", column)
    } else {
        rest.list(column)
    }
}

fn hours(rest: &mut Cursor<'_>) -> Result<Duration, Fault> {
    const FORM: &str = "RETAIN n HOURS, with n 0 or more";
    let before = rest.clone();
    let hours: f64 = rest.number(FORM)?;
    if !(0.0..=1e6).contains(&hours) {
        return Err(before.expected(FORM));
    }
    if !rest.words(&["HOURS"]) && !rest.words(&["HOUR"]) {
        return Err(rest.expected("HOURS"));
    }
    Ok(Duration::from_secs_f64(hours * 3600.0))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql;

    fn parse(sql: &str) -> Result<Upkeep, Fault> {
        super::parse(sql::parse(sql).unwrap().cursor("table", "public"))
    }

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
        assert_eq!(parse("optimize a.b;").unwrap(), optimize(&[]));
        for sql in [
            "OPTIMIZE a.b ZORDER BY (x, \"Y\")",
            "OPTIMIZE TABLE deltaplane.a.b ZORDER BY x, Y",
        ] {
            assert_eq!(parse(sql).unwrap(), optimize(&["x", "Y"]), "{sql}");
        }
        let vacuum = |retain: Option<u64>, dry_run| Upkeep::Vacuum {
            table: name("a.b"),
            retain: retain.map(|h| Duration::from_secs(h * 3600)),
            dry_run,
        };
        assert_eq!(parse("VACUUM a.b").unwrap(), vacuum(None, false));
        assert_eq!(
            parse("vacuum a.b retain 168 hours dry run").unwrap(),
            vacuum(Some(168), true)
        );
        let Upkeep::Vacuum { table, .. } = parse("VACUUM a.b_quarantine").unwrap() else {
            panic!("not a vacuum");
        };
        assert_eq!(table, name("a.b").quarantine());
        assert_eq!(
            parse("CHECK TABLE a.b").unwrap(),
            Upkeep::Check { table: name("a.b") }
        );
        for (sql, accept_loss) in [
            ("repair table a.b;", false),
            ("REPAIR TABLE a.b ACCEPT LOSS", true),
        ] {
            let table = name("a.b");
            assert_eq!(parse(sql).unwrap(), Upkeep::Repair { table, accept_loss });
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (sql, word) in [
            ("OPTIMIZE", "expected the table's name, found the end"),
            ("OPTIMIZE a.b WHERE x = 1", "ZORDER BY"),
            ("OPTIMIZE a.b ZORDER (x)", "BY after ZORDER"),
            ("VACUUM a.b RETAIN soon", "RETAIN n HOURS"),
            (
                "VACUUM a.b RETAIN 5 DAYS",
                "expected HOURS, found DAYS at Line: 1, Column: 21",
            ),
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
