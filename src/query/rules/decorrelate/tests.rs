#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};

use crate::fault::Kind;
use crate::query::Engine;
use crate::query::tests::{answer, engine_over, holds};

async fn engine() -> Engine {
    let table = |ids: Vec<Option<i64>>, times: Option<Vec<i64>>, values, keys| {
        let values: Vec<Option<f64>> = values;
        let keys: Vec<Option<&str>> = keys;
        let mut columns = vec![("id", Arc::new(Int64Array::from(ids)) as _)];
        if let Some(times) = times {
            columns.push(("t", Arc::new(Int64Array::from(times)) as _));
        }
        columns.push(("v", Arc::new(Float64Array::from(values)) as _));
        columns.push(("k", Arc::new(StringArray::from(keys)) as _));
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let (a, b, c) = (Some("a"), Some("b"), Some("c"));
    let ids = |ids: &[i64]| ids.iter().copied().map(Some).collect::<Vec<_>>();
    let values = vec![Some(1.0), Some(2.0), None, Some(9.0)];
    let l = table(ids(&[1, 2, 3, 4]), None, values, vec![a, b, b, None]);
    let values = vec![Some(1.0), None, Some(2.0)];
    let s = table(ids(&[1, 2, 3]), None, values, vec![a, c, b]);
    let mut of_m = ids(&[1, 1, 1, 2, 2, 3, 3, 3]);
    of_m.push(None);
    let times = vec![10, 20, 30, 15, 40, 25, 26, 50, 50];
    let mut values = [5.0, 3.0, 4.0, 1.0, 0.0, 7.0, 8.0, 2.0, 6.0]
        .map(Some)
        .to_vec();
    values[4] = None;
    let m = table(of_m, Some(times), values, vec![a, b, a, a, b, c, c, a, a]);
    engine_over(vec![("lab.l", l), ("lab.s", s), ("lab.m", m)]).await
}

#[tokio::test]
async fn a_window_in_a_lateral_subquery_sees_the_rows_of_one_row_around() {
    let cases = [
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v, row_number() OVER (ORDER BY v NULLS LAST, t) AS n FROM lab.m WHERE m.id = l.id) q WHERE q.n = 1 ORDER BY 1, 2",
            "1,3.0;2,1.0;3,2.0",
        ),
        (
            "SELECT l.id, q.v, q.n FROM lab.l LEFT JOIN LATERAL (SELECT v, row_number() OVER (ORDER BY v NULLS LAST, t) AS n FROM lab.m WHERE m.id = l.id) q ON q.n <= 2 ORDER BY 1, 3",
            "1,3.0,1;1,4.0,2;2,1.0,1;2,,2;3,2.0,1;3,7.0,2;4,,",
        ),
        (
            "SELECT l.id, q.k, q.total, q.before FROM lab.l, LATERAL (SELECT k, t, sum(v) OVER () AS total, lag(v) OVER (ORDER BY t) AS before FROM lab.m WHERE m.id = l.id) q ORDER BY 1, q.t",
            "1,a,12.0,;1,b,12.0,5.0;1,a,12.0,3.0;2,a,1.0,;2,b,1.0,1.0;3,c,17.0,;3,c,17.0,7.0;3,a,17.0,8.0",
        ),
        (
            "SELECT l.id, q.t, q.of_k FROM lab.l, LATERAL (SELECT t, sum(v) OVER (PARTITION BY k) AS of_k FROM lab.m WHERE m.id = l.id) q ORDER BY 1, 2",
            "1,10,9.0;1,20,3.0;1,30,9.0;2,15,1.0;2,40,;3,25,15.0;3,26,15.0;3,50,2.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v, row_number() OVER (ORDER BY v NULLS LAST) AS n FROM lab.m WHERE m.id + 1 = l.id) q WHERE q.n = 1 ORDER BY 1",
            "2,3.0;3,1.0;4,2.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v, row_number() OVER (ORDER BY v NULLS LAST) AS n FROM lab.m WHERE m.id < l.id) q WHERE q.n = 1 ORDER BY 1",
            "2,3.0;3,1.0;4,1.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v, row_number() OVER (ORDER BY v NULLS LAST) AS n FROM lab.m WHERE m.id = l.id AND m.v > l.v) q WHERE q.n = 1 ORDER BY 1",
            "1,3.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v, row_number() OVER (ORDER BY v NULLS LAST) AS n FROM lab.m WHERE m.id IS NOT DISTINCT FROM nullif(l.id, 4)) q WHERE q.n = 1 ORDER BY 1",
            "1,3.0;2,1.0;3,2.0;4,6.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT x.v FROM (SELECT v, row_number() OVER (ORDER BY v NULLS LAST) AS n FROM lab.m WHERE m.id = l.id) x WHERE x.n = 2) q ORDER BY 1",
            "1,4.0;2,;3,7.0",
        ),
        (
            "SELECT l.id, q.k, q.n FROM lab.l, LATERAL (SELECT k, rank() OVER (ORDER BY count(*) DESC, k) AS n FROM lab.m WHERE m.id = l.id GROUP BY k) q ORDER BY 1, 3",
            "1,a,1;1,b,2;2,a,1;2,b,2;3,c,1;3,a,2",
        ),
        (
            "SELECT l.id, q.n, q.c FROM lab.l, LATERAL (SELECT row_number() OVER () AS n, count(*) AS c FROM lab.m WHERE m.id = l.id) q ORDER BY 1",
            "1,1,3;2,1,2;3,1,3;4,1,0",
        ),
        (
            "SELECT l.id, q.n FROM lab.l, LATERAL (SELECT sum(m.v) OVER (ORDER BY m.t) + l.id AS n FROM lab.m WHERE m.id = l.id) q ORDER BY 1, 2 NULLS LAST",
            "1,6.0;1,9.0;1,13.0;2,3.0;2,3.0;3,10.0;3,18.0;3,20.0",
        ),
        (
            "SELECT l.id, q.a, q.b FROM lab.l, LATERAL (SELECT a.v AS a, b.v AS b, row_number() OVER (ORDER BY a.v, b.v, a.t) AS n FROM lab.m a JOIN lab.s b ON a.k = b.k WHERE a.id = l.id) q WHERE q.n = 1 ORDER BY 1",
            "1,3.0,2.0;2,1.0,1.0;3,2.0,1.0",
        ),
        (
            "SELECT id, (SELECT max(n) FROM (SELECT row_number() OVER (ORDER BY v) AS n FROM lab.m WHERE m.id = l.id) x) FROM lab.l ORDER BY 1",
            "1,3;2,2;3,3;4,",
        ),
        (
            "SELECT id FROM lab.l WHERE 3 IN (SELECT row_number() OVER (ORDER BY v) FROM lab.m WHERE m.id = l.id) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM lab.m WHERE m.id = l.id QUALIFY row_number() OVER (ORDER BY v) = 3) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.l WHERE NOT EXISTS (SELECT 1 FROM lab.m WHERE m.id = l.id QUALIFY row_number() OVER (ORDER BY v) = 3) ORDER BY 1",
            "2;4",
        ),
        (
            "SELECT id FROM lab.l WHERE 3 NOT IN (SELECT row_number() OVER (ORDER BY v) FROM lab.m WHERE m.id = l.id) ORDER BY 1",
            "2;4",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_limit_in_a_subquery_is_one_for_each_row_around() {
    let cases = [
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY t DESC LIMIT 1) q ORDER BY 1",
            "1,4.0;2,;3,2.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY t LIMIT 1 OFFSET 1) q ORDER BY 1",
            "1,3.0;2,;3,8.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l LEFT JOIN LATERAL (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY t DESC LIMIT 1) q ON true ORDER BY 1",
            "1,4.0;2,;3,2.0;4,",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v FROM lab.m WHERE m.id < l.id ORDER BY v NULLS LAST LIMIT 2) q ORDER BY 1, 2",
            "2,3.0;2,4.0;3,1.0;3,3.0;4,1.0;4,2.0",
        ),
        (
            "SELECT l.id, count(*) FROM lab.l, LATERAL (SELECT v FROM lab.m WHERE m.id = l.id LIMIT 2) q GROUP BY 1 ORDER BY 1",
            "1,2;2,2;3,2",
        ),
        (
            "SELECT l.id, q.k, q.c FROM lab.l, LATERAL (SELECT k, count(*) AS c FROM lab.m WHERE m.id = l.id GROUP BY k ORDER BY c DESC, k LIMIT 1) q ORDER BY 1",
            "1,a,2;2,a,1;3,c,2",
        ),
        (
            "SELECT id, (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY t LIMIT 1) FROM lab.l ORDER BY 1",
            "1,5.0;2,1.0;3,7.0;4,",
        ),
        (
            "SELECT id FROM lab.l WHERE v < (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY t LIMIT 1) ORDER BY 1",
            "1",
        ),
        (
            "SELECT id, (SELECT sum(v) FROM (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY v NULLS LAST LIMIT 2) x) FROM lab.l ORDER BY 1",
            "1,7.0;2,1.0;3,9.0;4,",
        ),
        (
            "SELECT id, (SELECT count(*) FROM lab.m WHERE m.id = l.id ORDER BY 1 LIMIT 1) FROM lab.l ORDER BY 1",
            "1,3;2,2;3,3;4,0",
        ),
        (
            "SELECT id, (SELECT count(*) FROM lab.m WHERE m.id = l.id LIMIT 1 OFFSET 1) FROM lab.l ORDER BY 1",
            "1,;2,;3,;4,",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM lab.m WHERE m.id = l.id OFFSET 2) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.l WHERE NOT EXISTS (SELECT 1 FROM lab.m WHERE m.id = l.id OFFSET 2) ORDER BY 1",
            "2;4",
        ),
        (
            "SELECT id, EXISTS (SELECT 1 FROM lab.m WHERE m.id = l.id OFFSET 2) FROM lab.l ORDER BY 1",
            "1,true;2,false;3,true;4,false",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM lab.m WHERE m.id = l.id ORDER BY v LIMIT 1) ORDER BY 1",
            "1;2;3",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT v FROM (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY t LIMIT 1) x WHERE v > 4) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.l WHERE 3 NOT IN (SELECT v FROM lab.m WHERE m.id = l.id ORDER BY t LIMIT 1) ORDER BY 1",
            "1;2;3;4",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn an_aggregate_in_a_lateral_subquery_has_a_row_for_each_row_around() {
    let cases = [
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT count(*) AS c FROM lab.m WHERE m.id = l.id HAVING count(*) > 2) q ORDER BY 1",
            "1,3;3,3",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT count(*) AS c FROM lab.m WHERE m.id = l.id HAVING count(*) < 3) q ORDER BY 1",
            "2,2;4,0",
        ),
        (
            "SELECT l.id, q.c, q.t FROM lab.l, LATERAL (SELECT count(*) AS c, sum(v) AS t FROM lab.m WHERE m.id < l.id) q ORDER BY 1",
            "1,0,;2,3,12.0;3,5,13.0;4,8,30.0",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT count(*) AS c FROM lab.m WHERE m.v / 3 = l.id) q ORDER BY 1",
            "1,1;2,1;3,0;4,0",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT count(*) AS c FROM lab.m WHERE CAST(m.t AS DOUBLE) / 10 = l.v) q ORDER BY 1",
            "1,1;2,1;3,0;4,0",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT max(c) AS c FROM (SELECT k, count(*) AS c FROM lab.m WHERE m.id = l.id GROUP BY k) x) q ORDER BY 1",
            "1,2;2,1;3,2;4,",
        ),
        (
            "SELECT l.id, q.c, q.d FROM lab.l, LATERAL (SELECT max(c) AS c, count(*) AS d FROM (SELECT count(*) AS c FROM lab.m WHERE m.id = l.id) x) q ORDER BY 1",
            "1,3,1;2,2,1;3,3,1;4,0,1",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT DISTINCT count(*) AS c FROM lab.m WHERE m.id = l.id) q ORDER BY 1",
            "1,3;2,2;3,3;4,0",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT x.c FROM (SELECT count(*) AS c FROM lab.m WHERE m.id = l.id) x WHERE x.c < 3) q ORDER BY 1",
            "2,2;4,0",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT count(*) AS c FROM lab.m WHERE m.id = l.id AND l.v > 1) q ORDER BY 1",
            "1,0;2,2;3,0;4,0",
        ),
        (
            "SELECT l.id, q.k FROM lab.l, LATERAL (SELECT DISTINCT k FROM lab.m WHERE m.id < l.id) q ORDER BY 1, 2",
            "2,a;2,b;3,a;3,b;4,a;4,b;4,c",
        ),
        (
            "SELECT l.id, q.a, q.b FROM lab.l, LATERAL (SELECT r.id AS a, x.v AS b FROM lab.s r LEFT JOIN (SELECT * FROM lab.s WHERE s.id = l.id) x ON r.id = x.id) q ORDER BY 1, 2",
            "1,1,1.0;1,2,;1,3,;2,1,;2,2,;2,3,;3,1,;3,2,;3,3,2.0;4,1,;4,2,;4,3,",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v FROM lab.s WHERE s.id = l.id UNION ALL SELECT v FROM lab.m WHERE m.id = l.id AND m.v > 4 UNION ALL SELECT l.v) q ORDER BY 1, 2",
            "1,1.0;1,1.0;1,5.0;2,2.0;2,;3,2.0;3,7.0;3,8.0;3,;4,9.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l, LATERAL (SELECT v FROM lab.s WHERE s.id = l.id UNION ALL SELECT count(*) FROM lab.m) q ORDER BY 1, 2",
            "1,1.0;1,9.0;2,9.0;2,;3,2.0;3,9.0;4,9.0",
        ),
        (
            "SELECT id, (SELECT max(c) FROM (SELECT count(*) AS c FROM lab.m WHERE m.id = l.id) x) FROM lab.l ORDER BY 1",
            "1,3;2,2;3,3;4,0",
        ),
        (
            "SELECT id, (SELECT count(*) FROM lab.m WHERE m.id = l.id AND l.v > 1) FROM lab.l ORDER BY 1",
            "1,0;2,2;3,0;4,0",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM (SELECT v FROM lab.m WHERE m.id = l.id) q JOIN lab.s ON s.v < q.v) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id, (SELECT max(m.v + l.v) FROM lab.m WHERE m.id = l.id) FROM lab.l ORDER BY 1",
            "1,6.0;2,3.0;3,;4,",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT DISTINCT count(*) FROM lab.m WHERE m.id = l.id + 9) ORDER BY 1",
            "1;2;3;4",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_null_around_equals_none_within() {
    let cases = [
        (
            "SELECT id FROM lab.l WHERE v IN (SELECT m.v FROM lab.m WHERE m.id <> l.id ORDER BY t LIMIT 9) ORDER BY 1",
            "1;2",
        ),
        (
            "SELECT l.id, q.t FROM lab.l JOIN LATERAL (SELECT t, v FROM lab.m WHERE m.id < l.id ORDER BY t LIMIT 9) q ON q.v = l.v ORDER BY 1, 2",
            "",
        ),
        (
            "SELECT l.id, q.t FROM lab.l, LATERAL (SELECT t, v FROM lab.m WHERE m.id < l.id OR l.v IS NULL ORDER BY t LIMIT 9) q WHERE q.v = l.v ORDER BY 1, 2",
            "",
        ),
        (
            "SELECT l.id, q.c FROM lab.l, LATERAL (SELECT count(*) AS c FROM lab.m WHERE coalesce(l.v, 0) < m.v) q ORDER BY 1",
            "1,7;2,6;3,8;4,0",
        ),
    ];
    holds(&engine().await, &cases).await;
}

