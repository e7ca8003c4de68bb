#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{Array, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::util::display::array_value_to_string;

use super::*;
use crate::catalog::view::{Snapshot, TableView};
use crate::cold::{Lake, PinnedFiles};
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::query::QueryContext;
use crate::system_table::{Columns, SystemTable};
use crate::types::{Lsn, TableName};

struct Fixed(Snapshot, Arc<Made>);

/// How often the rows of each system table have been made.
#[derive(Default)]
pub(super) struct Made {
    pub tables: AtomicUsize,
    pub others: AtomicUsize,
}

impl SnapshotSource for Fixed {
    fn snapshot(&self) -> Snapshot {
        self.0.clone()
    }

    fn system_tables(&self) -> Vec<SystemTable> {
        let (tables, others) = (self.1.clone(), self.1.clone());
        let columns = Columns::<(&str, u64)>::default().text("table_name", |row| row.0);
        let others_columns = Columns::<(&str, u64)>::default()
            .text("name", |row| row.0)
            .long("rank", |row| row.1);
        vec![
            SystemTable::new("tables", columns, move || {
                tables.tables.fetch_add(1, Ordering::Relaxed);
                vec![("raw", 1)]
            }),
            SystemTable::new("others", others_columns, move || {
                others.others.fetch_add(1, Ordering::Relaxed);
                vec![("a", 1), ("b", 2), ("c", 3)]
            }),
        ]
    }
}

pub(super) async fn engine() -> Engine {
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
    engine_counting(tables, Arc::default()).await
}

/// [`engine_over`], which counts how often it makes the rows of system tables.
pub(super) async fn engine_counting(tables: Vec<(&str, RecordBatch)>, made: Arc<Made>) -> Engine {
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
        schema: PUBLIC.into(),
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
        value_bytes: 16 << 20,
        batch_bytes: 256 << 20,
    };
    Engine::new(config, Arc::new(Fixed(snapshot, made))).unwrap()
}

/// A statement's rows: `;` between rows and `,` between values.
pub(super) async fn answer(engine: &Engine, sql: &str) -> Result<String, Fault> {
    answer_to(&QueryContext::new("tests"), engine, sql).await
}

pub(super) async fn answer_to(
    caller: &QueryContext,
    engine: &Engine,
    sql: &str,
) -> Result<String, Fault> {
    let batches = engine.query(caller, sql, None).await?.collect().await?;
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
    holds_for(&QueryContext::new("tests"), engine, cases).await;
}

async fn holds_for(caller: &QueryContext, engine: &Engine, cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        let found = answer_to(caller, engine, sql).await;
        assert_eq!(found.as_deref(), Ok(*expected), "{sql}");
    }
}

#[tokio::test]
async fn now_is_one_instant_and_can_be_compared_with() {
    let engine = engine().await;
    let sql = "SELECT count(*) FROM reactor.raw WHERE now() - INTERVAL '1 hour' < now() AND to_timestamp(n) < now()";
    let batches = engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap();
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
    let caller = QueryContext {
        schema: "reactor".into(),
        ..QueryContext::new("ann")
    };
    holds_for(
        &caller,
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
    )
    .await;
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
            .query(&QueryContext::new("tests"), sql, None)
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
        let fault = match engine.query(&QueryContext::new("tests"), sql, None).await {
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
        let announced = engine
            .plan(&QueryContext::new("tests"), sql)
            .await
            .unwrap()
            .wire;
        let batches = engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .unwrap()
            .collect()
            .await;
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
async fn the_advertised_schema_is_that_of_every_batch() {
    let engine = engine().await;
    for sql in [
        "SELECT count(*), min(at), max(id), sum(n) FROM reactor.raw",
        "SELECT arrow_cast(id, 'Dictionary(Int32, Utf8)') AS d, arrow_cast(id, 'Utf8View') AS v, arrow_cast(n, 'UInt32') AS u FROM reactor.raw",
        "EXPLAIN SELECT 1",
    ] {
        let planned = engine.plan(&QueryContext::new("tests"), sql).await.unwrap();
        let result = engine
            .query(&QueryContext::new("tests"), sql, None)
            .await
            .unwrap();
        assert_eq!(planned.wire, result.wire);
        for batch in result.collect().await.unwrap() {
            assert_eq!(batch.schema(), planned.wire, "{sql}");
        }
    }
}
