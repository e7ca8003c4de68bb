//! What a query may take: memory, time, a panic that ends it alone.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::Array;
use datafusion::common::ScalarValue;

use super::fault_of;
use super::tests::engine;
use crate::fault::Kind;
use crate::query::QueryContext;

#[tokio::test]
async fn every_function_has_been_reviewed_for_what_a_call_can_take() {
    use super::functions;
    use std::collections::BTreeSet;
    let engine = engine().await;
    let state = &engine.world.state;
    let named: BTreeSet<String> = state
        .scalar_functions()
        .values()
        .map(|f| f.name().to_owned())
        .collect();
    let reviewed: BTreeSet<String> = functions::reviewed_scalars().map(str::to_owned).collect();
    let new: Vec<&String> = named.difference(&reviewed).collect();
    assert!(new.is_empty(), "not reviewed: {new:?}");
    let others = |names: BTreeSet<String>, known: &str| {
        let known: BTreeSet<String> = known.split_whitespace().map(str::to_owned).collect();
        let new: Vec<String> = names.difference(&known).cloned().collect();
        assert!(new.is_empty(), "not reviewed: {new:?}");
    };
    let aggregates = state.aggregate_functions().values();
    others(
        aggregates.map(|f| f.name().to_owned()).collect(),
        functions::AGGREGATES,
    );
    let windows = state.window_functions().values();
    others(
        windows.map(|f| f.name().to_owned()).collect(),
        functions::WINDOWS,
    );
    let tables = state.table_functions().keys();
    others(tables.cloned().collect(), functions::TABLES);
    assert!(state.higher_order_functions().is_empty());
}

