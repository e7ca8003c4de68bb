//! Whole numbers and written digits: differences of counts, operators on bits, literals.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, TimestampMicrosecondArray};

use super::engine::Engine;
use super::tests::{answer, engine, engine_over, holds};
use crate::fault::Kind;

#[tokio::test]
async fn counts_and_ranks_may_be_below_zero_when_they_are_subtracted() {
    let numbered = "(SELECT n, row_number() OVER (ORDER BY n) AS up, rank() OVER (ORDER BY n DESC) AS down FROM reactor.raw) q";
    holds(
        &engine().await,
        &[
            (
                &format!("SELECT up - down FROM {numbered} ORDER BY n"),
                "-2;0;2",
            ),
            (
                &format!("SELECT n FROM {numbered} WHERE up - down < 0"),
                "1",
            ),
            (
                &format!("SELECT -up, up | -1, arrow_typeof(down) FROM {numbered} WHERE n = 2"),
                "-2,-1,Int64",
            ),
            (
                "SELECT approx_distinct(id) - approx_distinct(n) FROM reactor.raw",
                "-1",
            ),
            (
                "SELECT cardinality(make_array(1)) - array_length(make_array(1, 2))",
                "-1",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn operators_on_bits_take_whole_numbers_and_keep_nulls() {
    let engine = engine().await;
    holds(
        &engine,
        &[
            (
                "SELECT nullif(n, 2) ^ nullif(n, 2) FROM reactor.raw ORDER BY n",
                "0;;0",
            ),
            (
                "SELECT (nullif(n, 2) ^ 5) ^ nullif(n, 2) FROM reactor.raw ORDER BY n",
                "5;;5",
            ),
            ("SELECT n & 1 FROM reactor.raw ORDER BY n", "1;0;1"),
        ],
    )
    .await;
    for sql in [
        "SELECT at & 1 FROM reactor.raw",
        "SELECT 1 | 2.5",
        "SELECT n << 1.5 FROM reactor.raw",
    ] {
        let fault = answer(&engine, sql).await.unwrap_err();
        assert_eq!(fault.kind, Kind::Invalid, "{sql}: {fault}");
        assert!(
            fault.to_string().contains("whole numbers"),
            "{sql}: {fault}"
        );
    }
}

#[tokio::test]
async fn a_number_keeps_the_digits_that_are_written() {
    holds(
        &engine().await,
        &[
            ("SELECT CAST(1234567890123456.7891 AS DECIMAL(20, 4))", "1234567890123456.7891"),
            ("SELECT 12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
            ("SELECT -9223372036854775808, arrow_typeof(-9223372036854775808)", "-9223372036854775808,Int64"),
            ("SELECT -9223372036854775809, 9223372036854775808", "-9223372036854775809,9223372036854775808"),
            (
                "SELECT n FROM reactor.raw WHERE CAST('1234567890123456.7891' AS DECIMAL(20, 4)) = 1234567890123456.7891 AND n = 1",
                "1",
            ),
            ("SELECT CAST('1234567890123456.7891' AS DECIMAL(20, 4)) + 0.0001 - 1.5", "1234567890123455.2892"),
            ("SELECT at * 3.14159265358979323846 > 3.14, arrow_typeof(1.5) FROM reactor.raw WHERE n = 1", "true,Float64"),
        ],
    )
    .await;
}

#[tokio::test]
async fn floats_and_doubles_are_joined() {
    let sides = "(SELECT id, CAST(n AS FLOAT) AS f FROM reactor.raw) a JOIN (SELECT CAST(n AS DOUBLE) AS d FROM reactor.raw) b";
    let floats = "SELECT CAST(n AS FLOAT) AS f FROM reactor.raw";
    holds(
        &engine().await,
        &[
            (&format!("SELECT a.f, b.d FROM {sides} ON a.f = b.d ORDER BY 1"), "1.0,1.0;2.0,2.0;3.0,3.0"),
            (&format!("SELECT count(*) FROM {sides} ON a.f = b.d AND a.id = 'a'"), "2"),
            (&format!("SELECT f FROM ({floats}) a WHERE f IN (SELECT CAST(n AS DOUBLE) FROM reactor.raw WHERE n > 1) ORDER BY 1"), "2.0;3.0"),
        ],
    )
    .await;
}

/// `1.25` and `2.5` of DECIMAL(10,2), a whole number, and moments of three days.
async fn decimals() -> Engine {
    let decimals = Decimal128Array::from(vec![125, 250, -99]);
    let decimals = decimals.with_precision_and_scale(10, 2).unwrap();
    let noon = 12 * 3_600_000_000;
    let rows = RecordBatch::try_from_iter([
        ("d", Arc::new(decimals) as _),
        (
            "n",
            Arc::new(Int64Array::from(vec![-1, 0, 5_000_000_000])) as _,
        ),
        (
            "ts",
            Arc::new(TimestampMicrosecondArray::from(vec![0, noon, 0])) as ArrayRef,
        ),
    ]);
    engine_over(vec![("lab.d", rows.unwrap())]).await
}

#[tokio::test]
async fn a_cast_that_loses_something_is_compared_as_it_is() {
    let counts = [
        ("CAST(d AS INT) = 1", "1"),
        ("CAST(d AS INT) > 1", "1"),
        ("CAST(d AS BIGINT) IN (1, 2)", "2"),
        ("CAST(d AS INT) = 0", "1"),
        ("CAST(d AS DECIMAL(10, 1)) = 1.3", "1"),
        ("TRY_CAST(n AS INT) <> 7", "2"),
        ("TRY_CAST(n AS INT) IN (-1, 0)", "2"),
        ("CAST(n AS BOOLEAN) = false", "1"),
        ("ts::TIME = TIME '12:00:00'", "1"),
        ("x = 2", "1"),
    ];
    let engine = decimals().await;
    for (condition, count) in counts {
        let from = "(SELECT *, CAST(d AS INT) AS x FROM lab.d) q";
        let sql = format!("SELECT count(*) FROM {from} WHERE {condition}");
        assert_eq!(
            answer(&engine, &sql).await.as_deref(),
            Ok(count),
            "{condition}"
        );
    }
}

#[tokio::test]
async fn a_rounded_decimal_has_the_type_that_was_planned() {
    let engine = decimals().await;
    holds(
        &engine,
        &[
            (
                "SELECT d FROM lab.d WHERE round(d, 1) IN (1.3, 2.5) ORDER BY d",
                "1.25;2.50",
            ),
            ("SELECT d FROM lab.d WHERE round(d, 1) = 1.3", "1.25"),
            (
                "SELECT count(*) FROM lab.d a JOIN lab.d b ON round(a.d, 1) = b.d",
                "1",
            ),
            (
                "SELECT count(*) FROM lab.d HAVING round(sum(d), 0) > 2.5",
                "3",
            ),
            (
                "SELECT greatest(round(d, 1), d) FROM lab.d WHERE d IN (SELECT round(d, 1) FROM lab.d)",
                "2.50",
            ),
            (
                "SELECT coalesce(round(d, 1), d) = 1.3, [round(d, 1), d] FROM lab.d WHERE d = 1.25",
                "true,[1.30, 1.25]",
            ),
        ],
    )
    .await;
}
