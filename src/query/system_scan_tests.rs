#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::context::QueryContext;
use super::tests::{Made, answer, answer_to, engine_counting};

/// How often rows have been made since the last question: of `system.tables`, and of the table beside it.
fn made(made: &Made) -> (usize, usize) {
    (
        made.tables.swap(0, Ordering::Relaxed),
        made.others.swap(0, Ordering::Relaxed),
    )
}

#[tokio::test]
async fn the_rows_of_a_system_table_are_made_when_a_plan_that_names_it_runs() {
    let count = Arc::new(Made::default());
    let engine = engine_counting(Vec::new(), count.clone()).await;
    assert_eq!(made(&count), (0, 0), "the engine's start");

    // Lists of tables and columns know the columns without the rows.
    for sql in [
        "SELECT 1",
        "SELECT count(*) FROM information_schema.tables",
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'system'",
        "EXPLAIN SELECT * FROM system.others",
    ] {
        answer(&engine, sql).await.unwrap();
        assert_eq!(made(&count), (0, 0), "{sql}");
    }
    let listed = "SELECT string_agg(column_name, ' ') FROM information_schema.columns WHERE table_name = 'others'";
    assert_eq!(answer(&engine, listed).await.unwrap(), "name rank");

    // What PREPARE and GetFlightInfo ask for.
    let sql = "SELECT name FROM system.others ORDER BY 1 DESC";
    let asked = QueryContext {
        query: Some("told".into()),
        ..QueryContext::new("tests")
    };
    engine.plan(&asked, sql).await.unwrap();
    let columns = engine.columns(&asked, sql, None, false);
    columns.await.unwrap();
    let told = engine.columns(&asked, sql, None, true);
    told.await.unwrap();
    assert_eq!(made(&count), (0, 0), "before it runs");
    let rows = answer_to(&asked, &engine, sql).await;
    assert_eq!(rows.as_deref(), Ok("c;b;a"));
    assert_eq!(
        made(&count),
        (0, 1),
        "once a scan, and only the one that is named"
    );
    let twice = "SELECT count(*) FROM system.others a JOIN system.others b ON a.rank = b.rank";
    assert_eq!(answer(&engine, twice).await.unwrap(), "3");
    assert_eq!(made(&count), (0, 2));
}

#[tokio::test]
async fn a_system_table_gives_the_columns_and_the_rows_that_are_asked_for() {
    let engine = engine_counting(Vec::new(), Arc::default()).await;
    for (sql, rows) in [
        ("SELECT * FROM system.others", "a,1;b,2;c,3"),
        ("SELECT rank, name FROM system.others", "1,a;2,b;3,c"),
        ("SELECT count(*) FROM system.others", "3"),
        ("SELECT name FROM system.others LIMIT 2", "a;b"),
        ("SELECT name FROM system.others LIMIT 1 OFFSET 1", "b"),
        ("SELECT name FROM system.others WHERE rank > 1 LIMIT 1", "b"),
        ("SELECT name FROM system.others LIMIT 0", ""),
    ] {
        assert_eq!(answer(&engine, sql).await.as_deref(), Ok(rows), "{sql}");
    }
}
