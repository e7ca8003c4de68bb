//! `CREATE | DROP | REFRESH | ALTER MATERIALIZED VIEW`. The head is read token by token, the query behind it is left as it
//! was written: its text is what the view keeps.

use chrono::NaiveDate;

use crate::dataset::{ViewDeclaration, ViewSettings};
use crate::fault::Fault;
use crate::sql::Cursor;
use crate::types::TableName;

const SETTINGS: &str = "settings such as delay = '2s'";

/// What a statement does to a materialized view.
#[derive(Clone, Debug, PartialEq)]
pub enum ViewChange {
    Create {
        view: ViewDeclaration,
        if_not_exists: bool,
        or_replace: bool,
    },
    Drop {
        name: TableName,
        if_exists: bool,
    },
    /// `full`: every bucket is computed again, not only those that changed. `day`: those of one UTC day are, and are stored
    /// even if they are open.
    Refresh {
        name: TableName,
        full: bool,
        day: Option<NaiveDate>,
    },
    /// Settings by name; the others stay.
    Set {
        name: TableName,
        settings: Vec<(String, String)>,
    },
    /// Another query under the same name and settings.
    Query {
        name: TableName,
        sql: String,
    },
}

impl ViewChange {
    /// The statement's first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            ViewChange::Create { .. } => "CREATE",
            ViewChange::Drop { .. } => "DROP",
            ViewChange::Refresh { .. } => "REFRESH",
            ViewChange::Set { .. } | ViewChange::Query { .. } => "ALTER",
        }
    }
}

pub(super) fn parse(mut head: Cursor<'_>) -> Result<ViewChange, Fault> {
    let verb = head.word("a verb")?.to_ascii_uppercase();
    let or_replace = verb == "CREATE" && head.words(&["OR", "REPLACE"]);
    if !head.words(&["MATERIALIZED", "VIEW"]) {
        return Err(head.expected("MATERIALIZED VIEW"));
    }
    let change = match verb.as_str() {
        "CREATE" => {
            let if_not_exists = head.words(&["IF", "NOT", "EXISTS"]);
            let name = head.name()?;
            let mut settings = ViewSettings::default();
            for (key, value) in head.settings(SETTINGS)? {
                settings
                    .set(&key, &value)
                    .map_err(|problem| Fault::invalid("invalid_view", problem))?;
            }
            let sql = head.query_behind_as()?.to_owned();
            ViewChange::Create {
                view: ViewDeclaration {
                    name,
                    settings,
                    sql,
                },
                if_not_exists,
                or_replace,
            }
        }
        "DROP" => {
            let if_exists = head.words(&["IF", "EXISTS"]);
            let name = head.name()?;
            ViewChange::Drop { name, if_exists }
        }
        "REFRESH" => {
            let name = head.name()?;
            let full = head.words(&["FULL"]);
            let day = (!full && head.words(&["FOR", "DATE"]))
                .then(|| head.date())
                .transpose()?;
            ViewChange::Refresh { name, full, day }
        }
        _ => {
            let name = head.name()?;
            if head.words(&["SET"]) {
                let settings = head.pairs(SETTINGS)?;
                ViewChange::Set { name, settings }
            } else {
                let sql = head.query_behind_as()?.to_owned();
                return Ok(ViewChange::Query { name, sql });
            }
        }
    };
    if !matches!(change, ViewChange::Create { .. }) {
        head.end()?;
    }
    Ok(change)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql;

    fn parse(sql: &str) -> Result<ViewChange, Fault> {
        super::parse(sql::parse(sql).unwrap().cursor("view", "public"))
    }

    const QUERY: &str = "SELECT k, avg(\"AT\") AS a FROM raw\n GROUP BY tumble(ts, '1 minute'), k";

    #[test]
    fn a_view_reads_as_it_is_shown() {
        let sql = format!(
            "create materialized view reactor.m with (delay = '2s', 'deltaplane.idle'='1 minute') as {QUERY};"
        );
        let ViewChange::Create { view, .. } = parse(&sql).unwrap() else {
            panic!("no view");
        };
        assert_eq!(view.settings.delay, 2_000_000);
        assert_eq!(view.settings.idle, 60_000_000);
        assert_eq!(view.sql, QUERY);
        let ViewChange::Create { view: again, .. } = parse(&view.to_ddl()).unwrap() else {
            panic!("no view");
        };
        assert_eq!(view, again);
        assert_eq!(view.alter_ddl(&again), None);
    }

    #[test]
    fn the_other_statements_are_told_apart() {
        let name = TableName::new("a", "b").unwrap();
        for (sql, full, day) in [
            ("REFRESH MATERIALIZED VIEW a.b", false, None),
            ("REFRESH MATERIALIZED VIEW a.b FULL;", true, None),
            (
                "refresh materialized view a.b for date '2025-08-01'",
                false,
                NaiveDate::from_ymd_opt(2025, 8, 1),
            ),
        ] {
            let name = name.clone();
            let refresh = ViewChange::Refresh { name, full, day };
            assert_eq!(parse(sql).unwrap(), refresh);
        }
        let set = ViewChange::Set {
            name: name.clone(),
            settings: vec![("delay".to_owned(), "5s".to_owned())],
        };
        assert_eq!(
            parse("ALTER MATERIALIZED VIEW a.b SET (delay = '5s')").unwrap(),
            set
        );
        let drop = ViewChange::Drop {
            name,
            if_exists: true,
        };
        assert_eq!(parse("DROP MATERIALIZED VIEW IF EXISTS a.b").unwrap(), drop);
        for (bad, word) in [
            ("CREATE MATERIALIZED VIEW a.b", "expected AS"),
            (
                "CREATE MATERIALIZED VIEW a.b WITH (delay = 2) AS SELECT 1",
                "in quotes",
            ),
            (
                "CREATE MATERIALIZED VIEW a.b WITH (dealy = '2s') AS SELECT 1",
                "known: delay",
            ),
            ("CREATE MATERIALIZED VIEW a.b AS SELEC 1", "Line: 1"),
            (
                "REFRESH MATERIALIZED VIEW a.b FOR DATE '2025-02-30'",
                "a day such as",
            ),
            (
                "REFRESH MATERIALIZED VIEW a.b FULL FOR DATE '2025-02-03'",
                "the end of the statement",
            ),
            (
                "REFRESH MATERIALIZED VIEW a.b NOW",
                "the end of the statement",
            ),
        ] {
            let fault = parse(bad).unwrap_err();
            assert!(fault.message.contains(word), "{bad}: {fault}");
        }
    }
}
