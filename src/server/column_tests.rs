//! Columns that change their names beside whoever writes: a batch is taken by the contract that its columns were named by, or is
//! named anew, or is refused. No acked row has a value of another column, and none lacks one.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;

mod race;

use super::statement_tests::{run, start as start_engine};
use super::tests::crash;
use super::*;
use crate::catalog::alter::{alter, alter_with_readers};
use crate::catalog::ddl_lock::Patience;
use crate::dataset::Alteration;
use crate::fault::Kind;
use crate::ingest::IngestStream;
use crate::query::{Engine, OfSession, QueryContext};
use crate::statement::transaction::{Limits, Transactions};
use crate::statement::{Bound, Change};
use crate::types::TableName;

fn name() -> TableName {
    TableName::new("public", "c").unwrap()
}

const SWAP: &str =
    "ALTER TABLE public.c RENAME COLUMN a TO t, RENAME COLUMN b TO a, RENAME COLUMN t TO b";

fn batch(columns: &[(&str, &[i64])]) -> RecordBatch {
    let columns = columns.iter().map(|(name, values)| {
        let values = Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        (*name, values)
    });
    RecordBatch::try_from_iter(columns).unwrap()
}

/// Each row of three numbers; a null is -1.
async fn rows(engine: &Engine, sql: &str) -> Vec<[i64; 3]> {
    let batches = engine
        .query(&QueryContext::new("tests"), sql, None)
        .await
        .unwrap()
        .collect()
        .await;
    let mut out = Vec::new();
    for batch in batches.unwrap() {
        let value = |column: usize, row: usize| {
            let values = batch.column(column).as_primitive::<Int64Type>();
            match values.is_valid(row) {
                true => values.value(row),
                false => -1,
            }
        };
        out.extend((0..batch.num_rows()).map(|row| [0, 1, 2].map(|column| value(column, row))));
    }
    out.sort_unstable();
    out
}

async fn push(stream: &mut IngestStream, rows: RecordBatch) -> Result<(), Fault> {
    let pending = stream.push(None, Some(rows)).await?;
    pending.durable().await.map(|_| ())
}

/// A name that its sender knows as a column's is no unknown one: it is not ignored, and does not come again as a new column.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_under_former_names_and_ends_where_a_column_is_gone() {
    for unknown in ["reject", "ignore", "add"] {
        let dir = tempfile::tempdir().unwrap();
        let (running, engine, admin) = start_engine(dir.path()).await;
        run(&admin, &format!("CREATE TABLE public.c (id BIGINT, a BIGINT, b BIGINT) TBLPROPERTIES ('deltaplane.unknownColumns' = '{unknown}')")).await.unwrap();
        let table = running.shared.table(&name()).unwrap();
        let mut stream = IngestStream::unnamed(running.shared.clone(), table.clone());
        let row = |n: i64| batch(&[("id", [n].as_slice()), ("a", &[n * 2]), ("b", &[n * 2 + 1])]);
        push(&mut stream, row(1)).await.unwrap();
        run(&admin, "ALTER TABLE public.c RENAME COLUMN b TO x")
            .await
            .unwrap();
        push(&mut stream, row(2)).await.unwrap();
        let both = [[1, 2, 3], [2, 4, 5]];
        assert_eq!(rows(&engine, "SELECT id, a, x FROM public.c").await, both);
        run(&admin, "ALTER TABLE public.c DROP COLUMN x")
            .await
            .unwrap();
        let fault = push(&mut stream, row(3)).await.unwrap_err();
        let found = (fault.kind, &*fault.reason);
        assert_eq!(found, (Kind::Conflict, "contract_changed"), "{unknown}");
        assert!(fault.message.contains("column=b"), "{fault}");
        assert_eq!(table.contract().columns.len(), 2, "{unknown}");
        // Another stream is told what the table takes, as ever.
        let mut fresh = IngestStream::unnamed(running.shared.clone(), table.clone());
        let taken = push(&mut fresh, row(4)).await;
        assert_eq!(taken.is_ok(), unknown != "reject", "{unknown}: {taken:?}");
        crash(running).await;
    }
}

