//! What is written out in each part of a UNION, EXCEPT and INTERSECT, as in a SELECT alone.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};

use crate::query::Engine;
use crate::query::tests::{engine_over, holds};

const MINUTE: i64 = 60_000_000;

async fn engine() -> Engine {
    let batch = RecordBatch::try_from_iter([
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
        ("v", Arc::new(Float64Array::from(vec![2.5, 0.5, 1.5])) as _),
        (
            "j",
            Arc::new(StringArray::from(vec![r#"{"a": "x"}"#; 3])) as _,
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![0, MINUTE, 3 * MINUTE])) as _,
        ),
    ])
    .unwrap();
    engine_over(vec![("public.t", batch)]).await
}

#[tokio::test]
async fn each_part_of_a_set_operation_is_written_out() {
    holds(
        &engine().await,
        &[
            (
                "SELECT 7.0 AS x UNION ALL SELECT last(v, n) FROM t ORDER BY x",
                "1.5;7.0",
            ),
            (
                "SELECT first(v, n) AS x FROM t UNION ALL SELECT 7.0 UNION ALL SELECT last(v, n) FROM t ORDER BY x",
                "1.5;2.5;7.0",
            ),
            (
                "SELECT max_by(n, v) AS x FROM t UNION ALL SELECT min_by(n, v) FROM t ORDER BY x",
                "1;2",
            ),
            (
                "SELECT v AS x FROM t EXCEPT SELECT last(v, n) FROM t ORDER BY x",
                "0.5;2.5",
            ),
            ("SELECT v FROM t INTERSECT SELECT last(v, n) FROM t", "1.5"),
            (
                "SELECT 9.0 AS x UNION ALL SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY v) FROM t ORDER BY x",
                "1.5;9.0",
            ),
            (
                "SELECT count(*) FROM (SELECT 9.0 AS x UNION ALL SELECT approx_percentile(v, 0.5) FROM t)",
                "2",
            ),
            (
                "SELECT 'y' AS x UNION ALL SELECT json_extract_string(j, '$.a') FROM t WHERE n = 1 ORDER BY x",
                "x;y",
            ),
            (
                "WITH w AS (SELECT 7.0 AS x UNION SELECT last(v, n) FROM t) SELECT sum(x) FROM w",
                "8.5",
            ),
            (
                "SELECT 0 AS c UNION ALL SELECT count(*) FROM (SELECT TIMESTAMP '2026-01-01 00:00:00' AS m, 1.0 AS x UNION ALL SELECT time_bucket_gapfill('1 minute', ts) AS m, avg(v) AS x FROM t GROUP BY 1) ORDER BY c",
                "0;5",
            ),
            (
                "SELECT time_bucket_gapfill('1 minute', ts) AS m, locf(avg(v)) AS x FROM t GROUP BY 1 EXCEPT SELECT ts, v FROM t ORDER BY m",
                "1970-01-01T00:02:00,0.5",
            ),
        ],
    )
    .await;
}

/// A column that asks a set is called as it is written, also where a set operation takes its names from it.
#[tokio::test]
async fn a_set_is_named_in_the_first_part_of_a_union() {
    let engine = engine().await;
    let sql = "SELECT 1 IN (SELECT n FROM t) UNION ALL SELECT false";
    let context = crate::query::QueryContext::new("tests");
    let planned = engine.plan(&context, sql).await.unwrap();
    assert_eq!(planned.wire.field(0).name(), "1 IN (SELECT n FROM t)");
}
