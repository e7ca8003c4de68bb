//! Which statement a text is, told from its first words.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::cursor::Cursor;
use super::text::tokenize;
use crate::fault::Fault;

/// What a statement is about. It decides who reads the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A query, or anything that no other kind begins like: the planner has the last word.
    Query,
    /// `SUBSCRIBE`
    Subscribe,
    /// `DESCRIBE HISTORY`, `DESCRIBE DETAIL`
    Log,
    /// `INSERT`
    Insert,
    /// `UPDATE`, `DELETE`, `MERGE`, `TRUNCATE`
    Rows,
    /// `CREATE [OR REPLACE] [[LOCAL] TEMPORARY | EXTERNAL] TABLE`
    CreateTable,
    /// `DROP TABLE`
    DropTable,
    /// `ALTER TABLE`
    AlterTable,
    /// `COMMENT ON`
    Comment,
    /// `CREATE | DROP | REFRESH | ALTER MATERIALIZED VIEW`
    View,
    /// `CREATE [OR REPLACE] [TEMPORARY] VIEW`, `DROP | ALTER VIEW`
    StoredView,
    /// `CREATE | DROP SCHEMA`
    Schema,
    /// `CREATE | DROP | ALTER | SHOW CREATE ALERT`
    Alert,
    /// `RESTORE`
    Restore,
    /// `REPLAY QUARANTINE`
    Replay,
    /// `OPTIMIZE`, `VACUUM`, `CHECK`, `REPAIR`
    Upkeep,
}

impl Kind {
    const ALL: [Kind; 16] = [
        Kind::Query,
        Kind::Subscribe,
        Kind::Log,
        Kind::Insert,
        Kind::Rows,
        Kind::CreateTable,
        Kind::DropTable,
        Kind::AlterTable,
        Kind::Comment,
        Kind::View,
        Kind::StoredView,
        Kind::Schema,
        Kind::Alert,
        Kind::Restore,
        Kind::Replay,
        Kind::Upkeep,
    ];

    /// The beginnings of its statements.
    fn beginnings(self) -> &'static [&'static str] {
        match self {
            Kind::Query => &[
                "SELECT",
                "WITH",
                "VALUES",
                "FROM",
                "EXPLAIN",
                "SHOW TABLES",
                "SHOW VIEWS",
                "SHOW COLUMNS",
                "SHOW SCHEMAS",
                "SHOW CATALOGS",
                "SHOW CREATE TABLE",
                "SHOW CREATE VIEW",
                "DESCRIBE",
            ],
            Kind::Subscribe => &["SUBSCRIBE"],
            Kind::Log => &["DESCRIBE HISTORY", "DESCRIBE DETAIL"],
            Kind::Insert => &["INSERT INTO"],
            Kind::Rows => &["UPDATE", "DELETE FROM", "MERGE INTO", "TRUNCATE TABLE"],
            Kind::CreateTable => &[
                "CREATE TABLE",
                "CREATE OR REPLACE TABLE",
                "CREATE TEMP TABLE",
            ],
            Kind::DropTable => &["DROP TABLE"],
            Kind::AlterTable => &["ALTER TABLE"],
            Kind::Comment => &["COMMENT ON COLUMN"],
            Kind::View => &[
                "CREATE MATERIALIZED VIEW",
                "ALTER MATERIALIZED VIEW",
                "REFRESH MATERIALIZED VIEW",
                "DROP MATERIALIZED VIEW",
            ],
            Kind::StoredView => &["CREATE VIEW", "ALTER VIEW", "DROP VIEW"],
            Kind::Schema => &["CREATE SCHEMA", "DROP SCHEMA"],
            Kind::Alert => &[
                "CREATE ALERT",
                "ALTER ALERT",
                "SHOW CREATE ALERT",
                "DROP ALERT",
            ],
            Kind::Restore => &["RESTORE TABLE"],
            Kind::Replay => &["REPLAY QUARANTINE"],
            Kind::Upkeep => &["OPTIMIZE", "VACUUM", "CHECK TABLE", "REPAIR TABLE"],
        }
    }

    /// The beginnings of all statements that are supported, for messages.
    pub fn all_beginnings() -> String {
        let all = Kind::ALL.iter().flat_map(|kind| kind.beginnings());
        all.copied().collect::<Vec<_>>().join(", ")
    }
}

/// A text that was cut into tokens.
#[derive(Clone, Debug)]
pub struct Statement<'a> {
    text: &'a str,
    tokens: Vec<TokenWithSpan>,
}

/// Cuts a text into tokens, once.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`, `parameters`; RESOURCE_EXHAUSTED `statement_too_large`.
pub fn parse(text: &str) -> Result<Statement<'_>, Fault> {
    Ok(Statement::new(text, tokenize(text)?))
}

