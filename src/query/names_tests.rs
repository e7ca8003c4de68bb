//! Names that differ by case alone, in each place of a query that a name can stand in.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::tests::engine_over;
use super::*;
use crate::query::QueryContext;

/// Two tables whose columns differ by case, one in the default schema, and one with another spelling of the key.
async fn engine() -> Engine {
    let ids = |name: &'static str| {
        let ids = Arc::new(Int64Array::from(vec![1, 2])) as arrow::array::ArrayRef;
        (name, ids)
    };
    let values = |name: &'static str, values: [f64; 2]| {
        let values = Arc::new(Float64Array::from(Vec::from(values))) as arrow::array::ArrayRef;
        (name, values)
    };
    let table = |columns: Vec<_>| RecordBatch::try_from_iter(columns).unwrap();
    let tables = vec![
        ("lab.c1", table(vec![ids("id"), values("Temp", [1.5, 7.5])])),
        ("lab.c2", table(vec![ids("id"), values("temp", [2.5, 8.5])])),
        (
            "lab.up",
            table(vec![ids("ID"), values("Load", [10.0, 20.0])]),
        ),
        (
            "public.cpu",
            table(vec![ids("id"), values("Usage", [0.5, 0.75])]),
        ),
    ];
    engine_over(tables).await
}

