//! `CREATE | DROP | ALTER | SHOW CREATE ALERT`. Clauses stand in any order between the name and AS.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::tokenizer::Token;

use crate::dataset::{AlertDeclaration, Watched, clause_span};
use crate::fault::Fault;
use crate::sql::{Cursor, first_word, parse_one};
use crate::types::TableName;

/// What a statement does to an alert.
#[derive(Clone, Debug, PartialEq)]
pub enum AlertChange {
    Create {
        alert: Box<AlertDeclaration>,
        if_not_exists: bool,
        or_replace: bool,
        /// The whole statement, for places in errors.
        text: String,
    },
    Drop {
        name: TableName,
        if_exists: bool,
    },
    /// A paused alert is not looked at; what fires is resolved.
    Pause {
        name: TableName,
        paused: bool,
    },
    Show {
        name: TableName,
    },
}

impl AlertChange {
    /// The statement's first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            AlertChange::Create { .. } => "CREATE",
            AlertChange::Drop { .. } => "DROP",
            AlertChange::Pause { .. } => "ALTER",
            AlertChange::Show { .. } => "SHOW",
        }
    }

    /// The columns of what it says.
    pub fn schema(&self) -> SchemaRef {
        let fields = match self {
            AlertChange::Show { .. } => {
                vec![Field::new("create_statement", DataType::Utf8, false)]
            }
            _ => Vec::new(),
        };
        Arc::new(Schema::new(fields))
    }
}

fn invalid(problem: impl Into<String>) -> Fault {
    Fault::invalid("invalid_alert", problem)
}

pub(super) fn parse(sql: &str, mut head: Cursor<'_>) -> Result<AlertChange, Fault> {
    let verb = head.word("a verb")?.to_ascii_uppercase();
    let or_replace = verb == "CREATE" && head.words(&["OR", "REPLACE"]);
    if verb == "SHOW" {
        head.words(&["CREATE"]);
    }
    if !head.words(&["ALERT"]) {
        return Err(head.expected("ALERT"));
    }
    let change = match verb.as_str() {
        "CREATE" => return create(head, sql, or_replace),
        "DROP" => {
            let if_exists = head.words(&["IF", "EXISTS"]);
            let name = head.name()?;
            AlertChange::Drop { name, if_exists }
        }
        "ALTER" => {
            let name = head.name()?;
            let paused = if head.words(&["PAUSE"]) {
                true
            } else if head.words(&["RESUME"]) {
                false
            } else {
                return Err(head.expected(
                    "PAUSE or RESUME; CREATE OR REPLACE ALERT changes what an alert says",
                ));
            };
            AlertChange::Pause { name, paused }
        }
        _ => AlertChange::Show { name: head.name()? },
    };
    head.end()?;
    Ok(change)
}

fn create(mut head: Cursor<'_>, sql: &str, or_replace: bool) -> Result<AlertChange, Fault> {
    let if_not_exists = head.words(&["IF", "NOT", "EXISTS"]);
    let name = head.name()?;
    let nothing = Watched::Query { sql: String::new() };
    let mut alert = AlertDeclaration::new(name, nothing);
    let (mut on, mut silence) = (None, None);
    loop {
        if head.words(&["ON"]) {
            on = Some(head.name()?);
        } else if head.words(&["DEADMAN"]) {
            silence = Some(span(&mut head, "DEADMAN")?);
        } else if head.words(&["EVERY"]) {
            alert.every = span(&mut head, "EVERY")?;
        } else if head.words(&["KEEP", "FIRING", "FOR"]) {
            alert.keep = span(&mut head, "KEEP FIRING FOR")?;
        } else if head.words(&["FOR"]) {
            alert.hold = span(&mut head, "FOR")?;
        } else if head.words(&["BY"]) {
            alert.by = head.group("the columns that tell instances apart", |head| {
                name_or_text(head, "a column's name")
            })?;
        } else if head.words(&["NOTIFY"]) {
            alert.notify = head.list(|head| name_or_text(head, "a webhook's name"))?;
        } else if head.words(&["LABELS"]) {
            let pairs = head.pairs("labels such as severity = 'page'")?;
            alert.labels = pairs.into_iter().collect();
        } else if head.words(&["COMMENT"]) {
            alert.comment = Some(head.quoted("a text in quotes")?);
        } else {
            break;
        }
    }
    let reads = matches!(head.peek(), Some(Token::Word(w)) if w.value.eq_ignore_ascii_case("AS"));
    alert.watched = match (on, silence, reads) {
        (Some(table), Some(silence), false) => {
            head.end()?;
            Watched::Deadman { table, silence }
        }
        (None, None, true) => {
            let mut behind = head;
            let text = behind.query_behind_as()?;
            select_only(text)?;
            Watched::Query {
                sql: text.to_owned(),
            }
        }
        (Some(_), Some(_), true) => {
            return Err(head.expected(
                "the end: an alert with ON and DEADMAN has no query; what else is to be asked is an alert of its own",
            ));
        }
        (Some(_), None, _) => return Err(head.expected("DEADMAN 'span', such as DEADMAN '30s'")),
        (None, Some(_), _) => {
            return Err(invalid(
                "DEADMAN needs a table, as in CREATE ALERT a.b ON schema.table BY (key) DEADMAN '30s'",
            ));
        }
        (None, None, false) => {
            return Err(head.expected(
                "EVERY, FOR, KEEP FIRING FOR, BY, NOTIFY, LABELS, COMMENT, ON .. DEADMAN, or AS and the alert's query",
            ));
        }
    };
    alert.check().map_err(invalid)?;
    Ok(AlertChange::Create {
        alert: Box::new(alert),
        if_not_exists,
        or_replace,
        text: sql.to_owned(),
    })
}

