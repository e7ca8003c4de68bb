//! The columns that joins with USING have of both sides.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int32Array, Int64Array, RecordBatch};

use super::tests::{engine_over, holds};
use super::{Engine, QueryContext};

async fn engine() -> Engine {
    let wide = |ids: Vec<i64>, name: &str, values: Vec<f64>| {
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(ids)) as _),
            (name, Arc::new(Float64Array::from(values)) as _),
        ])
        .unwrap()
    };
    let narrow = RecordBatch::try_from_iter([
        ("id", Arc::new(Int32Array::from(vec![2, 4])) as _),
        ("z", Arc::new(Float64Array::from(vec![0.2, 0.4])) as _),
    ]);
    engine_over(vec![
        ("lab.r", wide(vec![1, 2], "x", vec![1.5, 2.5])),
        ("lab.b", wide(vec![2, 3], "y", vec![20.0, 30.0])),
        ("lab.c", narrow.unwrap()),
    ])
    .await
}

#[tokio::test]
async fn a_column_of_using_is_that_of_the_side_which_has_the_row() {
    let cases = [
        (
            "SELECT id FROM lab.r RIGHT JOIN lab.b USING (id) ORDER BY id",
            "2;3",
        ),
        (
            "SELECT id FROM lab.r RIGHT JOIN lab.c USING (id) ORDER BY id",
            "2;4",
        ),
        (
            "SELECT id FROM lab.r LEFT JOIN lab.b USING (id) ORDER BY id",
            "1;2",
        ),
        (
            "SELECT id FROM lab.r FULL JOIN lab.b USING (id) ORDER BY id",
            "1;2;3",
        ),
        (
            "SELECT id FROM lab.c FULL JOIN lab.b USING (id) ORDER BY id DESC",
            "4;3;2",
        ),
        (
            "SELECT * FROM lab.r RIGHT JOIN lab.b USING (id) ORDER BY id",
            "2,2.5,20.0;3,,30.0",
        ),
        (
            "SELECT * FROM lab.r LEFT JOIN lab.b USING (id) ORDER BY id",
            "1,1.5,;2,2.5,20.0",
        ),
        (
            "SELECT * FROM lab.r NATURAL FULL JOIN lab.b ORDER BY id",
            "1,1.5,;2,2.5,20.0;3,,30.0",
        ),
        (
            "SELECT * EXCLUDE (id) FROM lab.r FULL JOIN lab.b USING (id) ORDER BY id",
            "1.5,;2.5,20.0;,30.0",
        ),
        (
            "SELECT * EXCLUDE (x) FROM lab.r JOIN lab.b USING (id)",
            "2,20.0",
        ),
        (
            "SELECT r.*, b.id FROM lab.r FULL JOIN lab.b USING (id) ORDER BY coalesce(b.id, 0)",
            "1,1.5,;2,2.5,2;,,3",
        ),
        (
            "SELECT id, count(*), count(id), count(r.id) FROM lab.r FULL JOIN lab.b USING (id) GROUP BY id HAVING id > 1 ORDER BY id",
            "2,1,1,1;3,1,1,0",
        ),
        (
            "SELECT DISTINCT id FROM lab.r FULL JOIN lab.b USING (id) WHERE id <> 2 ORDER BY id",
            "1;3",
        ),
        (
            "SELECT max(id) OVER (ORDER BY id) AS m FROM lab.r FULL JOIN lab.b USING (id) ORDER BY m",
            "1;2;3",
        ),
        (
            "SELECT id FROM lab.r FULL JOIN lab.b USING (id) WHERE r.id IS NULL",
            "3",
        ),
        (
            "SELECT y FROM lab.r FULL JOIN lab.b USING (id) ORDER BY id",
            ";20.0;30.0",
        ),
        (
            "SELECT q.id + 1 FROM (SELECT * FROM lab.r FULL JOIN lab.b USING (id)) q ORDER BY 1",
            "2;3;4",
        ),
        (
            "SELECT -x AS id FROM lab.r FULL JOIN lab.b USING (id) ORDER BY id",
            "-2.5;-1.5;",
        ),
        // The inner SELECT reads it of the one around it.
        (
            "SELECT id FROM lab.r FULL JOIN lab.b USING (id) WHERE EXISTS (SELECT 1 FROM (SELECT id AS w FROM lab.c) q WHERE q.w = id + 1) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.r FULL JOIN lab.b USING (id) FULL JOIN lab.c USING (id) ORDER BY id",
            "1;2;3;4",
        ),
        (
            "SELECT * FROM lab.r RIGHT JOIN lab.b USING (id) LEFT JOIN lab.c USING (id) ORDER BY id",
            "2,2.5,20.0,0.2;3,,30.0,",
        ),
        (
            "SELECT * FROM lab.c RIGHT JOIN (lab.r FULL JOIN lab.b USING (id)) USING (id) ORDER BY id",
            "1,,1.5,;2,0.2,2.5,20.0;3,,,30.0",
        ),
        (
            "SELECT id, z FROM lab.r JOIN lab.b USING (id) JOIN lab.c USING (id) JOIN lab.c d USING (id, z)",
            "2,0.2",
        ),
        (
            "SELECT * FROM (SELECT 1 AS v, 2 AS id) RIGHT JOIN (SELECT 3 AS w, 4 AS id) USING (id)",
            "4,,3",
        ),
        (
            "SELECT id FROM lab.r FULL JOIN lab.b USING (id) UNION ALL SELECT id FROM lab.r JOIN lab.b USING (id) ORDER BY id",
            "1;2;2;3",
        ),
        (
            "SELECT id FROM lab.r JOIN lab.b USING (id) UNION ALL SELECT z FROM lab.c ORDER BY id",
            "0.2;0.4;2.0",
        ),
        (
            "SELECT * FROM generate_series(2, 3) RIGHT JOIN generate_series(3, 4) USING (value) ORDER BY value",
            "3;4",
        ),
        (
            "SELECT z FROM lab.r JOIN lab.b USING (id) JOIN (SELECT id AS lim, z FROM lab.c) c ON c.lim = id",
            "0.2",
        ),
        (
            "SELECT id FROM lab.r JOIN lab.b USING (id) WHERE id IN (SELECT id FROM lab.c)",
            "2",
        ),
        ("SELECT id FROM lab.r NATURAL JOIN lab.b WHERE id > 1", "2"),
        (
            "SELECT id FROM (SELECT * FROM lab.r) FULL JOIN (SELECT * FROM lab.b) USING (id) WHERE EXISTS (SELECT 1 FROM (SELECT 1 AS w) JOIN (SELECT 1 AS w) USING (w) WHERE w < id) ORDER BY id",
            "2;3",
        ),
        (
            "SELECT k FROM (SELECT 1 AS id) a JOIN (SELECT 1 AS id, 5 AS k) b USING (id) WHERE id = 1",
            "5",
        ),
        (
            "SELECT sum(k) FROM (SELECT 1 AS id) a LEFT JOIN (SELECT 1 AS id, 5 AS k) b USING (id) WHERE id + 0 = 1 GROUP BY id",
            "5",
        ),
        (
            "WITH a AS (SELECT 1 AS v, 2 AS id), b AS (SELECT 3 AS w, 4 AS ID) SELECT Id FROM b FULL JOIN a USING (iD) ORDER BY ID",
            "2;4",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_result_is_called_as_the_column_of_using() {
    let engine = engine().await;
    for (sql, names) in [
        ("SELECT * FROM lab.r FULL JOIN lab.b USING (id)", "id x y"),
        (
            "SELECT y, id, x FROM lab.r FULL JOIN lab.b USING (id)",
            "y id x",
        ),
        ("SELECT ID FROM lab.r RIGHT JOIN lab.b USING (id)", "id"),
        (
            "SELECT *, id FROM lab.r FULL JOIN lab.b USING (id)",
            "id x y id",
        ),
    ] {
        let result = engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .unwrap();
        let fields = result.wire.fields().iter();
        let found: Vec<&str> = fields.map(|f| f.name().as_str()).collect();
        assert_eq!(found.join(" "), names, "{sql}");
    }
}

#[tokio::test]
async fn a_name_that_another_relation_has_too_stays_ambiguous() {
    let engine = engine().await;
    for sql in [
        "SELECT id FROM lab.r FULL JOIN lab.b USING (id), lab.c",
        "SELECT id FROM lab.r JOIN lab.b USING (id), lab.c JOIN lab.c d USING (id)",
    ] {
        let fault = engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .map(|_| ())
            .unwrap_err();
        assert_eq!(fault.reason, "ambiguous_name", "{sql}: {fault}");
    }
}
