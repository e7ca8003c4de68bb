//! Words of SQL beyond DataFusion's own, on a small table.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};

use super::tests::engine_over;
use super::*;
use crate::fault::{Fault, Kind};
use crate::query::QueryContext;

async fn engine() -> Engine {
    let batch = RecordBatch::try_from_iter([
        ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as _),
        (
            "K",
            Arc::new(StringArray::from(vec![
                Some("a"),
                Some("b"),
                Some("a"),
                None,
            ])) as _,
        ),
        (
            "v",
            Arc::new(Float64Array::from(vec![
                Some(1.5),
                Some(2.5),
                Some(3.5),
                None,
            ])) as _,
        ),
        (
            "j",
            Arc::new(StringArray::from(vec![
                r#"{"s": "x", "n": 1, "l": [{"v": 2.5}, true], "a b": null}"#,
                r#"{"s": "it's", "n": 9007199254740993}"#,
                "no json",
                "[1, 2]",
            ])) as _,
        ),
    ])
    .unwrap();
    engine_over(vec![("public.t", batch)]).await
}

/// Rows as text: columns between spaces, rows between commas.
async fn shown(engine: &Engine, sql: &str) -> Result<String, Fault> {
    let batches = engine
        .query(&QueryContext::new("tests"), sql, None)
        .await?
        .collect()
        .await?;
    let table = arrow::util::pretty::pretty_format_batches(&batches).unwrap();
    let text = table.to_string();
    let rows = text.lines().skip(3).filter(|l| !l.starts_with('+'));
    let words = rows.map(|row| {
        row.replace('|', " ")
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
    });
    Ok(words.collect::<Vec<_>>().join(","))
}

