//! Tables that take their columns, or their rows, from elsewhere: whole or not at all, also over a restart.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use super::statement_tests::{over, run};
use super::*;
use crate::fault::Kind;
use crate::query::QueryContext;
use crate::server_state::Admin;
use crate::types::TableName;

pub(super) async fn start(dir: &Path) -> (Running, Arc<Engine>, Admin) {
    let resolved = Resolved::default()
        .with(&[
            ("server.data_dir", &dir.to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            ("commit.interval", "1h"),
        ])
        .unwrap();
    let running = Server::start(resolved).await.unwrap();
    let (engine, admin) = over(&running, dir);
    (running, engine, admin)
}

pub(super) async fn shown(engine: &Engine, sql: &str) -> Result<String, Fault> {
    let caller = QueryContext::new("tests");
    let batches = engine.query(&caller, sql, None).await?.collect().await?;
    let table = arrow::util::pretty::pretty_format_batches(&batches).unwrap();
    let lines = table.to_string();
    // The rows alone.
    let rows = lines.lines().skip(3).filter(|l| !l.starts_with('+'));
    Ok(rows.collect::<Vec<_>>().join("\n"))
}

pub(super) async fn one(engine: &Engine, sql: &str) -> String {
    let text = shown(engine, sql)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    text.trim_matches(|c| c == '|' || c == ' ').to_owned()
}

async fn ddl(engine: &Engine, table: &str) -> String {
    let sql = format!("SHOW CREATE TABLE {table}");
    let caller = QueryContext::new("tests");
    let batches = engine
        .query(&caller, &sql, None)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    use arrow::array::AsArray;
    batches[0].column(0).as_string::<i32>().value(0).to_owned()
}

/// Every file of the users' own tables.
fn files(dir: &Path) -> Vec<String> {
    let mut left = vec![dir.join("tables/public")];
    let mut found = Vec::new();
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_querys_table_has_its_columns_and_rows_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (running, engine, admin) = start(dir.path()).await;
        run(&admin, "CREATE TABLE s (k BIGINT, v DOUBLE, t STRING)")
            .await
            .unwrap();
        run(
            &admin,
            "INSERT INTO s VALUES (1, 1.75, 'a'), (2, 2.5, 'b'), (3, NULL, 'a')",
        )
        .await
        .unwrap();
        let written = run(
            &admin,
            "CREATE TABLE d PARTITIONED BY (t) AS SELECT t, k, CASE WHEN v > 2 THEN 0 ELSE v END AS w, 1 AS one, DATE '2026-01-02' AS day FROM s",
        );
        assert_eq!(written.await.unwrap(), 3);
        // Types are those that the query has when it runs: a CASE of 0 and a DOUBLE is a DOUBLE.
        let text = ddl(&engine, "d").await;
        for part in [
            "\"w\" DOUBLE,",
            "\"one\" BIGINT,",
            "\"day\" DATE",
            "PARTITIONED BY (\"t\")",
        ] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains("NOT NULL"), "{text}");
        assert_eq!(one(&engine, "SELECT sum(w) FROM d").await, "1.75");
        // It is a table as others are.
        run(&admin, "INSERT INTO d (t, k) VALUES ('c', 4)")
            .await
            .unwrap();
        run(&admin, "UPDATE d SET k = 30 WHERE k = 3")
            .await
            .unwrap();
        running.shutdown().await.unwrap();
    }
    let (running, engine, admin) = start(dir.path()).await;
    assert_eq!(
        one(&engine, "SELECT count(*), sum(k), sum(w) FROM d")
            .await
            .replace(' ', ""),
        "4|37|1.75"
    );
    run(&admin, "INSERT INTO d (t, k) VALUES ('c', 5)")
        .await
        .unwrap();
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_that_fails_leaves_no_table_and_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    run(&admin, "CREATE TABLE s (k BIGINT)").await.unwrap();
    run(
        &admin,
        "INSERT INTO s SELECT value FROM generate_series(1, 30000)",
    )
    .await
    .unwrap();
    let before = files(dir.path());
    for (sql, reason) in [
        // Fails while it runs, after rows that were staged.
        (
            "CREATE TABLE d AS SELECT k, CAST(CASE WHEN k = 30000 THEN 'x' ELSE '1' END AS BIGINT) AS v FROM s",
            "execution",
        ),
        // Breaks a rule at its last row.
        (
            "CREATE TABLE d (k BIGINT CHECK (k <= 29999)) AS SELECT k FROM s",
            "rule_broken",
        ),
        (
            "CREATE TABLE d (k BIGINT UNIQUE, v BIGINT) AS SELECT k / 2, k FROM s",
            "rule_broken",
        ),
        (
            "CREATE TABLE d (k VARCHAR(4)) AS SELECT CAST(k AS VARCHAR) FROM s",
            "rule_broken",
        ),
        ("CREATE TABLE d AS SELECT k + 1 FROM s", "unnamed_column"),
        ("CREATE TABLE d AS SELECT k, k FROM s", "invalid_contract"),
        (
            "CREATE TABLE d AS SELECT k AS _seq FROM s",
            "reserved_column",
        ),
        (
            "CREATE TABLE d AS SELECT INTERVAL '1 day' AS l FROM s",
            "invalid_contract",
        ),
        ("CREATE TABLE d (a, b) AS SELECT k FROM s", "column_count"),
        (
            "CREATE TABLE d (a INT, b INT) AS SELECT k FROM s WHERE false",
            "column_count",
        ),
        ("CREATE TABLE d AS SELECT * FROM nowhere", "table_not_found"),
        ("CREATE TABLE d LIKE nowhere", "table_not_found"),
        ("CREATE TABLE s AS SELECT 1 AS a", "table_exists"),
    ] {
        let fault = run(&admin, sql).await.unwrap_err();
        // A value twice in one column name is either of the two.
        if reason != "invalid_contract" || fault.reason != "ambiguous_name" {
            assert_eq!(&*fault.reason, reason, "{sql}: {fault}");
        }
        assert!(shown(&engine, "SELECT * FROM d").await.is_err(), "{sql}");
        assert_eq!(files(dir.path()), before, "{sql}");
    }
    assert_eq!(
        run(&admin, "CREATE TABLE IF NOT EXISTS s AS SELECT 1 / 0 AS a")
            .await
            .unwrap(),
        0
    );
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn named_columns_and_declared_ones_take_a_querys_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    run(&admin, "CREATE TABLE a (x, \"Y\") AS SELECT 1, 'u'")
        .await
        .unwrap();
    assert_eq!(one(&engine, "SELECT y FROM a WHERE x = 1").await, "u");
    run(&admin, "CREATE TABLE b (x SMALLINT NOT NULL, y DECIMAL(6,2) DEFAULT 7) AS VALUES (1, 1.5), (2, NULL)").await.unwrap();
    assert_eq!(
        one(&engine, "SELECT count(*), sum(y) FROM b")
            .await
            .replace(' ', ""),
        "2|1.50"
    );
    run(&admin, "INSERT INTO b (x) VALUES (3)").await.unwrap();
    assert_eq!(one(&engine, "SELECT y FROM b WHERE x = 3").await, "7.00");
    assert!(run(&admin, "INSERT INTO b (y) VALUES (3)").await.is_err());
    // No rows: the columns are there.
    run(&admin, "CREATE TABLE c AS SELECT * FROM a WHERE false")
        .await
        .unwrap();
    assert_eq!(one(&engine, "SELECT count(*) FROM c").await, "0");
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_like_another_has_its_contract_and_no_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    let sql = "CREATE TABLE s (k BIGINT NOT NULL, v DOUBLE CHECK (v <= 5), t STRING, PRIMARY KEY (k), UNIQUE (K, t)) PARTITIONED BY (t) TBLPROPERTIES ('deltaplane.unit.v' = 'm')";
    run(&admin, sql).await.unwrap();
    run(&admin, "INSERT INTO s VALUES (1, 1.0, 'a')")
        .await
        .unwrap();
    run(&admin, "CREATE TABLE d (LIKE s INCLUDING ALL)")
        .await
        .unwrap();
    run(&admin, "CREATE TABLE e LIKE s").await.unwrap();
    let source = ddl(&engine, "s").await;
    for (name, table) in [("d", "public.d"), ("e", "public.e")] {
        let text = ddl(&engine, name).await;
        assert_eq!(text.replace(table, "public.s"), source);
        assert_eq!(
            one(&engine, &format!("SELECT count(*) FROM {name}")).await,
            "0"
        );
    }
    assert!(
        run(&admin, "INSERT INTO d VALUES (1, 6.0, 'a')")
            .await
            .is_err()
    );
    run(&admin, "INSERT INTO d VALUES (1, 5.0, 'a')")
        .await
        .unwrap();
    assert!(
        run(&admin, "INSERT INTO d VALUES (1, 4.0, 'a')")
            .await
            .is_err(),
        "UNIQUE"
    );
    let fault = run(&admin, "CREATE TABLE f (LIKE s EXCLUDING ALL)")
        .await
        .unwrap_err();
    assert_eq!(fault.kind, Kind::Unimplemented);
    running.shutdown().await.unwrap();
}

