//! Texts of statements, from the text to the statement. Nothing is planned.

use datafusion::sql::sqlparser::ast::Statement;

use super::Target;
use crate::query::QueryContext;
use crate::sql::{self, TextLimits};
use crate::statement::Change;

/// Words and signs that open, close or join parts of a statement.
const WORDS: &[&str] = &[
    "'a''''b'",
    "\"c\"\"\"\"d\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "`",
    "$$",
    "--",
    "/*",
    "*/",
    ";",
    ",",
    ".",
    "::",
    "->",
    "?",
    "$1",
    "$0",
    "\\",
    "E'\\x",
    "U&'\\",
    "X'0",
    "\u{0}",
    "\u{fc}",
    "\u{2028}",
    " SELECT ",
    " FROM ",
    " WHERE ",
    " NOT ",
    " CASE WHEN ",
    " END ",
    " AND ",
    " BETWEEN ",
    " IN (",
    " WITH r AS (",
    " UNION ",
    " JOIN ",
    " LATERAL ",
    " GROUP BY ",
    " ORDER BY ",
    " OVER (",
    " AS MATERIALIZED (",
    " TOP ",
    " VERSION AS OF ",
    " TIMESTAMP AS OF ",
    " INTERVAL '1' ",
    " CAST(",
    " ARRAY<",
    " STRUCT<a ",
    " MAP<",
    " INSERT INTO ",
    " VALUES (",
    " MERGE INTO ",
    " USING ",
    " MATCHED THEN ",
    " UPDATE SET ",
    " DELETE FROM ",
    " CREATE TABLE t (",
    " CONSTRAINT c CHECK (",
    " TBLPROPERTIES (",
    " PARTITIONED BY (",
    " ALTER TABLE t ",
    " CREATE ALERT a EVERY '1 minute' ",
    " MATERIALIZED VIEW ",
    " OR REPLACE ",
    " IF NOT EXISTS ",
    " EXPLAIN (ANALYZE, ",
];

/// The statements of the documentation, and a few that it has not.
fn seeds() -> Vec<Vec<u8>> {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs");
    let files = std::fs::read_dir(docs)
        .unwrap()
        .map(|file| file.unwrap().path());
    let mut files: Vec<_> = files
        .filter(|f| f.extension().is_some_and(|e| e == "md"))
        .collect();
    files.sort();
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let blocks = text.split("```sql\n").skip(1);
        let blocks = blocks.filter_map(|block| block.split_once("\n```"));
        // A `;` within a statement makes two pieces of it that are none.
        let statements = blocks.flat_map(|(block, _)| block.split(';'));
        let whole = statements.filter(|s| s.len() < 2000 && sql::parse(s).is_ok());
        seeds.extend(whole.map(|s| s.as_bytes().to_vec()));
    }
    let others = [
        "SELECT TOP (3) a.b[1], 'it''s', \"q\"\"q\", $1::ARRAY<INT> FROM s.t AS a (x, y) WHERE ? IN (1, 2)",
        "WITH r AS NOT MATERIALIZED (SELECT 1) INSERT INTO t SELECT * FROM r",
        "SELECT 'a''''b', \"c\"\"\"\"d\" FROM t",
        "RESTORE TABLE t TO VERSION AS OF 3",
        "REPLAY QUARANTINE t",
        "SUBSCRIBE TO t",
    ];
    seeds.extend(others.map(|s| s.as_bytes().to_vec()));
    seeds
}

/// A query that is printed is read as the same tree: views and alerts are kept as such texts.
fn comes_back(text: &str) {
    if let Ok(tree @ Statement::Query(_)) = sql::parse_one(text) {
        let printed = sql::printed(&tree);
        let again = sql::parse_own(&printed);
        let again = again.unwrap_or_else(|e| panic!("{e}: {printed}"));
        assert_eq!(again, tree, "{printed}");
    }
}

/// Does the text have what sqlparser is known to print as something else? `@ x` becomes one word, and `1 .x` a number. The
/// planner refuses both.
fn has_unprintable(text: &str) -> bool {
    let field_of_number = |pair: &[u8]| pair[0].is_ascii_digit() && b" .".contains(&pair[1]);
    text.contains('@') || text.contains(" .") && text.as_bytes().windows(2).any(field_of_number)
}

#[test]
fn texts_of_statements() {
    let seeds = seeds();
    assert!(seeds.len() > 100);
    for seed in &seeds {
        comes_back(std::str::from_utf8(seed).unwrap());
    }
    let target = Target {
        seeds,
        words: WORDS,
        ..Target::default()
    };
    let caller = QueryContext::new("ann");
    target.run(|input| {
        let Ok(text) = std::str::from_utf8(input) else {
            return false;
        };
        sql::first_word(text);
        let _ = sql::check_size(text);
        let statement = sql::parse(text);
        if let Ok(statement) = &statement {
            statement.kind();
            let _ = sql::parse_type(text);
            let tokens = statement.clone().into_tokens();
            assert!(tokens.len() <= TextLimits::current().tokens);
            if let Ok((_, taken)) = sql::expression(&tokens) {
                assert!(taken <= tokens.len());
            }
        }
        let _ = Change::parse(&caller, text);
        if !has_unprintable(text) {
            comes_back(text);
        }
        statement.is_ok()
    });
}
