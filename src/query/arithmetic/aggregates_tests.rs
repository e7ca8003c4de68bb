//! Aggregates over values that are no finite numbers, over large numbers that are close together, and over no rows.

use crate::query::tests::{answer, engine_over, holds};

const VALUES: &str = "(VALUES (1, 'NaN'), (1, '2'), (2, 'inf'), (2, 'inf'), (3, '-inf'), (3, 'inf'), (4, '-inf'), (4, '3'), (5, 'NaN'), (6, NULL)) t(g, text)";

fn grouped(of: &str) -> String {
    let rows = format!("SELECT g, CAST(text AS DOUBLE) AS x FROM {VALUES}");
    format!("SELECT {of} FROM ({rows}) t GROUP BY g ORDER BY g")
}

#[tokio::test]
async fn percentiles_know_infinities_and_nan() {
    let engine = engine_over(Vec::new()).await;
    for (call, expected) in [
        (
            "percentile_cont(0.5) WITHIN GROUP (ORDER BY x)",
            "NaN;inf;NaN;-inf;NaN;",
        ),
        ("median(x)", "NaN;inf;NaN;-inf;NaN;"),
        ("median(CAST(x AS FLOAT))", "NaN;inf;NaN;-inf;NaN;"),
        (
            "percentile_cont(0) WITHIN GROUP (ORDER BY x)",
            "2.0;inf;-inf;-inf;NaN;",
        ),
        (
            "percentile_cont(1) WITHIN GROUP (ORDER BY x)",
            "NaN;inf;inf;3.0;NaN;",
        ),
        (
            "percentile_cont(1) WITHIN GROUP (ORDER BY x DESC)",
            "2.0;inf;-inf;-inf;NaN;",
        ),
        (
            "percentile_disc(0.1) WITHIN GROUP (ORDER BY x)",
            "2.0;inf;-inf;-inf;NaN;",
        ),
    ] {
        let sql = grouped(call);
        assert_eq!(
            answer(&engine, &sql).await.as_deref(),
            Ok(expected),
            "{sql}"
        );
    }
    holds(
        &engine,
        &[
            (
                &format!("SELECT count(*) FROM ({}) q WHERE p > 5", grouped("percentile_cont(1) WITHIN GROUP (ORDER BY x) AS p")),
                "4",
            ),
            (
                &format!(
                    "SELECT g FROM (SELECT g, CAST(text AS DOUBLE) AS x FROM {VALUES}) t GROUP BY g HAVING percentile_cont(0) WITHIN GROUP (ORDER BY x) > 5 ORDER BY g"
                ),
                "2;5",
            ),
            (
                "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY x), median(x), median(DISTINCT x) FROM (VALUES (1.0), (1.0), (2.0), (5.0)) t(x)",
                "1.5,1.5,2.0",
            ),
            (
                "SELECT percentile_cont(0.00000012345) WITHIN GROUP (ORDER BY x) FROM (VALUES (0.0), (100000000.0)) t(x)",
                "12.345",
            ),
            // Decimals stay decimals.
            (
                "SELECT median(x), arrow_typeof(median(x)) FROM (VALUES (CAST(1.5 AS DECIMAL(4, 2))), (CAST(2.5 AS DECIMAL(4, 2)))) t(x)",
                "2.00,Decimal128(4, 2)",
            ),
        ],
    )
    .await;
    // A frame is asked for its value more than once, and values leave it.
    let frame = "OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)";
    let grows = "OVER (ORDER BY n)";
    for (call, expected) in [
        (format!("median(x) {frame}"), "1.0;1.5;2.0;inf;inf;inf;5.0"),
        (format!("median(x) {grows}"), "1.0;1.5;2.0;2.0;2.0;2.0;3.5"),
        (
            format!("median(DISTINCT x) {grows}"),
            "1.0;1.5;1.5;2.0;2.0;2.0;3.5",
        ),
    ] {
        let sql = format!(
            "SELECT {call} FROM (VALUES (1, 1.0), (2, 2.0), (3, 2.0), (4, CAST('inf' AS DOUBLE)), (5, CAST('inf' AS DOUBLE)), (6, NULL), (7, 5.0)) t(n, x) ORDER BY n"
        );
        assert_eq!(
            answer(&engine, &sql).await.as_deref(),
            Ok(expected),
            "{sql}"
        );
    }
}