/// The old table's rows, hot and committed, go with it in the step in which the new one appears.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_replaces_another_takes_its_place_in_one_step() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (running, engine, admin) = start(dir.path()).await;
        run(&admin, "CREATE OR REPLACE TABLE t (k BIGINT, v DOUBLE)")
            .await
            .unwrap();
        run(&admin, "INSERT INTO t VALUES (1, 1.0)").await.unwrap();
        run(&admin, "CREATE TABLE s AS SELECT 7 AS n")
            .await
            .unwrap();
        // Whoever reads finds one of the two, at every instant.
        let reader = engine.clone();
        let reading = tokio::spawn(async move {
            for _ in 0..200 {
                let found = shown(&reader, "SELECT count(*) FROM t").await;
                assert!(found.is_ok(), "{found:?}");
            }
        });
        run(
            &admin,
            "CREATE OR REPLACE TABLE t AS SELECT n AS k, 'x' AS other FROM s",
        )
        .await
        .unwrap();
        reading.await.unwrap();
        assert_eq!(one(&engine, "SELECT other FROM t WHERE k = 7").await, "x");
        // One that fails leaves the one before.
        assert!(run(&admin, "CREATE OR REPLACE TABLE t AS SELECT CAST(other AS INT) AS k FROM s CROSS JOIN (SELECT 'z' AS other)").await.is_err());
        assert_eq!(one(&engine, "SELECT count(*) FROM t").await, "1");
        let fault = run(
            &admin,
            "CREATE OR REPLACE TABLE t AS SELECT * FROM T WHERE k > 1",
        )
        .await
        .unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Precondition, "replaces_what_it_reads")
        );
        run(&admin, "INSERT INTO t VALUES (8, 'y')").await.unwrap();
        running.shutdown().await.unwrap();
    }
    let (running, engine, _) = start(dir.path()).await;
    assert_eq!(
        one(&engine, "SELECT count(*), sum(k) FROM t")
            .await
            .replace(' ', ""),
        "2|15"
    );
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_views_read_is_neither_replaced_nor_dropped_but_with_them() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    run(&admin, "CREATE TABLE s (ts TIMESTAMP, v DOUBLE)")
        .await
        .unwrap();
    let view = |name: &str, source: &str, time: &str| {
        format!(
            "CREATE MATERIALIZED VIEW {name} AS SELECT count(*) AS n FROM {source} GROUP BY tumble({time}, '1 minute')"
        )
    };
    run(&admin, &view("m", "s", "ts")).await.unwrap();
    run(&admin, &view("mm", "m", "window_start")).await.unwrap();
    for sql in ["CREATE OR REPLACE TABLE s (x INT)", "DROP TABLE s"] {
        let fault = run(&admin, sql).await.unwrap_err();
        assert_eq!(&*fault.reason, "table_has_views", "{sql}: {fault}");
    }
    let fault = run(&admin, "CREATE OR REPLACE TABLE m (x INT)")
        .await
        .unwrap_err();
    assert_eq!(&*fault.reason, "is_a_view");
    run(&admin, "DROP TABLE s CASCADE").await.unwrap();
    for table in ["s", "m", "mm"] {
        let name = TableName::new("public", table).unwrap();
        assert!(running.shared.table(&name).is_err(), "{table}");
    }
    assert!(shown(&engine, "SELECT * FROM mm").await.is_err());
    run(&admin, "DROP TABLE IF EXISTS s CASCADE").await.unwrap();
    running.shutdown().await.unwrap();
}

