//! `INSERT INTO`, and Delta's `REPLACE WHERE`, which sqlparser does not know: the head is read token by token, the query
//! behind it is left as it was written.

use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use crate::fault::{Fault, Kind};
use crate::sql::{Cursor, syntax};
use crate::types::TableName;

/// `[WITH ..] INSERT INTO table [(columns)] [REPLACE WHERE partition = value [AND ..]] query`
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    pub table: TableName,
    /// Empty: all, in the table's order.
    pub columns: Vec<String>,
    /// Partition columns and the values whose rows are replaced, as Delta writes them.
    pub replace: Option<Vec<(String, String)>>,
    /// The query that gives the rows.
    pub query: String,
}

const MERGE: &str = "MERGE INTO table USING (query) AS s ON table.key = s.key WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT * changes what is there and inserts what is new";

fn refused(what: &str, way_out: &str) -> Fault {
    Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!("{what} is not supported; {way_out}"),
    )
}

pub(super) fn parse(mut head: Cursor<'_>) -> Result<Insert, Fault> {
    let with = match head.clone().words(&["WITH"]) {
        true => head.text_before(&["INSERT", "INTO"]),
        false => None,
    };
    head.skip();
    if head.words(&["OR"]) {
        let word = head.word("INTO after INSERT")?.to_ascii_uppercase();
        return Err(refused(&format!("INSERT OR {word}"), MERGE));
    }
    if head.words(&["OVERWRITE"]) {
        return Err(refused(
            "INSERT OVERWRITE",
            "INSERT INTO table REPLACE WHERE partition = value query replaces partitions, CREATE OR REPLACE TABLE table AS query replaces the table",
        ));
    }
    if !head.words(&["INTO"]) {
        return Err(head.expected("INTO after INSERT"));
    }
    head.words(&["TABLE"]);
    let table = head.name()?;
    let mut columns = Vec::new();
    // A parenthesis may also open the query.
    let list = head.peek() == Some(&Token::LParen)
        && !matches!(head.ahead(1),
            Some(Token::Word(w)) if matches!(w.keyword, Keyword::SELECT | Keyword::WITH | Keyword::VALUES));
    if list {
        columns = head.group("columns", |head| head.word("a column's name"))?;
    }
    let mut replace = None;
    if head.words(&["REPLACE"]) {
        if !head.words(&["WHERE"]) {
            return Err(head.expected("WHERE after REPLACE"));
        }
        let mut matching = vec![partition(&mut head)?];
        while head.words(&["AND"]) {
            matching.push(partition(&mut head)?);
        }
        replace = Some(matching);
    }
    if head.peek().is_none() {
        return Err(head.expected("a query: SELECT, VALUES or WITH"));
    }
    if with.is_some() && head.clone().words(&["WITH"]) {
        return Err(syntax(format!(
            "one WITH before INSERT and another before its query{}; say one of them",
            head.here()
        )));
    }
    let query = head.query();
    let query = query.map_err(|fault| other_clause(head.rest()).unwrap_or(fault))?;
    Ok(Insert {
        table,
        columns,
        replace,
        query: match with {
            Some(with) => format!("{with}{query}"),
            None => query.to_owned(),
        },
    })
}

/// What is behind the rows in other databases, and is here what makes the query one that cannot be read.
fn other_clause(query: &[TokenWithSpan]) -> Option<Fault> {
    let word = |at: usize| match query.get(at).map(|t| &t.token) {
        Some(Token::Word(word)) if word.quote_style.is_none() => word.value.to_ascii_uppercase(),
        _ => String::new(),
    };
    let mut depth = 0usize;
    for (at, token) in query.iter().enumerate() {
        match &token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth = depth.saturating_sub(1),
            Token::Word(_) if depth == 0 => match (word(at).as_str(), word(at + 1).as_str()) {
                ("ON", next @ ("CONFLICT" | "DUPLICATE")) => {
                    return Some(refused(&format!("INSERT .. ON {next}"), MERGE));
                }
                ("RETURNING", _) => {
                    return Some(refused(
                        "RETURNING",
                        "the statement gives the number of rows; read the rows with a SELECT",
                    ));
                }
                _ => {}
            },
            _ => {}
        }
    }
    None
}

