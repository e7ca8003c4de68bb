//! Completion at the `sql` prompt: keywords, tables and columns, by the beginning of the word before the cursor.

use crate::types::shown_name;
use rustyline::completion::Completer;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper, Result};

const KEYWORDS: [&str; 85] = [
    "ALERT",
    "ALTER",
    "AND",
    "AS",
    "ASC",
    "BETWEEN",
    "BY",
    "CASE",
    "CAST",
    "CHECK",
    "COMMENT",
    "CONSTRAINT",
    "CREATE",
    "CROSS",
    "DATE",
    "DEADMAN",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DISTINCT",
    "DROP",
    "ELSE",
    "END",
    "EVERY",
    "EXISTS",
    "EXPLAIN",
    "FALSE",
    "FILTER",
    "FIRING",
    "FOR",
    "FROM",
    "FULL",
    "GROUP",
    "HAVING",
    "IF",
    "IN",
    "INNER",
    "INSERT",
    "INTERVAL",
    "INTO",
    "IS",
    "JOIN",
    "KEEP",
    "LABELS",
    "LEFT",
    "LIKE",
    "LIMIT",
    "MERGE",
    "NOT",
    "NOTIFY",
    "NULL",
    "OFFSET",
    "ON",
    "OR",
    "ORDER",
    "OUTER",
    "OVER",
    "PARTITION",
    "PARTITIONED",
    "PAUSE",
    "REPLACE",
    "RESUME",
    "RIGHT",
    "SELECT",
    "SET",
    "SHOW",
    "TABLE",
    "TABLES",
    "TBLPROPERTIES",
    "THEN",
    "TIMESTAMP",
    "TRUE",
    "UNION",
    "UNIQUE",
    "UPDATE",
    "USING",
    "VALUES",
    "WHEN",
    "WHERE",
    "WINDOW",
    "WITH",
    "count",
    "avg",
    "date_bin",
    "date_trunc",
];

/// Knows the server's names as they were when it was told.
#[derive(Default)]
pub(super) struct Words {
    names: Vec<String>,
}

impl Words {
    /// Schema, table and column of each column there is.
    pub(super) fn set(&mut self, columns: impl IntoIterator<Item = (String, String, String)>) {
        let mut names = Vec::new();
        for (schema, table, column) in columns {
            let parts = [&schema, &table, &column].map(|name| shown_name(name).into_owned());
            names.push(parts[..2].join("."));
            names.extend(parts);
        }
        names.sort();
        names.dedup();
        self.names = names;
    }

    /// Where the word before the cursor begins, and what it may become.
    fn candidates(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = line.get(..at).unwrap_or(line);
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let start = before.rfind(|c: char| !is_word(c)).map_or(0, |i| {
            i + before[i..].chars().next().map_or(1, char::len_utf8)
        });
        let word = &before[start..];
        if word.is_empty() {
            return (start, Vec::new());
        }
        let begins = |name: &str| {
            name.get(..word.len())
                .is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        let lower = word.starts_with(|c: char| c.is_ascii_lowercase());
        let names = self.names.iter().filter(|n| begins(n)).cloned();
        let keywords = KEYWORDS.iter().filter(|k| begins(k)).map(|k| {
            if lower {
                k.to_ascii_lowercase()
            } else {
                (*k).to_owned()
            }
        });
        (start, names.chain(keywords).collect())
    }
}

impl Completer for Words {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        Ok(self.candidates(line, at))
    }
}

impl Hinter for Words {
    type Hint = String;
}

impl Highlighter for Words {}
impl Validator for Words {}
impl Helper for Words {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_completed_by_their_beginning_in_the_case_that_was_begun() {
        let mut words = Words::default();
        words.set([
            ("building".into(), "raw".into(), "room_id".into()),
            ("building".into(), "rooms".into(), "room_id".into()),
        ]);
        let complete = |line: &str| words.candidates(line, line.len());
        assert_eq!(complete("sel"), (0, vec!["select".to_owned()]));
        assert_eq!(complete("SELECT room_").1, ["room_id"]);
        assert_eq!(
            complete("SELECT * FROM building.").1,
            ["building.raw", "building.rooms"]
        );
        assert_eq!(complete("FROM (bui").0, 6);
        assert_eq!(complete("SELECT 'ü', ROO").1, ["room_id", "rooms"]);
        assert!(complete("SELECT ").1.is_empty());
    }
}
