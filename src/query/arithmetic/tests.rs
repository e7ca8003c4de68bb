#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Decimal128Array, Float64Array, Int64Array, RecordBatch};

use crate::fault::Kind;
use crate::query::tests::{answer, engine_over, holds};
use crate::query::{Engine, QueryContext};

const TOP: i64 = i64::MAX;

async fn engine() -> Engine {
    let digits = 10i128.pow(38) - 1;
    let large = Decimal128Array::from(vec![digits, digits, -digits]);
    let large = large.with_precision_and_scale(38, 0).unwrap();
    let zero_by_zero = f64::from_bits(0xfff8_0000_0000_0000);
    let numbers = RecordBatch::try_from_iter([
        ("g", Arc::new(Int64Array::from(vec![1, 1, 2])) as _),
        ("i", Arc::new(Int64Array::from(vec![TOP, 1, -TOP])) as _),
        ("d", Arc::new(large) as _),
        (
            "v",
            Arc::new(Float64Array::from(vec![zero_by_zero, -0.0, 5.0])) as _,
        ),
    ]);
    engine_over(vec![("lab.t", numbers.unwrap())]).await
}

#[tokio::test]
async fn what_does_not_fit_its_type_is_an_error() {
    let engine = engine().await;
    let cases = [
        ("SELECT 9223372036854775807 + 1", "9223372036854775807 + 1"),
        (
            "SELECT -9223372036854775808 - 1",
            "-9223372036854775808 - 1",
        ),
        ("SELECT i * 2 FROM lab.t", "9223372036854775807 * 2"),
        ("SELECT -(i - 1) FROM lab.t WHERE i < 0", "-"),
        (
            "SELECT CAST(32767 AS SMALLINT) + CAST(2 AS SMALLINT)",
            "SMALLINT",
        ),
        ("SELECT (-9223372036854775808) / (-1)", "BIGINT"),
        (
            "SELECT sum(i) FROM lab.t WHERE i > 0",
            "BIGINT out of range, operation=sum",
        ),
        ("SELECT g, sum(i) FROM lab.t GROUP BY g", "operation=sum"),
        (
            "SELECT sum(i) OVER (ORDER BY i ROWS 1 PRECEDING) FROM lab.t WHERE i > 0",
            "operation=sum",
        ),
        (
            "SELECT sum(DISTINCT i), count(DISTINCT g) FROM lab.t WHERE i > 0",
            "operation=sum",
        ),
        (
            "SELECT sum(d) FROM lab.t WHERE d > 0",
            "DECIMAL(38, 0) out of range, operation=sum",
        ),
        (
            "SELECT d + 1 FROM lab.t",
            "DECIMAL(38, 0) out of range, operation=+",
        ),
        ("SELECT d * 10 FROM lab.t", "operation=*"),
        (
            "SELECT INTERVAL '2000000000 days' + INTERVAL '2000000000 days'",
            "INTERVAL out of range",
        ),
        (
            "SELECT DATE '2026-01-01' + INTERVAL '2000000000 days'",
            "TIMESTAMP out of range",
        ),
        (
            "SELECT TIMESTAMP '2026-01-01' + INTERVAL '2000000000 days'",
            "TIMESTAMP out of range",
        ),
        (
            "SELECT g FROM lab.t ORDER BY i * 2",
            "9223372036854775807 * 2",
        ),
        (
            "SELECT count(*) FROM lab.t GROUP BY i + 1",
            "9223372036854775807 + 1",
        ),
        (
            "SELECT 1 FROM lab.t a JOIN lab.t b ON a.i + 1 = b.i + 1",
            "9223372036854775807 + 1",
        ),
        (
            "SELECT (SELECT max(b.i) + 1 FROM lab.t b) FROM lab.t",
            "9223372036854775807 + 1",
        ),
    ];
    for (sql, part) in cases {
        let Err(fault) = answer(&engine, sql).await else {
            panic!("no error: {sql}");
        };
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Invalid, super::OVERFLOW),
            "{sql}: {fault}"
        );
        assert!(fault.message.contains(part), "{sql}: {fault}");
    }
    let fault = answer(&engine, "SELECT i / (g - g) FROM lab.t").await;
    assert_eq!(&*fault.unwrap_err().reason, "division_by_zero");
}

