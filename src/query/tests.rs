#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};
use datafusion::common::ScalarValue;

use super::*;
use crate::catalog::view::TableView;
use crate::cold::{ColdView, Lake};
use crate::fault::Kind;
use crate::hot::Chunk;
use crate::types::{Lsn, TableName};

struct Fixed(Snapshot);

impl SnapshotSource for Fixed {
    fn snapshot(&self) -> Snapshot {
        self.0.clone()
    }
    fn system_tables(&self) -> Vec<(&'static str, RecordBatch)> {
        let batch = RecordBatch::try_from_iter([(
            "table_name",
            Arc::new(StringArray::from(vec!["raw"])) as _,
        )])
        .unwrap();
        vec![("tables", batch)]
    }
}

async fn engine() -> Engine {
    let batch = RecordBatch::try_from_iter([
        ("Id", Arc::new(StringArray::from(vec!["a", "b", "a"])) as _),
        ("AT", Arc::new(Float64Array::from(vec![1.0, 2.0, 3.0])) as _),
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _),
    ])
    .unwrap();
    let lake = Lake::open("memory://tests/").await.unwrap();
    let name = TableName::new("reactor", "raw").unwrap();
    let view = TableView {
        name: name.clone(),
        contract: None,
        schema: batch.schema(),
        cold: Arc::new(ColdView::empty(&lake, batch.schema(), Vec::new())),
        hot: Arc::new(vec![Chunk {
            first: Lsn::new(1),
            last: Lsn::new(1),
            batch,
        }]),
        comment: None,
        progress: None,
    };
    let snapshot = Snapshot {
        read_point: Lsn::new(1),
        tables: Arc::new(BTreeMap::from([(name, view)])),
    };
    let config = EngineConfig {
        threads: 2,
        memory_bytes: 64 << 20,
        upkeep_bytes: 64 << 20,
        timeout: std::time::Duration::from_secs(10),
        spill_dir: std::env::temp_dir(),
        spill_bytes: 1 << 20,
    };
    Engine::new(config, Arc::new(Fixed(snapshot))).unwrap()
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
