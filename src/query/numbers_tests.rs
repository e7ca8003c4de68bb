//! Whole numbers and written digits: differences of counts, operators on bits, literals.
#![expect(clippy::unwrap_used, reason = "tests")]

use super::tests::{answer, engine, holds};
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
