#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;

use super::Engine;
use super::tests::engine_over;
use crate::fault::Fault;
use crate::query::QueryContext;

async fn engine() -> Engine {
    let batch = RecordBatch::try_from_iter([
        ("Id", Arc::new(StringArray::from(vec!["a", "b", "a"])) as _),
        ("AT", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])) as _),
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
    ])
    .unwrap();
    engine_over(vec![("reactor.raw", batch)]).await
}

#[tokio::test]
async fn drivers_are_told_what_to_bind() {
    let engine = engine().await;
    for (sql, expected) in [
        ("SELECT now() > ?", "Timestamp(ms, \"UTC\")"),
        ("SELECT coalesce(?, now())", "Timestamp(ms, \"UTC\")"),
        ("SELECT DATE '2026-01-01' < ?", "Date32"),
        ("SELECT TIME '12:00:00' < ?", "Time32(ms)"),
        ("SELECT ? BETWEEN 1 AND 2.5", "Float64"),
        ("SELECT arrow_cast(1, 'Int8') + ?", "Int64"),
        ("SELECT arrow_cast(1, 'Float32') > ?", "Float64"),
        ("SELECT greatest(?, at) FROM reactor.raw", "Float64"),
        (
            "SELECT CASE WHEN n > ? THEN ? ELSE id END FROM reactor.raw",
            "Int64 Utf8",
        ),
        ("SELECT substr(id, ?, ?) FROM reactor.raw", "Int64 Int64"),
        (
            "SELECT n FROM reactor.raw WHERE n IN (?, ?) AND id LIKE ?",
            "Int64 Int64 Utf8",
        ),
        ("SELECT n FROM reactor.raw WHERE n = ANY(?)", "List(Int64)"),
        ("SELECT n FROM reactor.raw LIMIT ? OFFSET ?", "Int64 Int64"),
        ("SELECT n FROM reactor.raw LIMIT ?, ?", "Int64 Int64"),
        (
            "SELECT sum(n) OVER (ORDER BY n ROWS ? PRECEDING) FROM reactor.raw",
            "Int64",
        ),
        ("SELECT value FROM generate_series(?, 5)", "Int64"),
        ("SELECT INTERVAL '1 s' * ?", "Float64"),
        ("SELECT (? | ?) & 3, ? ^ ?", "Int64 Int64 Int64 Int64"),
        ("SELECT INTERVAL ?", "Utf8"),
        ("SELECT CAST(? AS BIGINT)", "Utf8"),
        (
            "SELECT date_part(?, now()), time_bucket(?, now())",
            "Utf8 Utf8",
        ),
        ("SELECT ?", "Utf8"),
        // What cannot be planned as a text is a number, or a time.
        ("SELECT sum(?), sum(?)", "Float64 Float64"),
        (
            "SELECT sum(?), max(n) FROM reactor.raw WHERE id = ?",
            "Float64 Utf8",
        ),
        (
            "SELECT time_bucket('7 minutes', ?) FROM reactor.raw WHERE id = ? AND n < ?",
            "Timestamp(ms, \"UTC\") Utf8 Int64",
        ),
        (
            "SELECT (? - INTERVAL '1 year'), time_bucket('7 minutes', ?), (? | ?), (? - INTERVAL '1 day')",
            "Timestamp(ms, \"UTC\") Timestamp(ms, \"UTC\") Int64 Int64 Timestamp(ms, \"UTC\")",
        ),
    ] {
        let planned = engine.plan(&QueryContext::new("tests"), sql).await;
        let planned = planned.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let fields = planned.parameters.fields().iter();
        let types: Vec<String> = fields.map(|f| f.data_type().to_string()).collect();
        assert_eq!(types.join(" "), expected, "{sql}");
    }
}

async fn answer(engine: &Engine, sql: &str, values: Vec<ScalarValue>) -> Result<String, Fault> {
    let columns = engine
        .columns(
            &QueryContext::new("tests"),
            sql,
            Some(values.clone()),
            false,
        )
        .await?;
    let result = engine
        .query(&QueryContext::new("tests"), sql, Some(values))
        .await?;
    assert_eq!(result.wire, columns, "{sql}");
    let mut out = Vec::new();
    for batch in result.collect().await? {
        for row in 0..batch.num_rows() {
            let value = array_value_to_string(batch.column(0), row).unwrap();
            out.push(format!("{} {value}", batch.column(0).data_type()));
        }
    }
    Ok(out.join(", "))
}