#[tokio::test]
async fn what_fits_in_the_end_is_the_sum_whatever_the_order() {
    let engine = engine().await;
    let cases = [
        ("SELECT sum(i) FROM lab.t", "1"),
        (
            "SELECT sum(d) FROM lab.t",
            "99999999999999999999999999999999999999",
        ),
        ("SELECT sum(i) FROM lab.t WHERE false", ""),
        (
            "SELECT g, sum(CASE WHEN g = 2 THEN i END) FROM lab.t GROUP BY g ORDER BY g",
            "1,;2,-9223372036854775807",
        ),
        (
            "SELECT sum(d) * 1 FROM lab.t WHERE g = 2",
            "-99999999999999999999999999999999999999",
        ),
        (
            "SELECT i - 1 + 1 FROM lab.t WHERE g = 1 ORDER BY 1",
            "1;9223372036854775807",
        ),
        ("SELECT sum(INTERVAL '1 day')", "1 days"),
    ];
    for (sql, expected) in cases {
        let found = answer(&engine, sql).await;
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
    }
}

#[tokio::test]
async fn nan_is_one_value_above_all_numbers_and_there_is_one_zero() {
    let engine = engine().await;
    let cases = [
        // The row is one that the processor has made: below all numbers by its bits.
        ("SELECT g FROM lab.t WHERE v > 5", "1"),
        ("SELECT count(*) FROM lab.t WHERE v = 'NaN'", "1"),
        ("SELECT count(*) FROM lab.t WHERE v <= 5 OR v IS NULL", "2"),
        (
            "SELECT count(*) FROM lab.t WHERE v = 0.0 AND v IN (0.0, 7.0) AND NOT v < 0",
            "1",
        ),
        ("SELECT max(v), min(v) FROM lab.t", "NaN,0.0"),
        (
            "SELECT g, max(v), min(v) FROM lab.t GROUP BY g ORDER BY g",
            "1,NaN,0.0;2,5.0,5.0",
        ),
        ("SELECT v FROM lab.t ORDER BY v DESC", "NaN;5.0;0.0"),
        (
            "SELECT count(DISTINCT x) FROM (SELECT v AS x FROM lab.t UNION ALL SELECT 0.0/0.0 UNION ALL SELECT 0.0 UNION ALL SELECT CAST('-NaN' AS DOUBLE))",
            "3",
        ),
        (
            "SELECT count(*) FROM lab.t a JOIN lab.t b ON a.v = b.v",
            "3",
        ),
        (
            "SELECT count(*) FROM lab.t a JOIN (SELECT 0.0/0.0 AS v UNION ALL SELECT -0.0) b ON a.v = b.v",
            "2",
        ),
        (
            "SELECT 0.0/0.0 > 5, v - v > 5 FROM lab.t WHERE v = 'NaN'",
            "true,true",
        ),
        ("SELECT -v, v * -1 FROM lab.t WHERE v = 0", "0.0,0.0"),
        (
            "SELECT power(v, 2) > 5, greatest(v, 7.0) FROM lab.t WHERE g = 1 AND v > 1",
            "true,NaN",
        ),
        (
            "SELECT max(v) OVER (ORDER BY g, i ROWS 1 PRECEDING) FROM lab.t ORDER BY g, i",
            "0.0;NaN;NaN",
        ),
        ("SELECT avg(v) > 5, sum(v) > 5 FROM lab.t", "true,true"),
        ("SELECT nullif(v, 0.0) FROM lab.t WHERE v = 0", ""),
        (
            "SELECT CASE v WHEN 0.0 THEN 'zero' WHEN 'NaN' THEN 'nan' ELSE 'five' END FROM lab.t ORDER BY i",
            "five;zero;nan",
        ),
    ];
    for (sql, expected) in cases {
        let found = answer(&engine, sql).await;
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
    }
}