/// The columns' names, then the rows.
async fn answer(engine: &Engine, sql: &str) -> String {
    let result = match engine.query(&QueryContext::new("tests"), sql, None).await {
        Ok(result) => result,
        Err(fault) => return format!("{sql}: {fault}"),
    };
    let names: Vec<String> = result
        .wire
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    let mut out = names.join(",");
    let batches = match result.collect().await {
        Ok(batches) => batches,
        Err(fault) => return format!("{sql}: {fault}"),
    };
    let options = FormatOptions::default();
    for batch in batches {
        let columns = batch.columns().iter();
        let columns: Vec<_> = columns
            .map(|c| ArrayFormatter::try_new(c, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let row: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            out.push_str(&format!(" {}", row.join(",")));
        }
    }
    out
}

async fn check(cases: &[(&str, &str)]) {
    let engine = engine().await;
    let mut wrong = Vec::new();
    for (sql, expected) in cases {
        let found = answer(&engine, sql).await;
        if found != *expected {
            wrong.push(format!("{sql}\n  found    {found}\n  expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_name_means_the_innermost_column_that_it_can() {
    check(&[
        // Of a subquery's own table, before one around it that is spelled exactly so.
        (
            "SELECT temp FROM lab.c2 WHERE EXISTS (SELECT 1 FROM lab.c1 WHERE temp > 2 AND temp < 5)",
            "temp",
        ),
        (
            "SELECT id FROM lab.c2 WHERE id IN (SELECT id FROM lab.c1 WHERE temp > 7) ORDER BY id",
            "id 2",
        ),
        (
            "SELECT id FROM lab.c2 WHERE id IN (SELECT id FROM lab.c1 WHERE temp > 8)",
            "id",
        ),
        (
            "SELECT id, (SELECT max(temp) FROM lab.c1) AS m FROM lab.c2 ORDER BY id",
            "id,m 1,7.5 2,7.5",
        ),
        (
            "SELECT id FROM lab.c2 WHERE temp > (SELECT avg(TEMP) FROM lab.c1) ORDER BY id",
            "id 2",
        ),
        // What is not there is looked for further out.
        (
            "SELECT id FROM lab.c1 a WHERE EXISTS (SELECT 1 FROM lab.up WHERE id = a.ID AND temp > 5)",
            "id 2",
        ),
        (
            "SELECT id FROM lab.c2 o WHERE EXISTS (SELECT 1 FROM lab.c1 WHERE temp < O.TEMP AND id = O.ID) ORDER BY 1",
            "id 1 2",
        ),
        // A relation around the query may be called like a column within it: by WITH, by an alias, by its own name.
        (
            "WITH id AS (SELECT 2 AS n) SELECT n FROM id WHERE EXISTS (SELECT 1 FROM lab.c1 WHERE c1.ID = ID.n AND id > 1)",
            "n 2",
        ),
        (
            "SELECT Load.Usage FROM cpu Load WHERE EXISTS (SELECT 1 FROM lab.up WHERE up.id = load.id AND up.load > 10)",
            "Usage 0.75",
        ),
        (
            "SELECT n FROM (SELECT 2 AS n) id WHERE EXISTS (SELECT 1 FROM lab.c1 WHERE c1.id = id.n)",
            "n 2",
        ),
        // A field of a column within counts before it.
        (
            "SELECT (SELECT id.n FROM (SELECT {'n': 3} AS id) q) AS n FROM (SELECT 2 AS n) id",
            "n 3",
        ),
        // Each side of a UNION has names of its own.
        (
            "SELECT temp FROM lab.c1 UNION ALL SELECT temp FROM lab.c2 ORDER BY temp",
            "Temp 1.5 2.5 7.5 8.5",
        ),
        // A qualified name is of that table.
        (
            "SELECT a.temp, b.TEMP FROM lab.c1 a JOIN lab.c2 b ON A.id = B.ID ORDER BY a.Temp",
            "Temp,temp 1.5,2.5 7.5,8.5",
        ),
        (
            "SELECT c1.temp FROM lab.c1 JOIN lab.c2 ON c1.id = c2.id ORDER BY 1",
            "Temp 1.5 7.5",
        ),
        (
            "SELECT LAB.C1.TEMP FROM lab.c1 ORDER BY 1",
            "Temp 1.5 7.5",
        ),
        // What a subquery in FROM, and a WITH, give.
        (
            "SELECT TEMP FROM (SELECT temp FROM lab.c1) x ORDER BY temp",
            "Temp 1.5 7.5",
        ),
        (
            "SELECT x.m FROM (SELECT max(Temp) AS M FROM lab.c1) X",
            "M 7.5",
        ),
        (
            "WITH z AS (SELECT * FROM lab.c1), y AS (SELECT Z.temp AS t FROM Z) SELECT T FROM Y ORDER BY t",
            "t 1.5 7.5",
        ),
        (
            "WITH z (K, V) AS (SELECT * FROM lab.c1) SELECT k, v FROM z ORDER BY k",
            "K,V 1,1.5 2,7.5",
        ),
        // A WITH stands before a table, within its query only.
        (
            "SELECT id FROM cpu WHERE id IN (WITH cpu AS (SELECT 2 AS id) SELECT id FROM CPU)",
            "id 2",
        ),
        (
            "WITH RECURSIVE r (N) AS (SELECT 1 UNION ALL SELECT n + 1 FROM R WHERE N < 3) SELECT n FROM r ORDER BY N",
            "N 1 2 3",
        ),
        (
            "SELECT V FROM (VALUES (3), (4)) AS t (v) WHERE T.V > 3",
            "v 4",
        ),
        ("SELECT COLUMN1 FROM (VALUES (3)) AS t", "column1 3"),
    ])
    .await;
}

#[tokio::test]
async fn a_result_may_have_the_name_of_a_column() {
    check(&[
        (
            "SELECT id, avg(temp) AS temp FROM lab.c1 GROUP BY id ORDER BY id",
            "id,temp 1,1.5 2,7.5",
        ),
        (
            "SELECT id, avg(temp) AS temp FROM lab.c1 GROUP BY 1 HAVING avg(temp) > 2 ORDER BY 1",
            "id,temp 2,7.5",
        ),
        (
            "SELECT -Temp AS temp FROM lab.c1 WHERE temp > 0 ORDER BY temp",
            "temp -7.5 -1.5",
        ),
        (
            "SELECT id % 2 AS Odd, count(*) AS n FROM lab.c1 GROUP BY odd ORDER BY ODD",
            "Odd,n 0,1 1,1",
        ),
        ("SELECT id FROM lab.c1 ORDER BY TEMP DESC", "id 2 1"),
        (
            "SELECT sum(temp) OVER (ORDER BY ID) AS temp FROM lab.c1 ORDER BY temp",
            "temp 1.5 9.0",
        ),
    ])
    .await;
}

#[tokio::test]
async fn within_an_aggregate_of_order_by_a_name_means_the_column() {
    check(&[
        (
            "SELECT id, avg(temp) AS temp FROM lab.c1 GROUP BY id ORDER BY avg(temp) DESC, temp",
            "id,temp 2,7.5 1,1.5",
        ),
        (
            "SELECT id, -max(temp) AS temp FROM lab.c1 GROUP BY id ORDER BY max(temp)",
            "id,temp 1,-1.5 2,-7.5",
        ),
        (
            "SELECT id, -max(temp) AS TEMP FROM lab.c1 x GROUP BY id HAVING max(temp) > 0 ORDER BY max(temp) + 1",
            "id,TEMP 1,-1.5 2,-7.5",
        ),
        (
            "SELECT id, -max(temp + 1) AS temp FROM lab.c1 GROUP BY id ORDER BY max(temp * 2)",
            "id,temp 1,-2.5 2,-8.5",
        ),
        (
            "WITH c AS (SELECT * FROM lab.c1) SELECT id, -sum(temp) AS temp FROM c GROUP BY id ORDER BY sum(temp)",
            "id,temp 1,-1.5 2,-7.5",
        ),
        (
            "SELECT DISTINCT max(q.id) AS id FROM (SELECT id FROM lab.c1) q GROUP BY q.id ORDER BY max(id) DESC",
            "id 2 1",
        ),
        (
            "SELECT id, -temp AS temp FROM lab.c1 ORDER BY row_number() OVER (ORDER BY temp)",
            "id,temp 1,-1.5 2,-7.5",
        ),
        (
            "SELECT id, -sum(temp) OVER (ORDER BY id) AS temp FROM lab.c1 ORDER BY sum(temp) OVER (ORDER BY id)",
            "id,temp 1,-1.5 2,-9.0",
        ),
        (
            "SELECT -max(id) AS id FROM lab.c1 FULL JOIN lab.c2 USING (id) GROUP BY c1.temp ORDER BY max(id)",
            "id -1 -2",
        ),
        // Elsewhere it means the result.
        (
            "SELECT id, -max(temp) AS temp FROM lab.c1 GROUP BY id ORDER BY temp",
            "id,temp 2,-7.5 1,-1.5",
        ),
        (
            "SELECT id, -max(temp) AS temp FROM lab.c1 GROUP BY id ORDER BY temp + 1",
            "id,temp 2,-7.5 1,-1.5",
        ),
    ])
    .await;
}

#[tokio::test]
async fn a_name_of_an_inner_with_counts_before_the_same_name_around_it() {
    check(&[
        (
            "WITH x AS (SELECT 1 AS a) SELECT y.a, x.a AS b FROM (WITH X AS (SELECT 2 AS a) SELECT a FROM x) y, x",
            "a,b 2,1",
        ),
        (
            "WITH x AS (SELECT 1 AS a) SELECT y.*, x.a AS b FROM (WITH x AS (SELECT 2 AS c, 3 AS d) SELECT x.*, x.c AS e FROM X) y, x",
            "c,d,e,b 2,3,2,1",
        ),
        (
            "WITH x AS (SELECT 1 AS a), y AS (WITH x (b) AS (SELECT 2) SELECT x.b FROM x) SELECT x.a, y.b FROM x, y",
            "a,b 1,2",
        ),
        // Its own query knows the name around it.
        (
            "WITH x AS (SELECT 1 AS a) SELECT y.a, x.a AS b FROM (WITH x AS (SELECT a + 1 AS a FROM x) SELECT a FROM x) y, x",
            "a,b 2,1",
        ),
        (
            "WITH x AS (SELECT 1 AS a) SELECT * FROM (WITH y AS (SELECT a FROM x), x AS (SELECT 2 AS a) SELECT y.a, x.a AS b FROM y, x) q",
            "a,b 1,2",
        ),
        (
            "WITH CPU AS (SELECT id FROM cpu WHERE id > 1) SELECT cpu.id FROM Cpu",
            "id 2",
        ),
        // But a recursive one means itself.
        (
            "WITH r AS (SELECT 9 AS n) SELECT q.n, r.n AS m FROM (WITH RECURSIVE R (n) AS (SELECT 1 UNION ALL SELECT R.n + 1 FROM r WHERE r.n < 2) SELECT n FROM r) q, r ORDER BY 1",
            "n,m 1,9 2,9",
        ),
        (
            "WITH x AS (SELECT 1 AS a) SELECT a, (WITH x AS (SELECT 2 AS a) SELECT (WITH x AS (SELECT a + 5 AS a FROM x) SELECT a FROM x) FROM x) AS b FROM x",
            "a,b 1,7",
        ),
        (
            "WITH x AS (SELECT 1 AS a) SELECT a FROM x WHERE EXISTS (WITH x AS (SELECT 1 AS b) SELECT 1 FROM x JOIN x AS z USING (b) WHERE x.b = a)",
            "a 1",
        ),
    ])
    .await;
    let engine = engine().await;
    let twice = "WITH x AS (SELECT 1 AS a) SELECT * FROM (WITH x AS (SELECT 2 AS a), x AS (SELECT 3 AS a) SELECT a FROM x) y";
    let found = answer(&engine, twice).await;
    assert!(found.contains("\"x\" specified more than once"), "{found}");
}

#[tokio::test]
async fn stars_and_windows_take_names_without_regard_to_case() {
    check(&[
        (
            "SELECT cpu.*, row_number() OVER (ORDER BY id) AS r FROM cpu ORDER BY id",
            "id,Usage,r 1,0.5,1 2,0.75,2",
        ),
        (
            "SELECT CPU.*, row_number() OVER (ORDER BY id) AS r FROM Cpu ORDER BY id",
            "id,Usage,r 1,0.5,1 2,0.75,2",
        ),
        (
            "SELECT c1.*, row_number() OVER (ORDER BY id) AS r FROM lab.c1 ORDER BY id",
            "id,Temp,r 1,1.5,1 2,7.5,2",
        ),
        (
            "SELECT lab.C1.*, row_number() OVER (ORDER BY id) AS r FROM lab.c1 ORDER BY id",
            "id,Temp,r 1,1.5,1 2,7.5,2",
        ),
        (
            "SELECT X.*, row_number() OVER (ORDER BY id) AS r FROM cpu x ORDER BY id",
            "id,Usage,r 1,0.5,1 2,0.75,2",
        ),
        (
            "SELECT cpu.*, c1.temp FROM cpu JOIN lab.c1 ON cpu.id = c1.id ORDER BY 1",
            "id,Usage,Temp 1,0.5,1.5 2,0.75,7.5",
        ),
        ("SELECT cpu.* FROM cpu ORDER BY id", "id,Usage 1,0.5 2,0.75"),
        (
            "SELECT id, row_number() OVER Win AS r FROM lab.c1 WINDOW win AS (ORDER BY id) ORDER BY 1",
            "id,r 1,1 2,2",
        ),
        (
            "SELECT id, sum(TEMP) OVER WIN AS s FROM lab.c1 WINDOW Win AS (PARTITION BY ID) ORDER BY 1",
            "id,s 1,1.5 2,7.5",
        ),
        ("SELECT * EXCLUDE (TEMP) FROM lab.c1 ORDER BY id", "id 1 2"),
        ("SELECT * EXCLUDE Temp FROM lab.c2 ORDER BY id", "id 1 2"),
        ("SELECT * EXCEPT (temp) FROM lab.c1 ORDER BY id", "id 1 2"),
        (
            "SELECT c1.* EXCLUDE (ID) FROM lab.c1 ORDER BY id",
            "Temp 1.5 7.5",
        ),
        (
            "SELECT * REPLACE (round(temp) AS temp) FROM lab.c1 ORDER BY id",
            "id,Temp 1,2.0 2,8.0",
        ),
        (
            "SELECT * REPLACE (round(TEMP) AS TEMP) FROM lab.c2 ORDER BY id",
            "id,temp 1,3.0 2,9.0",
        ),
    ])
    .await;
}

#[tokio::test]
async fn using_joins_columns_whatever_their_case() {
    check(&[
        (
            "SELECT temp, usage FROM lab.c1 JOIN cpu USING (ID) ORDER BY id",
            "Temp,Usage 1.5,0.5 7.5,0.75",
        ),
        (
            "SELECT id, load FROM lab.c1 JOIN lab.up USING (id) ORDER BY id",
            "id,Load 1,10.0 2,20.0",
        ),
        (
            "SELECT * FROM lab.c1 a JOIN lab.up b USING (ID) ORDER BY 1",
            "id,Temp,Load 1,1.5,10.0 2,7.5,20.0",
        ),
        (
            "SELECT U.Load, c.temp FROM lab.c1 c LEFT JOIN lab.up u USING (id) ORDER BY 1",
            "Load,Temp 10.0,1.5 20.0,7.5",
        ),
        (
            "WITH a AS (SELECT * FROM lab.c1), b AS (SELECT ID, Load FROM lab.up) SELECT * FROM a JOIN b USING (id) ORDER BY 1",
            "id,Temp,Load 1,1.5,10.0 2,7.5,20.0",
        ),
        (
            "SELECT b.load FROM lab.c1 a JOIN (SELECT * FROM lab.up) b USING (id) WHERE b.load > 15",
            "Load 20.0",
        ),
        (
            "SELECT load, usage FROM lab.up JOIN lab.c1 USING (id) JOIN cpu USING (id) ORDER BY 1",
            "Load,Usage 10.0,0.5 20.0,0.75",
        ),
    ])
    .await;
}

#[tokio::test]
async fn two_spellings_in_one_place_are_an_error() {
    let engine = engine().await;
    for sql in [
        "SELECT TEMP FROM lab.c1 JOIN lab.c2 ON c1.id = c2.id",
        "SELECT * FROM (SELECT 1 AS a, 2 AS A) x WHERE x.\"a\" = (SELECT TEMP FROM lab.c1, lab.c2 LIMIT 1)",
    ] {
        let fault = engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .err()
            .unwrap();
        assert_eq!(fault.reason, "ambiguous_name", "{sql}: {fault}");
    }
    // The exact spelling says which.
    let sql = "SELECT temp FROM lab.c1 JOIN lab.c2 ON c1.id = c2.id ORDER BY 1";
    assert_eq!(answer(&engine, sql).await, "temp 2.5 8.5");
}

/// What is read is told from the text of a query that is kept: a name of WITH hides a table only where it is given.
#[tokio::test]
async fn the_tables_of_a_query_are_those_that_no_name_of_with_hides() {
    let engine = engine().await;
    let snapshot = engine.snapshot();
    for (sql, expected) in [
        (
            "WITH cpu AS (SELECT id FROM lab.c1) SELECT id FROM cpu",
            "lab.c1",
        ),
        (
            "WITH cpu AS (SELECT id FROM cpu) SELECT id FROM cpu",
            "public.cpu",
        ),
        (
            "WITH a AS (SELECT id FROM cpu), cpu AS (SELECT 1 AS id) SELECT id FROM a, cpu",
            "public.cpu",
        ),
        (
            "WITH cpu AS (SELECT 1 AS id), b AS (SELECT id FROM cpu) SELECT id FROM b",
            "",
        ),
        (
            "SELECT id FROM (WITH cpu AS (SELECT 1 AS id) SELECT id FROM cpu) q UNION SELECT id FROM cpu",
            "public.cpu",
        ),
        (
            "SELECT (WITH cpu AS (SELECT 1 AS id) SELECT max(id) FROM cpu), Usage FROM CPU",
            "public.cpu",
        ),
        (
            "WITH cpu AS (SELECT 1 AS id) SELECT id FROM (SELECT id FROM cpu) q",
            "",
        ),
        ("SELECT id FROM latest($$public.cpu$$)", "public.cpu"),
        (
            "SELECT id FROM lab.up, LATERAL latest('lab.c1')",
            "lab.c1 lab.up",
        ),
        ("SELECT value FROM range(1, 2 + 3)", ""),
    ] {
        let found = named_in(sql, &snapshot).unwrap_or_else(|e| panic!("{sql}: {e}"));
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.join(" "), expected, "{sql}");
    }
    let computed = named_in("SELECT id FROM latest('public' || '.cpu')", &snapshot);
    assert_eq!(computed.unwrap_err().reason, "table_not_told");
}