#[tokio::test]
async fn values_that_functions_make_are_counted_while_they_live() {
    let engine = engine().await;
    let sql = "SELECT repeat('x', 1000 + CAST(value AS INT)) AS s, repeat('y', 10000) AS t FROM generate_series(1, 2000)";
    let result = engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap();
    let batches = result.collect().await.unwrap();
    assert!(engine.pool.reserved() > 2_000_000);
    drop(batches);
    // The query's task drops its plan, which holds the constant.
    for _ in 0..1000 {
        if engine.pool.reserved() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(engine.pool.reserved(), 0);
}

#[tokio::test]
async fn what_a_batch_of_values_may_take_is_bounded_and_nothing_stays_charged() {
    let engine = engine().await;
    for sql in [
        "SELECT repeat('x', CAST(40000 + value AS INT)) AS s FROM generate_series(1, 8000)",
        "SELECT s || s || s AS t FROM (SELECT repeat('x', CAST(15000000 + value AS INT)) AS s FROM generate_series(1, 3))",
    ] {
        let fault = match engine.query(&QueryContext::new("tests"), sql, None).await {
            Ok(result) => result.collect().await.unwrap_err(),
            Err(fault) => fault,
        };
        assert_eq!(fault.kind, Kind::Exhausted, "{fault}");
    }
    for _ in 0..1000 {
        if engine.pool.reserved() == 0 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(engine.pool.reserved(), 0);
}

#[tokio::test]
async fn a_panic_is_the_error_of_its_query_alone() {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::execution::FunctionRegistry;
    use datafusion::logical_expr::{ColumnarValue, Volatility, create_udf};
    type Outcome = datafusion::common::Result<ColumnarValue>;
    let mut engine = engine().await;
    for (name, volatility) in [
        ("panics", Volatility::Volatile),
        ("panics_while_planned", Volatility::Immutable),
    ] {
        let work = Arc::new(|_: &[ColumnarValue]| -> Outcome { panic!("as the test wants it") });
        let function = create_udf(
            name,
            vec![DataType::Int64],
            DataType::Int64,
            volatility,
            work,
        );
        let world = Arc::get_mut(&mut engine.world).unwrap();
        let state = Arc::get_mut(&mut world.state).unwrap();
        state.register_udf(Arc::new(function)).unwrap();
    }
    for sql in [
        "SELECT panics(n) FROM reactor.raw",
        "SELECT panics_while_planned(1)",
    ] {
        let fault = match engine.query(&QueryContext::new("tests"), sql, None).await {
            Ok(result) => result.collect().await.unwrap_err(),
            Err(fault) => fault,
        };
        assert_eq!(fault.kind, Kind::Internal, "{fault}");
        assert!(fault.message.contains("as the test wants it"), "{fault}");
        let one = engine
            .query(&QueryContext::new("tests"), "SELECT 1", None)
            .await
            .unwrap()
            .collect()
            .await;
        assert_eq!(one.unwrap()[0].num_rows(), 1);
    }
}

#[tokio::test]
async fn what_is_too_large_is_refused_without_a_place_of_planning() {
    let engine = engine().await;
    let caller = QueryContext::new("tests");
    let taken = engine.take_long().await;
    let selects = |n: usize| vec!["SELECT 1 AS a FROM reactor.raw"; n].join(" UNION ALL ");
    let tables: Vec<String> = (0..1200).map(|n| format!("reactor.raw t{n}")).collect();
    for sql in [
        selects(1200),
        format!("SELECT count(*) FROM {}", tables.join(", ")),
        format!("EXPLAIN {}", selects(300)),
    ] {
        for fault in [
            engine
                .plan(&QueryContext::new("tests"), &sql)
                .await
                .unwrap_err(),
            engine
                .columns(&QueryContext::new("tests"), &sql, None, false)
                .await
                .unwrap_err(),
            engine
                .query(&QueryContext::new("tests"), &sql, None)
                .await
                .map(|_| ())
                .unwrap_err(),
        ] {
            assert_eq!(fault.reason, "statement_too_large", "{fault}");
        }
    }
    // Any other waits for one.
    let long = selects(110);
    let waits = tokio::time::timeout(
        std::time::Duration::from_millis(50),
        engine.plan(&caller, &long),
    );
    assert!(waits.await.is_err());
    drop(taken);
    engine.plan(&caller, &long).await.unwrap();
}

#[tokio::test]
async fn planning_ends_with_its_time_and_with_its_caller() {
    let engine = engine().await;
    let limits = engine.limits(Default::default(), std::time::Duration::ZERO);
    assert_eq!(limits.check().unwrap_err().kind, Kind::Deadline);
    let limits = engine.limits(Default::default(), std::time::Duration::from_secs(60));
    limits.check().unwrap();
    limits.token.cancel();
    assert_eq!(limits.check().unwrap_err().kind, Kind::Cancelled);
    // The rules look at it.
    let caller = QueryContext::new("tests");
    let session = engine.world.read(
        &caller,
        "SELECT n + 1 FROM reactor.raw",
        false,
        engine.snapshot(),
        Some(&limits),
    );
    let (session, statement) = session.await.unwrap();
    let plan = session.plan(statement, &[]).await.unwrap();
    let ended = session.state.create_physical_plan(&plan).await.unwrap_err();
    assert_eq!(fault_of(ended).kind, Kind::Cancelled);
}

#[tokio::test]
async fn what_a_query_allocates_is_held_to_the_limit_and_freed_with_its_reader() {
    let engine = engine().await;
    // Neither is told to DataFusion's pool: the batches that a reader keeps, and the elements of a list.
    for sql in [
        "SELECT repeat('y', 100000) AS t FROM generate_series(1, 2000)",
        "SELECT sum(length(s)) FROM (SELECT string_agg(repeat('x', 1000), ',') AS s FROM generate_series(1, 1000000))",
    ] {
        // It runs ahead of its reader, and may be over the limit before there is one.
        let context = QueryContext::new("tests");
        let fault = match engine.query(&context, sql, None).await {
            Ok(result) => result.collect().await.unwrap_err(),
            Err(fault) => fault,
        };
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Exhausted, "query_memory"),
            "{fault}"
        );
    }
    let result = engine
        .query(&QueryContext::new("tests"), "SELECT 1", None)
        .await
        .unwrap();
    assert_eq!(result.collect().await.unwrap()[0].num_rows(), 1);
    for _ in 0..1000 {
        if engine.queries.list().iter().all(|q| q.bytes == 0) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{:?}", engine.queries.list());
}

#[tokio::test]
async fn a_long_value_is_not_repeated_for_each_row_of_a_batch() {
    let engine = engine().await;
    // 80 kB beside each of 5,000 rows: a batch of all would be six times the limit.
    let list = "SELECT array_agg(value) AS l FROM generate_series(1, 10000)";
    let rows = "generate_series(1, 5000) AS g(v)";
    for sql in [
        format!("SELECT sum(array_length(l)) FROM (SELECT ({list}) AS l FROM {rows})"),
        format!("SELECT sum(array_length(l.l)) FROM {rows} JOIN ({list}) AS l ON g.v > 0"),
        format!("SELECT sum(array_length(l.l)) FROM {rows} CROSS JOIN ({list}) AS l"),
        format!(
            "SELECT sum(length(l.s)) / 10 FROM {rows} CROSS JOIN (SELECT string_agg('xxxxxxxxxx', '') AS s FROM generate_series(1, 10000)) AS l"
        ),
        format!(
            "SELECT sum(length(l.s)) / 10 FROM {rows} JOIN (SELECT value % 2 AS k, string_agg('xxxxxxxxxx', '') AS s FROM generate_series(1, 20000) GROUP BY 1) AS l ON g.v % 2 = l.k"
        ),
        format!(
            "SELECT sum(array_length(l.l)) FROM {rows} JOIN (SELECT 1 AS k, l FROM ({list})) AS l ON g.v % 1 + 1 = l.k"
        ),
    ] {
        let result = engine
            .query(&QueryContext::new("tests"), &sql, None)
            .await
            .unwrap();
        let batches = result
            .collect()
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        let sum = batches[0].column(0);
        assert_eq!(sum.len(), 1);
        assert_eq!(
            ScalarValue::try_from_array(sum, 0).unwrap().to_string(),
            "50000000",
            "{sql}"
        );
    }
}

/// A plan is copied by each rule that changes it: a few kilobytes of text would be gigabytes of plan.
#[tokio::test]
async fn constants_that_are_too_large_together_are_refused_before_they_are_copied() {
    let engine = engine().await;
    let long = |sign: u8| format!("repeat('{}', 1000000)", char::from(sign));
    let longs: Vec<String> = (b'a'..b'u').map(long).collect();
    let selects: Vec<String> = longs.iter().map(|l| format!("SELECT {l}")).collect();
    let differ: Vec<String> = longs.iter().map(|l| format!("n::text <> {l}")).collect();
    for many in [
        selects.join(" INTERSECT "),
        format!("SELECT {}", longs.join(", ")),
        format!(
            "SELECT (SELECT count(*) FROM reactor.raw WHERE {})",
            differ.join(" AND ")
        ),
    ] {
        let refused = engine
            .query(&QueryContext::new("tests"), &many, None)
            .await
            .err();
        let fault = refused.unwrap_or_else(|| panic!("not refused: {many}"));
        assert_eq!(&*fault.reason, "statement_too_large", "{fault}");
        assert!(fault.message.contains("query.value_bytes_max"), "{fault}");
    }
    let few = format!("SELECT {} <> n::text FROM reactor.raw", long(b'a'));
    engine
        .query(&QueryContext::new("tests"), &few, None)
        .await
        .unwrap();
}
