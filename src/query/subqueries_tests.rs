#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;

use super::tests::engine_over;

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
    for (sql, expected) in statements {
        let result = engine.query(&sql, None).await;
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