#[tokio::test]
async fn a_value_keeps_its_type_and_the_plan_follows_from_it() {
    let engine = engine().await;
    let double = |v: f64| ScalarValue::from(v);
    let whole = |v: i64| ScalarValue::from(v);
    let text = |v: &str| ScalarValue::from(v);
    for (sql, values, expected) in [
        (
            "SELECT n FROM reactor.raw WHERE n = ?",
            vec![double(1.9)],
            "",
        ),
        (
            "SELECT n FROM reactor.raw WHERE n < ? ORDER BY n",
            vec![double(2.5)],
            "Int64 1, Int64 2",
        ),
        (
            "SELECT n * ? FROM reactor.raw WHERE n = 1",
            vec![double(0.5)],
            "Float64 0.5",
        ),
        (
            "SELECT n * ? FROM reactor.raw WHERE n = 1",
            vec![whole(2)],
            "Int64 2",
        ),
        ("SELECT ? < ?", vec![whole(9), whole(10)], "Boolean true"),
        ("SELECT ? < ?", vec![text("9"), text("10")], "Boolean false"),
        ("SELECT ?", vec![whole(5)], "Int64 5"),
        (
            "SELECT ? UNION ALL SELECT ? ORDER BY 1",
            vec![whole(1), double(2.5)],
            "Float64 1.0, Float64 2.5",
        ),
        (
            "SELECT coalesce(?, ?)",
            vec![ScalarValue::Null, text("b")],
            "Utf8 b",
        ),
        (
            "SELECT array_length(ARRAY[?, ?])",
            vec![whole(1), double(0.5)],
            "UInt64 2",
        ),
        (
            "SELECT (SELECT max(n) FROM reactor.raw WHERE n < ?)",
            vec![double(2.5)],
            "Int64 2",
        ),
        (
            "SELECT ? + nullif(?, ?)",
            vec![whole(1), double(2.5), whole(3)],
            "Float64 3.5",
        ),
        (
            "SELECT nullif(?, ?) - ?",
            vec![
                ScalarValue::Decimal128(Some(1500), 12, 3),
                whole(3),
                ScalarValue::Decimal128(Some(250), 12, 3),
            ],
            "Decimal128(24, 3) 1.250",
        ),
        ("SELECT sum(?)", vec![whole(5)], "Int64 5"),
        (
            "SELECT (SELECT s.n FROM reactor.raw s WHERE s.id = r.id ORDER BY s.n LIMIT ? OFFSET ?) AS x FROM reactor.raw r ORDER BY r.n",
            vec![whole(1), whole(0)],
            "Int64 1, Int64 2, Int64 1",
        ),
        (
            "SELECT min(? || ?) <> ''",
            vec![text("a"), text("b")],
            "Boolean true",
        ),
        // A statement has one type, whatever is bound to it.
        (
            "SELECT round(?, ?)",
            vec![ScalarValue::Decimal128(Some(1550), 12, 3), whole(1)],
            "Decimal128(13, 3) 1.600",
        ),
        // A float is brought to its one form.
        (
            "SELECT 1.0 / nullif(?, 1.0)",
            vec![double(-0.0)],
            "Float64 inf",
        ),
        (
            "SELECT count(*) FROM reactor.raw WHERE ? > at",
            vec![double(-f64::NAN)],
            "Int64 3",
        ),
        (
            "SELECT count(*) FROM generate_series(?, ?)",
            vec![whole(2), whole(5)],
            "Int64 4",
        ),
        (
            "SELECT n FROM reactor.raw ORDER BY n OFFSET ? LIMIT ?",
            vec![whole(1), text("1")],
            "Int64 2",
        ),
        (
            "SELECT at FROM reactor.raw WHERE id = $2 AND n = $1",
            vec![whole(3), text("a")],
            "Float64 3.0",
        ),
    ] {
        // What a list's length is on the wire is not the matter here.
        let expected = expected.replace("UInt64", "Int64");
        let got = answer(&engine, sql, values).await;
        let got = got.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(got, expected, "{sql}");
    }
}

#[tokio::test]
async fn an_error_names_the_parameter() {
    let engine = engine().await;
    let text = |v: &str| ScalarValue::from(v);
    for (sql, values, word) in [
        (
            "SELECT ? + ?",
            vec![ScalarValue::from(1i64)],
            "parameter 2 has no value",
        ),
        ("SELECT 1", vec![text("a")], "there is no parameter 1"),
        (
            "SELECT n FROM reactor.raw WHERE id = ? AND n > ?",
            vec![text("a"), text("x")],
            "parameter 2",
        ),
        (
            "SELECT n FROM reactor.raw LIMIT ?",
            vec![ScalarValue::from(2.5)],
            "parameter 1 counts rows",
        ),
        (
            "SELECT sum(n) OVER (ORDER BY n ROWS ? PRECEDING) FROM reactor.raw",
            vec![text("x")],
            "parameter 1",
        ),
        (
            "SELECT n FROM reactor.raw WHERE n > ? AND to_timestamp(n)",
            vec![text("x")],
            "parameter 1 is Utf8",
        ),
    ] {
        let fault = answer(&engine, sql, values).await.expect_err(sql);
        assert_eq!(fault.kind, crate::fault::Kind::Invalid, "{sql}: {fault}");
        assert!(fault.message.contains(word), "{sql}: {fault}");
    }
}

