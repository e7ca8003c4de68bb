//! Columns that are alike: they differ in a cast alone, or are one value twice.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::tests::{answer, engine, holds};
use crate::query::QueryContext;

#[tokio::test]
async fn expressions_that_differ_in_a_cast_alone_are_two_columns() {
    let cases = [
        (
            "SELECT sum(at::INT) AS a, sum(at::BIGINT) AS b FROM reactor.raw",
            "6,6",
        ),
        (
            "SELECT sum(at::INT), sum(at::BIGINT), sum(AT) FROM reactor.raw",
            "6,6,6.0",
        ),
        (
            "SELECT max(n), max(n::DOUBLE), max(TRY_CAST(n AS STRING)) FROM reactor.raw",
            "3,3.0,3",
        ),
        (
            "SELECT id FROM reactor.raw GROUP BY id HAVING sum(at::INT) = sum(CAST(AT AS DOUBLE)) ORDER BY sum(at::BIGINT)",
            "b;a",
        ),
        (
            "SELECT at::INT, at::STRING, count(*) FROM reactor.raw GROUP BY at::INTEGER, CAST(AT AS STRING) ORDER BY 1",
            "1,1.0,1;2,2.0,1;3,3.0,1",
        ),
        (
            "SELECT at::INT, at::STRING, count(*) FROM reactor.raw GROUP BY 1, 2 ORDER BY 1",
            "1,1.0,1;2,2.0,1;3,3.0,1",
        ),
        (
            "SELECT at::INT AS a, at AS b, count(*) FROM reactor.raw GROUP BY at::INT, at ORDER BY 1",
            "1,1.0,1;2,2.0,1;3,3.0,1",
        ),
        (
            "SELECT sum(n) OVER (ORDER BY n), sum(n::DOUBLE) OVER (ORDER BY n) FROM reactor.raw ORDER BY 1",
            "1,1.0;3,3.0;6,6.0",
        ),
        (
            "SELECT count(DISTINCT at::INT) AS a, count(DISTINCT at::STRING) AS b FROM reactor.raw",
            "3,3",
        ),
        (
            "SELECT count(DATE '2026-01-01') AS a, count(TIMESTAMP '2026-01-01') AS b FROM reactor.raw",
            "3,3",
        ),
        (
            "SELECT q.b FROM (SELECT sum(at::INT) AS a, sum(at::DOUBLE) AS b FROM reactor.raw) q",
            "6.0",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn columns_of_a_cast_keep_their_names() {
    let engine = engine().await;
    let sql =
        "SELECT at::INT, at::STRING, sum(n::DOUBLE) AS s, sum(n) FROM reactor.raw GROUP BY 1, 2";
    let batches = engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap();
    let batches = batches.collect().await.unwrap();
    let schema = batches[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names, ["AT", "AT", "s", "sum(deltaplane.reactor.raw.n)"]);
    // What has one name for another reason is refused as before.
    let fault = answer(
        &engine,
        "SELECT a FROM (SELECT n AS a, at::INT AS a FROM reactor.raw) q",
    );
    assert!(fault.await.is_err());
}

#[tokio::test]
async fn one_value_that_is_written_in_two_ways_is_two_columns() {
    let cases = [
        ("SELECT position('b' IN 'abc'), strpos('abc', 'b')", "2,2"),
        (
            "SELECT substr(id, 1, 1), substring(id, 1, 1), count(*) FROM reactor.raw GROUP BY 1, 2 ORDER BY 1 LIMIT 1",
            "a,a,2",
        ),
        (
            "SELECT max(n), substr(max(id), 1, 1), substring(max(id), 1, 1), max(n) FROM reactor.raw",
            "3,b,b,3",
        ),
        (
            "SELECT strpos(id, 'a'), position('a' IN id) FROM reactor.raw WHERE n = 1 UNION ALL SELECT n, n + 1 FROM reactor.raw WHERE n = 2 ORDER BY 1",
            "1,1;2,3",
        ),
        (
            "SELECT INTERVAL '1' HOUR = INTERVAL '1h' AS same, INTERVAL '1' HOUR, INTERVAL '1h' ORDER BY 1",
            "true,1 hours,1 hours",
        ),
    ];
    let engine = engine().await;
    holds(&engine, &cases).await;
    let sql = "SELECT lower(id), strpos(id, 'a'), position('a' IN id) FROM reactor.raw";
    let result = engine.query(&QueryContext::new("tests"), sql, None).await;
    let wire = result.unwrap().wire;
    let names: Vec<&str> = wire.fields().iter().map(|f| f.name().as_str()).collect();
    assert_eq!(names[0], "lower(deltaplane.reactor.raw.Id)");
    assert_eq!(names[1], names[2]);
    assert!(names[1].starts_with("strpos("), "{names:?}");
}

#[tokio::test]
async fn rows_are_ordered_by_the_second_of_two_equal_columns() {
    let cases = [
        (
            "SELECT n AS a, n AS b FROM reactor.raw UNION ALL SELECT n, n FROM reactor.raw ORDER BY 2 DESC",
            "3,3;3,3;2,2;2,2;1,1;1,1",
        ),
        (
            "SELECT n + 1 AS a, id AS k, n + 1 AS b FROM reactor.raw UNION ALL SELECT n, id, n FROM reactor.raw WHERE n > 1 ORDER BY b, a, k",
            "2,a,2;2,b,2;3,a,3;3,b,3;4,a,4",
        ),
        (
            "SELECT n AS a, n AS b FROM reactor.raw UNION ALL SELECT n, 7 FROM reactor.raw ORDER BY 2, 1",
            "1,1;2,2;3,3;1,7;2,7;3,7",
        ),
        (
            "SELECT n AS a, n AS b FROM reactor.raw EXCEPT ALL SELECT n, n FROM reactor.raw WHERE n = 2 ORDER BY b DESC",
            "3,3;1,1",
        ),
        (
            "SELECT b FROM (SELECT n AS a, n AS b FROM reactor.raw INTERSECT ALL SELECT n, n FROM reactor.raw) q ORDER BY b",
            "1;2;3",
        ),
        (
            "SELECT count(*) FROM (SELECT random() AS a, random() AS b FROM reactor.raw UNION ALL SELECT random(), random()) q WHERE a = b",
            "0",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn an_aggregate_with_a_filter_is_not_answered_by_the_one_below_it() {
    let below = "(SELECT count(*) AS x FROM reactor.raw) q";
    let cases = [
        (format!("SELECT count(*) FILTER (WHERE x > 100) FROM {below}"), "0"),
        (format!("SELECT count(*) FILTER (WHERE x = 3) FROM {below}"), "1"),
        (format!("SELECT sum(x) FILTER (WHERE x > 100), count(*) FROM {below}"), ",1"),
        (format!("SELECT count(*) FROM {below} WHERE x = 3"), "1"),
        ("SELECT count(*) FROM reactor.raw".to_owned(), "3"),
        ("SELECT sum(1.5) FILTER (WHERE false), sum(20) FROM (SELECT 1 FROM reactor.raw WHERE n > 9 HAVING min('a') IS NULL) q".to_owned(), ",20"),
    ];
    let engine = engine().await;
    for (sql, expected) in cases {
        assert_eq!(
            answer(&engine, &sql).await.as_deref(),
            Ok(expected),
            "{sql}"
        );
    }
}