/// Another column may bear the name of a dropped one, or stand in its place with its type.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_for_a_dropped_column_is_not_another_columns() {
    for changes in [
        ["DROP COLUMN a, ADD COLUMN a BIGINT", "ADD COLUMN n BIGINT"],
        ["DROP COLUMN a, RENAME COLUMN b TO a", "ADD COLUMN b BIGINT"],
        ["DROP COLUMN a", "RENAME COLUMN b TO a"],
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (running, engine, admin) = start_engine(dir.path()).await;
        run(
            &admin,
            "CREATE TABLE public.c (id BIGINT, a BIGINT, b BIGINT)",
        )
        .await
        .unwrap();
        let table = running.shared.table(&name()).unwrap();
        let mut stream = IngestStream::unnamed(running.shared.clone(), table.clone());
        let sent = || batch(&[("id", [1].as_slice()), ("a", &[2])]);
        push(&mut stream, sent()).await.unwrap();
        let own = ["id", "a"].map(str::to_owned);
        let of = |columns, rows| crate::ingest::insert::Rows::of(&table, columns, vec![rows]);
        let whole = batch(&[("x", [1].as_slice()), ("y", &[2]), ("z", &[3])]);
        let (named, placed) = (of(&own, sent()), of(&[], whole));
        for change in changes {
            run(&admin, &format!("ALTER TABLE public.c {change}"))
                .await
                .unwrap();
        }
        for begun in [named, placed] {
            let appended = crate::ingest::insert::append(&running.shared, &table, begun).await;
            let fault = appended.unwrap_err();
            assert_eq!(fault.reason, "contract_changed", "{changes:?}: {fault}");
        }
        let fault = push(&mut stream, sent()).await.unwrap_err();
        assert_eq!(fault.reason, "contract_changed", "{changes:?}: {fault}");
        // Who begins now means the column that is there.
        let mut fresh = IngestStream::unnamed(running.shared.clone(), table.clone());
        push(&mut fresh, sent()).await.unwrap();
        let found = rows(&engine, "SELECT id, a, 0 FROM public.c WHERE a = 2").await;
        assert_eq!(found, [[1, 2, 0]], "{changes:?}");
        crash(running).await;
    }
}

/// The query of an INSERT runs by one contract, and its rows are taken by another.
#[tokio::test(flavor = "multi_thread")]
async fn a_statement_whose_column_is_gone_when_its_rows_are_there_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start_engine(dir.path()).await;
    run(&admin, "CREATE TABLE public.c (id BIGINT, a BIGINT, b BIGINT) TBLPROPERTIES ('deltaplane.unknownColumns' = 'ignore')").await.unwrap();
    let table = running.shared.table(&name()).unwrap();
    let own = ["id", "a", "b"].map(str::to_owned);
    let whole = || vec![batch(&[("x", [1].as_slice()), ("y", &[2]), ("z", &[3])])];
    let rows_of = |columns| crate::ingest::insert::Rows::of(&table, columns, whole());
    let (named, placed) = (rows_of(&own), rows_of(&[]));
    run(&admin, "ALTER TABLE public.c DROP COLUMN b")
        .await
        .unwrap();
    for begun in [named, placed] {
        let appended = crate::ingest::insert::append(&running.shared, &table, begun).await;
        let fault = appended.unwrap_err();
        let found = (fault.kind, &*fault.reason);
        assert_eq!(found, (Kind::Conflict, "contract_changed"), "{fault}");
    }
    // A column that was only added is in nobody's way.
    let placed = crate::ingest::insert::Rows::of(
        &table,
        &[],
        vec![batch(&[("x", [1].as_slice()), ("y", &[2])])],
    );
    run(&admin, "ALTER TABLE public.c ADD COLUMN n BIGINT")
        .await
        .unwrap();
    let appended = crate::ingest::insert::append(&running.shared, &table, placed).await;
    assert_eq!(appended.unwrap(), 1);
    let found = rows(&engine, "SELECT id, a, n FROM public.c").await;
    assert_eq!(found, [[1, 2, -1]]);
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_a_transaction_holds_are_not_written_under_another_contract() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start_engine(dir.path()).await;
    let all = Transactions::new(Limits {
        count: 4,
        bytes: 1 << 20,
        idle: Duration::from_secs(600),
    });
    let inside = async |id: &[u8], sql: &str| {
        let caller = QueryContext::new("inside");
        let change = Change::parse(&caller, sql).unwrap().unwrap();
        all.run(id, change, (&admin, &caller), Bound::NOTHING).await
    };
    let plain = "ALTER TABLE public.c RENAME COLUMN b TO x";
    let insert = "INSERT INTO public.c VALUES (1, 2, 3)";
    let update = "UPDATE public.c SET a = 7 WHERE id = 0";
    for change in [SWAP, plain] {
        for steps in [
            &[insert][..],
            &[update],
            &[insert, update],
            &[update, insert],
        ] {
            run(&admin, "CREATE OR REPLACE TABLE public.c AS SELECT 0::BIGINT AS id, 1::BIGINT AS a, 2::BIGINT AS b")
                .await
                .unwrap();
            let id = all.begin(OfSession::default()).unwrap();
            for step in steps {
                inside(&id, step).await.unwrap();
            }
            run(&admin, change).await.unwrap();
            let caller = QueryContext {
                own: all.own_rows(&id).await,
                ..QueryContext::new("inside")
            };
            let seen = engine.query(&caller, "SELECT * FROM public.c", None).await;
            let unseen = match seen {
                Ok(rows) => rows.collect().await.unwrap_err(),
                Err(fault) => fault,
            };
            assert_eq!(unseen.kind, Kind::Conflict, "{change} {steps:?}: {unseen}");
            let again = inside(&id, insert).await.unwrap_err();
            assert_eq!(again.reason, "contract_changed", "{change} {steps:?}");
            let fault = all.end(&id, true, &admin).await.unwrap_err();
            let found = (fault.kind, &*fault.reason);
            assert_eq!(
                found,
                (Kind::Conflict, "contract_changed"),
                "{change} {steps:?}: {fault}"
            );
            let left = rows(&engine, "SELECT * FROM public.c").await;
            assert_eq!(left, [[0, 1, 2]], "{change} {steps:?}");
        }
    }
    crash(running).await;
}