#[tokio::test]
async fn a_parameter_may_stand_where_a_function_looks_at_its_value() {
    let engine = engine().await;
    for sql in [
        "SELECT date_trunc(?, now())",
        "SELECT date_bin(?, now())",
        "SELECT to_char(now(), ?)",
        "SELECT round(at, ?) FROM reactor.raw",
        "SELECT substr(id, ?, ?), lpad(id, ?, '0') FROM reactor.raw",
        "SELECT approx_percentile_cont(at, ?) FROM reactor.raw",
        "SELECT nth_value(n, ?) OVER (ORDER BY n) FROM reactor.raw",
        "SELECT lag(n, ?) OVER (ORDER BY n) FROM reactor.raw",
        "SELECT n FROM reactor.raw ORDER BY n LIMIT ? OFFSET ?",
        "SELECT n FROM reactor.raw WHERE id LIKE ? AND n IN (?, ?)",
        "SELECT ? || id, -?, ? FROM reactor.raw",
    ] {
        engine
            .plan(&QueryContext::new("tests"), sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

#[tokio::test]
async fn a_statement_is_prepared_whose_types_only_values_tell() {
    let engine = engine().await;
    let sql = "SELECT (? || ?)[2] AS x, n FROM reactor.raw ORDER BY n";
    let planned = engine.plan(&QueryContext::new("tests"), sql).await.unwrap();
    let types: Vec<String> = planned
        .parameters
        .fields()
        .iter()
        .map(|f| f.data_type().to_string())
        .collect();
    assert_eq!(types, ["Utf8", "Utf8"]);
    let names: Vec<&str> = planned
        .wire
        .fields()
        .iter()
        .map(|f| f.name().as_str())
        .collect();
    assert_eq!(names, ["x", "n"]);
    let list = |n: i64| {
        let items = [ScalarValue::from(n)];
        ScalarValue::List(ScalarValue::new_list(&items, &items[0].data_type(), true))
    };
    let got = answer(&engine, sql, vec![list(4), list(5)]).await.unwrap();
    assert_eq!(got, "Int64 5, Int64 5, Int64 5");
    // What is wrong whatever is bound is refused at once, and what is not there is named first.
    for (sql, reason) in [
        (
            "SELECT nope FROM reactor.raw WHERE nullif(?, ?)",
            "column_not_found",
        ),
        ("SELECT (? || ?)[1] FROM reactor.nope", "table_not_found"),
        (
            "SELECT ?, to_timestamp(true, n, at, id)",
            "column_not_found",
        ),
        ("SELECT ?, lower(1, 2)", "invalid_query"),
    ] {
        let fault = engine
            .plan(&QueryContext::new("tests"), sql)
            .await
            .expect_err(sql);
        assert_eq!(fault.reason, reason, "{sql}: {fault}");
    }
}

#[tokio::test]
async fn what_is_announced_for_a_prepared_statement_is_what_comes() {
    let engine = engine().await;
    let sql = "SELECT CASE WHEN n > ? THEN 0 ELSE at END AS x, ? AS y FROM reactor.raw ORDER BY n";
    let planned = engine.plan(&QueryContext::new("tests"), sql).await.unwrap();
    let values = vec![ScalarValue::Int64(Some(2)), ScalarValue::from("a")];
    let result = engine
        .query(&QueryContext::new("tests"), sql, Some(values))
        .await
        .unwrap();
    let batches = result.collect().await.unwrap();
    assert_eq!(batches[0].schema(), planned.wire);
    let x = batches[0]
        .column(0)
        .as_primitive::<datafusion::arrow::datatypes::Float64Type>();
    assert_eq!(x.values(), &[1.0, 2.0, 0.0]);
}

#[tokio::test]
async fn parameters_are_typed_and_bound_by_position() {
    let engine = engine().await;
    let sql = "SELECT n FROM reactor.raw WHERE at > ? AND id = ? ORDER BY n LIMIT ?";
    let planned = engine.plan(&QueryContext::new("tests"), sql).await.unwrap();
    let types: Vec<String> = planned
        .parameters
        .fields()
        .iter()
        .map(|f| f.data_type().to_string())
        .collect();
    assert_eq!(types, ["Float64", "Utf8", "Int64"]);
    let values = vec![
        ScalarValue::Float64(Some(0.5)),
        ScalarValue::from("a"),
        ScalarValue::Int64(Some(1)),
    ];
    let rows = engine
        .query(&QueryContext::new("tests"), sql, Some(values))
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|b| b.num_rows()).sum::<usize>(), 1);
    assert!(
        engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .is_err()
    );
}
