#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch};
use datafusion::execution::context::SessionContext;
use futures::StreamExt;

use super::faulty::{FAIL_AFTER, FAIL_BEFORE, Faulty, LATE, SILENT, SOUND};
use super::*;

const OWNER: &str = "deltaplane/owner";

fn batch() -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([(
        "n",
        Arc::new(Int64Array::from(vec![1, 2, 3])) as _,
        true,
    )])
    .unwrap()
}

async fn table(lake: &Lake) -> ColdTable {
    let txns = vec![("log/1".to_owned(), 0), (OWNER.to_owned(), 1)];
    ColdTable::create(lake, "s/t", batch().schema(), &[], BTreeMap::new(), txns)
        .await
        .unwrap()
}

async fn commit(table: &mut ColdTable, position: i64) -> std::result::Result<i64, Error> {
    let staged = table.stage(vec![batch()]).await?;
    table
        .commit(staged, vec![("log/1".to_owned(), position)])
        .await
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_happens_once() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let (lake, mode) = Faulty::under(lake, "_delta_log/");
    let mut table = table(&lake).await;
    for (position, fault) in [(5, FAIL_AFTER), (6, FAIL_BEFORE), (7, SOUND)] {
        mode.store(fault, Ordering::SeqCst);
        commit(&mut table, position).await.unwrap();
    }
    assert_eq!(table.view().rows(), Some(9));
    let again = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    assert_eq!(
        again.view().rows(),
        Some(9),
        "an independent look at the log"
    );
    assert_eq!(again.read_txn("log/1").await.unwrap(), Some(7));
}

/// Whoever commits goes away, and the version comes all the same: before the next writer looks, or between its look and its commit.
/// The next version is that writer's own, with its rows, and not the one that came.
#[tokio::test]
async fn a_commit_that_was_given_up_is_not_taken_for_the_next_one() {
    for (fault, replaces) in [(SILENT, false), (LATE, false), (LATE, true)] {
        let dir = tempfile::tempdir().unwrap();
        let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
        let (lake, mode) = Faulty::under(lake, "_delta_log/");
        let mut table = table(&lake).await;
        for (number, fault) in [(1, fault), (2, SOUND)] {
            let staged = table.stage(vec![batch()]).await.unwrap();
            mode.store(fault, Ordering::SeqCst);
            let txns = [("which".to_owned(), number)];
            let commit = table.rewrite(&Removal::Nothing, staged, &Reason::Append, &txns);
            let done = tokio::time::timeout(Duration::from_millis(300), commit).await;
            assert_eq!(done.is_ok(), fault == SOUND);
            if fault == LATE && replaces {
                // Rows in the place of others: whoever decided which those are has not seen that version.
                let staged = table.stage(vec![batch()]).await.unwrap();
                let predicate = "n > 0".to_owned();
                let replace = Reason::Replace { predicate };
                let refused = table
                    .rewrite(&Removal::Nothing, staged, &replace, &[])
                    .await;
                assert!(matches!(refused, Err(Error::Changed { .. })), "{refused:?}");
            }
        }
        assert_eq!(table.view().rows(), Some(6), "fault={fault}");
        assert_eq!(table.read_txn("which").await.unwrap(), Some(2));
        let again = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
        assert_eq!(again.view().rows(), Some(6), "fault={fault}");
    }
}

#[tokio::test]
async fn an_older_position_and_a_former_owner_commit_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut old = table(&lake).await;
    commit(&mut old, 5).await.unwrap();
    assert!(matches!(
        commit(&mut old, 4).await,
        Err(Error::Superseded { held: 5, asked: 4 })
    ));
    let mut new = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    new.claim(OWNER, 2).await.unwrap();
    assert!(matches!(
        commit(&mut old, 6).await,
        Err(Error::Fenced { ours: 1, theirs: 2 })
    ));
    commit(&mut new, 6).await.unwrap();
    assert_eq!(new.view().rows(), Some(6));
}