impl<'a> Statement<'a> {
    pub(crate) fn new(text: &'a str, tokens: Vec<TokenWithSpan>) -> Self {
        Statement { text, tokens }
    }

    pub fn text(&self) -> &'a str {
        self.text
    }

    pub fn into_tokens(self) -> Vec<TokenWithSpan> {
        self.tokens
    }

    /// Reads from the first word on. `noun`: what the statement names first, for errors. `schema`: where names without one are
    /// looked for.
    pub fn cursor<'b>(&'b self, noun: &'static str, schema: &'b str) -> Cursor<'b> {
        Cursor::new(self.text, &self.tokens, noun, schema)
    }

    /// Is the word at `at` this one, without quotes?
    pub(crate) fn is(&self, at: usize, word: &str) -> bool {
        matches!(self.tokens.get(at).map(|t| &t.token),
            Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word))
    }

    pub fn kind(&self) -> Kind {
        let is = |at: usize, words: &[&str]| words.iter().any(|word| self.is(at, word));
        // What is created may have words before it.
        let noun = 1
            + usize::from(is(0, &["CREATE"]) && is(1, &["OR"])) * 2
            + usize::from(is(0, &["SHOW"]) && is(1, &["CREATE"]));
        // `LOCAL` says of a temporary table what every one is.
        let local = is(noun, &["LOCAL"]) && is(noun + 1, &["TEMPORARY", "TEMP"]);
        let noun = noun + usize::from(local);
        let of_a_kind = is(noun, &["TEMPORARY", "TEMP", "EXTERNAL"]);
        let view = is(noun, &["MATERIALIZED"]) && is(noun + 1, &["VIEW"]);
        if is(0, &["INSERT"]) || self.stands_behind_with(&["INSERT", "INTO"]) {
            Kind::Insert
        } else if is(0, &["UPDATE", "DELETE", "MERGE", "TRUNCATE"])
            || self.stands_behind_with(&["DELETE", "FROM"])
            || self.stands_behind_with(&["MERGE", "INTO"])
            || self.stands_behind_with(&["UPDATE"])
        {
            Kind::Rows
        } else if is(0, &["SUBSCRIBE"]) {
            Kind::Subscribe
        } else if is(0, &["DESCRIBE", "DESC"]) && is(1, &["HISTORY", "DETAIL"]) && self.names(2) {
            Kind::Log
        } else if is(0, &["RESTORE"]) {
            Kind::Restore
        } else if is(0, &["REPLAY"]) {
            Kind::Replay
        } else if is(0, &["OPTIMIZE", "VACUUM", "CHECK", "REPAIR"]) {
            Kind::Upkeep
        } else if is(0, &["CREATE", "DROP", "REFRESH", "ALTER"]) && view {
            Kind::View
        } else if is(0, &["CREATE", "DROP", "ALTER"])
            && is(noun + usize::from(of_a_kind), &["VIEW"])
        {
            Kind::StoredView
        } else if is(0, &["CREATE", "DROP"]) && is(noun, &["SCHEMA"]) {
            Kind::Schema
        } else if is(0, &["CREATE", "DROP", "ALTER", "SHOW"]) && is(noun, &["ALERT"]) {
            Kind::Alert
        } else if is(0, &["CREATE"]) && is(noun + usize::from(of_a_kind), &["TABLE"]) {
            Kind::CreateTable
        } else if is(0, &["DROP"]) && is(1, &["TABLE"]) {
            Kind::DropTable
        } else if is(0, &["ALTER"]) && is(1, &["TABLE"]) {
            Kind::AlterTable
        } else if is(0, &["COMMENT"]) && (is(1, &["ON"]) || is(1, &["IF"])) {
            Kind::Comment
        } else {
            Kind::Query
        }
    }

    /// `WITH a AS (..) INSERT INTO ..`: these words, behind a parenthesis that WITH has.
    fn stands_behind_with(&self, words: &[&str]) -> bool {
        self.is(0, "WITH")
            && Cursor::new(self.text, &self.tokens, "table", "")
                .text_before(words)
                .is_some()
    }

    /// Does anything but the end stand there? `DESCRIBE history` means a table of that name.
    fn names(&self, at: usize) -> bool {
        self.tokens
            .get(at)
            .is_some_and(|t| !matches!(t.token, Token::SemiColon | Token::EOF))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const CASES: [(&str, Kind); 49] = [
        ("SELECT 1", Kind::Query),
        ("(SELECT 1)", Kind::Query),
        ("WITH x AS (SELECT 1) SELECT * FROM x", Kind::Query),
        ("SHOW CREATE TABLE alert", Kind::Query),
        ("SHOW CREATE MATERIALIZED VIEW a.b", Kind::Query),
        ("DESCRIBE history", Kind::Query),
        ("DESCRIBE raw", Kind::Query),
        ("\"INSERT\" INTO t", Kind::Query),
        ("SUBSCRIBE a.b", Kind::Subscribe),
        ("DESCRIBE HISTORY a.b", Kind::Log),
        ("DESC DETAIL a.b", Kind::Log),
        ("INSERT INTO a.b VALUES (1)", Kind::Insert),
        (
            "WITH x AS (SELECT 1), y AS (SELECT 2) INSERT INTO a.b SELECT * FROM x",
            Kind::Insert,
        ),
        ("WITH x AS (SELECT 1) SELECT 1 AS insert", Kind::Query),
        ("WITH x AS (SELECT 1) DELETE FROM a.b", Kind::Rows),
        ("WITH x AS (SELECT 1) UPDATE a.b SET x = 1", Kind::Rows),
        (
            "WITH x AS (SELECT 1) MERGE INTO a.b USING x ON true",
            Kind::Rows,
        ),
        (
            "WITH x AS (SELECT 1) SELECT * FROM x FOR UPDATE",
            Kind::Query,
        ),
        ("UPDATE a.b SET x = 1", Kind::Rows),
        ("DELETE FROM a.b", Kind::Rows),
        ("MERGE INTO a.b USING c ON true", Kind::Rows),
        ("TRUNCATE TABLE a.b", Kind::Rows),
        ("CREATE TABLE a.b (x INT)", Kind::CreateTable),
        ("CREATE TABLE alert (x INT)", Kind::CreateTable),
        ("CREATE OR REPLACE TABLE a.b AS SELECT 1", Kind::CreateTable),
        ("CREATE TEMPORARY TABLE b (x INT)", Kind::CreateTable),
        (
            "CREATE OR REPLACE LOCAL TEMP TABLE b (x INT)",
            Kind::CreateTable,
        ),
        ("CREATE LOCAL b (x INT)", Kind::Query),
        ("DROP TABLE IF EXISTS a.b", Kind::DropTable),
        ("ALTER TABLE a.b ADD COLUMN c INT", Kind::AlterTable),
        ("COMMENT ON COLUMN a.b.c IS 'd'", Kind::Comment),
        ("CREATE MATERIALIZED VIEW a.b AS SELECT 1", Kind::View),
        (
            "CREATE OR REPLACE MATERIALIZED VIEW a.b AS SELECT 1",
            Kind::View,
        ),
        ("REFRESH MATERIALIZED VIEW a.b", Kind::View),
        ("CREATE VIEW a.b AS SELECT 1", Kind::StoredView),
        (
            "CREATE OR REPLACE TEMP VIEW b AS SELECT 1",
            Kind::StoredView,
        ),
        ("ALTER VIEW a.b RENAME TO a.c", Kind::StoredView),
        ("DROP VIEW IF EXISTS a.b", Kind::StoredView),
        ("CREATE SCHEMA IF NOT EXISTS a", Kind::Schema),
        ("DROP SCHEMA a", Kind::Schema),
        ("CREATE OR REPLACE ALERT a.b AS SELECT 1", Kind::Alert),
        ("ALTER ALERT a.b PAUSE", Kind::Alert),
        ("SHOW CREATE ALERT a.b", Kind::Alert),
        ("RESTORE a.b TO VERSION AS OF 1", Kind::Restore),
        ("REPLAY QUARANTINE a.b", Kind::Replay),
        ("OPTIMIZE a.b", Kind::Upkeep),
        ("VACUUM a.b DRY RUN", Kind::Upkeep),
        ("CHECK TABLE a.b", Kind::Upkeep),
        ("REPAIR TABLE a.b", Kind::Upkeep),
    ];

    #[test]
    fn what_is_supported_is_listed_by_its_kind() {
        for kind in Kind::ALL {
            for beginning in kind.beginnings() {
                let text = format!("{beginning} a");
                assert_eq!(parse(&text).unwrap().kind(), kind, "{text}");
            }
        }
        for (sql, kind) in CASES {
            assert!(Kind::ALL.contains(&kind), "{sql}");
        }
    }

    #[test]
    fn comments_before_and_within_change_nothing() {
        for (sql, kind) in CASES {
            assert_eq!(parse(sql).unwrap().kind(), kind, "{sql}");
            let commented = sql.replace(' ', " /* a /* b */ DROP TABLE */ -- SELECT\n\t");
            for text in [
                format!("/* {{\"app\": \"dbt\"}} */\n{sql}"),
                format!("-- DELETE\n  {sql} -- the end"),
                commented,
            ] {
                let statement = parse(&text).unwrap();
                assert_eq!(statement.kind(), kind, "{text}");
                let tokens = |s: Statement<'_>| -> Vec<Token> {
                    s.into_tokens().into_iter().map(|t| t.token).collect()
                };
                assert_eq!(tokens(statement), tokens(parse(sql).unwrap()), "{text}");
            }
        }
    }
}
