#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::util::display::array_value_to_string;
use datafusion::common::ScalarValue;

use super::*;
use crate::catalog::view::TableView;
use crate::cold::{Lake, PinnedFiles};
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::types::{Lsn, TableName};

struct Fixed(Snapshot);

impl SnapshotSource for Fixed {
    fn snapshot(&self) -> Snapshot {
        self.0.clone()
    }

    fn system_tables(&self) -> Vec<(&'static str, SchemaRef)> {
        vec![("tables", self.system_table("tables").unwrap().schema())]
    }

    fn system_table(&self, _: &str) -> Result<RecordBatch, Fault> {
        let names = Arc::new(StringArray::from(vec!["raw"])) as _;
        Ok(RecordBatch::try_from_iter([("table_name", names)]).unwrap())
    }
}

async fn engine() -> Engine {
    let batch = RecordBatch::try_from_iter([
        ("Id", Arc::new(StringArray::from(vec!["a", "b", "a"])) as _),
        ("AT", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])) as _),
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
    ])
    .unwrap();
    engine_over(vec![("reactor.raw", batch)]).await
}

/// An engine over tables whose rows are hot.
pub(super) async fn engine_over(tables: Vec<(&str, RecordBatch)>) -> Engine {
    let lake = Lake::open("memory://tests/").await.unwrap();
    let tables = tables.into_iter().map(|(name, batch)| {
        let (schema, table) = name.split_once('.').unwrap();
        let name = TableName::new(schema, table).unwrap();
        let view = TableView {
            name: name.clone(),
            contract: None,
            schema: batch.schema(),
            cold: Arc::new(PinnedFiles::empty(&lake, batch.schema(), Vec::new())),
            hot: Arc::new(vec![Chunk {
                first: Lsn::new(1),
                last: Lsn::new(1),
                batch,
            }]),
            comment: None,
            progress: None,
        };
        (name, view)
    });
    let snapshot = Snapshot {
        read_point: Lsn::new(1),
        tables: Arc::new(tables.collect()),
        defined: Arc::default(),
    };
    let config = EngineConfig {
        threads: 2,
        memory_bytes: 64 << 20,
        upkeep_bytes: 64 << 20,
        timeout: std::time::Duration::from_secs(10),
        spill_dir: std::env::temp_dir(),
        spill_bytes: 256 << 20,
        value_bytes: 64 << 20,
        batch_bytes: 256 << 20,
    };
    Engine::new(config, Arc::new(Fixed(snapshot))).unwrap()
}

/// A statement's rows: `;` between rows and `,` between values.
pub(super) async fn answer(engine: &Engine, sql: &str) -> Result<String, Fault> {
    let batches = engine.query(sql, None).await?.collect().await?;
    let mut rows = Vec::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter();
            let values = values.map(|c| array_value_to_string(c, row).unwrap());
            rows.push(values.collect::<Vec<_>>().join(","));
        }
    }
    Ok(rows.join(";"))
}

/// Each statement has the rows beside it.
pub(super) async fn holds(engine: &Engine, cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        let found = answer(engine, sql).await;
        assert_eq!(found.as_deref(), Ok(*expected), "{sql}");
    }
}

#[tokio::test]
async fn now_is_one_instant_and_can_be_compared_with() {
    let engine = engine().await;
    let sql = "SELECT count(*) FROM reactor.raw WHERE now() - INTERVAL '1 hour' < now() AND to_timestamp(n) < now()";
    let batches = engine.query(sql, None).await.unwrap();
    let batches = batches.collect().await.unwrap();
    let count = batches[0].column(0).as_any().downcast_ref::<Int64Array>();
    assert_eq!(count.unwrap().value(0), 3);
}