#[tokio::test]
async fn a_table_with_a_checkpoint_reads_back_whole() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    for position in 1..=6 {
        commit(&mut table, position).await.unwrap();
        if position == 3 {
            let due = table.checkpoint_due(3).unwrap();
            due.write(std::time::Duration::ZERO).await.unwrap();
        }
    }
    let again = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    assert_eq!((again.version(), again.view().rows()), (6, Some(18)));
    assert_eq!(again.read_txn("log/1").await.unwrap(), Some(6));
}

/// What the log no longer tells is named as such: the oldest version that can be put together begins at a checkpoint.
#[tokio::test]
async fn versions_before_the_oldest_checkpoint_are_gone_once_their_entries_are() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    for position in 1..=5 {
        commit(&mut table, position).await.unwrap();
        if position == 3 {
            let due = table.checkpoint_due(1).unwrap();
            due.write(std::time::Duration::from_secs(3600))
                .await
                .unwrap();
        }
    }
    let now = table.view();
    let history = now.history().unwrap();
    for version in 0..=5 {
        let then = history.view(At::Version(version), &now).await.unwrap();
        assert_eq!(then.rows(), Some(usize::try_from(version).unwrap() * 3));
    }
    for version in 0..3 {
        let entry = dir
            .path()
            .join(format!("s/t/_delta_log/{version:020}.json"));
        std::fs::remove_file(entry).unwrap();
    }
    let fresh = History::new(&lake, "s/t");
    for version in [2, 6] {
        let error = fresh.view(At::Version(version), &now).await.unwrap_err();
        assert!(
            matches!(
                error,
                Error::NoVersion {
                    oldest: 3,
                    newest: 5,
                    ..
                }
            ),
            "{error}"
        );
    }
    assert_eq!(
        fresh.view(At::Version(3), &now).await.unwrap().rows(),
        Some(9)
    );
    assert!(fresh.view(At::Time(0), &now).await.is_err());
    let newest = fresh.view(At::Time(i64::MAX), &now).await.unwrap();
    assert_eq!(newest.version(), 5);
    assert_eq!(fresh.entries(Some(2)).await.unwrap().len(), 2);
}

/// The file of a version's entry.
fn entry_file(dir: &tempfile::TempDir, version: i64) -> std::path::PathBuf {
    dir.path()
        .join(format!("s/t/_delta_log/{version:020}.json"))
}

#[tokio::test]
async fn a_changed_digit_in_an_entry_is_damage_whoever_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut writer = table(&lake).await;
    let mut reader = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    commit(&mut writer, 5).await.unwrap();
    let whole = std::fs::read_to_string(entry_file(&dir, 1)).unwrap();
    let changes = [
        ("\\\"numRecords\\\":3", "\\\"numRecords\\\":2"),
        ("\"version\":5", "\"version\":4"),
        ("\"size\":", "\"size\":1"),
        ("\"path\":\"", "\"path\":\"x"),
    ];
    for (from, to) in changes {
        assert!(whole.contains(from), "{from} is not in {whole}");
        std::fs::write(entry_file(&dir, 1), whole.replacen(from, to, 1)).unwrap();
        let Err(opened) = ColdTable::open(&lake, "s/t").await else {
            panic!("{from}: the table was opened");
        };
        let refreshed = reader.refresh().await.unwrap_err();
        let history = reader.view().history().unwrap().entries(None).await;
        for error in [opened, refreshed, history.unwrap_err()] {
            assert!(matches!(error, Error::Damaged(_)), "{from}: {error}");
            assert!(
                error.to_string().contains("00000000000000000001.json"),
                "{error}"
            );
        }
        let findings = folder_check::findings(&lake, "s/t", false).await;
        assert!(findings[0].problem.contains("is damaged"), "{findings:?}");
    }
    std::fs::write(entry_file(&dir, 1), whole).unwrap();
    reader.refresh().await.unwrap();
    assert_eq!(reader.view().rows(), Some(3));
}

