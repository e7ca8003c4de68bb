//! Columns that are renamed and dropped while rows of theirs are hot, and a server that ends at any moment of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{AsArray, Int64Array};
use arrow::datatypes::Int64Type;

use super::*;
use crate::catalog::alter::alter;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::write::TableWriter;
use crate::dataset::{Alteration, Column, ColumnType, Contract};

fn name() -> TableName {
    TableName::new("public", "t").unwrap()
}

async fn create(running: &Running) {
    let columns = ["a", "b"].map(|name| Column::new(name, ColumnType::Long));
    let contract = Contract::plain(name(), columns.to_vec());
    lifecycle::create(&running.shared, contract, false)
        .await
        .unwrap();
}

async fn send(running: &Running, columns: &[(&str, i64)]) -> Result<(), crate::fault::Fault> {
    let table = running.shared.table(&name()).unwrap();
    let numbers = |v: i64| Arc::new(Int64Array::from(vec![v])) as ArrayRef;
    let columns = columns.iter().map(|(name, v)| (*name, numbers(*v)));
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut stream = IngestStream::unnamed(running.shared.clone(), table);
    let pushed = stream.push(None, Some(batch)).await?;
    pushed.durable().await.map(|_| ())
}

/// Numbers of the named columns, hot and cold rows; a null is 0.
async fn rows(running: &Running, columns: &[&str]) -> Vec<Vec<i64>> {
    let view = running.shared.visible.snapshot().tables[&name()].clone();
    let mut batches = Vec::new();
    for file in view.cold.each() {
        batches.push(file.read().await.unwrap());
    }
    batches.extend(view.hot.iter().map(|chunk| chunk.batch.clone()));
    let mut out = Vec::new();
    for batch in batches {
        let own: Vec<&str> = columns.to_vec();
        let values: Vec<Int64Array> = own
            .iter()
            .map(|c| {
                let column = batch.column_by_name(c).unwrap();
                column.as_primitive::<Int64Type>().clone()
            })
            .collect();
        for row in 0..batch.num_rows() {
            let of_row = values.iter().map(|v| v.iter().nth(row).flatten());
            out.push(of_row.map(Option::unwrap_or_default).collect());
        }
    }
    out.sort();
    out
}

/// `b` takes the name of `a`, which goes.
fn changes() -> Vec<Alteration> {
    vec![
        Alteration::DropColumn("a".to_owned()),
        Alteration::RenameColumn {
            from: "b".to_owned(),
            to: "a".to_owned(),
        },
        Alteration::AddColumn(Column::new("b", ColumnType::Long)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_hot_when_columns_move_are_what_they_were_also_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    create(&running).await;
    send(&running, &[("a", 1), ("b", 2)]).await.unwrap();
    alter(&running.shared, &name(), &|_| Ok(changes()))
        .await
        .unwrap();
    send(&running, &[("a", 3), ("b", 4)]).await.unwrap();
    let whole = vec![vec![2, 0], vec![3, 4]];
    assert_eq!(rows(&running, &["a", "b"]).await, whole);
    crash(running).await;
    let running = start(dir.path()).await;
    assert_eq!(rows(&running, &["a", "b"]).await, whole);
    send(&running, &[("a", 5)]).await.unwrap();
    let gone = [Alteration::DropColumn("b".to_owned())];
    alter(&running.shared, &name(), &|_| Ok(gone.to_vec()))
        .await
        .unwrap();
    let refused = send(&running, &[("a", 6), ("b", 7)]).await.unwrap_err();
    assert_eq!(refused.reason, "unknown_column");
    crash(running).await;
    let running = start(dir.path()).await;
    assert_eq!(rows(&running, &["a"]).await, [[2], [3], [5]]);
    crash(running).await;
}

/// Makes the Delta table's part of a change, and crashes before the log is told.
async fn cut(running: Running, changes: &[Alteration]) {
    let table = running.shared.table(&name()).unwrap();
    let old = table.contract();
    let next = old.altered(changes).unwrap();
    let moves = old.column_moves(changes);
    let patience = Patience::of_ddl(&running.shared.config);
    let shared = &running.shared;
    let writer = TableWriter::closed_without_hot_rows(shared, &table, "a test", patience);
    let mut writer = writer.await.unwrap();
    let mut properties: BTreeMap<String, String> = next.to_properties();
    let own = table.incarnation.to_string();
    properties.insert("deltaplane.incarnation".to_owned(), own);
    writer
        .alter(next.table_schema(), properties, &[], &moves)
        .await
        .unwrap();
    drop(writer);
    drop(table);
    crash(running).await;
}

/// The Delta table has the change, and the log has not: what Delta says is in force, and no frame from before becomes rows of the
/// wrong columns.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_the_delta_table_and_the_log_leaves_the_change_whole() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    create(&running).await;
    send(&running, &[("a", 1), ("b", 2)]).await.unwrap();
    cut(running, &changes()).await;
    let running = start(dir.path()).await;
    assert_eq!(rows(&running, &["a", "b"]).await, [[2, 0]]);
    send(&running, &[("a", 3), ("b", 4)]).await.unwrap();
    crash(running).await;
    let running = start(dir.path()).await;
    assert_eq!(rows(&running, &["a", "b"]).await, [[2, 0], [3, 4]]);
    crash(running).await;
}

/// No frame says what the contract was between a change that was cut and the next one. Its frames are committed, and nothing is
/// made of them: neither at a start nor when the table is repaired.
#[tokio::test(flavor = "multi_thread")]
async fn committed_frames_of_a_contract_that_no_frame_tells_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    create(&running).await;
    send(&running, &[("a", 1), ("b", 2)]).await.unwrap();
    cut(running, &changes()).await;
    let running = start(dir.path()).await;
    send(&running, &[("a", 3), ("b", 4)]).await.unwrap();
    let gone = [Alteration::DropColumn("b".to_owned())];
    alter(&running.shared, &name(), &|_| Ok(gone.to_vec()))
        .await
        .unwrap();
    send(&running, &[("a", 5)]).await.unwrap();
    let newest = dir.path().join("tables/public/t/_delta_log");
    crash(running).await;
    for parked in [false, true] {
        // Without its Delta log the table is parked, and its frames wait beside it.
        let away = newest.with_file_name("away");
        if parked {
            std::fs::rename(&newest, &away).unwrap();
        }
        let running = start(dir.path()).await;
        let table = running.shared.table(&name()).unwrap();
        if parked {
            assert!(table.is_parked());
            std::fs::rename(&away, &newest).unwrap();
            let repaired = running.upkeep.repair(&name(), false).await.unwrap();
            assert_eq!(repaired.problem, None);
        }
        assert_eq!(table.parked(), None);
        assert_eq!(rows(&running, &["a"]).await, [[2], [3], [5]]);
        crash(running).await;
    }
}