/// An alert asks and changes nothing.
fn select_only(text: &str) -> Result<(), Fault> {
    match parse_one(text)? {
        Statement::Query(query) if writes(&query.body) => {}
        Statement::Query(_) => return Ok(()),
        _ => {}
    }
    let word = first_word(text);
    Err(invalid(format!(
        "an alert's condition is a SELECT, found {}; each of its rows is in condition",
        word.to_ascii_uppercase()
    )))
}

fn writes(body: &datafusion::sql::sqlparser::ast::SetExpr) -> bool {
    use datafusion::sql::sqlparser::ast::SetExpr;
    matches!(
        body,
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_)
    )
}

fn span(head: &mut Cursor<'_>, clause: &'static str) -> Result<i64, Fault> {
    let place = head.here();
    let text = head.quoted("a span of time in quotes, such as '30s'")?;
    clause_span(clause, &text).map_err(|problem| invalid(format!("{problem}{place}")))
}

/// A name, which may stand in single quotes too.
fn name_or_text(head: &mut Cursor<'_>, what: &str) -> Result<String, Fault> {
    match head.peek() {
        Some(Token::SingleQuotedString(_)) => head.quoted(what),
        _ => head.word(what),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql;

    fn parse(sql: &str) -> Result<AlertChange, Fault> {
        super::parse(sql, sql::parse(sql).unwrap().cursor("alert", "public"))
    }

    fn created(sql: &str) -> AlertDeclaration {
        match parse(sql).unwrap() {
            AlertChange::Create { alert, .. } => *alert,
            other => panic!("no alert: {other:?}"),
        }
    }

    #[test]
    fn an_alert_reads_as_it_is_shown() {
        let hot = created(
            "create alert building.hot every '5s' for '1m' keep firing for '2m' by (room_id, \"Floor\") notify ops, \"pager\" \
             labels (severity = 'page') comment 'It''s hot' as SELECT room_id, \"Floor\", t FROM raw\n WHERE t > 30;",
        );
        assert_eq!(
            (hot.every, hot.hold, hot.keep),
            (5_000_000, 60_000_000, 120_000_000)
        );
        assert_eq!(hot.by, ["room_id", "Floor"]);
        assert_eq!(hot.notify, ["ops", "pager"]);
        assert_eq!(hot.comment.as_deref(), Some("It's hot"));
        let silent = created(
            "CREATE ALERT building.silent ON building.raw BY (room_id) DEADMAN '30s' EVERY '5s'",
        );
        for alert in [hot, silent] {
            assert_eq!(created(&alert.to_ddl()), alert, "{}", alert.to_ddl());
        }
    }

    #[test]
    fn the_other_statements_are_told_apart() {
        let name = TableName::new("a", "b").unwrap();
        let cases = [
            (
                "DROP ALERT IF EXISTS a.b;",
                AlertChange::Drop {
                    name: name.clone(),
                    if_exists: true,
                },
            ),
            (
                "ALTER ALERT a.b PAUSE",
                AlertChange::Pause {
                    name: name.clone(),
                    paused: true,
                },
            ),
            (
                "alter alert a.b resume",
                AlertChange::Pause {
                    name: name.clone(),
                    paused: false,
                },
            ),
            ("SHOW CREATE ALERT a.b", AlertChange::Show { name }),
        ];
        for (sql, expected) in cases {
            assert_eq!(parse(sql).unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_place_and_way_out() {
        for (bad, words) in [
            ("CREATE ALERT a.b FOR '1m'", "found the end"),
            (
                "CREATE ALERT a.b FOR 60 AS SELECT 1",
                "found 60 at Line: 1, Column: 22",
            ),
            (
                "CREATE ALERT a.b\nFOR 'a while' AS SELECT 1",
                "not a span of time such as '5s', '1 minute' or '1 hour 30 minutes'; months and years have no fixed length at Line: 2, Column: 5",
            ),
            ("CREATE ALERT a.b AS\nSELEC 1", "Line: 2, Column: 1"),
            (
                "CREATE ALERT a.b AS DELETE FROM t",
                "is a SELECT, found DELETE",
            ),
            (
                "CREATE ALERT a.b AS EXPLAIN SELECT 1",
                "is a SELECT, found EXPLAIN",
            ),
            (
                "CREATE ALERT a.b AS WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
                "is a SELECT",
            ),
            ("CREATE ALERT a.b DEADMAN '30s' BY (k)", "needs a table"),
            ("CREATE ALERT a.b ON a.t BY (k)", "expected DEADMAN"),
            ("CREATE ALERT a.b ON a.t DEADMAN '30s'", "needs BY"),
            (
                "CREATE ALERT a.b ON a.t BY (k) DEADMAN '30s' AS SELECT 1",
                "no query",
            ),
            ("CREATE ALERT a.b BY k AS SELECT 1", "found k at"),
            (
                "CREATE ALERT a.b EVERY '1ms' AS SELECT 1",
                "from 1 second to 1 day",
            ),
            ("ALTER ALERT a.b SET DISABLED", "PAUSE or RESUME"),
            ("DROP ALERT a.b now", "the end of the statement"),
        ] {
            let fault = parse(bad).unwrap_err();
            assert!(fault.message.contains(words), "{bad}: {fault}");
        }
    }
}
