#![expect(clippy::unwrap_used, reason = "tests")]

use arrow::array::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions, array_value_to_string};

use super::super::tests::engine_over;
use super::super::*;
use crate::query::QueryContext;

/// The rows of a query, each as its values with commas between.
async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    let batches = engine.rows_of(sql, engine.snapshot()).await;
    let batches: Vec<RecordBatch> = batches.unwrap_or_else(|e| panic!("{sql}: {e}"));
    let options = FormatOptions::default().with_null("null");
    let mut rows = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch.columns().iter().collect();
        let columns: Vec<_> = columns
            .iter()
            .map(|c| ArrayFormatter::try_new(c.as_ref(), &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let values: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(values.join(","));
        }
    }
    rows
}

async fn check(cases: &[(&str, &[&str])]) {
    let engine = engine_over(Vec::new()).await;
    for (sql, expected) in cases {
        // What a client is told of it comes first.
        engine
            .plan(&QueryContext::new("tests"), sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(rows(&engine, sql).await, *expected, "{sql}");
    }
}

#[tokio::test]
async fn set_operations_with_all_count_rows() {
    const SIDES: &str = "FROM (VALUES (1), (2), (2), (NULL), (NULL)) t(x)";
    check(&[
        (
            &format!("SELECT x {SIDES} EXCEPT ALL SELECT x FROM (VALUES (2), (NULL), (3)) u(x) ORDER BY x"),
            &["1", "2", "null"],
        ),
        (
            &format!("SELECT x {SIDES} INTERSECT ALL SELECT x FROM (VALUES (2), (NULL), (3)) u(x) ORDER BY x"),
            &["2", "null"],
        ),
        (
            &format!("SELECT x {SIDES} EXCEPT ALL SELECT x {SIDES}"),
            &[],
        ),
        (
            &format!("SELECT x {SIDES} EXCEPT SELECT x FROM (VALUES (2)) u(x) ORDER BY x"),
            &["1", "null"],
        ),
        (
            &format!("SELECT x, x + 1 AS y {SIDES} INTERSECT ALL SELECT * FROM (VALUES (2, 3), (2, 4)) u ORDER BY x"),
            &["2,3"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn set_operations_have_the_type_in_which_both_sides_meet() {
    check(&[
        ("SELECT 1 AS c INTERSECT SELECT 1.0", &["1.0"]),
        (
            "SELECT x FROM (VALUES (1), (2), (NULL)) t(x) EXCEPT SELECT 1.5 ORDER BY 1",
            &["1.0", "2.0", "null"],
        ),
        (
            "SELECT x FROM (VALUES (1), (1), (2)) t(x) EXCEPT ALL SELECT 1.0 ORDER BY 1",
            &["1.0", "2.0"],
        ),
        ("SELECT arrow_typeof(c) FROM (SELECT DATE '2026-01-01' AS c INTERSECT SELECT TIMESTAMP '2026-01-01 00:00:00') q", &["Timestamp(µs)"]),
    ])
    .await;
}

#[tokio::test]
async fn decimals_meet_floats_as_doubles() {
    check(&[
        (
            "SELECT CAST('1.500' AS DECIMAL(12,3)) AS c UNION ALL SELECT CAST('1e-20' AS DOUBLE) ORDER BY c",
            &["1e-20", "1.5"],
        ),
        (
            "SELECT p FROM (VALUES (CAST('1.5' AS DECIMAL(12,3)), CAST('nan' AS DOUBLE)), (CAST('2.5' AS DECIMAL(12,3)), 1e300), (CAST('3.5' AS DECIMAL(12,3)), 3.5)) v(p, d) WHERE p < d ORDER BY p",
            &["1.500", "2.500"],
        ),
        (
            "SELECT coalesce(p, d) AS c, CASE WHEN p > 1 THEN p ELSE d END AS e FROM (VALUES (CAST('1.5' AS DECIMAL(12,3)), 1e-20), (NULL, 1e-20)) v(p, d)",
            &["1.5,1.5", "1e-20,1e-20"],
        ),
        (
            "SELECT p = 0.1, p IN (0.1, 5.0), p BETWEEN 0.1 AND 0.2, p > 1e-20, p < 1e300 FROM (VALUES (CAST('0.1' AS DECIMAL(38,30)))) v(p)",
            &["true,true,true,true,true"],
        ),
        (
            "SELECT CAST('7.0' AS DECIMAL(4,1)) IN (SELECT d FROM (VALUES (CAST('nan' AS DOUBLE)), (7.0)) v(d))",
            &["true"],
        ),
        (
            "SELECT x FROM (VALUES (-0.0, 0.0), (0.0, -0.0), (1.0, 2.0)) v(x, y) WHERE x IN (y, y)",
            &["0.0", "0.0"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn times_meet_in_microseconds_and_keep_their_zone() {
    const TIMES: &str = "(VALUES (TIMESTAMP '0001-01-01 00:00:00'), (TIMESTAMP '2026-11-01 12:00:00'), (TIMESTAMP '9999-12-31 23:59:59')) v(t)";
    check(&[
        (
            &format!("SELECT count(*) FROM {TIMES} WHERE t < '9999-12-31' AND t > '0001-01-01' OR t BETWEEN '9999-01-01' AND '9999-12-31 23:59:59'"),
            &["2"],
        ),
        (
            &format!("SELECT count(*) FROM {TIMES} WHERE t > DATE '2026-11-01'"),
            &["2"],
        ),
        (
            &format!("SELECT least(t, TIMESTAMP '2026-11-01 12:00:00') AS x FROM {TIMES} ORDER BY x"),
            &["0001-01-01T00:00:00", "2026-11-01T12:00:00", "2026-11-01T12:00:00"],
        ),
        (
            "SELECT arrow_typeof(c) FROM (SELECT DATE '2020-01-01' AS c UNION ALL SELECT TIMESTAMPTZ '2020-01-01 00:00:01+01') t LIMIT 1",
            &["Timestamp(µs, \"UTC\")"],
        ),
        (
            "SELECT CAST('2020-01-01 00:00:01' AS TIMESTAMP_NTZ), CAST('ab' AS BINARY)",
            &["2020-01-01T00:00:01,6162"],
        ),
        (
            "SELECT CAST(1 AS CLOB), CAST(1 AS CHARACTER VARYING(9)), 1::NVARCHAR, '7'::INT8, '7'::LONG, '1.5'::NUMBER(4,2), CAST('2020-01-01' AS DATETIME)",
            &["1,1,1,7,7,1.50,2020-01-01T00:00:00"],
        ),
        (
            "SELECT arrow_typeof(CAST(1 AS FLOAT(53))), arrow_typeof(1::FLOAT8), arrow_typeof(1::INT2)",
            &["Float64,Float64,Int16"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_nan_in_the_queue_of_the_smallest_ends_nothing() {
    check(&[(
        "SELECT DISTINCT x FROM (VALUES (CAST('nan' AS DOUBLE)), (1.0), (2.0)) v(x) ORDER BY x LIMIT 1",
        &["1.0"],
    )])
    .await;
}

#[tokio::test]
async fn one_moment_with_a_zone_and_without_is_two_values() {
    let zoned = "arrow_typeof";
    check(&[
        (
            &format!("SELECT {zoned}(min(TIMESTAMP '2020-01-01')), {zoned}(min(TIMESTAMPTZ '2020-01-01T00:00:00Z'))"),
            &["Timestamp(µs),Timestamp(µs, \"UTC\")"],
        ),
        (
            "SELECT min(TIMESTAMP '2020-01-01'), min(TIMESTAMPTZ '2020-01-01T00:00:00Z')",
            &["2020-01-01T00:00:00,2020-01-01T00:00:00Z"],
        ),
        (
            "SELECT max(CASE WHEN x THEN TIMESTAMP '2020-01-01' END), max(CASE WHEN x THEN TIMESTAMPTZ '2020-01-01T00:00:00Z' END) FROM (VALUES (true), (false)) t(x)",
            &["2020-01-01T00:00:00,2020-01-01T00:00:00Z"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn values_have_the_types_that_are_written_there() {
    check(&[
        (
            "SELECT x, arrow_typeof(x) FROM (VALUES (CAST(1.5 AS DECIMAL(4, 2))), (CAST('1e-20' AS DOUBLE))) t(x)",
            &["1.5,Float64", "1e-20,Float64"],
        ),
        // The digits beyond the fifteenth are kept.
        (
            "SELECT x, arrow_typeof(x) FROM (VALUES (12345678901234567890.5), (-2.25), (NULL)) t(x)",
            &[
                "12345678901234567890.50,Decimal128(22, 2)",
                "-2.25,Decimal128(22, 2)",
                "null,Decimal128(22, 2)",
            ],
        ),
        (
            "SELECT x FROM (VALUES (CAST(1.5 AS DECIMAL(4, 2))), (CAST('NaN' AS DOUBLE))) t(x)",
            &["1.5", "NaN"],
        ),
        (
            "SELECT [CAST(1.5 AS DECIMAL(4, 2)), CAST('1e-20' AS DOUBLE)]",
            &["[1.5, 1e-20]"],
        ),
        (
            "SELECT nvl2(1, CAST(1.5 AS DECIMAL(4, 2)), CAST('1e-20' AS DOUBLE))",
            &["1.5"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn functions_take_bytes_and_give_them_back() {
    check(&[
        (
            "SELECT coalesce(X'00ff', NULL), coalesce(NULL, X'00ff'), nvl(NULL, X'00ff'), nvl2(X'01', X'00ff', X'02'), greatest(NULL, X'00ff'), nullif(X'00ff', X'01')",
            &["00ff,00ff,00ff,00ff,00ff,00ff"],
        ),
        (
            "SELECT coalesce(b, X'01'), arrow_typeof(coalesce(b, NULL)) FROM (VALUES (X'ff'), (NULL)) t(b)",
            &["ff,Binary", "01,Binary"],
        ),
        ("SELECT coalesce(NULL, NULL, 1.5), coalesce(NULL, 'a')", &["1.5,a"]),
        (
            "SELECT octet_length(X'00ff'), octet_length(b), octet_length('ä') FROM (VALUES (X'ff'), (NULL)) t(b)",
            &["2,1,2", "2,null,2"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn lists_of_counts_are_signed() {
    check(&[
        (
            "SELECT array_positions([1, 2, 1], 1)[1] - 2, array_dims([[1, 2]])[1] - 2, arrow_typeof(array_positions([1], 1))",
            &["-1,-1,List(Int64)"],
        ),
        (
            "SELECT unnest(array_positions([1, 2, 1], 1)) - 2",
            &["-1", "1"],
        ),
    ])
    .await;
}

#[tokio::test]
async fn the_type_that_is_announced_is_that_of_the_answer() {
    let engine = engine_over(Vec::new()).await;
    let prices =
        "FROM (VALUES (CAST(12.345 AS DECIMAL(10, 3))), (CAST(-0.5 AS DECIMAL(10, 3)))) t(price)";
    for (of, expected) in [
        ("round(price, 1)", "12.3"),
        ("round(price, 1 + 1)", "12.35"),
        ("round(price, CAST(-1 AS SMALLINT))", "10"),
        ("round(price)", "12"),
        ("round(price * 2, 1) + 1", "25.7"),
        ("max(round(price, 2))", "12.35"),
        ("round(max(price), 2) - round(price, 0)", "0.35"),
        (
            "CASE WHEN price > 0 THEN round(price, 1) ELSE price END",
            "12.300",
        ),
    ] {
        let sql = match of {
            "round(max(price), 2) - round(price, 0)" => {
                format!("SELECT {of} {prices} GROUP BY price ORDER BY price DESC LIMIT 1")
            }
            of if of.starts_with("max") => format!("SELECT {of} {prices}"),
            of => format!("SELECT {of} {prices} ORDER BY price DESC LIMIT 1"),
        };
        let announced = engine
            .plan(&QueryContext::new("tests"), &sql)
            .await
            .unwrap()
            .wire;
        let result = engine
            .query(&QueryContext::new("tests"), &sql, None)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(result.wire, announced, "{sql}");
        let batches = result
            .collect()
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        let found = array_value_to_string(batches[0].column(0), 0).unwrap();
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test]
async fn defaults_of_lag_and_lead_keep_their_value() {
    const OF: &str = "FROM (VALUES (1, 10), (2, 20)) v(k, i)";
    const DECIMALS: &str = "FROM (SELECT k, CAST(i AS DECIMAL(10,2)) AS d, CAST(i AS INT) AS n, DATE '2026-01-01' AS day FROM (VALUES (1, 10), (2, 20)) v(k, i)) w";
    check(&[
        (&format!("SELECT lead(i, 1, 0.5) OVER (ORDER BY k), lag(i, 1, 2.9) OVER (ORDER BY k) {OF} ORDER BY k"), &["20.0,2.9", "0.5,10.0"]),
        (&format!("SELECT lag(i, 1, -2.5) OVER (ORDER BY k) + 1 AS x {OF} ORDER BY x"), &["-1.5", "11.0"]),
        // Those that fit leave the column's type as it is.
        (&format!("SELECT arrow_typeof(lag(n, 1, 0) OVER (ORDER BY k)), arrow_typeof(lag(n, 1, 2.0) OVER (ORDER BY k)), arrow_typeof(lag(d, 1, 0.5) OVER (ORDER BY k)) {DECIMALS} LIMIT 1"), &["Int32,Int32,Decimal128(10, 2)"]),
        (&format!("SELECT lag(n, 1, 5000000000) OVER (ORDER BY k), lag(d, 1, 0.005) OVER (ORDER BY k) {DECIMALS} ORDER BY k"), &["5000000000,0.005", "10,10.000"]),
        (&format!("SELECT lag(day, 1, '2025-12-31') OVER (ORDER BY k), lag(day, 1, '2025-12-31 10:20') OVER (ORDER BY k) {DECIMALS} ORDER BY k"), &["2025-12-31,2025-12-31T10:20:00", "2026-01-01,2026-01-01T00:00:00"]),
        (&format!("SELECT lag(day, 1, TIMESTAMP '2025-12-31 10:20') OVER (ORDER BY k), lag(i, 1, '7') OVER (ORDER BY k), lag(i, 1, NULL) OVER (ORDER BY k) {DECIMALS_I} ORDER BY k", DECIMALS_I = "FROM (SELECT k, i, DATE '2026-01-01' AS day FROM (VALUES (1, 10), (2, 20)) v(k, i)) w"), &["2025-12-31T10:20:00,7,null", "2026-01-01T00:00:00,10,10"]),
    ])
    .await;
    let engine = engine_over(Vec::new()).await;
    let sql = format!("SELECT lag(i, 1, '0.5') OVER (ORDER BY k) {OF}");
    assert!(engine.rows_of(&sql, engine.snapshot()).await.is_err());
}
