#![expect(clippy::unwrap_used, reason = "tests")]
use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use futures::StreamExt;

use super::parse::{Place, parse};
use super::{Followed, rows};
use crate::catalog::view::TableView;
use crate::cold::{ColdTable, Lake, Reason, Removal};
use crate::types::TableName;

#[test]
fn subscriptions_are_told_from_other_text() {
    let read = |sql: &str| {
        parse(sql, "public").unwrap().map(|s| {
            let from = s.from.map(|Place { version, row }| (version, row));
            (s.table.to_string(), from, s.condition, s.progress)
        })
    };
    let table = |name: &str| name.to_owned();
    assert_eq!(read("SELECT 1"), None);
    assert_eq!(
        read("subscribe to a.b;"),
        Some((table("a.b"), None, None, false))
    );
    assert_eq!(
        read("/* {} */ subscribe -- to\n a.b where x = 1"),
        Some((table("a.b"), None, Some(table("x = 1")), false))
    );
    assert_eq!(
        read("SUBSCRIBE b FROM VERSION 7"),
        Some((table("public.b"), Some((7, 0)), None, false))
    );
    assert_eq!(
        read("SUBSCRIBE a.b FROM START WITH PROGRESS"),
        Some((table("a.b"), Some((0, 0)), None, true))
    );
    assert_eq!(
        read("SUBSCRIBE a.b FROM NOW WHERE x = 'it''s' OR y > 1"),
        Some((
            table("a.b"),
            None,
            Some("x = 'it''s' OR y > 1".to_owned()),
            false
        ))
    );
    assert_eq!(
        read("SUBSCRIBE a.b FROM VERSION 7 ROW 3 WHERE x > 1 WITH PROGRESS"),
        Some((table("a.b"), Some((7, 3)), Some("x > 1".to_owned()), true))
    );
    for bad in [
        "SUBSCRIBE",
        "SUBSCRIBE a.b FROM 7",
        "SUBSCRIBE a.b FROM VERSION",
        "SUBSCRIBE a.b FROM VERSION -1",
        "SUBSCRIBE a.b FROM VERSION 1 ROW x",
        "SUBSCRIBE a.b WHERE",
        "SUBSCRIBE a.b WITH",
        "SUBSCRIBE a.b LIMIT 3",
    ] {
        let fault = parse(bad, "public").unwrap_err();
        assert_eq!(fault.reason, "syntax_error", "{bad}");
        assert!(fault.message.contains("SUBSCRIBE [TO]"), "{bad}: {fault}");
    }
}

/// Whoever waits for a version, or has let its rows go because the reader was slow, keeps no file from vacuum.
#[tokio::test]
async fn a_versions_files_are_pinned_while_its_rows_are_read_and_no_longer() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let numbers = Arc::new(Int64Array::from_iter_values(0..100_000)) as _;
    let batch = RecordBatch::try_from_iter_with_nullable([("n", numbers, true)]).unwrap();
    let schema = batch.schema();
    let created = ColdTable::create(&lake, "s/t", schema.clone(), &[], BTreeMap::new(), vec![]);
    let mut table = created.await.unwrap();
    let staged = table.stage(vec![batch]).await.unwrap();
    let rewritten = table.rewrite(&Removal::Nothing, staged, &Reason::Append, &[]);
    let version = rewritten.await.unwrap();
    let path = table.view().files()[0].path().to_owned();
    let gone = Removal::Files([path.clone()].into());
    let (nothing, reason) = (
        crate::cold::Staged::empty(),
        Reason::Delete { predicate: None },
    );
    table.rewrite(&gone, nothing, &reason, &[]).await.unwrap();
    let followed = Followed::of(&TableView {
        name: TableName::new("s", "t").unwrap(),
        contract: None,
        schema,
        cold: table.view(),
        hot: Arc::default(),
        comment: None,
        progress: None,
    });
    let followed = followed.unwrap();
    let change = followed.history.change(version, &followed.cold).await;
    let change = change.unwrap();
    assert!(!table.needed().contains(&path), "pinned while it waits");
    let state = datafusion::execution::SessionStateBuilder::new().build();
    let mut told = rows::told(&rows::reader(&state), &followed, &change);
    let first = told.next().await.unwrap().unwrap();
    assert!(
        rows::rows_of(&first.batch) < 100_000,
        "there is more to read"
    );
    assert!(
        table.needed().contains(&path),
        "not pinned while it is read"
    );
    drop(told);
    assert!(
        !table.needed().contains(&path),
        "pinned after it was let go"
    );
}
