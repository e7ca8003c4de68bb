#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};

use crate::fault::Kind;
use crate::query::tests::{answer, engine_over, holds};
use crate::query::{Engine, QueryContext};

pub(super) async fn engine() -> Engine {
    let table = |ids: Vec<i64>, values: Vec<Option<f64>>, keys: Vec<Option<&str>>| {
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(ids)) as _),
            ("v", Arc::new(Float64Array::from(values)) as _),
            ("k", Arc::new(StringArray::from(keys)) as _),
        ])
        .unwrap()
    };
    let (a, b, c) = (Some("a"), Some("b"), Some("c"));
    let left = vec![Some(1.0), Some(2.0), None, Some(9.0)];
    let right = vec![Some(1.0), None, Some(3.0), Some(2.0)];
    let set = vec![Some(1.0), None, Some(2.0)];
    engine_over(vec![
        ("lab.l", table(vec![1, 2, 3, 4], left, vec![a, b, b, None])),
        ("lab.r", table(vec![1, 2, 3, 5], right, vec![a, b, None, c])),
        ("lab.s", table(vec![1, 2, 3], set, vec![a, c, b])),
    ])
    .await
}

#[tokio::test]
async fn a_join_on_a_subquery_knows_of_nulls_and_keeps_its_sides_rows() {
    let cases = [
        (
            "JOIN lab.r r ON l.id = r.id AND l.v IN (SELECT v FROM lab.s)",
            "1,1;2,2",
        ),
        (
            "JOIN lab.r r ON l.id = r.id AND l.v NOT IN (SELECT v FROM lab.s)",
            "",
        ),
        (
            "JOIN lab.r r ON l.id = r.id AND (r.v IN (SELECT v FROM lab.s)) IS NULL",
            "2,2;3,3",
        ),
        (
            "JOIN lab.r r ON l.id = r.id AND (r.v + l.v IN (SELECT v FROM lab.s)) IS NULL",
            "2,2;3,3",
        ),
        (
            "JOIN lab.r r ON (l.id = r.id) = (l.v IN (SELECT v FROM lab.s))",
            "1,1;2,2",
        ),
        (
            "JOIN lab.r r ON l.id = r.id AND r.v = ANY (SELECT v FROM lab.s)",
            "1,1",
        ),
        (
            "JOIN lab.r r ON l.id = r.id AND r.v >= ALL (SELECT v FROM lab.s WHERE v IS NOT NULL)",
            "3,3",
        ),
        (
            "JOIN lab.r r ON l.id = r.id OR l.v IN (SELECT v FROM lab.s WHERE s.id = r.id)",
            "1,1;2,2;2,3;3,3",
        ),
        (
            "JOIN lab.r r ON l.v NOT IN (SELECT v FROM lab.s WHERE s.id = r.id)",
            "1,3;1,5;2,1;2,5;3,5;4,1;4,3;4,5",
        ),
        (
            "JOIN lab.r r ON l.id = r.id AND NOT EXISTS (SELECT 1 FROM lab.s WHERE s.id = l.id AND s.k = r.k)",
            "2,2;3,3",
        ),
        (
            "JOIN lab.r r ON l.id = r.id AND l.v = (SELECT max(v) FROM lab.s WHERE s.id = l.id)",
            "1,1",
        ),
        (
            "LEFT JOIN lab.r r ON l.id = r.id AND l.v IN (SELECT v FROM lab.s)",
            "1,1;2,2;3,;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.id = r.id AND r.v NOT IN (SELECT v FROM lab.s WHERE v IS NOT NULL)",
            "1,;2,;3,3;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.v IN (SELECT v FROM lab.s)",
            "1,1;1,2;1,3;1,5;2,1;2,2;2,3;2,5;3,;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.id = r.id AND EXISTS (SELECT 1 FROM lab.s WHERE s.id = l.id)",
            "1,1;2,2;3,3;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.id = r.id AND EXISTS (SELECT 1 FROM lab.s WHERE s.v > 100)",
            "1,;2,;3,;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.id = r.id AND r.v = (SELECT max(v) FROM lab.s WHERE s.id = l.id)",
            "1,1;2,;3,;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.id = r.id AND NOT EXISTS (SELECT 1 FROM lab.s WHERE s.id = r.id AND s.k = l.k)",
            "1,;2,2;3,;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.v NOT IN (SELECT v FROM lab.s WHERE s.id = r.id)",
            "1,3;1,5;2,1;2,5;3,5;4,1;4,3;4,5",
        ),
        (
            "LEFT JOIN lab.r r ON CASE WHEN l.v IN (SELECT v FROM lab.s) THEN l.id = r.id ELSE l.k = r.k END",
            "1,1;2,2;3,2;4,",
        ),
        (
            "LEFT JOIN lab.r r ON l.k = r.k AND l.v IN (SELECT v FROM lab.s) AND EXISTS (SELECT 1 FROM lab.s WHERE s.id = r.id AND s.k = l.k)",
            "1,1;2,;3,;4,",
        ),
        (
            "RIGHT JOIN lab.r r ON l.id = r.id AND l.v IN (SELECT v FROM lab.s)",
            "1,1;2,2;,3;,5",
        ),
        (
            "RIGHT JOIN lab.r r ON l.id = r.id AND r.v NOT IN (SELECT v FROM lab.s WHERE v IS NOT NULL)",
            "3,3;,1;,2;,5",
        ),
        (
            "RIGHT JOIN lab.r r ON l.id = r.id AND EXISTS (SELECT 1 FROM lab.s WHERE s.id = r.id AND s.k = l.k)",
            "1,1;3,3;,2;,5",
        ),
        (
            "FULL JOIN lab.r r ON l.id = r.id AND l.v IN (SELECT v FROM lab.s) AND r.v NOT IN (SELECT v FROM lab.s WHERE v = 2)",
            "1,1;2,;3,;4,;,2;,3;,5",
        ),
        (
            "FULL JOIN lab.r r ON l.id = r.id AND r.v = (SELECT max(v) FROM lab.s WHERE s.id = l.id)",
            "1,1;2,;3,;4,;,2;,3;,5",
        ),
    ];
    let engine = engine().await;
    for (join, expected) in cases {
        let sql = format!("SELECT l.id, r.id FROM lab.l l {join} ORDER BY 1, 2");
        let found = answer(&engine, &sql).await;
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
    }
    let both = "SELECT l.id FROM lab.l l FULL JOIN lab.r r ON EXISTS (SELECT 1 FROM lab.s WHERE s.id = r.id AND s.k = l.k)";
    let fault = answer(&engine, both).await.unwrap_err();
    assert_eq!(fault.kind, Kind::Unimplemented);
    assert!(fault.message.contains("UNION ALL"), "{fault}");
}

