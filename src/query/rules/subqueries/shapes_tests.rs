//! Subqueries of all shapes: derived tables, sets of one row, ANY and ALL over aggregates, VALUES.

use super::tests::engine;
use crate::query::tests::holds;

#[tokio::test]
async fn a_derived_table_that_reads_the_rows_around_stands_beside_joins() {
    let cases = [
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM (SELECT v FROM lab.s WHERE s.id = l.id) q JOIN lab.r ON r.v >= q.v) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM (SELECT * FROM lab.s WHERE s.id = l.id) q JOIN lab.r ON r.id = q.id) ORDER BY 1",
            "1;2;3",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM (SELECT v FROM lab.s WHERE s.id = l.id) q JOIN (SELECT v FROM lab.s WHERE s.k = l.k) p ON p.v >= q.v) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT 1 FROM lab.r LEFT JOIN (SELECT id FROM lab.s WHERE s.id = l.id) q ON r.id = q.id WHERE q.id IS NULL AND r.id = 3) ORDER BY 1",
            "1;2;4",
        ),
        (
            "SELECT id, (SELECT count(*) FROM (SELECT k FROM lab.s WHERE s.id <= l.id) q JOIN lab.r ON r.k = q.k) FROM lab.l ORDER BY 1",
            "1,1;2,2;3,3;4,3",
        ),
        (
            "SELECT id FROM lab.l WHERE v IN (SELECT r.v FROM (SELECT id FROM lab.s WHERE s.id = l.id) q JOIN lab.r ON r.id = q.id) ORDER BY 1",
            "1",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_set_of_one_row_is_one_below_distinct_and_orders_too() {
    let cases = [
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT DISTINCT count(*) FROM lab.s WHERE s.id = l.id + 9) ORDER BY 1",
            "1;2;3;4",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT count(*) FROM lab.s WHERE s.id = l.id + 9 ORDER BY 1) ORDER BY 1",
            "1;2;3;4",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT DISTINCT count(*) FROM lab.s WHERE s.id = l.id + 9 ORDER BY 1 LIMIT 3) ORDER BY 1",
            "1;2;3;4",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT count(*) FROM lab.s WHERE s.id = l.id LIMIT 0) ORDER BY 1",
            "",
        ),
        (
            "SELECT id FROM lab.l WHERE EXISTS (SELECT count(*) FROM lab.s WHERE s.id = l.id OFFSET 1) ORDER BY 1",
            "",
        ),
        (
            "SELECT id FROM lab.l WHERE 0 IN (SELECT DISTINCT count(*) FROM lab.s WHERE s.id = l.id + 1) ORDER BY 1",
            "3;4",
        ),
        (
            "SELECT id FROM lab.l WHERE 0 NOT IN (SELECT DISTINCT count(*) FROM lab.s WHERE s.id = l.id + 1 ORDER BY 1) ORDER BY 1",
            "1;2",
        ),
        (
            "SELECT id, EXISTS (SELECT DISTINCT count(*) FROM lab.s WHERE s.id = l.id HAVING count(*) > 0) FROM lab.l ORDER BY 1",
            "1,true;2,true;3,true;4,false",
        ),
        (
            "SELECT id, 1 IN (SELECT count(*) FROM lab.s WHERE s.id = l.id ORDER BY 1 LIMIT 1) FROM lab.l ORDER BY 1",
            "1,true;2,true;3,true;4,false",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_set_is_compared_beside_an_aggregate_of_the_same_name() {
    let cases = [
        (
            "SELECT k, count(*) FROM lab.l GROUP BY k HAVING count(*) > ALL (SELECT id FROM lab.s WHERE id < 2) ORDER BY 1",
            "b,2",
        ),
        (
            "SELECT k, count(*), count(*) > ANY (SELECT id FROM lab.s) FROM lab.l GROUP BY k ORDER BY 1",
            "a,1,false;b,2,true;,1,false",
        ),
        (
            "SELECT k, count(*), max(v) >= ALL (SELECT v FROM lab.s WHERE v IS NOT NULL) FROM lab.l GROUP BY k ORDER BY 1",
            "a,1,false;b,2,true;,1,true",
        ),
        (
            "SELECT k, min(v), max(v), min(v) < ANY (SELECT v FROM lab.s) FROM lab.l GROUP BY k ORDER BY 1",
            "a,1.0,1.0,true;b,2.0,2.0,;,9.0,9.0,",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_set_may_stand_in_the_condition_of_a_lateral_join() {
    let cases = [
        (
            "SELECT l.id, q.v FROM lab.l JOIN LATERAL (SELECT v, k FROM lab.r WHERE r.id = l.id) q ON q.k IN (SELECT k FROM lab.s) ORDER BY 1",
            "1,1.0;2,",
        ),
        (
            "SELECT l.id, q.v FROM lab.l JOIN LATERAL (SELECT v, k FROM lab.r WHERE r.id = l.id) q ON q.v NOT IN (SELECT v FROM lab.s WHERE v > 1) ORDER BY 1",
            "1,1.0;3,3.0",
        ),
        (
            "SELECT l.id, q.v FROM lab.l LEFT JOIN LATERAL (SELECT v, k FROM lab.r WHERE r.id = l.id) q ON q.v NOT IN (SELECT v FROM lab.s WHERE v > 1) ORDER BY 1",
            "1,1.0;2,;3,3.0;4,",
        ),
        (
            "SELECT l.id, q.id FROM lab.l LEFT JOIN LATERAL (SELECT id, k FROM lab.r WHERE r.id = l.id) q ON l.k IN (SELECT k FROM lab.s WHERE id > 1) ORDER BY 1",
            "1,;2,2;3,3;4,",
        ),
        (
            "SELECT l.id, q.id FROM lab.l LEFT JOIN LATERAL (SELECT id, k, v FROM lab.r WHERE r.id <= l.id) q ON q.k = l.k OR q.v IN (SELECT v + 1 FROM lab.s) ORDER BY 1, 2",
            "1,1;2,2;3,2;3,3;4,3",
        ),
        (
            "SELECT l.id, q.id FROM lab.l JOIN LATERAL (SELECT id, k FROM lab.r WHERE r.id = l.id) q ON EXISTS (SELECT 1 FROM lab.s WHERE s.k = q.k AND s.id = l.id) ORDER BY 1",
            "1,1",
        ),
        (
            "SELECT l.id, q.c FROM lab.l LEFT JOIN LATERAL (SELECT count(*) AS c FROM lab.r WHERE r.id = l.id) q ON q.c IN (SELECT id FROM lab.s) ORDER BY 1",
            "1,1;2,1;3,1;4,",
        ),
        (
            "SELECT l.id, q.id FROM lab.l JOIN LATERAL (SELECT id, v FROM lab.r WHERE r.id >= l.id ORDER BY id DESC LIMIT 1) q ON q.v >= ALL (SELECT v FROM lab.s WHERE v IS NOT NULL) ORDER BY 1",
            "1,5;2,5;3,5;4,5",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn any_and_all_compare_with_an_aggregate_of_the_rows_around() {
    let cases = [
        (
            "SELECT id, 1 > ALL (SELECT count(*) FROM lab.s WHERE s.id = l.id) FROM lab.l ORDER BY 1",
            "1,false;2,false;3,false;4,true",
        ),
        (
            "SELECT id FROM lab.l WHERE 1 > ANY (SELECT count(*) FROM lab.s WHERE s.id = l.id) ORDER BY 1",
            "4",
        ),
        (
            "SELECT id, v <> ALL (SELECT max(v) FROM lab.s WHERE s.id = l.id) FROM lab.l ORDER BY 1",
            "1,false;2,;3,;4,",
        ),
        (
            "SELECT id, v <= ANY (SELECT max(v) FROM lab.s WHERE s.id <= l.id HAVING count(*) > 1) FROM lab.l ORDER BY 1",
            "1,false;2,false;3,;4,false",
        ),
        (
            "SELECT id, v <= ALL (SELECT max(v) FROM lab.s WHERE s.id <= l.id HAVING count(*) > 1) FROM lab.l ORDER BY 1",
            "1,true;2,false;3,;4,false",
        ),
        (
            "SELECT id, v < ALL (SELECT max(v) FROM lab.s WHERE s.id <= l.id GROUP BY k) FROM lab.l ORDER BY 1",
            "1,false;2,false;3,;4,false",
        ),
        (
            "SELECT id, v <= ALL (SELECT v FROM lab.s WHERE s.id <= l.id ORDER BY id LIMIT 1) FROM lab.l ORDER BY 1",
            "1,true;2,false;3,;4,false",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn values_may_ask_subqueries() {
    let cases = [
        ("VALUES ((SELECT max(v) FROM lab.s))", "2.0"),
        (
            "VALUES (1, 'a'), (2, (SELECT max(k) FROM lab.s)), (3, 'b')",
            "1,a;2,c;3,b",
        ),
        (
            "SELECT a + b FROM (VALUES ((SELECT count(*) FROM lab.s), 1)) t(a, b)",
            "4",
        ),
        (
            "SELECT id FROM lab.l WHERE id IN (VALUES ((SELECT min(id) FROM lab.s)), (3)) ORDER BY 1",
            "1;3",
        ),
        (
            "VALUES (EXISTS (SELECT 1 FROM lab.s)), (7 IN (SELECT id FROM lab.s))",
            "true;false",
        ),
        (
            "SELECT l.id, q.x FROM lab.l, LATERAL (VALUES (l.v), (3)) q(x) WHERE l.id < 3 ORDER BY 1, 2",
            "1,1.0;1,3.0;2,2.0;2,3.0",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn a_condition_may_be_about_the_rows_around_alone() {
    let cases = [
        (
            "SELECT id, (SELECT count(*) FROM lab.s WHERE l.v > 1) FROM lab.l ORDER BY 1",
            "1,0;2,3;3,0;4,3",
        ),
        (
            "SELECT id, (SELECT max(v) FROM lab.s WHERE l.v > 1 AND s.id = l.id) FROM lab.l ORDER BY 1",
            "1,;2,;3,;4,",
        ),
        (
            "SELECT id, 2 IN (SELECT v FROM lab.s WHERE l.v < 2) FROM lab.l ORDER BY 1",
            "1,true;2,false;3,false;4,false",
        ),
        (
            "SELECT id, EXISTS (SELECT 1 FROM lab.s WHERE l.v < 2) FROM lab.l ORDER BY 1",
            "1,true;2,false;3,false;4,false",
        ),
        (
            "SELECT id FROM lab.l WHERE v >= ALL (SELECT v FROM lab.s WHERE l.v < 2) ORDER BY 1",
            "2;3;4",
        ),
    ];
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn the_left_side_of_not_in_may_lose_its_columns() {
    let mut cases = Vec::new();
    for left in [
        "coalesce('z', k)",
        "coalesce('z', k) || 'y'",
        "CASE WHEN true THEN 'z' ELSE k END",
        "CASE WHEN false THEN k ELSE 'z' END",
        "ifnull('z', k)",
    ] {
        for asked in [
            format!("{left} NOT IN (SELECT k FROM lab.r)"),
            format!("NOT ({left} IN (SELECT k FROM lab.r))"),
            format!("{left} <> ALL (SELECT k FROM lab.r)"),
            format!("NOT {left} = ANY (SELECT k FROM lab.r)"),
            format!("id > 0 AND {left} NOT IN (SELECT k FROM lab.r)"),
            format!("id > 9 OR {left} NOT IN (SELECT k FROM lab.r)"),
            format!("EXISTS (SELECT 1 FROM lab.s WHERE {left} NOT IN (SELECT k FROM lab.r))"),
            format!("id IN (SELECT id FROM lab.s WHERE {left} NOT IN (SELECT k FROM lab.r))"),
        ] {
            cases.push((format!("SELECT count(*) FROM lab.l WHERE {asked}"), "0"));
        }
        let known = format!("{left} NOT IN (SELECT k FROM lab.r WHERE k IS NOT NULL)");
        cases.push((format!("SELECT count(*) FROM lab.l WHERE {known}"), "4"));
        let grouped = format!("HAVING {left} NOT IN (SELECT k FROM lab.r)");
        cases.push((format!("SELECT k FROM lab.l GROUP BY k {grouped}"), ""));
    }
    for (sql, expected) in [
        // It may be null where no column is.
        (
            "SELECT id FROM lab.l WHERE nullif(id, 1) NOT IN (SELECT id FROM lab.r)",
            "4",
        ),
        (
            "SELECT count(*) FROM lab.l WHERE (v > 0 AND false) NOT IN (SELECT nullif(true, v > 0) FROM lab.r)",
            "0",
        ),
        (
            "SELECT count(*) FROM lab.l WHERE id * 0 NOT IN (SELECT v FROM lab.r)",
            "0",
        ),
    ] {
        cases.push((sql.to_owned(), expected));
    }
    let cases: Vec<(&str, &str)> = cases.iter().map(|(sql, e)| (sql.as_str(), *e)).collect();
    holds(&engine().await, &cases).await;
}

#[tokio::test]
async fn what_is_compared_may_be_a_cast_of_a_column() {
    let cases = [
        (
            "SELECT id FROM lab.l WHERE CAST(id::STRING AS DOUBLE) IN (SELECT v FROM lab.r) ORDER BY 1",
            "1;2;3",
        ),
        (
            "SELECT id FROM lab.l WHERE CAST(id::STRING AS DOUBLE) NOT IN (SELECT v FROM lab.r WHERE v > 0)",
            "4",
        ),
        (
            "SELECT id FROM lab.l WHERE TRY_CAST(id::STRING AS REAL) = ANY (SELECT v FROM lab.r WHERE r.id = l.id) ORDER BY 1",
            "1;3",
        ),
        (
            "SELECT l.id, r.id FROM lab.l JOIN lab.r ON CAST(l.id::STRING AS DOUBLE) = r.v ORDER BY 1",
            "1,1;2,5;3,3",
        ),
        (
            "SELECT l.id FROM lab.l LEFT JOIN lab.r ON TRY_CAST(l.id::STRING AS DOUBLE) = TRY_CAST(r.v::STRING AS DOUBLE) AND TRY_CAST(l.id::STRING AS REAL) = r.id WHERE r.id IS NOT NULL ORDER BY 1",
            "1;3",
        ),
    ];
    holds(&engine().await, &cases).await;
}
