//! The text of [`Define`]: views and schemas.

use datafusion::sql::sqlparser::ast::Statement;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::Define;
use crate::catalog::lifecycle::IfThere;
use crate::fault::{Fault, Kind};
use crate::query::CATALOG;
use crate::sql::{Cursor, parse_one, syntax};

fn refused<T>(text: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::new(Kind::Unimplemented, "not_implemented", text))
}

/// `schema`: of names without one.
pub(in crate::statement) fn view(mut head: Cursor<'_>, schema: &str) -> Result<Define, Fault> {
    let verb = head.word("a verb")?.to_ascii_uppercase();
    let replace = verb == "CREATE" && head.words(&["OR", "REPLACE"]);
    for word in ["TEMPORARY", "TEMP"] {
        if head.words(&[word]) {
            return refused(
                "temporary views are not supported; create a view in a schema of your own and drop it, or say WITH name AS (..) within the query",
            );
        }
    }
    if !head.words(&["VIEW"]) {
        return Err(head.expected("VIEW"));
    }
    match verb.as_str() {
        "CREATE" => {
            let keep = head.words(&["IF", "NOT", "EXISTS"]);
            if keep && replace {
                return Err(syntax(
                    "OR REPLACE and IF NOT EXISTS contradict each other; say one of them",
                ));
            }
            let name = head.name()?;
            let mut columns = Vec::new();
            if head.peek() == Some(&Token::LParen) {
                columns = head.group("column names", |head| head.word("a column's name"))?;
            }
            let there = match (replace, keep) {
                (true, _) => IfThere::Replace,
                (_, true) => IfThere::Keep,
                _ => IfThere::Refuse,
            };
            Ok(Define::CreateView {
                name,
                columns,
                sql: query(&mut head)?,
                schema: schema.to_owned(),
                there,
                alters: false,
            })
        }
        "DROP" => {
            let if_exists = head.words(&["IF", "EXISTS"]);
            let name = head.name()?;
            // Views that read it stay either way, and are errors until it is there again.
            let _ = head.words(&["CASCADE"]) || head.words(&["RESTRICT"]);
            head.end()?;
            Ok(Define::DropView { name, if_exists })
        }
        _ => {
            let name = head.name()?;
            if head.words(&["RENAME", "TO"]) {
                // As in PostgreSQL, a name alone stays in its schema.
                let to = head.name_in(name.schema())?;
                head.end()?;
                return Ok(Define::RenameView { name, to });
            }
            Ok(Define::CreateView {
                name,
                columns: Vec::new(),
                sql: query(&mut head)?,
                schema: schema.to_owned(),
                there: IfThere::Replace,
                alters: true,
            })
        }
    }
}

fn query(head: &mut Cursor<'_>) -> Result<String, Fault> {
    let sql = head.query_behind_as()?.to_owned();
    match parse_one(&sql)? {
        Statement::Query(_) => Ok(sql),
        _ => Err(syntax("a view is a query: SELECT, WITH or VALUES")),
    }
}

pub(in crate::statement) fn schema(mut head: Cursor<'_>) -> Result<Define, Fault> {
    let verb = head.word("a verb")?.to_ascii_uppercase();
    if !head.words(&["SCHEMA"]) {
        return Err(head.expected("SCHEMA"));
    }
    let create = verb == "CREATE";
    let may_be = if create {
        head.words(&["IF", "NOT", "EXISTS"])
    } else {
        head.words(&["IF", "EXISTS"])
    };
    let mut name = head.word("the schema's name")?;
    if head.sign(&Token::Period) {
        if !name.eq_ignore_ascii_case(CATALOG) {
            return Err(syntax(format!(
                "there is one catalog, {CATALOG}, found {name}; name the schema alone"
            )));
        }
        name = head.word("the schema's name")?;
    }
    if create {
        head.end_or("the end of the statement: a schema has no other clauses here")?;
        return Ok(Define::CreateSchema {
            name,
            if_not_exists: may_be,
        });
    }
    // Nothing is taken along: a schema with tables stays.
    let _ = head.words(&["CASCADE"]) || head.words(&["RESTRICT"]);
    head.end()?;
    Ok(Define::DropSchema {
        name,
        if_exists: may_be,
    })
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql;

    fn read(text: &str) -> Result<Define, Fault> {
        let statement = sql::parse(text)?;
        match statement.kind() {
            sql::Kind::StoredView => view(statement.cursor("view", "lab"), "lab"),
            sql::Kind::Schema => schema(statement.cursor("schema", "lab")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_statements_are_told_apart() {
        let Define::CreateView {
            name,
            columns,
            sql,
            schema,
            there,
            alters,
        } = read("create or replace view V (a, \"B c\") as select 1, 'x;y' ; -- end").unwrap()
        else {
            panic!("no view");
        };
        assert_eq!(
            (name.to_string(), schema.as_str()),
            ("lab.V".to_owned(), "lab")
        );
        assert_eq!(columns, ["a", "B c"]);
        assert_eq!(sql, "select 1, 'x;y'");
        assert_eq!((there, alters), (IfThere::Replace, false));
        assert!(matches!(
            read("DROP VIEW IF EXISTS a.b CASCADE").unwrap(),
            Define::DropView {
                if_exists: true,
                ..
            }
        ));
        assert!(matches!(
            read("ALTER VIEW a.b RENAME TO a.c").unwrap(),
            Define::RenameView { .. }
        ));
        assert!(matches!(
            read("ALTER VIEW a.b AS SELECT 1").unwrap(),
            Define::CreateView { alters: true, .. }
        ));
        assert_eq!(
            read("CREATE SCHEMA IF NOT EXISTS \"deltaplane\".\"x\"").unwrap(),
            Define::CreateSchema {
                name: "x".to_owned(),
                if_not_exists: true
            }
        );
        assert_eq!(
            read("DROP SCHEMA IF EXISTS x CASCADE").unwrap(),
            Define::DropSchema {
                name: "x".to_owned(),
                if_exists: true
            }
        );
        for (bad, word) in [
            ("CREATE VIEW v", "AS"),
            ("CREATE VIEW v AS DROP TABLE t", "a view is a query"),
            ("CREATE VIEW v AS EXPLAIN SELECT 1", "a view is a query"),
            ("CREATE VIEW v AS SELEC 1", "Line: 1"),
            ("CREATE TEMP VIEW v AS SELECT 1", "temporary"),
            (
                "CREATE OR REPLACE VIEW IF NOT EXISTS v AS SELECT 1",
                "contradict",
            ),
            ("CREATE SCHEMA a.b", "one catalog"),
            (
                "CREATE SCHEMA a AUTHORIZATION b",
                "the end of the statement",
            ),
            ("DROP VIEW a, b", "the end of the statement"),
        ] {
            let fault = read(bad).unwrap_err();
            assert!(fault.message.contains(word), "{bad}: {fault}");
        }
    }
}
