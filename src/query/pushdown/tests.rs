#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringArray};

use crate::query::tests::{engine_over, holds};

fn rows(ids: [i64; 3], numbers: [i64; 3]) -> RecordBatch {
    RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(ids.to_vec())) as _),
        ("k", Arc::new(StringArray::from(vec!["a", "b", "c"])) as _),
        ("n", Arc::new(Int64Array::from(numbers.to_vec())) as _),
    ])
    .unwrap()
}

async fn check(cases: &[(&str, &str)]) {
    let tables = vec![
        ("lab.a", rows([1, 2, 3], [7, 8, 9])),
        ("lab.b", rows([1, 2, 4], [9, 8, 7])),
    ];
    holds(&engine_over(tables).await, cases).await;
}

#[tokio::test]
async fn a_filter_over_both_sides_columns_of_one_name_stays_above_the_join() {
    check(&[
        (
            "SELECT b.id FROM lab.a a RIGHT JOIN lab.b b ON a.k = b.k WHERE b.n IS DISTINCT FROM a.n ORDER BY 1",
            "1;4",
        ),
        (
            "SELECT a.id FROM lab.a a JOIN lab.b b ON a.k = b.k \
             WHERE 9 BETWEEN a.n AND a.n + b.n - (SELECT count(*) FROM lab.a) ORDER BY 1",
            "1;2;3",
        ),
        (
            "SELECT a.id FROM lab.a a JOIN lab.b b ON a.k = b.k JOIN lab.b c ON b.id = c.id AND a.n <> b.n ORDER BY 1",
            "1;3",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_condition_of_no_column_stays_above_an_aggregate_of_all_rows() {
    check(&[
        ("SELECT m FROM (SELECT max(id) AS m FROM lab.a) q WHERE (SELECT count(*) FROM lab.b) > 100", ""),
        ("SELECT m FROM (SELECT max(id) AS m FROM lab.a) q WHERE (SELECT count(*) FROM lab.b) = 3", "3"),
        ("SELECT * FROM (SELECT count(*) AS c FROM lab.a HAVING count(*) >= 0) q WHERE (SELECT count(*) FROM lab.b) > 100", ""),
        ("SELECT 1 FROM (SELECT false AS f FROM (SELECT max(id) FROM lab.a) r) q WHERE f", ""),
        (
            "SELECT k FROM (SELECT k, count(*) AS c FROM lab.a GROUP BY ROLLUP (k)) q WHERE (SELECT count(*) FROM lab.b) > 100",
            "",
        ),
        ("SELECT k FROM (SELECT k, count(*) AS c FROM lab.a GROUP BY k) q WHERE k = 'b'", "b"),
    ])
    .await;
}
