#![expect(clippy::unwrap_used, reason = "tests")]

use datafusion::common::ScalarValue;

use super::caller::Caller;
use super::tests::{answer, engine};

/// As a ticket names its query.
fn caller(id: &str, schema: &str) -> Caller {
    let mut caller = Caller::new("tests");
    caller.query = Some(id.into());
    caller.schema = schema.into();
    caller
}

const NOW: &str = "SELECT CAST(now() AS BIGINT)";

#[tokio::test]
async fn a_query_is_planned_when_its_columns_are_told_and_runs_by_that_plan_once() {
    let engine = engine().await;
    let told = engine.columns(NOW, None, true);
    caller("q", "public").run(told).await.unwrap();
    let between = answer(&engine, NOW).await.unwrap();
    let fetch = || caller("q", "public").run(answer(&engine, NOW));
    let first = fetch().await.unwrap();
    assert!(
        first < between,
        "{first} is the time of the plan, before {between}"
    );
    let second = fetch().await.unwrap();
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
    let told = || engine.columns(sum, Some(one.clone()), true);
    caller("q", "public").run(told()).await.unwrap();
    let other = caller("q", "public").run(answer(&engine, "SELECT 7")).await;
    assert_eq!(other.unwrap(), "7");
    caller("q", "public").run(told()).await.unwrap();
    let five = vec![ScalarValue::Int64(Some(5))];
    let other = caller("q", "public").run(engine.query(sum, Some(five)));
    let rows = other.await.unwrap().collect().await.unwrap();
    let value = ScalarValue::try_from_array(rows[0].column(0), 0).unwrap();
    assert_eq!(value, ScalarValue::Int64(Some(6)));
    let told = engine.columns("SELECT current_schema()", None, true);
    caller("q", "public").run(told).await.unwrap();
    let other = caller("q", "lab").run(answer(&engine, "SELECT current_schema()"));
    assert_eq!(other.await.unwrap(), "lab");
}

#[tokio::test]
async fn a_cancel_between_the_columns_and_the_rows_ends_the_query() {
    let engine = engine().await;
    let told = engine.columns(NOW, None, true);
    caller("q", "public").run(told).await.unwrap();
    engine.queries.cancel("q");
    let cancelled = caller("q", "public").run(answer(&engine, NOW)).await;
    assert_eq!(cancelled.unwrap_err().reason, "query_cancelled");
}

#[tokio::test]
async fn large_values_are_not_kept() {
    let engine = engine().await;
    let sql = "SELECT length($1) + CAST(now() AS BIGINT)";
    let value = vec![ScalarValue::Utf8(Some("x".repeat(5000)))];
    let told = engine.columns(sql, Some(value.clone()), true);
    caller("q", "public").run(told).await.unwrap();
    let between = answer(&engine, NOW).await.unwrap();
    let rows = caller("q", "public").run(engine.query(sql, Some(value)));
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
