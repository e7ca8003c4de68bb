//! Statements that change rows, held against a model in memory, with rows hot and committed in any mixture.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

mod model;

use super::*;
use crate::fault::Kind;
use crate::query::QueryContext;
use crate::server_state::Admin;
use crate::statement::Change;
use crate::types::TableName;
use crate::upkeep::Upkeep;
use crate::upkeep::journal::Journal;
pub(super) use model::{Row, Step, apply, step};

pub(super) async fn start(dir: &Path) -> (Running, Arc<Engine>, Admin) {
    let resolved = Resolved::default()
        .with(&[
            ("server.data_dir", &dir.to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            // Commits happen when the test says so.
            ("commit.interval", "1h"),
        ])
        .unwrap();
    let running = Server::start(resolved).await.unwrap();
    let (engine, admin) = over(&running, dir);
    (running, engine, admin)
}

/// What runs statements on a server.
pub(super) fn over(running: &Running, dir: &Path) -> (Arc<Engine>, Admin) {
    let config = crate::query::EngineConfig {
        threads: 2,
        memory_bytes: 256 << 20,
        upkeep_bytes: 64 << 20,
        timeout: std::time::Duration::from_secs(60),
        spill_dir: dir.join("spill"),
        spill_bytes: 1 << 20,
        value_bytes: 64 << 20,
        batch_bytes: 256 << 20,
    };
    let journal = Arc::new(Journal::new(running.shared.clock.clone()));
    let limits = crate::flight::session::Limits {
        count: 4,
        idle: std::time::Duration::from_secs(60),
    };
    let sessions = crate::flight::Sessions::new(limits, Arc::default());
    let source = Arc::new(Status::new(
        running.shared.clone(),
        crate::query::Queries::default(),
        Arc::new(sessions),
        journal.clone(),
    ));
    let engine = Arc::new(Engine::new(config, source).unwrap());
    let admin = Admin::new(
        running.shared.clone(),
        engine.clone(),
        Upkeep::new(running.shared.clone(), engine.clone(), journal),
        crate::view::Views::new(running.shared.clone(), engine.clone()),
        crate::alert::Alerts::new(running.shared.clone(), engine.clone(), ""),
    );
    (engine, admin)
}

pub(super) async fn run(admin: &Admin, sql: &str) -> Result<u64, Fault> {
    run_as(&QueryContext::new("tests"), admin, sql).await
}

pub(super) async fn run_as(caller: &QueryContext, admin: &Admin, sql: &str) -> Result<u64, Fault> {
    let change = Change::parse(caller, sql)?.unwrap_or_else(|| panic!("no change: {sql}"));
    change
        .run(admin, caller, crate::statement::Bound::NOTHING)
        .await
        .map(|done| done.written)
}

pub(super) async fn rows(engine: &Engine, from: &str) -> Vec<Row> {
    rows_as(&QueryContext::new("tests"), engine, from).await
}

pub(super) async fn rows_as(caller: &QueryContext, engine: &Engine, from: &str) -> Vec<Row> {
    let sql = format!("SELECT k, v, s FROM {from}");
    let batches = engine
        .query(caller, &sql, None)
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"))
        .collect()
        .await
        .unwrap_or_else(|e| panic!("{sql}: {e}"));
    let mut out = Vec::new();
    for batch in batches {
        let k = batch.column(0).as_primitive::<Int64Type>();
        let v = batch.column(1).as_primitive::<Int64Type>();
        let s = batch.column(2).as_string::<i32>();
        for row in 0..batch.num_rows() {
            let v = arrow::array::Array::is_valid(v, row).then(|| v.value(row));
            out.push((k.value(row), v, s.value(row).to_owned()));
        }
    }
    out.sort();
    out
}

async fn one_case(
    (running, engine, admin): &(Running, Arc<Engine>, Admin),
    number: usize,
    partitioned: bool,
    steps: &[Step],
) {
    let table = format!("public.t{number}");
    let by = if partitioned {
        " PARTITIONED BY (s)"
    } else {
        ""
    };
    run(
        admin,
        &format!("CREATE TABLE {table} (k BIGINT NOT NULL, v BIGINT, s STRING){by}"),
    )
    .await
    .unwrap();
    let own = running
        .shared
        .table(&TableName::new("public", &format!("t{number}")).unwrap())
        .unwrap();
    let mut model: Vec<Row> = Vec::new();
    let mut versions: Vec<(i64, Vec<Row>)> = Vec::new();
    for step in steps {
        match step {
            Step::Flush => {
                flush::commit(&running.shared, &own).await.unwrap();
            }
            Step::Restore(n) => {
                if let Some((version, then)) = versions.get(*n) {
                    model = then.clone();
                    let sql = format!("RESTORE TABLE {table} TO VERSION AS OF {version}");
                    run(admin, &sql).await.unwrap();
                }
            }
            step => {
                let (sql, touched) = apply(step, &table, &mut model);
                let changed = run(admin, &sql)
                    .await
                    .unwrap_or_else(|e| panic!("{sql}: {e}"));
                assert_eq!(changed, touched, "{sql}");
            }
        }
        model.sort();
        assert_eq!(rows(engine, &table).await, model, "after {step:?}");
        if !matches!(step, Step::Insert(_)) {
            // Nothing is hot now or the statement touched nothing: what is committed is told by the version.
            flush::commit(&running.shared, &own).await.unwrap();
            let version = own.files(|cold| cold.main.version()).await;
            versions.push((version, model.clone()));
        }
    }
    for (version, then) in versions {
        let from = format!("{table} VERSION AS OF {version}");
        assert_eq!(rows(engine, &from).await, then, "version {version}");
    }
    run(admin, &format!("DROP TABLE {table}")).await.unwrap();
}

#[test]
fn any_mixture_of_statements_equals_the_model_in_rows_counts_and_versions() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let server = runtime.block_on(start(dir.path()));
    let cases = std::env::var("DELTAPLANE_TEST_CASES").map_or(12, |n| n.parse().unwrap());
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..ProptestConfig::default()
    };
    let number = std::sync::atomic::AtomicUsize::new(0);
    let mut runner = TestRunner::new(config);
    runner
        .run(
            &(any::<bool>(), prop::collection::vec(step(), 1..12)),
            |(partitioned, steps)| {
                let n = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                runtime.block_on(one_case(&server, n, partitioned, &steps));
                Ok(())
            },
        )
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_statement_gets_wrong_is_told_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    run(
        &admin,
        "CREATE TABLE t (k BIGINT NOT NULL, v BIGINT CHECK (v BETWEEN 0 AND 100), s STRING CHECK (s IN ('a', 'b')))",
    )
    .await
    .unwrap();
    run(&admin, "INSERT INTO t VALUES (1, 1, 'a'), (2, 2, 'b')")
        .await
        .unwrap();
    for (sql, kind, word) in [
        ("UPDATE t SET v = 101 WHERE k = 1", Kind::Invalid, "range"),
        ("UPDATE t SET s = 'c'", Kind::Invalid, "enum"),
        ("UPDATE t SET k = NULL", Kind::Invalid, "not_null"),
        ("UPDATE t SET nothere = 1", Kind::Invalid, "nothere"),
        ("UPDATE t SET v = 'x'", Kind::Invalid, "v"),
        ("UPDATE t SET v = 1, V = 2", Kind::Invalid, "twice"),
        ("UPDATE t SET v = nothere", Kind::Invalid, "nothere"),
        ("UPDATE t SET v = 1 FROM nosuch", Kind::NotFound, "nosuch"),
        ("DELETE FROM t WHERE nothere = 1", Kind::Invalid, "nothere"),
        ("DELETE FROM nosuch", Kind::NotFound, "nosuch"),
        (
            "DELETE FROM system.tables",
            Kind::Invalid,
            "kept by the server",
        ),
        (
            "UPDATE t_quarantine SET reason = 'x'",
            Kind::Invalid,
            "replay",
        ),
        (
            "MERGE INTO t USING (VALUES (1, 5), (1, 6)) s (k, v) ON t.k = s.k WHEN MATCHED THEN UPDATE SET v = s.v",
            Kind::Invalid,
            "several rows",
        ),
        (
            "MERGE INTO t USING (VALUES (9, 500)) s (k, v) ON t.k = s.k WHEN NOT MATCHED THEN INSERT (k, v) VALUES (s.k, s.v)",
            Kind::Invalid,
            "range",
        ),
        (
            "MERGE INTO t USING (VALUES (9, 5)) s (k, v) ON t.k = s.k WHEN MATCHED THEN UPDATE SET *",
            Kind::Invalid,
            "s",
        ),
        (
            "MERGE INTO t USING t s ON t.k = s.k WHEN MATCHED THEN DELETE WHEN MATCHED THEN DELETE",
            Kind::Invalid,
            "condition",
        ),
        (
            "RESTORE TABLE t TO VERSION AS OF 99",
            Kind::OutOfRange,
            "0 to",
        ),
    ] {
        let fault = run(&admin, sql).await.expect_err(sql);
        assert_eq!(fault.kind, kind, "{sql}: {fault}");
        assert!(fault.message.contains(word), "{sql}: {fault}");
    }
    let expected = vec![(1, Some(1), "a".to_owned()), (2, Some(2), "b".to_owned())];
    assert_eq!(rows(&engine, "t").await, expected);
    // A lone DELETE may match as often as it likes.
    let sql = "MERGE INTO t USING (VALUES (1), (1)) s (k) ON t.k = s.k WHEN MATCHED THEN DELETE";
    assert_eq!(run(&admin, sql).await.unwrap(), 1);
    let sql = "MERGE INTO t USING (SELECT 2 AS k, 7 AS v, 'a' AS s UNION ALL SELECT 3, 8, 'b') AS n ON t.k = n.k \
               WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *";
    assert_eq!(run(&admin, sql).await.unwrap(), 2);
    let expected = vec![(2, Some(7), "a".to_owned()), (3, Some(8), "b".to_owned())];
    assert_eq!(rows(&engine, "t").await, expected);
    let version = running.shared.tables()[0]
        .files(|cold| cold.main.version())
        .await;
    assert_eq!(run(&admin, "DELETE FROM t WHERE k > 100").await.unwrap(), 0);
    assert_eq!(run(&admin, "TRUNCATE TABLE t").await.unwrap(), 2);
    let after = running.shared.tables()[0]
        .files(|cold| cold.main.version())
        .await;
    assert_eq!(after, version + 1, "what touches nothing commits nothing");
}

