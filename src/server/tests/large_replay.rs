//! A replay of a file that is judged and written piece by piece.

use std::collections::BTreeSet;

use super::*;
use crate::catalog::alter::alter;
use crate::dataset::{Action, Alteration, Column, ColumnType, Contract, Rule, RuleKind};
use crate::ingest::replay::{Outcome, Request, replay};

/// Of 3,000 rows with ids of 10 KB, in one file of the quarantine, only the last 500 may move.
const ROWS: usize = 3000;
const STAY: usize = 2500;

fn name() -> TableName {
    TableName::new("public", "t").unwrap()
}

fn range(max: f64) -> Alteration {
    let kind = RuleKind::Range {
        min: Some(0.0),
        max: Some(max),
    };
    Alteration::AddRule(Rule::new("v", kind, Action::Reject))
}

async fn change(running: &Running, changes: Vec<Alteration>) {
    alter(&running.shared, &name(), &|_| Ok(changes.clone()))
        .await
        .unwrap();
}

async fn quarantined(dir: &Path) -> (Running, Arc<crate::catalog::table::Table>) {
    let running = start(dir).await;
    let columns = vec![
        Column::new("id", ColumnType::String),
        Column::new("v", ColumnType::Double),
    ];
    lifecycle::create(&running.shared, Contract::plain(name(), columns), false)
        .await
        .unwrap();
    change(&running, vec![range(10.0)]).await;
    let table = running.shared.table(&name()).unwrap();
    let mut stream = IngestStream::unnamed(running.shared.clone(), table.clone());
    for from in (0..ROWS).step_by(100) {
        let rows = from..from + 100;
        let ids = rows.clone().map(|n| format!("{n:05}").repeat(2000));
        let values = rows.map(|n| if n < STAY { 99.0 } else { 15.0 });
        let batch = RecordBatch::try_from_iter([
            (
                "id",
                Arc::new(StringArray::from_iter_values(ids)) as ArrayRef,
            ),
            ("v", Arc::new(Float64Array::from_iter_values(values))),
        ]);
        let pending = stream.push(None, Some(batch.unwrap())).await.unwrap();
        pending.durable().await.unwrap();
    }
    drop(stream);
    flush::commit(&running.shared, &table).await.unwrap();
    (running, table)
}

/// The first digits of the ids that a part holds, each once.
async fn held(table: &crate::catalog::table::Table, part: Part, column: &str) -> BTreeSet<usize> {
    let view = table.files(|cold| cold.part(part).view()).await;
    let mut held = BTreeSet::new();
    for file in view.each() {
        let batch = file.read().await.unwrap();
        let texts = batch.column_by_name(column).unwrap();
        let texts = texts.as_any().downcast_ref::<StringArray>().unwrap();
        for text in texts.iter().flatten() {
            let digits: String = text.chars().filter(char::is_ascii_digit).take(5).collect();
            assert!(held.insert(digits.parse().unwrap()), "{digits} twice");
        }
    }
    held
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_large_file_move_each_once_and_the_rest_of_it_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (running, table) = quarantined(dir.path()).await;
    let versions = async || {
        let versions =
            |cold: &crate::catalog::table::Cold| (cold.main.version(), cold.quarantine.version());
        table.files(versions).await
    };
    let files = table.files(|cold| cold.quarantine.view().files().len());
    assert_eq!(files.await, 1);
    let changes = vec![Alteration::DropRule("range:v".to_owned()), range(20.0)];
    change(&running, changes).await;
    let before = versions().await;
    // Nobody waits for it: nothing moves.
    let given_up = Request::default();
    given_up.cancelled.cancel();
    let fault = replay(&running.shared, &table, &given_up).await;
    assert_eq!(&*fault.unwrap_err().reason, "cancelled");
    assert_eq!(versions().await, before);
    let outcome = replay(&running.shared, &table, &Request::default()).await;
    let expected = Outcome {
        examined: ROWS as u64,
        replayed: (ROWS - STAY) as u64,
        duplicates: 0,
        rejected: STAY as u64,
    };
    assert_eq!(outcome.unwrap(), expected);
    let moved = held(&table, Part::Main, "id").await;
    assert_eq!(moved, (STAY..ROWS).collect());
    let left = held(&table, Part::Quarantine, "raw").await;
    assert_eq!(left, (0..STAY).collect());
    // Once more there is nothing to write.
    let before = versions().await;
    let outcome = replay(&running.shared, &table, &Request::default()).await;
    assert_eq!(outcome.unwrap().rejected, STAY as u64);
    assert_eq!(versions().await, before);
    drop(table);
    running.shutdown().await.unwrap();
}
