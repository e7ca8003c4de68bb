//! Views that are stored queries, and schemas, on a running server and over restarts.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::create_tests::{one, shown, start};
use super::statement_tests::{run, run_as};
use crate::fault::Kind;
use crate::query::QueryContext;

#[tokio::test(flavor = "multi_thread")]
async fn a_view_gives_what_its_query_gives_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (running, engine, admin) = start(dir.path()).await;
        run(&admin, "CREATE TABLE lab.t (k BIGINT, v DOUBLE)")
            .await
            .unwrap();
        run(&admin, "CREATE TABLE t (k BIGINT)").await.unwrap();
        run(
            &admin,
            "INSERT INTO lab.t VALUES (1, 1.75), (2, 2.5), (3, -4)",
        )
        .await
        .unwrap();
        // Names without a schema stay those of the session that created it.
        let mut caller = QueryContext::new("ann");
        caller.schema = "lab".into();
        {
            run_as(&caller, &admin, "CREATE VIEW public.V AS WITH w AS (SELECT * FROM t) SELECT K, CASE WHEN v < 0 THEN 0 ELSE v END AS w FROM w").await.unwrap();
            run_as(&caller, &admin, "CREATE VIEW counted (\"how many\", top) AS SELECT count(*), max(w) FROM public.v WHERE w > 0").await.unwrap();
        }
        assert_eq!(one(&engine, "SELECT sum(w) FROM v").await, "4.25");
        assert_eq!(
            one(&engine, "SELECT \"HOW MANY\", \"TOP\" FROM lab.counted")
                .await
                .replace(' ', ""),
            "2|2.5"
        );
        running.shutdown().await.unwrap();
    }
    let (running, engine, admin) = start(dir.path()).await;
    assert_eq!(
        one(
            &engine,
            "SELECT a.w FROM V a JOIN t ON false RIGHT JOIN v b ON true WHERE b.k = 2"
        )
        .await,
        ""
    );
    assert_eq!(
        one(
            &engine,
            "SELECT v.*, row_number() OVER (ORDER BY K) AS n FROM V WHERE k = 2"
        )
        .await
        .replace(' ', ""),
        "2|2.5|1"
    );
    run(&admin, "INSERT INTO lab.t VALUES (4, 10)")
        .await
        .unwrap();
    assert_eq!(one(&engine, "SELECT top FROM lab.counted").await, "10.0");
    // Statements that change rows read it, too.
    run(
        &admin,
        "DELETE FROM lab.t WHERE v IN (SELECT w FROM V WHERE w > 5)",
    )
    .await
    .unwrap();
    run(&admin, "CREATE TABLE copy AS SELECT * FROM v")
        .await
        .unwrap();
    run(&admin, "CREATE TABLE alike LIKE v").await.unwrap();
    assert_eq!(one(&engine, "SELECT count(*) FROM copy").await, "3");
    let types = "SELECT string_agg(table_name || ' ' || table_type, ',' ORDER BY table_name) FROM information_schema.tables WHERE table_schema = 'public'";
    let listed = one(&engine, types).await;
    assert!(listed.contains("V VIEW"), "{listed}");
    assert!(listed.contains("copy BASE TABLE"), "{listed}");
    let views = "SELECT string_agg(table_name || ': ' || view_definition, ',') FROM information_schema.views";
    let listed = one(&engine, views).await;
    assert!(listed.contains("V: WITH w AS (SELECT"), "{listed}");
    let columns = "SELECT string_agg(column_name || ' ' || data_type, ',' ORDER BY ordinal_position) FROM information_schema.columns WHERE table_name = 'V'";
    assert_eq!(one(&engine, columns).await, "k BIGINT,w DOUBLE");
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_over_what_is_gone_is_an_error_that_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    run(&admin, "CREATE TABLE t (k BIGINT, v DOUBLE)")
        .await
        .unwrap();
    run(&admin, "CREATE VIEW a AS SELECT * FROM t")
        .await
        .unwrap();
    run(&admin, "CREATE VIEW b AS SELECT k AS kk FROM a")
        .await
        .unwrap();
    // A column more changes nothing; one less is said.
    run(&admin, "ALTER TABLE t ADD COLUMN w INT").await.unwrap();
    assert_eq!(
        one(
            &engine,
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'a'"
        )
        .await,
        "2"
    );
    run(&admin, "DROP TABLE t").await.unwrap();
    for sql in [
        "SELECT * FROM b",
        "SELECT 1 WHERE EXISTS (SELECT * FROM b)",
        "EXPLAIN SELECT * FROM b",
    ] {
        let fault = shown(&engine, sql).await.unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::NotFound, "table_not_found"),
            "{sql}: {fault}"
        );
        for part in ["view public.b", "view public.a", "public.t"] {
            assert!(fault.message.contains(part), "{fault}");
        }
        assert!(
            engine.plan(&QueryContext::new("tests"), sql).await.is_err(),
            "{sql}: at plan time"
        );
    }
    // Lists are not disturbed.
    assert_eq!(
        one(
            &engine,
            "SELECT count(*) FROM information_schema.columns WHERE table_name = 'b'"
        )
        .await,
        "1"
    );
    run(&admin, "CREATE TABLE t (v DOUBLE)").await.unwrap();
    let fault = shown(&engine, "SELECT * FROM a").await.unwrap_err();
    assert!(fault.message.contains("column=k"), "{fault}");
    run(&admin, "CREATE OR REPLACE TABLE t (k INT, v DOUBLE)")
        .await
        .unwrap();
    assert_eq!(one(&engine, "SELECT count(*) FROM b").await, "0");
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn views_neither_read_themselves_nor_grow_without_end() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    run(&admin, "CREATE TABLE t (k BIGINT)").await.unwrap();
    run(&admin, "CREATE VIEW a AS SELECT k FROM t")
        .await
        .unwrap();
    run(&admin, "CREATE VIEW b AS SELECT k FROM a")
        .await
        .unwrap();
    for sql in [
        "CREATE OR REPLACE VIEW a AS SELECT k FROM b",
        "ALTER VIEW a AS SELECT k FROM a",
        "CREATE OR REPLACE VIEW A AS WITH x AS (SELECT * FROM b) SELECT k FROM x",
    ] {
        let fault = run(&admin, sql).await.unwrap_err();
        assert_eq!(&*fault.reason, "cyclic_view", "{sql}: {fault}");
    }
    // Each level doubles what is read.
    let mut refused = None;
    for level in 0..20 {
        let below = if level == 0 {
            "t".to_owned()
        } else {
            format!("v{}", level - 1)
        };
        let sql = format!(
            "CREATE VIEW v{level} AS SELECT x.k FROM {below} x JOIN {below} y ON x.k = y.k"
        );
        match run(&admin, &sql).await {
            Ok(_) => {}
            Err(fault) => {
                refused = Some(fault);
                break;
            }
        }
    }
    let fault = refused.unwrap();
    assert_eq!(
        (fault.kind, &*fault.reason),
        (Kind::Exhausted, "statement_too_large"),
        "{fault}"
    );
    // One over the other.
    let mut refused = None;
    for level in 0..40 {
        let below = if level == 0 {
            "t".to_owned()
        } else {
            format!("d{}", level - 1)
        };
        if let Err(fault) = run(
            &admin,
            &format!("CREATE VIEW d{level} AS SELECT k FROM {below}"),
        )
        .await
        {
            refused = Some((level, fault));
            break;
        }
    }
    let (level, fault) = refused.unwrap();
    assert_eq!(&*fault.reason, "views_too_deep", "{fault}");
    assert_eq!(
        one(&engine, &format!("SELECT count(*) FROM d{}", level - 1)).await,
        "0"
    );
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_a_table_or_a_view() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _engine, admin) = start(dir.path()).await;
    run(&admin, "CREATE TABLE t (k BIGINT, ts TIMESTAMP)")
        .await
        .unwrap();
    run(&admin, "CREATE VIEW v AS SELECT k, ts FROM t")
        .await
        .unwrap();
    run(&admin, "CREATE VIEW IF NOT EXISTS v AS SELECT 1 AS other")
        .await
        .unwrap();
    for (sql, reason) in [
        ("CREATE TABLE v (k INT)", "is_a_view"),
        ("CREATE TABLE IF NOT EXISTS V (k INT)", "is_a_view"),
        ("CREATE OR REPLACE TABLE v (k INT)", "is_a_view"),
        ("CREATE VIEW t AS SELECT 1 AS k", "table_exists"),
        ("CREATE OR REPLACE VIEW T AS SELECT 1 AS k", "table_exists"),
        ("CREATE VIEW v AS SELECT 1 AS k", "table_exists"),
        ("CREATE VIEW t_quarantine AS SELECT 1 AS k", "invalid_view"),
        ("CREATE VIEW system.x AS SELECT 1 AS k", "invalid_view"),
        ("CREATE VIEW x AS SELECT k, K FROM t", "column_twice"),
        ("CREATE VIEW x (a) AS SELECT k, ts FROM t", "column_count"),
        ("CREATE VIEW x AS SELECT * FROM nowhere", "table_not_found"),
        ("CREATE VIEW x AS SELECT k FROM t WHERE k = ?", "parameters"),
        ("DROP TABLE v", "is_a_view"),
        ("DROP TABLE IF EXISTS v", "is_a_view"),
        ("DROP VIEW t", "not_a_view"),
        ("DROP VIEW IF EXISTS t", "not_a_view"),
        ("DROP VIEW x", "view_not_found"),
        ("ALTER VIEW x AS SELECT 1 AS k", "view_not_found"),
        ("INSERT INTO v VALUES (1, now())", "is_a_view"),
        ("UPDATE v SET k = 1", "is_a_view"),
        ("DELETE FROM v", "is_a_view"),
        ("ALTER TABLE v ADD COLUMN x INT", "is_a_view"),
        ("OPTIMIZE v", "is_a_view"),
        (
            "CREATE MATERIALIZED VIEW m AS SELECT count(*) AS n FROM v GROUP BY tumble(ts, '1 minute')",
            "invalid_view",
        ),
        ("ALTER VIEW v RENAME TO t", "table_exists"),
    ] {
        let fault = run(&admin, sql).await.unwrap_err();
        if sql.contains("k, K") && fault.reason != "column_twice" {
            assert_eq!(fault.kind, Kind::Invalid, "{sql}: {fault}");
            continue;
        }
        assert_eq!(&*fault.reason, reason, "{sql}: {fault}");
    }
    run(&admin, "ALTER VIEW v RENAME TO w").await.unwrap();
    run(&admin, "CREATE TABLE v (k INT)").await.unwrap();
    run(&admin, "DROP VIEW w CASCADE").await.unwrap();
    run(&admin, "DROP VIEW IF EXISTS w").await.unwrap();
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_there_while_it_is_created_or_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let listed = "SELECT string_agg(schema_name, ',' ORDER BY schema_name) FROM information_schema.schemata WHERE schema_name LIKE 'l%'";
    {
        let (running, engine, admin) = start(dir.path()).await;
        run(&admin, "CREATE SCHEMA lab").await.unwrap();
        run(&admin, "CREATE SCHEMA IF NOT EXISTS LAB")
            .await
            .unwrap();
        let fault = run(&admin, "CREATE SCHEMA Lab").await.unwrap_err();
        assert_eq!(fault.kind, Kind::AlreadyExists);
        assert_eq!(one(&engine, listed).await, "lab");
        run(&admin, "CREATE TABLE lab.t AS SELECT 1 AS a")
            .await
            .unwrap();
        running.shutdown().await.unwrap();
    }
    let (running, engine, admin) = start(dir.path()).await;
    assert_eq!(one(&engine, listed).await, "lab");
    let fault = run(&admin, "DROP SCHEMA lab CASCADE").await.unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.reason),
        (Kind::Precondition, "schema_not_empty")
    );
    assert!(fault.message.contains("lab.t"), "{fault}");
    run(&admin, "DROP TABLE lab.t").await.unwrap();
    run(&admin, "DROP SCHEMA lab").await.unwrap();
    assert!(run(&admin, "DROP SCHEMA lab").await.is_err());
    run(&admin, "DROP SCHEMA IF EXISTS lab").await.unwrap();
    for fixed in ["public", "SYSTEM", "information_schema"] {
        assert!(run(&admin, &format!("DROP SCHEMA {fixed}")).await.is_err());
        assert!(
            run(&admin, &format!("CREATE SCHEMA {fixed}"))
                .await
                .is_err()
        );
    }
    assert_eq!(one(&engine, listed).await, "");
    running.shutdown().await.unwrap();
}