#[tokio::test]
async fn clauses_and_functions_of_other_engines_give_their_values() {
    let engine = engine().await;
    for (sql, expected) in [
        (
            "SELECT id FROM t ORDER BY id FETCH FIRST 2 ROWS ONLY",
            "1,2",
        ),
        // The whole text is matched.
        (
            "SELECT 'abc' SIMILAR TO 'b', 'abc' SIMILAR TO '%b%', 'abc' NOT SIMILAR TO '_(b|c)+', 'a%' SIMILAR TO 'a!%' ESCAPE '!', 'a\nb' SIMILAR TO 'a_b'",
            "false true false true true",
        ),
        (
            "SELECT 'a' SIMILAR TO p, NULL SIMILAR TO p FROM (VALUES ('[a-c]'), ('b'), (NULL)) v (p) ORDER BY 1",
            "false,true,",
        ),
        (
            "SELECT mod(7, 4), sign(-2.5), if(1 > 2, 'a', 'b'), year(TIMESTAMP '2026-11-03 10:20:30'), hour(TIMESTAMP '2026-11-03 10:20:30'), epoch(TIMESTAMP '1970-01-01 00:01:00')",
            "3 -1.0 b 2026 10 60.0",
        ),
        (
            "SELECT date_diff('day', TIMESTAMP '2026-10-31 23:00:00', TIMESTAMP '2026-11-02 01:00:00'), date_diff('month', DATE '2025-12-31', DATE '2026-02-01'), date_diff('year', DATE '2025-12-31', DATE '2026-01-01'), date_diff('hour', TIMESTAMP '2026-01-01 01:00:00', TIMESTAMP '2026-01-01 00:59:00')",
            "2 2 1 -1",
        ),
        // What is one value on a side of an outer join is two above it.
        (
            "SELECT a.id FROM t a LEFT JOIN (SELECT id, v FROM t WHERE v = 2.5) q ON a.id = q.id ORDER BY q.v, a.id DESC LIMIT 2",
            "2,4",
        ),
        (
            "SELECT q.c, count(*) FROM t a LEFT JOIN (SELECT id, 7 AS c FROM t WHERE id = 2) q ON a.id = q.id GROUP BY q.c ORDER BY 1 NULLS LAST",
            "7 1,3",
        ),
        (
            "SELECT x, y FROM (SELECT id, 1 AS x FROM t WHERE id < 3) a FULL JOIN (SELECT id, 2 AS y FROM t WHERE id > 1) b ON a.id = b.id ORDER BY x, y, a.id",
            "1 2,1,2,2",
        ),
        // A result may be called as the column that a grouped cast is of.
        (
            "SELECT CAST(id AS TEXT) AS x, max(-id) AS id FROM t GROUP BY 1 ORDER BY id",
            "4 -4,3 -3,2 -2,1 -1",
        ),
        (
            "SELECT CAST(id AS TEXT) AS id, max(v) AS v FROM t GROUP BY 1 ORDER BY id DESC LIMIT 2",
            "4,3 3.5",
        ),
        (
            "SELECT id FROM t WHERE (id, \"K\") IN (SELECT id, max(k) FROM t WHERE v > 2 GROUP BY id) AND id > 0 ORDER BY id",
            "2,3",
        ),
        // What may be equal is not outside of the set: row 4 has no K.
        (
            "SELECT id FROM t WHERE (id, K) NOT IN (SELECT 2, 'b' UNION ALL SELECT 4, 'x') ORDER BY id",
            "1,3",
        ),
        (
            "SELECT id FROM t WHERE NOT (id, v) IN (SELECT 1, 1.5) OR (K, id) IN (SELECT 'a', 1) ORDER BY id",
            "1,2,3,4",
        ),
        (
            "SELECT id FROM t WHERE id > ALL ([1, 2]) AND v <> ANY ([2.5, 3.5]) ORDER BY id",
            "3",
        ),
        (
            "SELECT id FROM t WHERE NOT (v <= ALL ([2.5, NULL])) ORDER BY id",
            "3",
        ),
        (
            "SELECT id, lag(v, 1, v) OVER (ORDER BY id), lead(id, 2, -id) OVER w, lag(v, 1, 0.5) OVER w FROM t WINDOW w AS (ORDER BY id) ORDER BY id",
            "1 1.5 3 0.5,2 1.5 4 1.5,3 2.5 -3 2.5,4 3.5 -4 3.5",
        ),
        // A null before is no row that is missing.
        (
            "SELECT lag(v, 1, v + 1) OVER (ORDER BY id DESC) FROM t ORDER BY id DESC",
            ",,3.5,2.5",
        ),
        (
            "SELECT lag(v, 1, 9 * id) IGNORE NULLS OVER (ORDER BY id DESC) FROM t ORDER BY id DESC",
            "36.0,27.0,3.5,2.5",
        ),
        (
            "SELECT id FROM t WHERE (v > 2) = 'true' OR 'f' = (id < 4) ORDER BY id",
            "2,3,4",
        ),
        (
            "SELECT INTERVAL '1 day 02:03:04.5' = INTERVAL '93784.5 seconds', TIMESTAMP '2026-11-01 00:00:00' - INTERVAL '-01:30'",
            "true 2026-11-01T01:30:00",
        ),
        // Columns that get names of their own may be called alike before.
        ("WITH v (a, b) AS (SELECT 1, 1) SELECT a + b FROM v", "2"),
        (
            "WITH RECURSIVE fib (n, a, b) AS (SELECT 1, 0, 1 UNION ALL SELECT n + 1, b, a + b FROM fib WHERE n < 6) SELECT max(a) FROM fib",
            "5",
        ),
        (
            "SELECT a, b FROM (SELECT id, id FROM t ORDER BY id LIMIT 2) v (a, b) ORDER BY 1",
            "1 1,2 2",
        ),
        (
            "SELECT dayname(DATE '2026-11-30'), monthname(DATE '2026-11-30'), last_day(DATE '2024-02-10'), strftime(DATE '2026-11-30', '%d.%m.'), len('abc'), isinf(1 / 0.0)",
            "Monday November 2024-02-29 30.11. 3 true",
        ),
        (
            "SELECT count_if(id > 1), count_if(id > 1) FILTER (WHERE id < 4) FROM t",
            "3 2",
        ),
        (
            "SELECT count_if(id > 1) OVER (ORDER BY id) FROM t",
            "0,1,2,3",
        ),
        // The day of 29 March 2026 has 23 hours in Berlin, that of 25 October 25.
        (
            "SELECT date_diff('day', a AT TIME ZONE 'Europe/Berlin', b AT TIME ZONE 'Europe/Berlin') FROM (VALUES (TIMESTAMP '2026-03-29 00:00:00', TIMESTAMP '2026-03-30 00:00:00'), (TIMESTAMP '2026-10-25 00:00:00', TIMESTAMP '2026-10-26 00:00:00')) v (a, b)",
            "1,1",
        ),
        // A null among the values of a list: unknown, unless another value decides.
        (
            "SELECT 2 = ANY ([1, NULL]), 1 = ANY ([1, NULL]), 2 = ANY (ARRAY[1, 3]), 2 <> ANY ([2, NULL]), 2 <> ANY ([2, 3]), 2 < ANY ([1, NULL]), 2 < ANY ([3, NULL]), 2 >= ANY ([3])",
            "true false true true false",
        ),
        (
            "SELECT (2 = ANY (l)) IS NULL, (2 = ANY (l)) FROM (VALUES ([1, NULL]), ([1]), ([2, NULL])) v (l) ORDER BY 2 NULLS FIRST",
            "true,false false,false true",
        ),
        ("SELECT id FROM t ORDER BY id FETCH FIRST ROW ONLY", "1"),
        (
            "SELECT id FROM t ORDER BY id OFFSET 1 ROWS FETCH NEXT 1 ROW ONLY",
            "2",
        ),
        (
            "SELECT count(*) FROM (SELECT id FROM t FETCH FIRST 3 ROWS ONLY)",
            "3",
        ),
        (
            "SELECT k, sum(id) FROM t WHERE k IS NOT NULL GROUP BY ALL ORDER BY ALL",
            "a 4,b 2",
        ),
        (
            "SELECT k, id * -1 FROM t WHERE k = 'a' ORDER BY ALL DESC",
            "a -1,a -3",
        ),
        ("SELECT 2 AS x UNION ALL SELECT 1 ORDER BY ALL", "1,2"),
        (
            "FROM t",
            &format!(
                "{}{}",
                "1 a 1.5 {\"s\": \"x\", \"n\": 1, \"l\": [{\"v\": 2.5}, true], \"a b\": null},2 b 2.5 {\"s\": \"it's\", \"n\": 9007199254740993},",
                "3 a 3.5 no json,4 [1, 2]"
            ),
        ),
        ("SELECT count(*) FROM (FROM t) WHERE v > 2", "2"),
        (
            "SELECT max_by(k, v), min_by(K, v), max_by(id, k), arg_max(k, id), max_by(k, id) FROM t",
            "a a 2 a",
        ),
        (
            "SELECT k, max_by(id, v) FILTER (WHERE v < 3) FROM t WHERE k = 'a' GROUP BY k",
            "a 1",
        ),
        ("SELECT max_by(id, v) FROM t WHERE false", ""),
        (
            "SELECT 'a_b' LIKE 'a!_b' ESCAPE '!' AND 'axb' NOT LIKE 'a!_b' ESCAPE '!'",
            "true",
        ),
        (
            "SELECT 'a!x' LIKE 'a!!%' ESCAPE '!' AND 'A%' ILIKE 'a^%' ESCAPE '^'",
            "true",
        ),
        (
            r"SELECT 'a\b' LIKE 'a\b' ESCAPE '!' AND 'a\b' LIKE 'a\_' ESCAPE ''",
            "true",
        ),
        (
            r"SELECT 'a%b' LIKE 'a\%b' ESCAPE '\' AND 'a%' LIKE 'a''%' ESCAPE ''''",
            "true",
        ),
        (
            "SELECT k, count(*) FROM t WHERE id < 3 GROUP BY ROLLUP (1) ORDER BY 1 NULLS LAST",
            "a 1,b 1,2",
        ),
        (
            "SELECT k, count(*) FROM t WHERE id < 3 GROUP BY ROLLUP (k, 1) ORDER BY 1 NULLS LAST, 2",
            "a 1,a 1,b 1,b 1,2",
        ),
        (
            "SELECT k, count(*) FROM t WHERE id < 3 GROUP BY ROLLUP (k, K) ORDER BY 1 NULLS LAST, 2",
            "a 1,a 1,b 1,b 1,2",
        ),
        (
            "SELECT T.K, count(*) FROM t WHERE id < 3 GROUP BY ROLLUP (t.k, K) ORDER BY 1 NULLS LAST, 2",
            "a 1,a 1,b 1,b 1,2",
        ),
        (
            "SELECT count(*) FROM t a JOIN t b ON a.id = b.id WHERE a.id < 3 GROUP BY CUBE (a.k, b.k) ORDER BY 1",
            "1,1,1,1,1,1,2",
        ),
        (
            "SELECT time_bucket('1 hour', NULL, '2020-01-01') IS NULL",
            "true",
        ),
        ("SELECT time_bucket('1 hour', now(), NULL) IS NULL", "true"),
        (
            "SELECT k, count(*) FROM t WHERE id < 3 GROUP BY GROUPING SETS ((k, k), ()) ORDER BY 1 NULLS LAST",
            "a 1,b 1,2",
        ),
        (
            "SELECT coalesce(NULL | NULL, NULL & NULL, NULL ^ NULL, 7)",
            "7",
        ),
        ("SELECT 1 FROM t HAVING (3|1) > 1", "1"),
        ("SELECT 1 FROM t WHERE false HAVING true", "1"),
        ("SELECT 1 FROM t HAVING 1 > 3", ""),
        ("SELECT 1 FROM t HAVING count(*) > 3 OR false", "1"),
        ("SELECT 1 FROM t HAVING min(id) > 3 OR false", ""),
        (
            "SELECT DISTINCT ON (k) id FROM t ORDER BY k NULLS LAST, k NULLS FIRST, id DESC LIMIT 1",
            "3",
        ),
        (r#"SELECT '{"a": "x"}' ->> 'a' = 'x'"#, "true"),
        (
            "SELECT max_by(v, v), min_by(id, id) FILTER (WHERE id > 1) FROM t",
            "3.5 2",
        ),
        (
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY v), percentile_disc(0) WITHIN GROUP (ORDER BY v), percentile_disc(1.0) WITHIN GROUP (ORDER BY v) FROM t",
            "2.5 1.5 3.5",
        ),
        (
            "SELECT percentile_disc(0.34) WITHIN GROUP (ORDER BY v DESC) FROM t",
            "2.5",
        ),
        (
            "SELECT k, percentile_disc(0.9) WITHIN GROUP (ORDER BY id) FILTER (WHERE id < 3) FROM t GROUP BY k ORDER BY k",
            "a 1,b 2,",
        ),
        (
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY k) FROM t",
            "a",
        ),
        (
            "SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY v) FROM t WHERE false",
            "",
        ),
        (
            "SELECT t.id, x.d FROM t, LATERAL (SELECT t.v * 2 AS d) x WHERE x.d > 4 ORDER BY 1",
            "2 5.0,3 7.0",
        ),
        (
            "SELECT id, d, e FROM t CROSS JOIN LATERAL (SELECT v + 1 AS d) a CROSS JOIN LATERAL (SELECT a.d * 10 AS e) b WHERE id = 1",
            "1 2.5 25.0",
        ),
        (
            "SELECT id, d FROM t LEFT JOIN LATERAL (SELECT K || '!' AS d) a ON true WHERE id > 2 ORDER BY id",
            "3 a!,4",
        ),
        (
            "SELECT t.id, x.n FROM t, LATERAL (SELECT count(*) AS n FROM t u WHERE u.k = t.k) x ORDER BY 1",
            "1 2,2 1,3 2,4 0",
        ),
        (
            "SELECT t.id, x.w FROM t LEFT JOIN LATERAL (SELECT u.v AS w FROM t u WHERE u.id < t.id ORDER BY u.id LIMIT 1) x ON true ORDER BY 1",
            "1,2 1.5,3 1.5,4 1.5",
        ),
        ("SELECT j ->> 's' FROM t WHERE id = 2", "it's"),
        (
            "SELECT j -> 's', j -> 'l' -> 0 ->> 'v', j ->> 'n', j -> 'nothing', j ->> 'a b' FROM t WHERE id = 1",
            "\"x\" 2.5 1",
        ),
        (
            "SELECT id FROM t WHERE (j ->> 's') = 'x' AND (j ->> 'n')::BIGINT = 1",
            "1",
        ),
        (
            "SELECT json_get_int(j, 'n'), json_get_str(j, 's'), json_get_float(j, 'l', 0, 'v'), json_get_bool(j, 'l', 1) FROM t WHERE id = 1",
            "1 x 2.5 true",
        ),
        (
            "SELECT json_get_int(j, 'n') FROM t WHERE id = 2",
            "9007199254740993",
        ),
        (
            "SELECT json_extract(j, '$.l[0]'), json_extract_string(j, '$.l[0].v'), get_json_object(j, '$.s') FROM t WHERE id = 1",
            "{\"v\": 2.5} 2.5 x",
        ),
        (
            "SELECT id, json_length(j) FROM t WHERE id > 2 ORDER BY id",
            "3,4 2",
        ),
        ("SELECT count(j ->> 's') FROM t", "2"),
    ] {
        let found = shown(&engine, sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(found, expected, "{sql}");
    }
}