/// Quarantined rows stand under the names that they were sent with.
#[tokio::test(flavor = "multi_thread")]
async fn quarantined_rows_come_back_into_their_own_columns_or_keep_the_names_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (running, engine, admin) = start_engine(dir.path()).await;
    let made =
        "CREATE TABLE public.c (id BIGINT, a BIGINT, b BIGINT, level BIGINT CHECK (level <= 5))";
    run(&admin, made).await.unwrap();
    let bad = async |id: i64| {
        let table = running.shared.table(&name()).unwrap();
        let mut stream = IngestStream::unnamed(running.shared.clone(), table);
        let rows = batch(&[
            ("id", [id].as_slice()),
            ("a", &[id * 2]),
            ("b", &[id * 2 + 1]),
            ("level", &[9]),
        ]);
        push(&mut stream, rows).await.unwrap();
    };
    let refused = async |sql: &str| {
        let fault = run(&admin, sql).await.unwrap_err();
        let found = (fault.kind, &*fault.reason);
        assert_eq!(
            found,
            (Kind::Precondition, "quarantine_not_empty"),
            "{sql}: {fault}"
        );
        for way_out in [
            "REPLAY QUARANTINE public.c",
            "DELETE FROM public.c_quarantine",
        ] {
            assert!(fault.message.contains(way_out), "{fault}");
        }
    };
    bad(1).await;
    // Hot, and committed.
    for _ in 0..2 {
        refused(SWAP).await;
        refused("ALTER TABLE public.c DROP COLUMN a, ADD COLUMN a BIGINT").await;
        refused("ALTER TABLE public.c DROP COLUMN a, RENAME COLUMN b TO A").await;
        flush::commit(&running.shared, &running.shared.table(&name()).unwrap())
            .await
            .unwrap();
    }
    run(&admin, "ALTER TABLE public.c RENAME COLUMN a TO x")
        .await
        .unwrap();
    run(&admin, "ALTER TABLE public.c RENAME COLUMN x TO y")
        .await
        .unwrap();
    bad(2).await;
    refused("ALTER TABLE public.c ADD COLUMN a BIGINT").await;
    run(
        &admin,
        "ALTER TABLE public.c SET TBLPROPERTIES ('deltaplane.unknownColumns' = 'ignore')",
    )
    .await
    .unwrap();
    refused("ALTER TABLE public.c RENAME COLUMN y TO z").await;
    refused("ALTER TABLE public.c DROP COLUMN y").await;
    run(&admin, "ALTER TABLE public.c DROP CONSTRAINT range_level")
        .await
        .unwrap();
    run(&admin, "REPLAY QUARANTINE public.c").await.unwrap();
    let found = rows(&engine, "SELECT id, y, b FROM public.c").await;
    assert_eq!(found, [[1, 2, 3], [2, 4, 5]]);
    // Nothing waits for its name any more.
    run(
        &admin,
        "ALTER TABLE public.c RENAME COLUMN y TO a, ADD COLUMN y BIGINT",
    )
    .await
    .unwrap();
    let found = rows(&engine, "SELECT id, a, y FROM public.c").await;
    assert_eq!(found, [[1, 2, -1], [2, 4, -1]]);
    crash(running).await;
}