#[tokio::test]
async fn an_entry_without_a_checksum_is_another_writers() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut ours = table(&lake).await;
    commit(&mut ours, 5).await.unwrap();
    let whole = std::fs::read_to_string(entry_file(&dir, 1)).unwrap();
    let at = whole.find("\"deltaplaneCrc32c\"").unwrap();
    let end = whole[at..].find(',').unwrap() + at + 1;
    let foreign = format!("{}{}", &whole[..at], &whole[end..]);
    std::fs::write(entry_file(&dir, 1), foreign).unwrap();
    let opened = ColdTable::open(&lake, "s/t").await.unwrap().unwrap();
    assert_eq!(opened.view().rows(), Some(3));
}

#[tokio::test]
async fn a_changed_byte_anywhere_in_a_checkpoint_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    for position in 1..=3 {
        commit(&mut table, position).await.unwrap();
    }
    let due = table.checkpoint_due(3).unwrap();
    due.write(std::time::Duration::ZERO).await.unwrap();
    let name = "00000000000000000003.checkpoint.parquet";
    let file = dir.path().join("s/t/_delta_log").join(name);
    let whole = std::fs::read(&file).unwrap();
    assert!(
        whole.windows(16).any(|w| w == b"deltaplaneCrc32c"),
        "the Delta library writes it in another way now"
    );
    let open = async || ColdTable::open(&lake, "s/t").await;
    assert_eq!(open().await.unwrap().unwrap().view().rows(), Some(9));
    for at in (4..whole.len()).step_by(whole.len() / 40) {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        std::fs::write(&file, changed).unwrap();
        let Err(error) = open().await else {
            panic!("byte {at}: the table was opened");
        };
        assert!(matches!(error, Error::Damaged(_)), "byte {at}: {error}");
        assert!(error.to_string().contains(name), "byte {at}: {error}");
        let findings = folder_check::findings(&lake, "s/t", false).await;
        assert!(findings[0].file.ends_with(name), "{findings:?}");
    }
}

/// Deletes those of the files that nobody needs; returns their number.
async fn deleted(table: &ColdTable, list: &FileList) -> usize {
    let found = list.files().iter().map(|file| Found {
        path: file.path().to_owned(),
        bytes: file.size(),
        modified_ms: file.modified_ms(),
    });
    let found: Vec<Found> = found.collect();
    table.remove_unneeded(&found).await.unwrap().0
}

/// Takes all rows out of the table, and with them their files.
async fn empty(table: &mut ColdTable) {
    let view = table.view();
    let paths = view.files().iter().map(|f| f.path().to_owned());
    let (removal, reason) = (
        Removal::Files(paths.collect()),
        Reason::Delete { predicate: None },
    );
    let staged = Staged::empty();
    table.rewrite(&removal, staged, &reason, &[]).await.unwrap();
}

#[tokio::test]
async fn files_stay_until_the_last_pinned_list_and_the_last_plan_over_one_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    let version = commit(&mut table, 1).await.unwrap();
    let pinned = table.view();
    let list = pinned.to_list();
    empty(&mut table).await;
    assert_eq!(deleted(&table, &list).await, 0, "the list of the version");
    let now = table.view();
    let history = now.history().unwrap();
    let older = history.view(At::Version(version), &now).await.unwrap();
    drop(pinned);
    assert_eq!(deleted(&table, &list).await, 0, "the version read again");
    let some = older.with_files(older.files().to_vec()).located();
    drop(older);
    assert_eq!(deleted(&table, &list).await, 0, "a part of the version");
    let state = SessionContext::new().state();
    let plan = some.scan(&state, Some(&vec![0]), &[], None).unwrap();
    drop(some);
    assert_eq!(deleted(&table, &list).await, 0, "a plan over it");
    let mut rows = plan.execute(0, state.task_ctx()).unwrap();
    drop(plan);
    assert_eq!(deleted(&table, &list).await, 0, "the plan's rows");
    let read = rows.next().await.unwrap().unwrap();
    assert_eq!(read.column(0), batch().column(0));
    drop(rows);
    assert_eq!(deleted(&table, &list).await, 1, "nothing pins it");
    // What is only compared needs no files, and what is read finds that they are gone.
    assert_eq!(now.since(&list).removed.len(), 1);
    let late = now.pin(&list);
    assert!(late.each().next().unwrap().read().await.is_err());
    let error = history.view(At::Version(version), &now).await.unwrap_err();
    assert!(matches!(error, Error::Vacuumed { .. }), "{error}");
}

