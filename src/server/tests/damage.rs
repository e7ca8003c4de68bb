//! A table whose files say less than was committed, or whose rows beside the log cannot be read, is parked alone.

use super::*;
use crate::catalog::control;
use crate::catalog::expected::COMMITS_MISSING;
use crate::catalog::parked::Stage;
use crate::catalog::write::TableWriter;
use crate::cold::{Reason, Removal};

fn entries(dir: &Path, folder: &str) -> Vec<std::path::PathBuf> {
    let log = dir.join("tables/reactor").join(folder).join("_delta_log");
    let files = std::fs::read_dir(log).unwrap().map(|f| f.unwrap().path());
    let mut entries: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "json"))
        .collect();
    entries.sort();
    entries
}

/// Commits, and lets the log go of all frames of the commit.
async fn committed_and_trimmed(running: &Running) {
    let shared = &running.shared;
    flush::commit(shared, &table(running)).await.unwrap();
    shared.log.roll().await.unwrap();
    shared.log.trim(shared.visible.trim_point());
    shared.log.roll().await.unwrap();
}

/// A version of a statement, with the rows of the table once more.
async fn statement(running: &Running) {
    let table = table(running);
    let mut writer = TableWriter::begin(&running.shared, &table, "a test")
        .await
        .unwrap();
    let rows = RecordBatch::new_empty(table.contract().table_schema());
    let staged = writer.files(Part::Main).stage(vec![rows]).await.unwrap();
    writer
        .rewrite(Part::Main, &Removal::Nothing, staged, &Reason::Append, &[])
        .await
        .unwrap();
}

/// Takes the newest entry away, starts, and gives back why the table is parked. Then the entry comes back, and a repair serves.
async fn without_newest_entry(dir: &Path, folder: &str) -> String {
    let newest = entries(dir, folder).pop().unwrap();
    let away = dir.join("away.json");
    std::fs::rename(&newest, &away).unwrap();
    let running = start(dir).await;
    let parked = table(&running).parked().unwrap();
    assert_eq!(
        (parked.stage, &*parked.reason),
        (Stage::Open, COMMITS_MISSING)
    );
    let repaired = running
        .upkeep
        .repair(&table(&running).name(), false)
        .await
        .unwrap();
    assert_eq!(repaired.problem.unwrap().reason, COMMITS_MISSING);
    assert_eq!(entries(dir, folder).last(), newest_before(&newest).as_ref());
    std::fs::rename(&away, &newest).unwrap();
    let repaired = running
        .upkeep
        .repair(&table(&running).name(), false)
        .await
        .unwrap();
    assert_eq!(repaired.problem, None);
    crash(running).await;
    parked.problem.clone()
}