#[tokio::test]
async fn what_has_left_a_frame_leaves_nothing_behind() {
    let engine = engine().await;
    let values = "(VALUES (1, 1e300), (2, 1.0), (3, CAST('NaN' AS DOUBLE)), (4, CAST('inf' AS DOUBLE)), (5, 2.0), (6, 3.0)) AS w(n, x)";
    for (of, expected) in [
        ("sum(x)", "1e300;1e300;NaN;NaN;inf;5.0"),
        ("avg(x)", "1e300;5e299;NaN;NaN;inf;2.5"),
        ("max(x)", "1e300;1e300;NaN;NaN;inf;3.0"),
    ] {
        let sql =
            format!("SELECT {of} OVER (ORDER BY n ROWS 1 PRECEDING) FROM {values} ORDER BY n");
        let found = answer(&engine, &sql).await;
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
    }
}

#[tokio::test]
async fn a_column_keeps_the_name_that_it_has_without_the_checks() {
    let engine = engine().await;
    for (sql, name) in [
        (
            "SELECT i + 1 FROM lab.t WHERE g = 2",
            "deltaplane.lab.t.i + Int64(1)",
        ),
        (
            "SELECT sum(g + 1) FROM lab.t",
            "sum(deltaplane.lab.t.g + Int64(1))",
        ),
        ("SELECT abs(v) FROM lab.t", "abs(deltaplane.lab.t.v)"),
    ] {
        let result = engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .unwrap();
        assert_eq!(result.wire.field(0).name(), name);
    }
}

#[tokio::test]
async fn the_spread_of_a_frame_is_that_of_the_values_in_it() {
    let engine = engine().await;
    let rows = "(VALUES (1, 0.0), (2, 1024.0), (3, 0.0), (4, CAST('NaN' AS DOUBLE)), (5, NULL), (6, 5.0), (7, 7.0), (8, 7.0)) AS t(id, x)";
    for (call, expected) in [
        ("var_pop", "0.0;262144.0;262144.0;NaN;NaN;0.0;1.0;0.0"),
        ("stddev_pop", "0.0;512.0;512.0;NaN;NaN;0.0;1.0;0.0"),
        ("var", ";524288.0;524288.0;NaN;;;2.0;0.0"),
        ("stddev_samp", ";724.077;724.077;NaN;;;1.414;0.0"),
    ] {
        let sql = format!(
            "SELECT round({call}(x) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), 3) FROM {rows} ORDER BY id"
        );
        let found = answer(&engine, &sql).await;
        assert_eq!(found.as_deref(), Ok(expected), "{sql}");
    }
    // Large values come and go; the frames alone give the same.
    let sql = "WITH t AS (SELECT value AS id, CASE value % 7 WHEN 0 THEN 1e9 ELSE sin(value) END AS x FROM generate_series(1, 300)), \
        alone AS (SELECT a.id, stddev(b.x) AS s FROM t a JOIN t b ON b.id <= a.id AND b.id > a.id - 5 GROUP BY a.id), \
        moving AS (SELECT id, stddev(x) OVER (ORDER BY id ROWS BETWEEN 4 PRECEDING AND CURRENT ROW) AS s FROM t) \
        SELECT count(*), count(*) FILTER (WHERE abs(m.s - l.s) > 1e-6 * abs(l.s)) FROM moving m JOIN alone l ON m.id = l.id";
    assert_eq!(answer(&engine, sql).await.as_deref(), Ok("300,0"), "{sql}");
}