#[tokio::test]
async fn correlations_are_those_of_the_values_also_in_groups_and_frames() {
    let engine = engine_over(Vec::new()).await;
    let pairs = "(SELECT g, CAST(a AS DOUBLE) AS x, CAST(b AS DOUBLE) AS y FROM (VALUES (1, 'NaN', '1'), (1, '2', '2'), (2, 'inf', '1'), (2, '1', '2'), (3, '1', '2'), (3, '2', '5'), (4, '7', '1'), (4, '7', '2'), (5, '1', NULL), (6, '1', '-inf'), (6, '1', '3'), (7, '3', '4')) t(g, a, b)) t";
    for (call, expected) in [
        ("corr(x, y)", "NaN;NaN;1.0;;;;"),
        ("corr(y, x)", "NaN;NaN;1.0;;;;"),
        ("covar_pop(x, y)", "NaN;NaN;0.75;0.0;;NaN;0.0"),
        ("covar_samp(x, y)", "NaN;NaN;1.5;0.0;;NaN;"),
    ] {
        let sql = format!("SELECT {call} FROM {pairs} GROUP BY g ORDER BY g");
        assert_eq!(
            answer(&engine, &sql).await.as_deref(),
            Ok(expected),
            "{sql}"
        );
        for (g, expected) in expected.split(';').enumerate() {
            let sql = format!("SELECT {call} FROM {pairs} WHERE g = {}", g + 1);
            assert_eq!(
                answer(&engine, &sql).await.as_deref(),
                Ok(expected),
                "{sql}"
            );
        }
    }
    holds(
        &engine,
        &[
            // Seconds since 1970: their squares have more digits than a double.
            (
                "SELECT g, round(corr(1.7e9 + value / 7, 1.7e9 + value / 7 * 3), 6), round(corr(1.7e9 + value, value * -2), 6) FROM (SELECT value, value % 2 AS g FROM generate_series(1, 100)) t GROUP BY g ORDER BY g",
                "0,1.0,-1.0;1,1.0,-1.0",
            ),
            // What has left a frame leaves nothing behind.
            (
                "SELECT c FROM (SELECT n, covar_pop(x, y) OVER (ORDER BY n ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS c FROM (VALUES (1, 1e200, 1e100), (2, 1.0, 1.0), (3, 3.0, 5.0), (4, CAST('NaN' AS DOUBLE), 1.0), (5, 1.0, 1.0), (6, 3.0, 5.0)) t(n, x, y)) q WHERE n > 2 ORDER BY n",
                "2.0;NaN;NaN;2.0",
            ),
            // Two steps of an aggregation, over more rows than a batch has.
            (
                "SELECT count(*), count(*) FILTER (WHERE abs(c - 1.0) < 1e-9) FROM (SELECT value % 100 AS g, corr(1e9 + value, value) AS c FROM generate_series(1, 30000) GROUP BY 1) t",
                "100,100",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_first_and_the_last_of_no_rows_are_null() {
    let engine = engine_over(Vec::new()).await;
    let rows = "FROM (VALUES (1, 2), (2, 1)) t(x, y)";
    holds(
        &engine,
        &[
            (
                &format!("SELECT last_value(x ORDER BY y) FILTER (WHERE x > 10), first_value(x ORDER BY y DESC) FILTER (WHERE x > 10), array_agg(x ORDER BY y) {rows}"),
                ",,[2, 1]",
            ),
            (
                &format!("SELECT first_value(x ORDER BY y), last_value(x ORDER BY y), first_value(x ORDER BY y DESC), array_agg(x ORDER BY y) {rows}"),
                "2,1,1,[2, 1]",
            ),
            (
                &format!("SELECT last_value(x ORDER BY y) FILTER (WHERE x > 1), first_value(x ORDER BY y DESC) FILTER (WHERE x < 2), array_agg(x ORDER BY y DESC) {rows}"),
                "2,1,[1, 2]",
            ),
        ],
    )
    .await;
}