/// Nothing was committed on top of the shortened log.
fn newest_before(entry: &Path) -> Option<std::path::PathBuf> {
    let number: u64 = entry.file_stem()?.to_str()?.parse().ok()?;
    Some(entry.with_file_name(format!("{:020}.json", number.checked_sub(1)?)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_log_without_the_newest_commit_of_trimmed_rows_parks_the_table() {
    for folder in ["raw", "raw_quarantine"] {
        let dir = tempfile::tempdir().unwrap();
        let running = ingested(dir.path()).await;
        committed_and_trimmed(&running).await;
        crash(running).await;
        let newest = entries(dir.path(), folder).pop().unwrap();
        let problem = without_newest_entry(dir.path(), folder).await;
        let name = newest.file_name().unwrap().to_str().unwrap();
        assert!(
            problem.contains(&format!("reactor/{folder}/_delta_log/{name}")),
            "{problem}"
        );
        everything_is_there_once(dir.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_remembers_what_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    ingested(dir.path()).await.shutdown().await.unwrap();
    without_newest_entry(dir.path(), "raw").await;
    everything_is_there_once(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_commit_is_made_again_while_its_rows_are_in_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    flush::commit(&running.shared, &table(&running))
        .await
        .unwrap();
    crash(running).await;
    for folder in ["raw", "raw_quarantine"] {
        std::fs::remove_file(entries(dir.path(), folder).pop().unwrap()).unwrap();
    }
    everything_is_there_once(dir.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_version_of_a_statement_parks_the_table_also_behind_a_checkpoint() {
    for rolls in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let running = ingested(dir.path()).await;
        statement(&running).await;
        if rolls {
            committed_and_trimmed(&running).await;
        } else {
            control::settle(&running.shared, &table(&running))
                .await
                .unwrap();
        }
        crash(running).await;
        let problem = without_newest_entry(dir.path(), "raw").await;
        assert!(problem.contains("was committed"), "{problem}");
        everything_is_there_once(dir.path()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_of_another_writer_and_a_restore_are_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    committed_and_trimmed(&running).await;
    {
        let table = table(&running);
        let mut writer = TableWriter::begin(&running.shared, &table, "a test")
            .await
            .unwrap();
        let restored = writer
            .restore(Part::Main, crate::cold::At::Version(0))
            .await;
        assert!(restored.unwrap().is_some());
    }
    crash(running).await;
    // What another writer would add.
    let newest = entries(dir.path(), "raw").pop().unwrap();
    let next = newest_before(&newest).unwrap();
    let number: u64 = next.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let foreign = newest.with_file_name(format!("{:020}.json", number + 2));
    std::fs::write(foreign, "{\"commitInfo\":{\"operation\":\"WRITE\"}}\n").unwrap();
    let running = start(dir.path()).await;
    assert_eq!(table(&running).parked(), None);
    assert_eq!(rows(&running), (0, 5));
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_file_of_parked_rows_parks_its_table_alone_and_stays() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    let mut other = (*table(&running).contract()).clone();
    other.table = TableName::new("reactor", "other").unwrap();
    lifecycle::create(&running.shared, other, false)
        .await
        .unwrap();
    parked(&running).await;
    let (mut stream, ..) = IngestStream::open(running.shared.clone(), table(&running), "q", None)
        .await
        .unwrap();
    let pending = stream.push(Some(1), Some(batch(99))).await.unwrap();
    pending.durable().await.unwrap();
    crash(running).await;
    let folder = dir.path().join("wal/parked");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let whole = std::fs::read(&file).unwrap();
    for cut in [0, whole.len() / 2] {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let running = start(dir.path()).await;
        let shared = &running.shared;
        let parked = table(&running).parked().unwrap();
        assert_eq!(
            (parked.stage, &*parked.reason),
            (Stage::Parked, "parked_rows_damaged")
        );
        let name = file.file_name().unwrap().to_str().unwrap();
        assert!(parked.problem.contains(name), "{}", parked.problem);
        let other = shared
            .writable(&TableName::new("reactor", "other").unwrap())
            .unwrap();
        assert!(!other.is_parked());
        assert!(
            !parking::park(shared, &table(&running)).await.unwrap(),
            "the file would be written over"
        );
        let repaired = running
            .upkeep
            .repair(&table(&running).name(), false)
            .await
            .unwrap();
        assert_eq!(repaired.problem.unwrap().reason, "parked_rows_damaged");
        assert_eq!(std::fs::read(&file).unwrap(), &whole[..cut]);
        crash(running).await;
    }
    std::fs::write(&file, &whole[..1]).unwrap();
    let running = start(dir.path()).await;
    std::fs::write(&file, whole).unwrap();
    let repaired = running
        .upkeep
        .repair(&table(&running).name(), false)
        .await
        .unwrap();
    assert_eq!(repaired.problem, None);
    assert_eq!(rows(&running), (6, 6));
    crash(running).await;
    let running = start(dir.path()).await;
    assert_eq!((table(&running).parked(), rows(&running)), (None, (6, 6)));
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_loss_serves_what_is_left_and_is_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    committed_and_trimmed(&running).await;
    crash(running).await;
    std::fs::remove_file(entries(dir.path(), "raw").pop().unwrap()).unwrap();
    let running = start(dir.path()).await;
    assert_eq!(table(&running).parked().unwrap().reason, COMMITS_MISSING);
    let repaired = running.upkeep.repair(&table(&running).name(), true).await;
    let repaired = repaired.unwrap();
    assert_eq!(repaired.problem, None);
    let [lost] = &*repaired.lost else {
        panic!("{:?}", repaired.lost);
    };
    assert!(
        lost.contains("the first missing file is reactor/raw/_delta_log/"),
        "{lost}"
    );
    crash(running).await;
    for _ in 0..2 {
        let running = start(dir.path()).await;
        assert_eq!(table(&running).parked(), None);
        assert_eq!(rows(&running), (0, 5));
        crash(running).await;
    }
    let running = start(dir.path()).await;
    running.shutdown().await.unwrap();
    let running = start(dir.path()).await;
    assert_eq!(table(&running).parked(), None);
    crash(running).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parked_rows_that_are_given_up_are_set_apart() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    parked(&running).await;
    crash(running).await;
    let folder = dir.path().join("wal/parked");
    let file = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    std::fs::write(&file, "what is left").unwrap();
    for is_first in [true, false] {
        let running = start(dir.path()).await;
        let repaired = running.upkeep.repair(&table(&running).name(), true).await;
        let repaired = repaired.unwrap();
        assert_eq!(repaired.problem, None);
        let name = file.file_name().unwrap().to_str().unwrap();
        let told = repaired.lost.iter().any(|lost| lost.contains(name));
        assert_eq!(told, is_first, "{:?}", repaired.lost);
        assert_eq!(rows(&running), (0, 0));
        crash(running).await;
    }
    let left = std::fs::read_to_string(file.with_extension("lost")).unwrap();
    assert_eq!(left, "what is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_commit_of_rows_from_before_a_parking_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let running = ingested(dir.path()).await;
    flush::commit(&running.shared, &table(&running))
        .await
        .unwrap();
    let (mut stream, ..) = IngestStream::open(running.shared.clone(), table(&running), "q", None)
        .await
        .unwrap();
    let pending = stream.push(Some(1), Some(batch(99))).await.unwrap();
    pending.durable().await.unwrap();
    parked(&running).await;
    crash(running).await;
    // Parked rows do not stand for those that were committed before; neither after another start.
    for _ in 0..2 {
        let newest = entries(dir.path(), "raw");
        let commit = newest.iter().rfind(|entry| {
            let text = std::fs::read_to_string(entry).unwrap();
            text.contains("numRecords")
        });
        let lost: Vec<_> = newest.iter().filter(|e| *e >= commit.unwrap()).collect();
        let bytes: Vec<_> = lost.iter().map(|e| std::fs::read(e).unwrap()).collect();
        lost.iter().for_each(|e| std::fs::remove_file(e).unwrap());
        let running = start(dir.path()).await;
        assert_eq!(table(&running).parked().unwrap().reason, COMMITS_MISSING);
        crash(running).await;
        for (entry, bytes) in lost.iter().zip(bytes) {
            std::fs::write(entry, bytes).unwrap();
        }
        let running = start(dir.path()).await;
        assert_eq!(table(&running).parked(), None);
        assert_eq!(rows(&running), (6, 6));
        crash(running).await;
    }
}
