//! Each query groups, orders or joins by a column that was a key further below, and is none any more.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};

use crate::query::Engine;
use crate::query::tests::{engine_over, holds};

async fn engine() -> Engine {
    let values = |values: &[Option<f64>]| Arc::new(Float64Array::from(values.to_vec())) as _;
    let numbers = |n: i64| Arc::new(Int64Array::from_iter_values(1..=n)) as _;
    let of_m = [Some(3.0), Some(4.0), Some(3.0), None, Some(5.0), Some(3.0)];
    let of_l = [Some(1.0), Some(1.0), Some(2.0), Some(2.0), Some(3.0), None];
    let names = Arc::new(StringArray::from(vec!["x", "x", "y", "y", "z", "x"])) as _;
    let m = RecordBatch::try_from_iter([("k", names), ("v", values(&of_m)), ("n", numbers(6))]);
    let l = RecordBatch::try_from_iter([("v", values(&of_l)), ("w", numbers(6))]);
    engine_over(vec![("lab.m", m.unwrap()), ("lab.l", l.unwrap())]).await
}

#[tokio::test]
async fn a_key_of_one_side_of_a_join_decides_nothing_of_the_other_side() {
    let cases = [
        (
            "SELECT DISTINCT q.a FROM (SELECT p.a, m.k FROM lab.m JOIN (SELECT DISTINCT v AS a FROM lab.l) p ON m.v > p.a GROUP BY m.k, p.a) q ORDER BY 1",
            "1.0;2.0;3.0",
        ),
        (
            "SELECT q.a, count(*) FROM (SELECT p.a, m.k FROM lab.m JOIN (SELECT v AS a FROM lab.l GROUP BY v) p ON m.v > p.a GROUP BY m.k, p.a) q GROUP BY q.a ORDER BY 1",
            "1.0,3;2.0,3;3.0,2",
        ),
        (
            "SELECT p.a, m.k, count(*) FROM lab.m JOIN (SELECT v AS a, count(*) AS c FROM lab.l GROUP BY v) p ON m.v > p.a GROUP BY p.a, m.k ORDER BY p.a, m.k DESC",
            "1.0,z,1;1.0,y,1;1.0,x,3;2.0,z,1;2.0,y,1;2.0,x,3;3.0,z,1;3.0,x,1",
        ),
        (
            "SELECT a, k FROM (SELECT p.a, m.k, count(*) AS c FROM lab.m JOIN (SELECT DISTINCT v AS a FROM lab.l) p ON m.v > p.a GROUP BY p.a, m.k) ORDER BY a, k DESC",
            "1.0,z;1.0,y;1.0,x;2.0,z;2.0,y;2.0,x;3.0,z;3.0,x",
        ),
        (
            "SELECT count(*) FROM (SELECT DISTINCT p.a FROM (SELECT m.k, d.a FROM lab.m CROSS JOIN (SELECT DISTINCT v AS a FROM lab.l) d GROUP BY m.k, d.a) p)",
            "4",
        ),
        (
            "WITH p AS (SELECT v AS a, max(w) AS w FROM lab.l GROUP BY v), q AS (SELECT p.a, m.k, p.w FROM lab.m JOIN p ON m.v >= p.a GROUP BY m.k, p.a, p.w) SELECT a, count(*), max(w) FROM q GROUP BY a ORDER BY a",
            "1.0,3,2;2.0,3,4;3.0,3,5",
        ),
        (
            "SELECT a, k, sum(s) FROM (SELECT p.a, m.k, m.n, sum(m.v) AS s FROM lab.m LEFT JOIN (SELECT v AS a FROM lab.l GROUP BY v) p ON m.v = p.a GROUP BY p.a, m.k, m.n) GROUP BY a, k ORDER BY a, k",
            "3.0,x,6.0;3.0,y,3.0;,x,4.0;,y,;,z,5.0",
        ),
        (
            "SELECT DISTINCT ON (p.a) p.a, q.k FROM lab.m q JOIN (SELECT DISTINCT v AS a FROM lab.l) p ON q.v > p.a ORDER BY p.a, q.k",
            "1.0,x;2.0,x;3.0,x",
        ),
        (
            "SELECT count(*) FROM (SELECT a FROM (SELECT DISTINCT ON (p.a, q.k) p.a, q.k FROM lab.m q JOIN (SELECT DISTINCT v AS a FROM lab.l) p ON q.v > p.a ORDER BY p.a, q.k) x GROUP BY a)",
            "3",
        ),
        (
            "SELECT l.w, q.k FROM lab.l LEFT JOIN (SELECT p.a, m.k FROM lab.m JOIN (SELECT DISTINCT v AS a FROM lab.l) p ON m.v > p.a GROUP BY m.k, p.a) q ON q.a = l.v WHERE l.w < 3 ORDER BY 1, 2",
            "1,x;1,y;1,z;2,x;2,y;2,z",
        ),
        (
            "SELECT l.w FROM lab.l LEFT JOIN (SELECT p.a, m.k FROM lab.m JOIN (SELECT DISTINCT v AS a FROM lab.l) p ON m.v > p.a GROUP BY m.k, p.a) q ON q.a = l.v WHERE l.w < 3 ORDER BY 1",
            "1;1;1;2;2;2",
        ),
        (
            "SELECT p.a, p.c, count(*) FROM lab.m JOIN (SELECT v AS a, count(*) AS c FROM lab.l GROUP BY v) p ON m.v > p.a GROUP BY p.a, p.c ORDER BY 1",
            "1.0,2,5;2.0,2,5;3.0,1,2",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_key_for_one_of_the_rows_around_is_none_for_all_of_them() {
    let lateral = "lab.m JOIN LATERAL (SELECT l.v AS a, count(*) AS c FROM lab.l WHERE l.w <= m.n GROUP BY l.v) p ON true";
    let engine = engine().await;
    let grouped = format!("SELECT p.a, count(*) FROM {lateral} GROUP BY p.a ORDER BY 1");
    holds(&engine, &[(&grouped, "1.0,6;2.0,4;3.0,2;,1")]).await;
    let other = format!("SELECT p.a, p.c FROM {lateral} GROUP BY p.a");
    let refused = crate::query::tests::answer(&engine, &other).await;
    assert!(refused.is_err(), "{refused:?}");
}

#[tokio::test]
async fn rows_that_become_several_have_no_key_any_more() {
    let cases = [
        (
            "SELECT DISTINCT a FROM (SELECT a, unnest(ws) AS w FROM (SELECT v AS a, array_agg(w) AS ws FROM lab.l GROUP BY v)) ORDER BY 1",
            "1.0;2.0;3.0;",
        ),
        (
            "SELECT a, count(*) FROM (SELECT a, unnest(ws) AS w FROM (SELECT v AS a, array_agg(w) AS ws FROM lab.l GROUP BY v)) GROUP BY a ORDER BY 1",
            "1.0,2;2.0,2;3.0,1;,1",
        ),
        (
            "WITH RECURSIVE r AS (SELECT w AS n FROM lab.l GROUP BY w UNION ALL SELECT n + 1 FROM r WHERE n < 6) SELECT DISTINCT n FROM r ORDER BY 1",
            "1;2;3;4;5;6",
        ),
        (
            "WITH RECURSIVE r AS (SELECT w AS n FROM lab.l GROUP BY w UNION ALL SELECT n + 1 FROM r WHERE n < 6) SELECT count(*) FROM (SELECT n, count(*) FROM r GROUP BY n)",
            "6",
        ),
    ];
    holds(&engine().await, &cases).await;
}
