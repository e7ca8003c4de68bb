#![expect(clippy::unwrap_used, reason = "tests")]

use datafusion::common::ScalarValue;

use super::context::QueryContext;
use super::engine::Engine;
use super::tests::{answer, answer_to, engine};

/// As a ticket names its query.
fn caller(id: &str, schema: &str) -> QueryContext {
    let mut caller = QueryContext::new("tests");
    caller.query = Some(id.into());
    caller.schema = schema.into();
    caller
}

/// Its columns are told, and it is fetched next.
async fn told(engine: &Engine, sql: &str, values: Option<Vec<ScalarValue>>) {
    let caller = caller("q", "public");
    let columns = engine.columns(&caller, sql, values, true);
    columns.await.unwrap();
}

const NOW: &str = "SELECT CAST(now() AS BIGINT)";

#[tokio::test]
async fn a_query_is_planned_when_its_columns_are_told_and_runs_by_that_plan_once() {
    let engine = engine().await;
    told(&engine, NOW, None).await;
    let between = answer(&engine, NOW).await.unwrap();
    let caller = caller("q", "public");
    let first = answer_to(&caller, &engine, NOW).await.unwrap();
    assert!(
        first < between,
        "{first} is the time of the plan, before {between}"
    );
    let second = answer_to(&caller, &engine, NOW).await.unwrap();
    assert!(
        second > between,
        "{second} is planned anew, after {between}"
    );
}

#[tokio::test]
async fn another_question_under_the_same_id_is_planned_by_itself() {
    let engine = engine().await;
    let sum = "SELECT $1 + 1";
    let one = vec![ScalarValue::Int64(Some(1))];
    let public = caller("q", "public");
    told(&engine, sum, Some(one.clone())).await;
    let other = answer_to(&public, &engine, "SELECT 7").await;
    assert_eq!(other.unwrap(), "7");
    told(&engine, sum, Some(one)).await;
    let five = vec![ScalarValue::Int64(Some(5))];
    let other = engine.query(&public, sum, Some(five));
    let rows = other.await.unwrap().collect().await.unwrap();
    let value = ScalarValue::try_from_array(rows[0].column(0), 0).unwrap();
    assert_eq!(value, ScalarValue::Int64(Some(6)));
    let schema = "SELECT current_schema()";
    told(&engine, schema, None).await;
    let other = answer_to(&caller("q", "lab"), &engine, schema).await;
    assert_eq!(other.unwrap(), "lab");
}

#[tokio::test]
async fn a_cancel_between_the_columns_and_the_rows_ends_the_query() {
    let engine = engine().await;
    told(&engine, NOW, None).await;
    engine.queries.cancel("q");
    let cancelled = answer_to(&caller("q", "public"), &engine, NOW).await;
    assert_eq!(cancelled.unwrap_err().reason, "query_cancelled");
}

#[tokio::test]
async fn large_values_are_not_kept() {
    let engine = engine().await;
    let sql = "SELECT length($1) + CAST(now() AS BIGINT)";
    let value = vec![ScalarValue::Utf8(Some("x".repeat(5000)))];
    told(&engine, sql, Some(value.clone())).await;
    let between = answer(&engine, NOW).await.unwrap();
    let fetching = caller("q", "public");
    let rows = engine.query(&fetching, sql, Some(value));
    let rows = rows.await.unwrap().collect().await.unwrap();
    let value = ScalarValue::try_from_array(rows[0].column(0), 0).unwrap();
    let ScalarValue::Int64(Some(at)) = value else {
        panic!("{value}")
    };
    assert!(
        at - 5000 > between.parse::<i64>().unwrap(),
        "it is planned anew"
    );
}
