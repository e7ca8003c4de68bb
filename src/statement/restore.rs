//! `RESTORE [TABLE] t TO VERSION AS OF n` or `TO TIMESTAMP AS OF '..'`: an older version's rows become the newest version.
//! Its contract stays, and so does what producers were told: a batch that was acked is not taken again.

use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::dml::target;
use crate::catalog::Shared;
use crate::catalog::write::TableWriter;
use crate::cold::At;
use crate::fault::Fault;
use crate::query::{default_schema, tokenize, version_literal};
use crate::types::TableName;

#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    pub table: TableName,
    pub at: At,
}

/// None: the text is another statement.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub fn parse(sql: &str) -> Result<Option<Restore>, Fault> {
    let head = sql.trim_start().get(..7).unwrap_or_default();
    if !head.eq_ignore_ascii_case("restore") {
        return Ok(None);
    }
    let tokens: Vec<Token> = tokenize(sql)?
        .into_iter()
        .map(|t| t.token)
        .filter(|t| !matches!(t, Token::Whitespace(_) | Token::SemiColon))
        .collect();
    let bare = |at: usize, word: &str| matches!(tokens.get(at), Some(Token::Word(w)) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case(word));
    let wrong = || {
        Fault::invalid(
            "syntax_error",
            "expected RESTORE TABLE table TO VERSION AS OF number, or TO TIMESTAMP AS OF 'time'",
        )
    };
    let mut at = 1 + usize::from(bare(1, "table"));
    let mut parts = Vec::new();
    loop {
        match tokens.get(at) {
            Some(Token::Word(word)) => parts.push(word.value.as_str()),
            _ => return Err(wrong()),
        }
        at += 1;
        if tokens.get(at) != Some(&Token::Period) {
            break;
        }
        at += 1;
    }
    let table = match parts.as_slice() {
        [table] => TableName::new(&default_schema(), table),
        [.., schema, table] => TableName::new(schema, table),
        [] => return Err(wrong()),
    };
    let table = table.map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
    if bare(at, "to") {
        at += 1;
    }
    let version = bare(at, "version");
    if !(version || bare(at, "timestamp")) || !bare(at + 1, "as") || !bare(at + 2, "of") {
        return Err(wrong());
    }
    let rest: Vec<&Token> = tokens.iter().skip(at + 3).collect();
    let (at, taken) = version_literal(version, &rest)?;
    if rest.len() > taken {
        return Err(wrong());
    }
    Ok(Some(Restore { table, at }))
}

/// # Errors
/// NOT_FOUND; OUT_OF_RANGE names the versions that are there; FAILED_PRECONDITION: that version does not fit the table's
/// contract. Nothing was changed then.
pub async fn run(shared: &Arc<Shared>, restore: Restore) -> Result<(), Fault> {
    let shared = shared.clone();
    // A task of its own: a client that goes away does not stop it between its commit and what follows.
    let work = async move { locked(&shared, &restore).await };
    tokio::spawn(work)
        .await
        .map_err(|e| Fault::internal(format!("statement: {e}")))?
}

async fn locked(shared: &Arc<Shared>, restore: &Restore) -> Result<(), Fault> {
    let (table, part) = target(shared, &restore.table)?;
    let mut writer = TableWriter::begin(shared, &table, "RESTORE").await?;
    let version = writer.restore(part, restore.at).await?;
    tracing::info!(table = %restore.table, to = %restore.at, ?version, "restored");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn both_spellings_are_read() {
        let table = TableName::new("a", "b").unwrap();
        for (sql, at) in [
            ("RESTORE TABLE a.b TO VERSION AS OF 3", At::Version(3)),
            ("restore a.b version as of 3;", At::Version(3)),
            (
                "RESTORE TABLE \"a\".b TO TIMESTAMP AS OF '1970-01-01 00:00:01'",
                At::Time(1_000_000),
            ),
        ] {
            let expected = Restore {
                table: table.clone(),
                at,
            };
            assert_eq!(parse(sql).unwrap(), Some(expected), "{sql}");
        }
        for bad in [
            "RESTORE",
            "RESTORE a.b",
            "RESTORE TABLE a TO VERSION AS OF 1 2",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, "syntax_error", "{bad}");
        }
        assert_eq!(parse("SELECT 1").unwrap(), None);
    }
}
