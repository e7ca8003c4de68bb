#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;

use super::tests::engine_over;
use crate::query::QueryContext;

#[tokio::test]
async fn sets_are_compared_as_the_standard_says() {
    let rows = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
        (
            "v",
            Arc::new(Float64Array::from(vec![Some(1.0), Some(2.0), None])) as _,
        ),
        ("k", Arc::new(StringArray::from(vec!["a", "b", "b"])) as _),
    ]);
    let engine = engine_over(vec![("lab.t", rows.unwrap())]).await;
    let known = "(SELECT v FROM lab.t WHERE v IS NOT NULL)";
    let none = "(SELECT v FROM lab.t WHERE id > 9)";
    // Conditions, and the ids of the rows that meet them.
    let conditions = [
        (format!("v >= ALL {known}"), "2"),
        (format!("v <= ALL {known}"), "1"),
        (format!("v > ALL {known}"), ""),
        (format!("v > ANY {known}"), "2"),
        (format!("v < SOME {known}"), "1"),
        (format!("v = ANY {known}"), "1;2"),
        (format!("v = ALL {known}"), ""),
        (format!("v <> ANY {known}"), "1;2"),
        (format!("v <> ALL {known}"), ""),
        ("v <> ALL (SELECT v FROM lab.t WHERE id = 1)".into(), "2"),
        // A null among the values: unknown, unless another value decides.
        ("v >= ALL (SELECT v FROM lab.t)".into(), ""),
        ("NOT v >= ALL (SELECT v FROM lab.t)".into(), "1"),
        ("v > ANY (SELECT v FROM lab.t)".into(), "2"),
        ("NOT v > ANY (SELECT v FROM lab.t)".into(), ""),
        ("v <> ALL (SELECT v FROM lab.t)".into(), ""),
        ("v = ANY (SELECT v FROM lab.t)".into(), "1;2"),
        // Of no values: all of them, and none.
        (format!("v > ALL {none}"), "1;2;3"),
        (format!("v > ANY {none}"), ""),
        (format!("NOT v > ANY {none}"), "1;2;3"),
        (
            "t.v >= ALL (SELECT b.v FROM lab.t b WHERE b.k = t.k AND b.v IS NOT NULL)".into(),
            "1;2",
        ),
        (
            "EXISTS (SELECT count(*) FROM lab.t b WHERE b.id = t.id + 100)".into(),
            "1;2;3",
        ),
        (
            "NOT EXISTS (SELECT count(*) FROM lab.t b WHERE b.id = t.id + 100)".into(),
            "",
        ),
        (
            "EXISTS (SELECT sum(v) FROM lab.t b WHERE b.id = t.id + 1 HAVING count(*) > 0)".into(),
            "1;2",
        ),
        (
            "NOT EXISTS (SELECT sum(v) FROM lab.t b WHERE b.id = t.id + 1 HAVING count(*) > 0)"
                .into(),
            "3",
        ),
        (
            "EXISTS (SELECT count(*) FROM lab.t b WHERE b.id = t.id + 1 GROUP BY b.k)".into(),
            "1;2",
        ),
        (
            "0 IN (SELECT count(*) FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "3",
        ),
        (
            "0 NOT IN (SELECT count(*) FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "1;2",
        ),
        (
            "1 IN (SELECT count(*) FROM lab.t b WHERE b.id = t.id + 1 HAVING max(b.id) > 2)".into(),
            "2",
        ),
        ("v IN (SELECT v FROM lab.t WHERE k = 'a')".into(), "1"),
        // Unknown where it is not the same as false.
        ("NOT (v IN (SELECT v FROM lab.t)) OR id < 0".into(), ""),
        (format!("v NOT IN {known} OR id < 0"), ""),
        (format!("(v IN {known}) IS NULL"), "3"),
        (format!("(v IN {known}) = false"), ""),
        (
            format!("CASE WHEN v IN {known} THEN false ELSE true END"),
            "3",
        ),
        (format!("v IN {known} OR k = 'b'"), "1;2;3"),
        (format!("v NOT IN {none} OR id < 0"), "1;2;3"),
        (
            "1 NOT IN (SELECT 1 FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "3",
        ),
        (
            "v NOT IN (SELECT b.v FROM lab.t b WHERE b.k = t.k)".into(),
            "",
        ),
        (
            "v NOT IN (SELECT b.v FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "1;3",
        ),
        (
            "(v NOT IN (SELECT b.v FROM lab.t b WHERE b.id = t.id + 1)) IS NULL".into(),
            "2",
        ),
        (
            "CAST(NULL AS DOUBLE) NOT IN (SELECT v FROM lab.t)".into(),
            "",
        ),
        (format!("CAST(NULL AS DOUBLE) NOT IN {none}"), "1;2;3"),
        (
            "2.0 NOT IN (SELECT v FROM lab.t WHERE id < 2)".into(),
            "1;2;3",
        ),
    ];
    let mut statements: Vec<(String, &str)> = conditions
        .iter()
        .map(|(c, ids)| {
            (
                format!("SELECT id FROM lab.t AS t WHERE {c} ORDER BY id"),
                *ids,
            )
        })
        .collect();
    let columns = [
        (format!("v > ANY {known}"), "false;true;"),
        ("v >= ALL (SELECT v FROM lab.t)".into(), "false;;"),
        (format!("v >= ALL {none}"), "true;true;true"),
        ("v IN (SELECT v FROM lab.t)".into(), "true;true;"),
        (
            "v NOT IN (SELECT b.v FROM lab.t b WHERE b.k = t.k)".into(),
            "false;false;",
        ),
        (
            "v IN (SELECT b.v FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "false;;false",
        ),
        (
            "EXISTS (SELECT 1 FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "true;true;false",
        ),
        (
            "NOT EXISTS (SELECT 1 FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "false;false;true",
        ),
        (
            "CASE WHEN k IN (SELECT b.k FROM lab.t b WHERE b.id = t.id) THEN 1 ELSE 2 END".into(),
            "1;1;1",
        ),
        (
            "v NOT IN (SELECT v FROM lab.t WHERE id = 1)".into(),
            "false;true;",
        ),
        (
            "EXISTS (SELECT count(*) FROM lab.t b WHERE b.id = t.id + 1)".into(),
            "true;true;true",
        ),
    ];
    let of_column = |(c, values): &(String, &'static str)| {
        (format!("SELECT {c} FROM lab.t AS t ORDER BY id"), *values)
    };
    statements.extend(columns.iter().map(of_column));
    // In aggregates, groups, windows and orders.
    let elsewhere = [
        // What is compared may be equal for different values: one row for each row all the same.
        (
            "SELECT EXISTS (SELECT 1 FROM lab.t b WHERE CAST(b.v AS BIGINT) / 10 = t.id - 1) FROM lab.t ORDER BY id".into(),
            "true;false;false",
        ),
        (
            "SELECT (SELECT count(*) FROM lab.t b WHERE b.id / 10 = t.id - 1) FROM lab.t ORDER BY id".into(),
            "3;0;0",
        ),
        (
            "SELECT id IN (SELECT b.v FROM lab.t b) FROM lab.t ORDER BY id".into(),
            "true;true;",
        ),
        (
            "SELECT EXISTS (SELECT 1 FROM lab.t b WHERE b.id = t.id + 1 LIMIT 1) FROM lab.t ORDER BY id".into(),
            "true;true;false",
        ),
        // One table in both, and no name that tells them apart.
        (format!("SELECT id FROM lab.t WHERE v NOT IN {known} OR id < 0"), ""),
        ("SELECT id FROM lab.t WHERE v NOT IN (SELECT v FROM lab.t WHERE id = 1) OR id < 0".into(), "2"),
        ("SELECT v IN (SELECT v FROM lab.t WHERE id = 1) FROM lab.t ORDER BY id".into(), "true;false;"),
        (format!("SELECT count(*) FILTER (WHERE v IN {known}) FROM lab.t"), "2"),
        (format!("SELECT sum(CASE WHEN v NOT IN {known} THEN 0 ELSE id END) FROM lab.t"), "6"),
        (
            "SELECT count(*) FROM lab.t GROUP BY EXISTS (SELECT 1 FROM lab.t b WHERE b.id = t.id + 1) ORDER BY 1".into(),
            "1;2",
        ),
        (
            "SELECT id FROM lab.t ORDER BY EXISTS (SELECT 1 FROM lab.t b WHERE b.id = t.id + 1), id DESC".into(),
            "3;2;1",
        ),
        (
            "SELECT sum(id) OVER (PARTITION BY v IN (SELECT v FROM lab.t) ORDER BY id) FROM lab.t ORDER BY id".into(),
            "1;3;3",
        ),
        (
            "SELECT k FROM lab.t GROUP BY k HAVING NOT (sum(v) IN (SELECT v FROM lab.t WHERE id = 1)) ORDER BY k".into(),
            "b",
        ),
    ];
    statements.extend(elsewhere);
    for (sql, expected) in statements {
        let result = engine.query(&QueryContext::new("tests"), &sql, None).await;
        let result = result.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let batches = result.collect().await;
        let batches = batches.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let mut found = Vec::new();
        for batch in batches {
            let values = (0..batch.num_rows()).map(|r| array_value_to_string(batch.column(0), r));
            found.extend(values.map(Result::unwrap));
        }
        assert_eq!(found.join(";"), expected, "{sql}");
    }
}

#[tokio::test]
async fn the_order_below_a_limit_is_kept_where_it_is_ordered_again() {
    let rows = RecordBatch::try_from_iter([
        ("a", Arc::new(Int64Array::from(vec![1, 2, 3, 4, 5])) as _),
        ("b", Arc::new(Int64Array::from(vec![9, 8, 7, 6, 5])) as _),
    ]);
    let engine = engine_over(vec![("lab.t", rows.unwrap())]).await;
    let largest = "((SELECT a, b FROM lab.t ORDER BY a DESC LIMIT 2) ORDER BY b)";
    let cases = [
        (format!("SELECT a FROM {largest} x ORDER BY a"), "4;5"),
        (format!("SELECT sum(a) FROM ({largest} ORDER BY a) x"), "9"),
        (format!("WITH x AS {largest} SELECT min(a) FROM x"), "4"),
    ];
    for (sql, expected) in cases {
        let found = super::tests::answer(&engine, &sql).await;
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
    }
}