#[tokio::test]
async fn information_schema_says_what_the_other_lists_of_columns_say() {
    let engine = engine().await;
    holds(
        &engine,
        &[
            (
                "SELECT column_name, ordinal_position, is_nullable, data_type, numeric_precision, numeric_scale FROM INFORMATION_SCHEMA.columns WHERE table_name = 'raw' ORDER BY ORDINAL_POSITION",
                "Id,1,NO,STRING,,;AT,2,NO,DOUBLE,15,;n,3,NO,BIGINT,19,0",
            ),
            (
                "SELECT table_schema, table_type FROM information_schema.tables WHERE table_name IN ('raw', 'tables') ORDER BY 1",
                "information_schema,SYSTEM TABLE;reactor,BASE TABLE;system,SYSTEM TABLE",
            ),
            ("SELECT count(*) FROM information_schema.views", "0"),
            (
                "SELECT count(*) > 10 FROM information_schema.routines",
                "true",
            ),
            (
                "SELECT schema_name FROM information_schema.schemata ORDER BY 1",
                "public;reactor;system",
            ),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_statement_knows_who_sent_it_and_in_which_schema() {
    let engine = engine().await;
    let caller = Caller {
        schema: "reactor".into(),
        ..Caller::new("ann")
    };
    let asked = holds(
        &engine,
        &[
            (
                "SELECT current_schema(), current_database(), current_catalog, current_user, session_user",
                "reactor,deltaplane,deltaplane,ann,ann",
            ),
            (
                "SELECT count(*) FROM information_schema.columns WHERE table_schema = current_schema() AND table_catalog = current_database()",
                "3",
            ),
            ("SELECT count(*) FROM raw WHERE current_user = 'ann'", "3"),
            ("SELECT x FROM (VALUES (current_user)) v (x)", "ann"),
            ("SHOW search_path", "reactor"),
        ],
    );
    caller.run(asked).await;
}

#[tokio::test]
async fn statements_that_are_calls_of_the_client_name_those() {
    let engine = engine().await;
    for (sql, word) in [
        ("BEGIN", "autocommit off"),
        ("COMMIT", "autocommit off"),
        ("ROLLBACK", "autocommit off"),
        ("USE reactor", "session option schema"),
        ("SET x = 1", "session"),
        ("CREATE INDEX i ON raw (n)", "TRUNCATE TABLE"),
    ] {
        let fault = answer(&engine, sql).await.unwrap_err();
        assert_eq!(&*fault.reason, "unsupported_statement", "{sql}: {fault}");
        assert!(fault.message.contains(word), "{sql}: {fault}");
    }
}

#[tokio::test]
async fn names_match_without_regard_to_case_and_keep_their_own() {
    let engine = engine().await;
    for (sql, columns) in [
        ("SELECT AT FROM reactor.raw", "AT"),
        ("select at, ID from REACTOR.RAW;", "AT,Id"),
        ("SELECT \"AT\" FROM reactor.raw", "AT"),
        (
            "SELECT r.at FROM reactor.raw R WHERE r.N > 1 ORDER BY at",
            "AT",
        ),
        (
            "SELECT avg(at) AS Mean FROM reactor.raw GROUP BY id HAVING AVG(AT) > 0 ORDER BY mean",
            "Mean",
        ),
        (
            "WITH c AS (SELECT at AS x FROM reactor.raw) SELECT X FROM C",
            "x",
        ),
        ("SELECT R.* FROM reactor.raw r", "Id,AT,n"),
        (
            "SELECT table_name FROM information_schema.tables WHERE TABLE_SCHEMA = 'reactor'",
            "table_name",
        ),
        ("SELECT TABLE_NAME FROM SYSTEM.TABLES", "table_name"),
        ("SELECT 1 AS one", "one"),
    ] {
        let result = engine
            .query(sql, None)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
        let names: Vec<&str> = result
            .wire
            .fields()
            .iter()
            .map(|f| f.name().as_str())
            .collect();
        assert_eq!(names.join(","), columns, "{sql}");
        let rows: usize = result
            .collect()
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"))
            .iter()
            .map(|b| b.num_rows())
            .sum();
        assert!(rows > 0, "{sql}");
    }
}

#[tokio::test]
async fn what_a_user_gets_wrong_is_never_internal() {
    let engine = engine().await;
    for (sql, kind, word) in [
        ("SELEC 1", Kind::Invalid, "Line: 1"),
        ("SELECT * FROM reactor.rawr", Kind::NotFound, "reactor.raw"),
        (
            "SELECT pressure FROM reactor.raw",
            Kind::Invalid,
            "pressure",
        ),
        ("SELECT nofunc(1)", Kind::Invalid, "nofunc"),
        ("SELECT md5('a', 'b', 'c')", Kind::Invalid, "md5"),
        ("SELECT regexp_like(1, 2, 3)", Kind::Invalid, "regexp_like"),
        ("SELECT 1; SELECT 2", Kind::Invalid, "one by one"),
        (
            "SELECT AT AS at, at FROM (SELECT AT, AT AS At FROM reactor.raw) ORDER BY aT",
            Kind::Invalid,
            "ambiguous",
        ),
        (
            "COPY reactor.raw TO '/tmp/x.csv'",
            Kind::Unimplemented,
            "not supported",
        ),
        (
            "SET datafusion.execution.batch_size = 1",
            Kind::Unimplemented,
            "not supported",
        ),
        (
            "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
            Kind::Invalid,
            "Expected",
        ),
        ("", Kind::Invalid, "statement"),
    ] {
        let fault = match engine.query(sql, None).await {
            Ok(stream) => stream.collect().await.expect_err(sql),
            Err(fault) => fault,
        };
        assert_eq!(fault.kind, kind, "{sql}: {fault}");
        assert!(fault.message.contains(word), "{sql}: {fault}");
    }
}

#[tokio::test]
async fn a_result_has_the_types_that_its_parts_are_brought_to() {
    let engine = engine().await;
    for (sql, type_, values) in [
        (
            "SELECT CASE WHEN at > 2 THEN 0 ELSE at - 0.25 END AS x FROM reactor.raw ORDER BY 1",
            "Float64",
            "0.0 0.75 1.75",
        ),
        (
            "SELECT 1 AS x UNION ALL SELECT 2.5 ORDER BY 1",
            "Float64",
            "1.0 2.5",
        ),
        (
            "SELECT 1::INT AS x UNION ALL SELECT 4000000000 ORDER BY 1",
            "Int64",
            "1 4000000000",
        ),
        (
            "SELECT DATE '2026-01-01' AS x UNION ALL SELECT TIMESTAMP '2026-01-02 12:34:56' ORDER BY 1",
            "Timestamp(µs)",
            "2026-01-01T00:00:00 2026-01-02T12:34:56",
        ),
        (
            "SELECT coalesce(NULL, n, 2.5) AS x FROM reactor.raw WHERE n = 1",
            "Float64",
            "1.0",
        ),
        (
            "SELECT NULL AS x UNION ALL SELECT 'a' ORDER BY 1",
            "Utf8",
            "a ",
        ),
        (
            "SELECT sum(CASE WHEN at > 2 THEN 0 ELSE at - 0.25 END) AS x FROM reactor.raw",
            "Float64",
            "2.5",
        ),
    ] {
        let announced = engine.plan(sql).await.unwrap().wire;
        let batches = engine.query(sql, None).await.unwrap().collect().await;
        let batches = batches.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(batches[0].schema(), announced, "{sql}");
        assert_eq!(announced.field(0).data_type().to_string(), type_, "{sql}");
        let columns: Vec<_> = batches.iter().map(|b| b.column(0).as_ref()).collect();
        let column = datafusion::arrow::compute::concat(&columns).unwrap();
        let shown = datafusion::arrow::util::display::ArrayFormatter::try_new(
            &column,
            &datafusion::arrow::util::display::FormatOptions::default(),
        )
        .unwrap();
        let shown: Vec<String> = (0..column.len())
            .map(|n| shown.value(n).to_string())
            .collect();
        assert_eq!(shown.join(" "), values, "{sql}");
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
            .plan(sql)
            .await
            .unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

#[tokio::test]
async fn what_is_announced_for_a_prepared_statement_is_what_comes() {
    let engine = engine().await;
    let sql = "SELECT CASE WHEN n > ? THEN 0 ELSE at END AS x, ? AS y FROM reactor.raw ORDER BY n";
    let planned = engine.plan(sql).await.unwrap();
    let values = vec![ScalarValue::Int64(Some(2)), ScalarValue::from("a")];
    let result = engine.query(sql, Some(values)).await.unwrap();
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
    let planned = engine.plan(sql).await.unwrap();
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
        .query(sql, Some(values))
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    assert_eq!(rows.iter().map(|b| b.num_rows()).sum::<usize>(), 1);
    assert!(engine.query(sql, None).await.is_err());
}

#[tokio::test]
async fn the_advertised_schema_is_that_of_every_batch() {
    let engine = engine().await;
    for sql in [
        "SELECT count(*), min(at), max(id), sum(n) FROM reactor.raw",
        "SELECT arrow_cast(id, 'Dictionary(Int32, Utf8)') AS d, arrow_cast(id, 'Utf8View') AS v, arrow_cast(n, 'UInt32') AS u FROM reactor.raw",
        "EXPLAIN SELECT 1",
    ] {
        let planned = engine.plan(sql).await.unwrap();
        let result = engine.query(sql, None).await.unwrap();
        assert_eq!(planned.wire, result.wire);
        for batch in result.collect().await.unwrap() {
            assert_eq!(batch.schema(), planned.wire, "{sql}");
        }
    }
}

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
    let result = engine.query(sql, None).await.unwrap();
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
        let fault = match engine.query(sql, None).await {
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
        world.state.register_udf(Arc::new(function)).unwrap();
    }
    for sql in [
        "SELECT panics(n) FROM reactor.raw",
        "SELECT panics_while_planned(1)",
    ] {
        let fault = match engine.query(sql, None).await {
            Ok(result) => result.collect().await.unwrap_err(),
            Err(fault) => fault,
        };
        assert_eq!(fault.kind, Kind::Internal, "{fault}");
        assert!(fault.message.contains("as the test wants it"), "{fault}");
        let one = engine
            .query("SELECT 1", None)
            .await
            .unwrap()
            .collect()
            .await;
        assert_eq!(one.unwrap()[0].num_rows(), 1);
    }
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
    let session = engine.world.read(
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
        let result = engine.query(sql, None).await.unwrap();
        let fault = result.collect().await.unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Exhausted, "query_memory"),
            "{fault}"
        );
    }
    let result = engine.query("SELECT 1", None).await.unwrap();
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
        let result = engine.query(&sql, None).await.unwrap();
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
