#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::IntervalMonthDayNano;
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;

use crate::query::tests::{answer, engine_over, holds};
use crate::query::{Engine, QueryContext};

const HOUR: i64 = 3_600_000_000;

/// Rows 1 to 4 are 1, 24, 48 hours and 500 years old at the time `b`.
async fn engine() -> Engine {
    let years = 500 * 365 * 24 * HOUR;
    let ages = [HOUR, 24 * HOUR, 48 * HOUR, years];
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as _),
        (
            "a",
            Arc::new(TimestampMicrosecondArray::from(
                ages.map(|age| -age).to_vec(),
            )) as _,
        ),
        (
            "b",
            Arc::new(TimestampMicrosecondArray::from(vec![0; 4])) as _,
        ),
    ])
    .unwrap();
    engine_over(vec![("public.t", batch)]).await
}

/// Intervals of three lengths, two of which are written in two ways, and none.
const I: &str = "(VALUES (1, INTERVAL '24 hours'), (2, INTERVAL '1 day'), (3, INTERVAL '40 days'), (4, INTERVAL '1 month'), (5, INTERVAL '30 days'), (6, NULL)) i(n, v)";

#[tokio::test]
async fn a_difference_of_times_is_compared_with_an_interval_by_its_length() {
    holds(
        &engine().await,
        &[
            ("SELECT id FROM t WHERE b - a > INTERVAL '1 day' ORDER BY id", "3;4"),
            ("SELECT id FROM t WHERE INTERVAL '1 day' > b - a ORDER BY id", "1"),
            ("SELECT id FROM t WHERE b - a = INTERVAL '1 day'", "2"),
            ("SELECT id FROM t WHERE b - a <> INTERVAL '1 day' ORDER BY id", "1;3;4"),
            ("SELECT id FROM t WHERE b - a >= INTERVAL '1 month'", "4"),
            ("SELECT id FROM t WHERE b - a BETWEEN INTERVAL '1 day' AND INTERVAL '1 month' ORDER BY id", "2;3"),
            ("SELECT id FROM t WHERE b - a IN (INTERVAL '1 day', INTERVAL '2 days') ORDER BY id", "2;3"),
            ("SELECT id FROM t WHERE b - a NOT IN (INTERVAL '1 day', NULL) ORDER BY id", ""),
            ("SELECT id FROM t WHERE b - a IS NOT DISTINCT FROM INTERVAL '1 day'", "2"),
            ("SELECT id FROM t WHERE b - a IS DISTINCT FROM INTERVAL '1 day' ORDER BY id", "1;3;4"),
            ("SELECT id FROM t WHERE b - a IN (SELECT INTERVAL '2 days')", "3"),
            ("SELECT id FROM t WHERE b - a > ALL (SELECT INTERVAL '1 day' UNION ALL SELECT INTERVAL '30 hours') ORDER BY id", "3;4"),
            ("SELECT id FROM t WHERE b - a > (SELECT INTERVAL '1 day') ORDER BY id", "3;4"),
            ("SELECT CASE b - a WHEN INTERVAL '1 day' THEN 'day' ELSE 'other' END FROM t ORDER BY id LIMIT 3", "other;day;other"),
            ("SELECT nullif(b - a, INTERVAL '1 day') IS NULL FROM t ORDER BY id", "false;true;false;false"),
            ("SELECT id FROM t JOIN (SELECT INTERVAL '1 day' AS v) d ON b - a = v", "2"),
            ("SELECT count(*) FILTER (WHERE b - a > INTERVAL '1 day') FROM t", "2"),
            ("SELECT b - a > INTERVAL '1 day' AS old, count(*) FROM t GROUP BY 1 ORDER BY 1", "false,2;true,2"),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_day_is_24_hours_and_a_month_30_days() {
    holds(
        &engine().await,
        &[
            ("SELECT INTERVAL '48 hours' > INTERVAL '1 day', INTERVAL '40 days' > INTERVAL '1 month', INTERVAL '24 hours' = INTERVAL '1 day', INTERVAL '-1 month' < INTERVAL '-29 days'", "true,true,true,true"),
            ("SELECT (TIME '12:00:00' - TIME '11:00:00') < INTERVAL '1 day'", "true"),
            ("SELECT INTERVAL '24 hours' IN (INTERVAL '1 day'), INTERVAL '1 month' BETWEEN INTERVAL '29 days' AND INTERVAL '31 days'", "true,true"),
            (&format!("SELECT n FROM {I} ORDER BY v, n"), "1;2;4;5;3;6"),
            (&format!("SELECT n FROM {I} ORDER BY v DESC NULLS LAST, n"), "3;4;5;1;2;6"),
            (&format!("SELECT n, rank() OVER (ORDER BY v) FROM {I} ORDER BY n"), "1,1;2,1;3,5;4,3;5,3;6,6"),
            (&format!("SELECT n, count(*) OVER (PARTITION BY v) FROM {I} ORDER BY n"), "1,2;2,2;3,1;4,2;5,2;6,1"),
            (&format!("SELECT min(v) = INTERVAL '1 day', max(v) = INTERVAL '40 days', max(v) FILTER (WHERE n < 3) = INTERVAL '1 day' FROM {I}"), "true,true,true"),
            (&format!("SELECT max(v) IS NULL FROM {I} WHERE n > 5"), "true"),
            (&format!("SELECT n % 2, min(v) = INTERVAL '1 day' FROM {I} GROUP BY 1 ORDER BY 1"), "0,true;1,true"),
            (&format!("SELECT count(*), sum(n), count(DISTINCT n % 2) FROM {I} GROUP BY v ORDER BY v"), "2,3,2;2,9,2;1,3,1;1,6,1"),
            (&format!("SELECT v = INTERVAL '30 days', count(*) FROM {I} GROUP BY v HAVING v > INTERVAL '1 day' ORDER BY v"), "true,2;false,1"),
            (&format!("SELECT count(DISTINCT v) FROM {I}"), "3"),
            (&format!("SELECT count(*) FROM (SELECT DISTINCT v FROM {I})"), "4"),
            (&format!("SELECT DISTINCT ON (v) n FROM {I} ORDER BY v, n"), "1;4;3;6"),
            (&format!("SELECT count(*) FROM (SELECT v FROM {I} EXCEPT SELECT INTERVAL '720 hours')"), "3"),
            (&format!("SELECT count(*) FROM (SELECT v FROM {I} INTERSECT SELECT INTERVAL '720 hours')"), "1"),
            (&format!("SELECT a.n, b.n FROM {I} JOIN (VALUES (7, INTERVAL '720 hours')) b(n, v) USING (v) ORDER BY 1", I = I.replace("i(n, v)", "a(n, v)")), "4,7;5,7"),
            ("SELECT greatest(INTERVAL '48 hours', INTERVAL '1 day', NULL) = INTERVAL '2 days', least(INTERVAL '48 hours', INTERVAL '1 day') = INTERVAL '1 day'", "true,true"),
            (&format!("SELECT max_by(n, v), first_value(n ORDER BY v DESC NULLS LAST) FROM {I}"), "3,3"),
        ],
    )
    .await;
}

/// The plain comparison lets files be left out.
#[tokio::test]
async fn differences_of_times_are_compared_with_one_another_as_they_are() {
    let engine = engine().await;
    let sql = "EXPLAIN SELECT id FROM t WHERE b - a > TIMESTAMP '2026-11-03 00:00:00' - TIMESTAMP '2026-11-01 00:00:00'";
    let plan = answer(&engine, sql).await.unwrap();
    assert!(!plan.contains("interval_length"), "{plan}");
    let sql = "EXPLAIN SELECT id FROM t WHERE b - a > INTERVAL '2 days'";
    let plan = answer(&engine, sql).await.unwrap();
    assert!(plan.contains("interval_length"), "{plan}");
}

#[tokio::test]
async fn a_parameter_beside_a_difference_of_times_is_an_interval_of_any_form() {
    let engine = engine().await;
    let sql = "SELECT id FROM t WHERE b - a > ? ORDER BY id";
    let caller = QueryContext::new("tests");
    engine.plan(&caller, sql).await.unwrap();
    let day = IntervalMonthDayNano::new(0, 1, 0);
    for value in [
        ScalarValue::IntervalMonthDayNano(Some(day)),
        ScalarValue::DurationMicrosecond(Some(24 * HOUR)),
        ScalarValue::DurationMillisecond(Some(24 * HOUR / 1000)),
        ScalarValue::from("1 day"),
    ] {
        let result = engine.query(&caller, sql, Some(vec![value.clone()])).await;
        let result = result.unwrap_or_else(|e| panic!("{value:?}: {e}"));
        let mut ids = Vec::new();
        for batch in result.collect().await.unwrap() {
            let column = batch.column(0);
            ids.extend((0..batch.num_rows()).map(|n| array_value_to_string(column, n).unwrap()));
        }
        assert_eq!(ids, ["3", "4"], "{value:?}");
    }
}