const MADE: &str = r#"
dataset = "made"
[[table]]
name = "kinds"
columns = [ { name = "kind", type = "string", required = true } ]
[[table]]
name = "raw"
event_time = "ts"
key = ["id"]
columns = [
  { name = "id", type = "long", required = true },
  { name = "ts", type = "timestamp", required = true },
  { name = "kind", type = "string" },
  { name = "level", type = "double" },
]
rules = [
  { unique = ["id"] },
  { column = "kind", in = "kinds.kind" },
  { column = "level", min = 0, max = 10, action = "clamp" },
]
"#;

async fn one(engine: &Engine, sql: &str) -> String {
    let batches = engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap()
        .collect()
        .await
        .unwrap();
    arrow::util::pretty::pretty_format_batches(&batches)
        .unwrap()
        .to_string()
        .lines()
        .skip(3)
        .filter(|l| l.starts_with('|'))
        .map(|l| l.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect::<Vec<_>>()
        .join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dates_follow_times_origins_stay_and_keys_are_held_against_all_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    for contract in crate::dataset::from_toml(MADE).unwrap().tables {
        crate::catalog::lifecycle::create(&running.shared, contract, false)
            .await
            .unwrap();
    }
    for sql in [
        "INSERT INTO made.kinds VALUES ('x'), ('y')",
        "INSERT INTO made.raw VALUES (1, TIMESTAMP '2024-01-01T00:00:00Z', 'x', 1), (2, TIMESTAMP '2024-01-02T00:00:00Z', 'y', 2)",
        "DELETE FROM made.raw WHERE id = 77",
        "INSERT INTO made.raw VALUES (3, TIMESTAMP '2024-01-03T00:00:00Z', NULL, 3)",
    ] {
        run(&admin, sql).await.unwrap();
    }
    let sql = "UPDATE made.raw SET ts = ts + INTERVAL '1' DAY, level = level * 6 WHERE id >= 2";
    assert_eq!(run(&admin, sql).await.unwrap(), 2);
    let sql = "MERGE INTO made.raw t USING (VALUES (4), (1)) s (id) ON t.id = s.id \
               WHEN NOT MATCHED THEN INSERT (id, ts) VALUES (s.id, '2024-02-01T00:00:00Z')";
    assert_eq!(run(&admin, sql).await.unwrap(), 1);
    assert_eq!(
        one(
            &engine,
            "SELECT id, event_date, kind, level, _source FROM made.raw ORDER BY id"
        )
        .await,
        "| 1 | 2024-01-01 | x | 1.0 | unnamed |\n\
         | 2 | 2024-01-03 | y | 10.0 | unnamed |\n\
         | 3 | 2024-01-04 | | 10.0 | unnamed |\n\
         | 4 | 2024-02-01 | | | merge |"
    );
    for (sql, word) in [
        ("UPDATE made.raw SET id = 1 WHERE id = 2", "unique:id"),
        ("UPDATE made.raw SET id = 9 WHERE id < 3", "unique:id"),
        ("UPDATE made.raw SET kind = 'z' WHERE id = 2", "referential"),
        (
            "UPDATE made.raw SET event_date = DATE '2020-01-01'",
            "reserved_column",
        ),
        ("UPDATE made.raw SET _source = 'me'", "reserved_column"),
        (
            "MERGE INTO made.raw t USING (VALUES (3)) s (id) ON FALSE WHEN NOT MATCHED THEN INSERT (id, ts) VALUES (s.id, '2024-02-01T00:00:00Z')",
            "unique:id",
        ),
    ] {
        let fault = run(&admin, sql).await.expect_err(sql);
        assert!(fault.to_string().contains(word), "{sql}: {fault}");
    }
    // All keys move by one: each is free when its row comes to it.
    assert_eq!(
        run(&admin, "UPDATE made.raw SET id = id + 1")
            .await
            .unwrap(),
        4
    );
    // What was deleted may come again, what was changed is known.
    assert_eq!(
        run(&admin, "DELETE FROM made.raw WHERE id = 2")
            .await
            .unwrap(),
        1
    );
    let again = "INSERT INTO made.raw VALUES (2, TIMESTAMP '2024-01-01T00:00:00Z', 'x', 1)";
    assert_eq!(run(&admin, again).await.unwrap(), 1);
    let twice = "INSERT INTO made.raw VALUES (5, TIMESTAMP '2024-01-01T00:00:00Z', 'x', 1)";
    assert!(run(&admin, twice).await.is_err());
}

/// A producer is told what it was told before a RESTORE, and its resends are acked without being taken again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restore_takes_rows_back_and_no_promise() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start(dir.path()).await;
    run(
        &admin,
        "CREATE TABLE t (k BIGINT NOT NULL, v BIGINT, s STRING)",
    )
    .await
    .unwrap();
    let table = running.shared.tables()[0].clone();
    let batch = |k: i64| {
        arrow::array::RecordBatch::try_from_iter([(
            "k",
            Arc::new(arrow::array::Int64Array::from(vec![k])) as arrow::array::ArrayRef,
        )])
        .unwrap()
    };
    let (mut epoch, mut full) = (None, 0);
    for round in 0..2 {
        let (mut stream, durable, given) =
            crate::ingest::IngestStream::open(running.shared.clone(), table.clone(), "p", epoch)
                .await
                .unwrap();
        epoch = Some(given);
        assert_eq!(durable.seq, if round == 0 { 0 } else { 3 });
        for seq in 1..=3u64 {
            let sent = batch(i64::try_from(seq).unwrap());
            let pending = stream.push(Some(seq), Some(sent)).await.unwrap();
            pending.durable().await.unwrap();
        }
        if round == 0 {
            full = flush::commit(&running.shared, &table)
                .await
                .unwrap()
                .version;
            run(&admin, "RESTORE TABLE t TO VERSION AS OF 0")
                .await
                .unwrap();
        }
        let count = one(&engine, "SELECT count(*) FROM t").await;
        assert_eq!(count, "| 0 |", "round {round}");
        flush::commit(&running.shared, &table).await.unwrap();
    }
    // The rows are in the version before.
    let then = format!("SELECT count(*) FROM t VERSION AS OF {full}");
    assert_eq!(one(&engine, &then).await, "| 3 |");
    let history = one(&engine, "DESCRIBE HISTORY t LIMIT 1").await;
    assert!(history.contains("RESTORE"), "{history}");
    let detail = one(&engine, "DESCRIBE DETAIL t").await;
    assert!(detail.starts_with("| delta |"), "{detail}");
}