#[tokio::test]
async fn what_is_not_known_is_refused_with_the_way_out() {
    let engine = engine().await;
    for (sql, word) in [
        (
            "SELECT id FROM t ORDER BY id FETCH FIRST 2 ROWS WITH TIES",
            "rank()",
        ),
        (
            "SELECT id FROM t FETCH FIRST 10 PERCENT ROWS ONLY",
            "percent_rank()",
        ),
        ("SELECT id FROM t LIMIT 2 FETCH FIRST 2 ROWS ONLY", "FETCH"),
        ("SELECT * FROM t ORDER BY ALL", "name the results"),
        ("SELECT max_by(id) FROM t", "max_by(value, by)"),
        ("SELECT max_by(id, v) OVER () FROM t", "no window function"),
        (
            "SELECT percentile_disc(1.5) WITHIN GROUP (ORDER BY v) FROM t",
            "0 to 1",
        ),
        (
            "SELECT percentile_disc(v) WITHIN GROUP (ORDER BY v) FROM t",
            "0 to 1",
        ),
        ("SELECT percentile_disc(0.5) FROM t", "WITHIN GROUP"),
        ("SELECT json_extract(j, '$..a') FROM t", "wildcards"),
        ("SELECT json_extract(j, k) FROM t", "json_extract(json"),
    ] {
        let fault = shown(&engine, sql).await.expect_err(sql);
        assert!(fault.message.contains(word), "{sql}: {fault}");
        assert_ne!(fault.kind, Kind::Internal, "{sql}");
    }
}