#[tokio::test]
async fn a_subquery_may_stand_in_every_place_of_a_query() {
    let cases = [
        (
            "SELECT count(*) FROM lab.l WHERE id IN (VALUES (1), (2)) OR id IN (VALUES (3))",
            "3",
        ),
        (
            "SELECT k, count(*), (SELECT count(*) FROM lab.s WHERE s.k = l.k) FROM lab.l GROUP BY k ORDER BY 1",
            "a,1,1;b,2,1;,1,0",
        ),
        (
            "SELECT id FROM lab.l WHERE 0 IN (SELECT c FROM (SELECT count(*) AS c FROM lab.s WHERE s.id = l.id) q WHERE c < 5) ORDER BY 1",
            "4",
        ),
        (
            "SELECT id, (SELECT q.c FROM (SELECT count(*) AS c FROM lab.s WHERE s.id = l.id) q) FROM lab.l ORDER BY 1",
            "1,1;2,1;3,1;4,0",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM (SELECT * FROM lab.s WHERE s.id = l.id) q WHERE q.v > 1) ORDER BY 1",
            "3",
        ),
        (
            "SELECT id FROM lab.l WHERE v IN (SELECT q.v FROM (SELECT v + 1 AS v FROM lab.s WHERE s.id < l.id) q) ORDER BY 1",
            "2",
        ),
        (
            "SELECT id FROM lab.l WHERE (SELECT max(v) FROM lab.s WHERE s.id = l.id) IN (SELECT v FROM lab.r) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id, (SELECT max(v) FROM lab.s WHERE s.id = l.id) IN (SELECT v FROM lab.r) FROM lab.l ORDER BY 1",
            "1,true;2,;3,true;4,",
        ),
        (
            "SELECT id FROM lab.l WHERE (SELECT max(v) FROM lab.s WHERE s.id = l.id) NOT IN (SELECT v FROM lab.r WHERE v = 1) ORDER BY 1",
            "3",
        ),
        (
            "SELECT id, (v IN (SELECT v FROM lab.r)) IN (SELECT id > 2 FROM lab.s) FROM lab.l ORDER BY 1",
            "1,true;2,true;3,;4,",
        ),
        (
            "SELECT id, (SELECT max(v) FROM lab.s WHERE s.id = l.id) >= ALL (SELECT v FROM lab.r WHERE v IS NOT NULL) FROM lab.l ORDER BY 1",
            "1,false;2,;3,false;4,",
        ),
        (
            "SELECT id FROM lab.l WHERE 2 IN (SELECT CAST(s.id AS DOUBLE) FROM lab.s WHERE s.id = l.id)",
            "2",
        ),
        (
            "SELECT id FROM lab.l WHERE 2.0 > ANY (SELECT s.id FROM lab.s WHERE s.id = l.id) ORDER BY 1",
            "1",
        ),
        (
            "SELECT id FROM lab.l WHERE 2.0 > ANY (SELECT CAST(s.id AS DOUBLE) FROM lab.s WHERE s.id = l.id) ORDER BY 1",
            "1",
        ),
        (
            "SELECT id FROM lab.l WHERE '3' IN (SELECT DISTINCT CAST(s.id AS TEXT) FROM lab.s WHERE s.id = l.id)",
            "3",
        ),
        (
            "SELECT id FROM lab.l WHERE NOT EXISTS (SELECT CAST(s.id AS TEXT) FROM lab.s WHERE s.id = l.id)",
            "4",
        ),
        (
            "SELECT id, 2.5 >= ALL (SELECT s.id FROM lab.s WHERE s.id = l.id) FROM lab.l ORDER BY 1",
            "1,true;2,true;3,false;4,true",
        ),
        (
            "SELECT id FROM lab.l WHERE 5 NOT IN (CASE k WHEN k THEN 1 ELSE 5 END, 7, 8) ORDER BY 1",
            "1;2;3",
        ),
        (
            "SELECT id, 5 IN (CASE WHEN k IS NULL THEN NULL ELSE id + 4 END, 7) FROM lab.l ORDER BY 1",
            "1,true;2,false;3,false;4,",
        ),
        (
            "SELECT id FROM lab.l WHERE id IN (VALUES (1), (2)) ORDER BY 1",
            "1;2",
        ),
        (
            "SELECT id FROM lab.l WHERE id IN ((SELECT min(id) FROM lab.s), 3) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.l WHERE id NOT IN ((SELECT min(v) FROM lab.s WHERE s.id = l.id), 3) ORDER BY 1",
            "",
        ),
        (
            "SELECT DISTINCT ON (k) id, v IN (SELECT v FROM lab.s) FROM lab.l ORDER BY k, id",
            "1,true;2,true;4,",
        ),
        (
            "SELECT DISTINCT ON (k) id, (SELECT max(v) FROM lab.s WHERE s.id = l.id) FROM lab.l ORDER BY k, id",
            "1,1.0;2,;4,",
        ),
        (
            "SELECT DISTINCT ON (v IN (SELECT v FROM lab.s)) id FROM lab.l ORDER BY v IN (SELECT v FROM lab.s), id",
            "1;3",
        ),
        (
            "SELECT DISTINCT ON (k) id FROM lab.l ORDER BY k, (SELECT max(v) FROM lab.s WHERE s.id = l.id) NULLS LAST",
            "1;3;4",
        ),
        (
            "SELECT v IN (SELECT v FROM lab.s), count(*) FROM lab.l GROUP BY ROLLUP (v IN (SELECT v FROM lab.s)) ORDER BY 2, 1",
            "true,2;,2;,4",
        ),
        (
            "SELECT v IN (SELECT v FROM lab.s) AS x, k, count(*) FROM lab.l GROUP BY CUBE (v IN (SELECT v FROM lab.s), k) ORDER BY 3, 1, 2",
            "true,a,1;true,b,1;,a,1;,b,1;,,1;,,1;true,,2;,b,2;,,2;,,4",
        ),
        (
            "SELECT k, sum((SELECT max(v) FROM lab.s WHERE s.id = l.id)) FROM lab.l GROUP BY ROLLUP (k) ORDER BY 2, 1",
            "a,1.0;b,2.0;,3.0;,",
        ),
        (
            "SELECT (SELECT max(v) FROM lab.s WHERE s.id = l.id), count(*) FROM lab.l GROUP BY 1 ORDER BY 1",
            "1.0,1;2.0,1;,2",
        ),
        (
            "SELECT k, count(*) IN (SELECT id FROM lab.s) FROM lab.l GROUP BY ROLLUP (k) ORDER BY 1, 2",
            "a,true;b,true;,false;,true",
        ),
        (
            "SELECT max((SELECT max(v) FROM lab.s WHERE s.id = l.id)) FROM lab.l",
            "2.0",
        ),
        (
            "SELECT id FROM lab.l ORDER BY (SELECT max(v) FROM lab.s WHERE s.id = l.id) NULLS FIRST, id",
            "2;4;1;3",
        ),
        (
            "SELECT id, sum(id) OVER (PARTITION BY (SELECT max(v) FROM lab.s WHERE s.id = l.id)) FROM lab.l ORDER BY 1",
            "1,1;2,6;3,3;4,6",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT count(*) AS c FROM lab.s WHERE s.id = l.id + 9 HAVING count(*) = 0) ORDER BY 1",
            "1;2;3;4",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT c FROM (SELECT count(*) AS c FROM lab.s WHERE s.id = l.id + 9) q) ORDER BY 1",
            "1;2;3;4",
        ),
        (
            "SELECT id FROM lab.l WHERE 1 NOT IN (SELECT count(*) AS c FROM lab.s WHERE s.id = l.id HAVING count(*) < 5) ORDER BY 1",
            "4",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM lab.r r JOIN lab.s s ON r.id = s.id AND r.id = l.id) ORDER BY 1",
            "1;2;3",
        ),
        (
            "SELECT v IN (SELECT v FROM lab.s) AS x, k IN (SELECT k FROM lab.s) AS y, count(*) FROM lab.l GROUP BY v IN (SELECT v FROM lab.s), k IN (SELECT k FROM lab.s) ORDER BY 1, 2",
            "true,true,2;,true,1;,,1",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_column_that_asks_a_set_is_called_as_it_was_written() {
    let sql = "SELECT v > ANY (SELECT v FROM lab.s), k IN (SELECT k FROM lab.s), NOT EXISTS (SELECT 1 FROM lab.r), id IN (SELECT id FROM lab.r) AS known FROM lab.l";
    let engine = engine().await;
    let batches = engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap();
    let batches = batches.collect().await.unwrap();
    let schema = batches[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
    let expected = [
        "v > ANY(SELECT v FROM lab.s)",
        "k IN (SELECT k FROM lab.s)",
        "NOT EXISTS (SELECT 1 FROM lab.r)",
        "known",
    ];
    assert_eq!(names, expected);
}