/// The swap that dbt makes, with rows hot and committed, and a stream that is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_is_the_same_under_another_name() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (running, engine, admin) = start(dir.path()).await;
        for sql in [
            "CREATE TABLE x (k BIGINT, s STRING)",
            "INSERT INTO x VALUES (1, 'old')",
            "UPDATE x SET s = 'OLD'",
            "INSERT INTO x VALUES (2, 'old')",
            "CREATE TABLE tmp AS SELECT 7 AS k, 'new' AS s",
            "INSERT INTO tmp VALUES (8, 'new')",
            "ALTER TABLE x RENAME TO old_x",
            "ALTER TABLE tmp RENAME TO public.X",
        ] {
            run(&admin, sql)
                .await
                .unwrap_or_else(|e| panic!("{sql}: {e}"));
        }
        assert_eq!(
            one(&engine, "SELECT count(*), sum(k) FROM x")
                .await
                .replace(' ', ""),
            "2|15"
        );
        assert_eq!(
            one(&engine, "SELECT count(*), sum(k) FROM old_x")
                .await
                .replace(' ', ""),
            "2|3"
        );
        assert!(shown(&engine, "SELECT * FROM tmp").await.is_err());
        assert!(ddl(&engine, "x").await.contains("CREATE TABLE public.X"));
        assert_eq!(one(&engine, "SELECT count(*) FROM x_quarantine").await, "0");
        run(&admin, "ALTER TABLE x ADD COLUMN v DOUBLE")
            .await
            .unwrap();
        run(&admin, "CREATE VIEW w AS SELECT k FROM x")
            .await
            .unwrap();
        run(&admin, "ALTER TABLE w RENAME TO ww").await.unwrap();
        for (sql, reason) in [
            ("ALTER TABLE x RENAME TO OLD_X", "table_exists"),
            ("ALTER TABLE x RENAME TO ww", "is_a_view"),
            ("ALTER TABLE x RENAME TO y_quarantine", "invalid_contract"),
            ("ALTER TABLE x RENAME TO system.y", "invalid_contract"),
            ("ALTER TABLE nowhere RENAME TO y", "table_not_found"),
            (
                "ALTER TABLE x RENAME TO y, ADD COLUMN z INT",
                "syntax_error",
            ),
        ] {
            let fault = run(&admin, sql).await.unwrap_err();
            assert!(
                *fault.reason == *reason || fault.reason == "not_implemented",
                "{sql}: {fault}"
            );
        }
        running.shutdown().await.unwrap();
    }
    {
        let (running, engine, admin) = start(dir.path()).await;
        assert_eq!(
            one(&engine, "SELECT count(*), sum(k) FROM ww")
                .await
                .replace(' ', ""),
            "2|15"
        );
        assert_eq!(
            one(&engine, "SELECT count(*), sum(k) FROM old_x")
                .await
                .replace(' ', ""),
            "2|3"
        );
        // The name that is free takes a folder of its own.
        run(&admin, "CREATE TABLE tmp AS SELECT 1 AS k")
            .await
            .unwrap();
        run(&admin, "DROP TABLE old_x").await.unwrap();
        run(&admin, "INSERT INTO x (k) VALUES (9)").await.unwrap();
        run(&admin, "ALTER TABLE x RENAME TO y").await.unwrap();
        running.shutdown().await.unwrap();
    }
    let (running, engine, _) = start(dir.path()).await;
    assert_eq!(
        one(&engine, "SELECT count(*), sum(k) FROM y")
            .await
            .replace(' ', ""),
        "3|24"
    );
    assert_eq!(one(&engine, "SELECT count(*) FROM tmp").await, "1");
    for gone in ["x", "old_x"] {
        assert!(
            shown(&engine, &format!("SELECT * FROM {gone}"))
                .await
                .is_err()
        );
    }
    running.shutdown().await.unwrap();
}