#[tokio::test]
async fn quotients_and_means_of_decimals_are_rounded() {
    let of = "FROM (VALUES (1, 1.00), (1, 1.00), (1, 0.00), (2, -0.01), (2, NULL), (3, NULL), (4, -1.00), (4, -1.00), (4, 0.00)) v(g, x)";
    let rows = format!("(SELECT g, CAST(x AS DECIMAL(10,2)) AS d {of})");
    holds(&engine().await, &[
        ("SELECT CAST(2 AS DECIMAL(10,2)) / CAST(3 AS DECIMAL(10,2)), CAST(-2 AS DECIMAL(10,2)) / CAST(3 AS DECIMAL(10,2))", "0.666667,-0.666667"),
        ("SELECT CAST(1 AS DECIMAL(10,2)) / CAST(3 AS DECIMAL(10,2)), CAST(1 AS DECIMAL(10,2)) / CAST(-8000000 AS DECIMAL(10,2))", "0.333333,0.000000"),
        // A half, of either sign.
        ("SELECT CAST(1 AS DECIMAL(10,2)) / CAST(2000000 AS DECIMAL(10,2)), CAST(-1 AS DECIMAL(10,2)) / CAST(2000000 AS DECIMAL(10,2))", "0.000001,-0.000001"),
        (&format!("SELECT d / CAST(3 AS DECIMAL(10,2)) FROM {rows} r WHERE g = 1 ORDER BY d"), "0.000000;0.333333;0.333333"),
        (&format!("SELECT CAST(2 AS DECIMAL(10,2)) / nullif(d, 0) FROM {rows} r WHERE g <= 2 ORDER BY g, d"), ";2.000000;2.000000;-200.000000;"),
        (&format!("SELECT avg(d) FROM {rows} r WHERE g = 1"), "0.666667"),
        (&format!("SELECT g, avg(d) FROM {rows} r GROUP BY g ORDER BY g"), "1,0.666667;2,-0.010000;3,;4,-0.666667"),
        (&format!("SELECT avg(DISTINCT d) FROM (SELECT d FROM {rows} r UNION ALL SELECT CAST(2 AS DECIMAL(10,2))) s WHERE d > -0.01"), "1.000000"),
        (&format!("SELECT avg(DISTINCT d), count(*) FROM {rows} r WHERE g IN (1, 2, 4)"), "-0.002500,8"),
        (&format!("SELECT avg(d) OVER (ORDER BY d, g ROWS 2 PRECEDING) FROM {rows} r WHERE g = 4 ORDER BY d"), "-1.000000;-1.000000;-0.666667"),
        (&format!("SELECT avg(d) FROM {rows} r WHERE g = 3"), ""),
        ("SELECT avg(d) FROM lab.t WHERE false", ""),
    ])
    .await;
    let engine = engine().await;
    let fault = answer(
        &engine,
        "SELECT CAST(1 AS DECIMAL(10,2)) / CAST(0 AS DECIMAL(10,2))",
    )
    .await;
    assert_eq!(fault.unwrap_err().reason, "division_by_zero");
}

#[tokio::test]
async fn a_constant_becomes_the_decimal_that_is_written() {
    holds(&engine().await, &[
        ("SELECT CAST(1.005 AS DECIMAL(10,2)), CAST(-1.005 AS DECIMAL(10,2)), 2.675::DECIMAL(10,2)", "1.01,-1.01,2.68"),
        ("SELECT CAST(0.1 AS DECIMAL(38,20)), CAST(1e20 AS DECIMAL(38,2)), CAST(5 AS DECIMAL(4,1))", "0.10000000000000000000,100000000000000000000.00,5.0"),
        ("SELECT TRY_CAST(1e20 AS DECIMAL(4,1)), TRY_CAST(1.005 AS DECIMAL(10,2))", ",1.01"),
        ("SELECT sum(CAST(1.005 AS DECIMAL(10,2)) * g), CAST(1.005 AS DECIMAL(10,2)) = 1.01 FROM lab.t GROUP BY CAST(1.005 AS DECIMAL(10,2))", "4.04,true"),
    ])
    .await;
}