/// `partition = value`
fn partition(head: &mut Cursor<'_>) -> Result<(String, String), Fault> {
    let column = head.word("a partition column")?;
    if !head.sign(&Token::Eq) {
        return Err(head.expected("= (REPLACE WHERE takes partition = value)"));
    }
    head.words(&["DATE"]);
    let value = match head.peek() {
        Some(Token::SingleQuotedString(text) | Token::Number(text, _)) => text.clone(),
        _ => return Err(head.expected("a literal")),
    };
    head.skip();
    Ok((column, value))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::sql;

    fn parse(sql: &str) -> Result<Insert, Fault> {
        super::parse(sql::parse(sql).unwrap().cursor("table", "public"))
    }

    #[test]
    fn heads_are_read_and_queries_are_left_as_they_were() {
        let insert = parse("INSERT INTO energy.gold REPLACE WHERE event_date = DATE '2025-08-01' AND site_id='S''1'\n  SELECT 'a''b', 1").unwrap();
        assert_eq!(insert.table, TableName::new("energy", "gold").unwrap());
        assert_eq!(
            insert.replace.unwrap()[1],
            ("site_id".to_owned(), "S'1".to_owned())
        );
        assert_eq!(insert.query, "SELECT 'a''b', 1");
        let insert = parse("insert into t (a, \"B\") values (1, 'ü')").unwrap();
        assert_eq!(
            (insert.columns, insert.replace),
            (vec!["a".to_owned(), "B".to_owned()], None)
        );
        assert_eq!(insert.query, "values (1, 'ü')");
        assert_eq!(
            parse("INSERT INTO t (SELECT 1)").unwrap().query,
            "(SELECT 1)"
        );
        let insert =
            parse("WITH x AS (SELECT 1),\n y (a) AS (SELECT ?) INSERT INTO t (a) SELECT a FROM y");
        let insert = insert.unwrap();
        assert_eq!((insert.table.table(), insert.columns.len()), ("t", 1));
        assert_eq!(
            insert.query,
            "WITH x AS (SELECT 1),\n y (a) AS (SELECT ?) SELECT a FROM y"
        );
        for bad in [
            "INSERT INTO t VALUES (1) INSERT INTO t VALUES (2)",
            "WITH x AS (SELECT 1) INSERT INTO t WITH y AS (SELECT 2) SELECT * FROM y",
            "INSERT t SELECT 1",
            "INSERT INTO t",
            "INSERT INTO t REPLACE WHERE a > 1 SELECT 1",
            "INSERT INTO t SELEC 1",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, "syntax_error", "{bad}");
        }
    }

    #[test]
    fn clauses_of_other_databases_are_refused_with_the_way_out() {
        for (sql, word) in [
            ("INSERT OR REPLACE INTO t VALUES (1)", "MERGE INTO"),
            ("INSERT OVERWRITE TABLE t SELECT 1", "REPLACE WHERE"),
            (
                "INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO NOTHING",
                "MERGE INTO",
            ),
            (
                "INSERT INTO t (a) SELECT 1 ON DUPLICATE KEY UPDATE a = 2",
                "MERGE INTO",
            ),
            ("INSERT INTO t VALUES (1) RETURNING a", "SELECT"),
        ] {
            let fault = parse(sql).unwrap_err();
            assert_eq!(fault.kind, Kind::Unimplemented, "{sql}: {fault}");
            assert!(fault.message.contains(word), "{sql}: {fault}");
        }
        // Names of columns, where they can be read.
        let joined = "SELECT 1 AS returning FROM a JOIN b ON conflict = b.x";
        assert_eq!(
            parse(&format!("INSERT INTO t {joined}")).unwrap().query,
            joined
        );
    }
}