#[tokio::test]
async fn a_table_that_is_let_go_pins_what_others_hold_and_nothing_itself() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    commit(&mut table, 1).await.unwrap();
    let held = table.view();
    let pins = table.let_go();
    assert_eq!(pins.paths().len(), 1);
    drop(held);
    assert!(pins.paths().is_empty());
}

/// Adds a column as another writer does: in an entry of its own, which no checksum stands in.
pub(super) fn add_foreign_column(dir: &tempfile::TempDir, version: i64) {
    let first = std::fs::read_to_string(entry_file(dir, 0)).unwrap();
    let entries = first.lines();
    let mut entries = entries.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut action = entries.find(|a| a.get("metaData").is_some()).unwrap();
    let text = action["metaData"]["schemaString"].as_str().unwrap();
    let mut schema: serde_json::Value = serde_json::from_str(text).unwrap();
    let theirs =
        serde_json::json!({"name": "theirs", "type": "long", "nullable": true, "metadata": {}});
    schema["fields"].as_array_mut().unwrap().push(theirs);
    action["metaData"]["schemaString"] = schema.to_string().into();
    std::fs::write(entry_file(dir, version), format!("{action}\n")).unwrap();
}

/// Rows that stay must not lose a value, also when every row of a file is changed, and when the column came meanwhile.
#[tokio::test]
async fn files_are_written_anew_only_with_all_columns_of_the_table() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let mut table = table(&lake).await;
    commit(&mut table, 1).await.unwrap();
    add_foreign_column(&dir, 2);
    let refused = [
        Reason::Update { predicate: None },
        Reason::Delete { predicate: None },
        Reason::Merge {
            predicate: String::new(),
        },
        Reason::Optimize { target_bytes: 1 },
    ];
    let paths = |table: &ColdTable| -> std::collections::BTreeSet<String> {
        let view = table.view();
        view.files().iter().map(|f| f.path().to_owned()).collect()
    };
    for reason in refused {
        let staged = table.stage(vec![batch()]).await.unwrap();
        let removal = Removal::Files(paths(&table));
        let error = table.rewrite(&removal, staged, &reason, &[]).await;
        assert!(
            matches!(&error, Err(Error::OtherColumns { column }) if column == "theirs"),
            "{reason:?}: {error:?}"
        );
    }
    assert_eq!((table.version(), table.view().rows()), (2, Some(3)));
    // Nothing is lost where no old row is among the new ones, or none is new.
    commit(&mut table, 2).await.unwrap();
    let staged = table.stage(vec![batch()]).await.unwrap();
    let update = Reason::Update { predicate: None };
    let nothing = Removal::Files(Default::default());
    let inserted = table.rewrite(&nothing, staged, &update, &[]);
    inserted.await.unwrap();
    let staged = table.stage(vec![batch()]).await.unwrap();
    let (removal, replace) = (
        Removal::Files(paths(&table)),
        Reason::Replace {
            predicate: "true".to_owned(),
        },
    );
    let replaced = table.rewrite(&removal, staged, &replace, &[]);
    replaced.await.unwrap();
    assert_eq!(table.view().rows(), Some(3));
    empty(&mut table).await;
    assert_eq!(table.view().rows(), Some(0));
}

#[tokio::test]
async fn a_file_is_shown_as_it_can_be_typed() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let file = lake.path("s/t").join("part-0.parquet");
    let typed = dir
        .path()
        .canonicalize()
        .unwrap()
        .join("s/t/part-0.parquet");
    assert_eq!(lake.shown(&file), typed.to_string_lossy());
    let lake = Lake::open("memory://tests/").await.unwrap();
    let file = lake.path("s/t").join("part-0.parquet");
    assert!(
        lake.shown(&file).starts_with("memory://"),
        "{}",
        lake.shown(&file)
    );
    assert!(lake.shown(&file).ends_with("s/t/part-0.parquet"));
}
