//! `RESTORE [TABLE] t TO VERSION AS OF n` or `TO TIMESTAMP AS OF '..'`: an older version's rows become the newest version.
//! Its contract stays, and so does what producers were told: a batch that was acked is not taken again.

use std::sync::Arc;

use datafusion::sql::sqlparser::tokenizer::Token;

use super::target::target;
use crate::catalog::Shared;
use crate::catalog::write::TableWriter;
use crate::cold::At;
use crate::fault::Fault;
use crate::sql::{Cursor, version_literal};
use crate::types::TableName;

#[derive(Clone, Debug, PartialEq)]
pub struct Restore {
    pub table: TableName,
    pub at: At,
}

/// # Errors
/// INVALID_ARGUMENT `syntax_error`.
pub(super) fn parse(mut rest: Cursor<'_>) -> Result<Restore, Fault> {
    const FORM: &str = "RESTORE TABLE table TO VERSION AS OF number, or TO TIMESTAMP AS OF 'time'";
    rest.skip();
    rest.words(&["TABLE"]);
    let table = rest.name()?;
    rest.words(&["TO"]);
    let version = rest.words(&["VERSION", "AS", "OF"]);
    if !version && !rest.words(&["TIMESTAMP", "AS", "OF"]) {
        return Err(rest.expected(FORM));
    }
    let literal: Vec<&Token> = rest.rest().iter().map(|t| &t.token).take(2).collect();
    let (at, taken) = version_literal(version, &literal)?;
    (0..taken).for_each(|_| rest.skip());
    rest.end()?;
    Ok(Restore { table, at })
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
    use crate::sql;

    fn parse(sql: &str) -> Result<Restore, Fault> {
        super::parse(sql::parse(sql).unwrap().cursor("table", "public"))
    }

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
            assert_eq!(parse(sql).unwrap(), expected, "{sql}");
        }
        for bad in [
            "RESTORE",
            "RESTORE a.b",
            "RESTORE TABLE a TO VERSION AS OF 1 2",
        ] {
            assert_eq!(parse(bad).unwrap_err().reason, "syntax_error", "{bad}");
        }
    }
}