/// What types and constraints of the column list say is held against every row.
#[tokio::test(flavor = "multi_thread")]
async fn lengths_patterns_and_uniqueness_are_rules() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    let sql = "CREATE TABLE t (a VARCHAR(3), b STRING CHECK (b ~ '^R[0-9]+$'), c INT UNIQUE, d STRING DEFAULT 'none' CHECK (length(d) <= 4))";
    run(&admin, sql).await.unwrap();
    run(&admin, "INSERT INTO t (a, b, c) VALUES ('äöü', 'R1', 1)")
        .await
        .unwrap();
    for (values, rule) in [
        ("('äöüß', 'R1', 2, 'x')", "max_length:a"),
        ("('a', 'xR1', 2, 'x')", "regex:b"),
        ("('a', 'R1', 1, 'x')", "unique:c"),
        ("('a', 'R1', 2, '12345')", "max_length:d"),
    ] {
        let fault = run(&admin, &format!("INSERT INTO t VALUES {values}"))
            .await
            .unwrap_err();
        assert!(fault.message.contains(rule), "{values}: {fault}");
    }
    assert_eq!(one(&engine, "SELECT d FROM t").await, "none");
    run(&admin, "ALTER TABLE t ADD COLUMN e VARCHAR(2)")
        .await
        .unwrap();
    let fault = run(&admin, "UPDATE t SET e = 'abc'").await.unwrap_err();
    assert!(fault.message.contains("max_length:e"), "{fault}");
    for refused in ["f INT DEFAULT 3", "f INT UNIQUE"] {
        let fault = run(&admin, &format!("ALTER TABLE t ADD COLUMN {refused}"))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, Kind::Unimplemented, "{refused}");
    }
    for refused in [
        "a INT DEFAULT 'x'",
        "a INT DEFAULT now()",
        "a INT REFERENCES t (c)",
    ] {
        let fault = run(&admin, &format!("CREATE TABLE u ({refused})"))
            .await
            .unwrap_err();
        assert_eq!(fault.kind, Kind::Invalid, "{refused}: {fault}");
    }
    running.shutdown().await.unwrap();
}