/// The engine takes the values around for a key above joins and groups in which they are none, if it knows that each is there once.
#[tokio::test]
async fn groups_within_a_subquery_keep_their_columns_and_multiply_no_row_around() {
    let cases = [
        (
            "SELECT l.id FROM lab.l WHERE EXISTS (SELECT DISTINCT v FROM lab.s WHERE l.id > 0) ORDER BY 1",
            "1;2;3;4",
        ),
        (
            "SELECT count(*) FROM lab.l WHERE EXISTS (SELECT k FROM lab.s WHERE l.id > 1 GROUP BY k)",
            "3",
        ),
        (
            "SELECT l.id FROM lab.l WHERE EXISTS (SELECT k, count(*) FROM lab.m WHERE m.v > l.v GROUP BY k) ORDER BY 1",
            "1;2",
        ),
        (
            "SELECT l.id FROM lab.l WHERE l.id NOT IN (SELECT max(id) FROM lab.m WHERE m.v > l.v GROUP BY k) ORDER BY 1",
            "2;3;4",
        ),
        (
            "SELECT l.id FROM lab.l WHERE EXISTS (SELECT k FROM lab.m WHERE m.v > l.v GROUP BY k HAVING count(*) > 1) ORDER BY 1",
            "1;2",
        ),
        (
            "SELECT l.id FROM lab.l WHERE EXISTS (SELECT DISTINCT k FROM lab.m WHERE m.v > l.v ORDER BY k LIMIT 3 OFFSET 1) ORDER BY 1",
            "1;2",
        ),
        (
            "SELECT l.id, (SELECT count(*) FROM (SELECT DISTINCT k FROM lab.m WHERE m.v > l.v GROUP BY id, k) q) FROM lab.l ORDER BY 1",
            "1,3;2,3;3,0;4,0",
        ),
        (
            "SELECT l.id, (SELECT count(*) FROM (SELECT DISTINCT k FROM lab.m WHERE m.id = l.id GROUP BY id, k) q) FROM lab.l ORDER BY 1",
            "1,2;2,2;3,2;4,0",
        ),
        (
            "SELECT l.id, (SELECT count(*) FROM (SELECT k FROM (SELECT DISTINCT k, id FROM lab.m WHERE m.v > l.v) x GROUP BY k) y) FROM lab.l ORDER BY 1",
            "1,3;2,3;3,0;4,0",
        ),
        (
            "SELECT l.id, (SELECT count(*) FROM (SELECT k, sum(c) c FROM (SELECT k, id, count(*) c FROM lab.m WHERE m.v > l.v GROUP BY k, id) x GROUP BY k) y) FROM lab.l ORDER BY 1",
            "1,3;2,3;3,0;4,0",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn rows_around_that_would_be_others_the_second_time_are_refused() {
    let limited = "SELECT x.id, q.v FROM (SELECT id FROM lab.l ORDER BY id DESC LIMIT 2) x, LATERAL (SELECT v FROM lab.m WHERE m.id <= x.id ORDER BY v LIMIT 1) q ORDER BY 1";
    let engine = engine().await;
    assert_eq!(answer(&engine, limited).await.as_deref(), Ok("3,1.0;4,1.0"));
    let sql = "SELECT q.n FROM (SELECT k, avg(v) AS a FROM lab.m GROUP BY k) x, LATERAL (SELECT row_number() OVER (ORDER BY v) AS n FROM lab.m WHERE m.v > x.a) q";
    let fault = answer(&engine, sql).await.unwrap_err();
    assert_eq!(fault.kind, Kind::Unimplemented);
    assert_eq!(fault.reason, "correlated_subquery");
}

#[tokio::test]
async fn subqueries_behind_each_other_do_not_double_the_plan_each_time() {
    let subqueries = |count: usize, of: fn(usize) -> String| {
        let all = (1..count).map(|n| format!(", LATERAL ({}) q{n}", of(n)));
        let all: String = all.collect();
        format!("SELECT count(*) FROM lab.l, LATERAL (SELECT 1 AS t) q0{all}")
    };
    let engine = engine().await;
    // Of the rows before all of them.
    let first = |_| "SELECT t FROM lab.m WHERE m.t > l.id ORDER BY v LIMIT 1".to_owned();
    let one = answer(&engine, &subqueries(30, first)).await;
    assert_eq!(one.as_deref(), Ok("4"));
    // Of the row of the one before: which one a LIMIT takes may be another the second time.
    let before = subqueries(3, |n| {
        let last = n - 1;
        format!("SELECT t FROM lab.m WHERE m.t >= q{last}.t ORDER BY v LIMIT 1")
    });
    let fault = answer(&engine, &before).await.unwrap_err();
    assert_eq!(fault.reason, "correlated_subquery");
    let least = |n: usize| {
        let last = n - 1;
        format!("SELECT min(t) AS t FROM lab.m WHERE m.t > l.id - q{last}.t HAVING min(t) > 0")
    };
    let few = answer(&engine, &subqueries(4, least)).await;
    assert_eq!(few.as_deref(), Ok("4"));
    let fault = answer(&engine, &subqueries(30, least)).await.unwrap_err();
    assert_eq!(fault.kind, Kind::Exhausted);
    assert_eq!(fault.reason, "statement_too_large");
}
