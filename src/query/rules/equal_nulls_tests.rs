//! Nulls are equal where a query says so, and nowhere else in it.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};

use crate::query::Engine;
use crate::query::tests::{engine_over, holds};

async fn engine() -> Engine {
    let column = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as _;
    let table = |k: &[Option<i64>], v: &[Option<i64>]| {
        RecordBatch::try_from_iter([("k", column(k)), ("v", column(v))]).unwrap()
    };
    let (one, two) = (Some(1), Some(2));
    engine_over(vec![
        ("lab.a", table(&[one, None, two], &[one, None, two])),
        ("lab.b", table(&[one, None], &[one, None])),
        ("lab.c", table(&[one, None], &[None, one])),
    ])
    .await
}

#[tokio::test]
async fn joins_in_which_nulls_are_equal_stand_beside_others() {
    let cases = [
        (
            "SELECT a.k, b.k FROM lab.a JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k ORDER BY 1",
            "1,1;,",
        ),
        (
            "SELECT a.k, count(*) FROM lab.a JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k JOIN lab.c ON true GROUP BY 1 ORDER BY 1",
            "1,2;,2",
        ),
        (
            "SELECT a.k, count(*) FROM lab.c, lab.a JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k GROUP BY 1 ORDER BY 1",
            "1,2;,2",
        ),
        (
            "SELECT a.k, c.k FROM lab.a JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k JOIN lab.c ON b.k = c.k ORDER BY 1",
            "1,1",
        ),
        (
            "SELECT a.k, c.k FROM lab.a JOIN lab.b ON a.k = b.k JOIN lab.c ON b.k IS NOT DISTINCT FROM c.k ORDER BY 1",
            "1,1",
        ),
        (
            "SELECT a.k, b.k FROM lab.a JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k WHERE a.v = b.v ORDER BY 1",
            "1,1",
        ),
        (
            "SELECT a.k, b.k FROM lab.a JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k AND a.v = b.v ORDER BY 1",
            "1,1",
        ),
        (
            "SELECT a.k, b.k, c.k FROM lab.a JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k, lab.c WHERE a.v = b.v AND c.k = a.k ORDER BY 1",
            "1,1,1",
        ),
        (
            "SELECT a.k, b.k FROM lab.a LEFT JOIN lab.b ON a.k IS NOT DISTINCT FROM b.k AND a.v = b.v ORDER BY 1",
            "1,1;2,;,",
        ),
        (
            "SELECT count(*) FROM lab.a WHERE k IN (SELECT k FROM lab.b INTERSECT SELECT k FROM lab.c)",
            "1",
        ),
        (
            "SELECT a.k FROM lab.a JOIN (SELECT k FROM lab.b INTERSECT SELECT k FROM lab.c) q ON a.k IS NOT DISTINCT FROM q.k, lab.c ORDER BY 1",
            "1;1;;",
        ),
    ];
    holds(&engine().await, &cases).await;
}
