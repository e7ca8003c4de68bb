#![expect(clippy::unwrap_used, reason = "tests")]
use std::sync::Arc;

use super::*;
use crate::catalog::lifecycle::IfThere;
use crate::catalog::temporary::{Limits, TemporaryMemory, TemporaryTables};
use crate::cold::{Lake, PinnedFiles};
use crate::dataset::{Column, ColumnType, Contract};
use crate::query::{OfSession, QueryContext, SessionLife};
use crate::statement::Change;
use crate::validate::Validator;

async fn session() -> Arc<SessionLife> {
    let memory = TemporaryMemory::new(Limits {
        bytes: 1 << 20,
        session_bytes: 1 << 20,
        tables: 10,
    });
    let tables = TemporaryTables::new(&memory);
    let name = TableName::new(TEMPORARY_SCHEMA, "own").unwrap();
    let contract = Contract::plain(name, vec![Column::new("a", ColumnType::Long)]);
    let lake = Lake::open("memory://temporary/").await.unwrap();
    let cold = PinnedFiles::empty(&lake, contract.table_schema(), Vec::new());
    let by = Arc::new(Validator::new(Arc::new(contract)));
    let rows = tables.rows();
    tables
        .create(by, Arc::new(cold), IfThere::Refuse, rows)
        .unwrap();
    Arc::new(SessionLife::new(tables))
}

fn caller(session: &Arc<SessionLife>) -> QueryContext {
    QueryContext {
        session: OfSession::new(session),
        ..QueryContext::new("ann")
    }
}

/// `None`: a statement about a stored table.
fn about(caller: &QueryContext, sql: &str) -> Result<Option<Temporary>, Fault> {
    Ok(match Change::parse(caller, sql)?.unwrap() {
        Change::Temporary(temporary) => Some(*temporary),
        _ => None,
    })
}

#[tokio::test]
async fn a_name_alone_means_the_session_s_table_before_a_stored_one() {
    let session = session().await;
    let own = caller(&session);
    for (sql, temporary) in [
        ("INSERT INTO own VALUES (1)", true),
        ("INSERT INTO Own (a) SELECT a FROM other", true),
        ("INSERT INTO public.own VALUES (1)", false),
        ("INSERT INTO other SELECT a FROM own", false),
        ("INSERT INTO pg_temp.own VALUES (1)", true),
        ("UPDATE own SET a = 1", true),
        ("UPDATE public.own SET a = 1", false),
        ("DELETE FROM own", true),
        ("TRUNCATE TABLE own", true),
        (
            "MERGE INTO own USING other o ON own.a = o.a WHEN MATCHED THEN DELETE",
            true,
        ),
        (
            "MERGE INTO other USING own o ON other.a = o.a WHEN MATCHED THEN DELETE",
            false,
        ),
        ("DROP TABLE own", true),
        ("DROP TABLE IF EXISTS public.own", false),
        ("DROP TABLE other", false),
        ("CREATE TABLE own (a INT)", false),
        ("CREATE TEMP TABLE own (a INT)", true),
        ("CREATE TABLE pg_temp.own (a INT)", true),
        ("OPTIMIZE other", false),
    ] {
        let found = about(&own, sql).unwrap();
        assert_eq!(found.is_some(), temporary, "{sql}");
        let text = sql.to_ascii_lowercase();
        let elsewhere = about(&QueryContext::new("ann"), sql).unwrap();
        let said = text.contains("pg_temp") || text.contains("temp table");
        assert_eq!(elsewhere.is_some(), said, "of another session: {sql}");
    }
    drop(session);
    assert_eq!(about(&own, "DELETE FROM own"), Ok(None));
}

#[tokio::test]
async fn what_a_temporary_table_has_not_is_refused() {
    let session = session().await;
    for (sql, word) in [
        (
            "CREATE TEMP TABLE t (a INT) PARTITIONED BY (a)",
            "PARTITIONED",
        ),
        ("CREATE TEMP TABLE t (a INT UNIQUE)", "UNIQUE"),
        ("CREATE TEMP TABLE t (a INT PRIMARY KEY)", "PRIMARY KEY"),
        (
            "CREATE TEMP TABLE t (a INT) TBLPROPERTIES ('delta.x' = '1')",
            "TBLPROPERTIES",
        ),
        ("CREATE TEMP TABLE t (a INT) WITH (x = 1)", "WITH"),
        ("CREATE TEMP TABLE t (a INT) USING DELTA", "USING"),
        ("CREATE TEMP TABLE t (a INT) ON COMMIT DROP", "ON COMMIT"),
        ("CREATE TEMP TABLE public.t (a INT)", "CREATE TEMP TABLE t"),
        ("CREATE TEMP TABLE t", "columns"),
        ("ALTER TABLE own ADD COLUMN b INT", "ALTER"),
        ("ALTER TABLE own RENAME TO other", "ALTER"),
        ("COMMENT ON COLUMN own.a IS 'x'", "COMMENT"),
        ("OPTIMIZE own", "OPTIMIZE"),
        ("VACUUM own", "VACUUM"),
        ("CHECK TABLE own", "CHECK"),
        ("RESTORE TABLE own TO VERSION AS OF 1", "RESTORE"),
        ("REPLAY QUARANTINE own", "REPLAY"),
        (
            "INSERT INTO own REPLACE WHERE a = 1 SELECT 1",
            "REPLACE WHERE",
        ),
    ] {
        let fault = about(&caller(&session), sql).unwrap_err();
        assert!(fault.message.contains(word), "{sql}: {fault}");
    }
}

#[test]
fn a_temporary_table_is_created_by_every_spelling() {
    for sql in [
        "CREATE TEMP TABLE t (a INT, b VARCHAR(3) NOT NULL DEFAULT 'x')",
        "CREATE TEMPORARY TABLE IF NOT EXISTS t (a INT)",
        "CREATE OR REPLACE TEMP TABLE t AS SELECT 1 AS a",
        "CREATE LOCAL TEMP TABLE t (a INT) ON COMMIT PRESERVE ROWS",
        "create temporary table t on commit preserve rows as (select 1 as a)",
        "CREATE TEMP TABLE t (a, b) AS VALUES (1, 2)",
        "CREATE TEMP TABLE t (LIKE raw)",
        "CREATE TEMP TABLE \"t\" AS SELECT 1 AS a WITH NO DATA",
        "CREATE TEMP TABLE pg_temp.t (a INT)",
    ] {
        let Some(Temporary::Create(creation)) = about(&QueryContext::new("ann"), sql).unwrap()
        else {
            panic!("{sql}");
        };
        assert_eq!(creation.name.to_string(), "pg_temp.t", "{sql}");
    }
}
