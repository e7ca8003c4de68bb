#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Date32Array, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::common::ScalarValue;

use crate::fault::Kind;
use crate::query::tests::{answer, engine_over, holds};
use crate::query::{Engine, QueryContext};

/// 2026-01-01, and the number of its day.
async fn engine() -> Engine {
    let rows = RecordBatch::try_from_iter([
        ("day", Arc::new(Date32Array::from(vec![20_454])) as _),
        ("n", Arc::new(Int64Array::from(vec![20_454])) as _),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC")) as _,
        ),
    ]);
    engine_over(vec![("lab.t", rows.unwrap())]).await
}

#[tokio::test]
async fn a_day_and_a_number_do_not_meet() {
    let engine = engine().await;
    for sql in [
        "SELECT * FROM lab.t WHERE day < 20260101",
        "SELECT * FROM lab.t WHERE 2026-03-29 < day",
        "SELECT day IS DISTINCT FROM n FROM lab.t",
        "SELECT * FROM lab.t WHERE day = 20454.0",
        "SELECT * FROM lab.t WHERE day IN (20454)",
        "SELECT * FROM lab.t WHERE day IN (NULL, '2026-01-01', 20454)",
        "SELECT * FROM lab.t WHERE day BETWEEN 1 AND 30000",
        "SELECT * FROM lab.t WHERE day IN (SELECT n FROM lab.t)",
        "SELECT * FROM lab.t WHERE day >= ALL (SELECT n FROM lab.t)",
        "SELECT * FROM lab.t WHERE day = ANY ([20454])",
        "SELECT * FROM lab.t a WHERE EXISTS (SELECT 1 FROM lab.t b WHERE b.day = a.n)",
        "SELECT * FROM lab.t a JOIN lab.t b ON a.day = b.n",
        "SELECT * FROM lab.t a JOIN (SELECT n AS day FROM lab.t) b USING (day)",
        "SELECT CASE day WHEN 20454 THEN 1 END FROM lab.t",
        "SELECT CASE WHEN n > 1 THEN day ELSE 0 END FROM lab.t",
        "SELECT if(n > 1, day, 0) FROM lab.t",
        "SELECT coalesce(day, 0) FROM lab.t",
        "SELECT ifnull(day, 0) FROM lab.t",
        "SELECT nvl2(n, day, 0) FROM lab.t",
        "SELECT nullif(day, n) FROM lab.t",
        "SELECT greatest(day, 5), least(n, day) FROM lab.t",
        "SELECT lag(day, 1, 0) OVER (ORDER BY n) FROM lab.t",
        "SELECT lead(ts, 1, 0) OVER (ORDER BY n) FROM lab.t",
        "SELECT day FROM lab.t UNION ALL SELECT n FROM lab.t",
        "SELECT day FROM lab.t EXCEPT SELECT n FROM lab.t",
        "SELECT day FROM lab.t INTERSECT SELECT n FROM lab.t",
        "SELECT day FROM lab.t GROUP BY day HAVING max(day) > 5",
        "SELECT [day] = [n], [[day], [n]] FROM lab.t",
        "SELECT [[day], [n]] FROM lab.t",
        "SELECT array_has([[day]], [n]) FROM lab.t",
        "SELECT element_at(map([day], ['a']), n) FROM lab.t",
        "SELECT struct(day) = struct(n) FROM lab.t",
        "SELECT * FROM lab.t WHERE ts > 1767225600",
        "SELECT * FROM lab.t WHERE ts BETWEEN 1 AND 2",
        "SELECT TIME '12:00' = 43200",
    ] {
        let fault = answer(&engine, sql).await.expect_err(sql);
        assert_eq!(fault.kind, Kind::Invalid, "{sql}: {fault}");
    }
    let told = |sql: &'static str| answer(&engine, sql);
    let fault = told("SELECT * FROM lab.t WHERE day < 20260101").await;
    let text = fault.unwrap_err().to_string();
    for part in ["DATE and BIGINT", "day and 20260101", "DATE '2026-01-01'"] {
        assert!(text.contains(part), "{text}");
    }
    let fault = told("SELECT day FROM lab.t UNION SELECT n FROM lab.t").await;
    let text = fault.unwrap_err().to_string();
    assert!(
        text.contains("day of SELECT 1 and day of SELECT 2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_number_that_is_bound_beside_a_day_is_refused_too() {
    let engine = engine().await;
    let ask = async |sql: &str, value: ScalarValue| {
        let asked = QueryContext::new("tests");
        let found = engine.query(&asked, sql, Some(vec![value])).await?;
        let rows = found.collect().await?;
        Ok::<usize, crate::fault::Fault>(rows.iter().map(RecordBatch::num_rows).sum())
    };
    let number = || ScalarValue::from(20_260_101i64);
    for sql in [
        "SELECT * FROM lab.t WHERE day < ?",
        "SELECT coalesce(day, ?) FROM lab.t",
        "SELECT lag(day, 1, ?) OVER (ORDER BY n) FROM lab.t",
        "SELECT * FROM lab.t WHERE day IN (?)",
    ] {
        let fault = ask(sql, number()).await.expect_err(sql);
        assert_eq!(fault.kind, Kind::Invalid, "{sql}: {fault}");
        assert!(fault.message.contains("parameter 1 is Int64"), "{fault}");
    }
    let before = "SELECT * FROM lab.t WHERE day < ?";
    let day = ScalarValue::Date32(Some(20_455));
    assert_eq!(ask(before, day).await, Ok(1));
    assert_eq!(ask(before, ScalarValue::from("2026-01-02")).await, Ok(1));
    let moved = "SELECT * FROM lab.t WHERE day + ? > day";
    assert_eq!(ask(moved, ScalarValue::from(1i64)).await, Ok(1));
}

#[tokio::test]
async fn days_are_moved_and_cast_by_numbers() {
    holds(&engine().await, &[
        ("SELECT day + 1, 1 + day, day - 1, day - DATE '2025-12-31' FROM lab.t", "2026-01-02,2026-01-02,2025-12-31,1"),
        ("SELECT day - DATE '2025-12-31' = 1, CAST(n AS DATE) = day, CAST(day AS BIGINT) = n FROM lab.t", "true,true,true"),
        ("SELECT count(*) FROM lab.t WHERE day < DATE '2026-01-01' + 1 AND day IN (CAST(n AS DATE))", "1"),
        ("SELECT coalesce(day, NULL), nvl2(n, day, NULL), lag(day, 1) OVER (), CASE WHEN n > 1 THEN day END FROM lab.t", "2026-01-01,2026-01-01,,2026-01-01"),
        ("SELECT {'a': day, 'b': n} = {'b': n, 'a': day} FROM lab.t", "true"),
        ("SELECT count(*) OVER (ORDER BY day RANGE BETWEEN 3 PRECEDING AND CURRENT ROW) FROM lab.t", "1"),
        ("SELECT count(*) FROM lab.t a JOIN lab.t b ON a.day = CAST(b.n AS DATE) AND a.n = b.day - DATE '1970-01-01'", "1"),
    ])
    .await;
}