fn rename(from: &str, to: &str) -> Vec<Alteration> {
    vec![Alteration::RenameColumn {
        from: from.to_owned(),
        to: to.to_owned(),
    }]
}

/// Who reads the table may come while the change waits for its batches.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_a_column_are_asked_again_once_nothing_is_judged_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _, admin) = start_engine(dir.path()).await;
    run(&admin, "CREATE TABLE public.c (id BIGINT, a BIGINT)")
        .await
        .unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let readers = Arc::new(move |_: &TableName, _: &crate::types::ColumnMoves| {
        match count.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(crate::catalog::alter::column_needed("came late".to_owned())),
        }
    });
    let plan = |_: &crate::dataset::Contract| Ok(rename("a", "x"));
    let fault = alter_with_readers(&running.shared, &name(), &plan, readers).await;
    assert_eq!(fault.unwrap_err().reason, "column_needed");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    let table = running.shared.table(&name()).unwrap();
    assert!(table.contract().column("a").is_some());
    crash(running).await;
}

/// Another writer gives the table the column `theirs`.
fn add_foreign_column(log: &std::path::Path) {
    let first = std::fs::read_to_string(log.join(format!("{:020}.json", 0))).unwrap();
    let mut entries = first
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut action = entries.find(|a| a.get("metaData").is_some()).unwrap();
    let text = action["metaData"]["schemaString"].as_str().unwrap();
    let mut schema: serde_json::Value = serde_json::from_str(text).unwrap();
    let theirs =
        serde_json::json!({"name": "theirs", "type": "long", "nullable": true, "metadata": {}});
    schema["fields"].as_array_mut().unwrap().push(theirs);
    action["metaData"]["schemaString"] = schema.to_string().into();
    let entry = |version: u32| log.join(format!("{version:020}.json"));
    let next = (0..).find(|version| !entry(*version).exists()).unwrap();
    std::fs::write(entry(next), format!("{action}\n")).unwrap();
}

/// A stream that brings what its table cannot take is in nobody's way: it is refused while the gate is open.
#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_a_table_cannot_take_is_refused_before_the_gate_closes() {
    let dir = tempfile::tempdir().unwrap();
    let (running, _, admin) = start_engine(dir.path()).await;
    run(&admin, "CREATE TABLE public.c (id BIGINT, a BIGINT) TBLPROPERTIES ('deltaplane.unknownColumns' = 'add')").await.unwrap();
    let table = running.shared.table(&name()).unwrap();
    let log = dir.path().join("tables/public/c/_delta_log");
    add_foreign_column(&log);
    // Finds the other writer's version.
    alter(&running.shared, &name(), &|_| Ok(rename("a", "x")))
        .await
        .unwrap();
    let rows = batch(&[("id", [1].as_slice()), ("Theirs", &[2])]);
    let open = table
        .open_gate(Patience::of_ddl(&running.shared.config))
        .await;
    let open = open.unwrap();
    let mut stream = IngestStream::unnamed(running.shared.clone(), table.clone());
    let fault = push(&mut stream, rows).await.unwrap_err();
    assert_eq!(fault.reason, "commit_refused", "{fault}");
    drop(open);
    crash(running).await;
}
