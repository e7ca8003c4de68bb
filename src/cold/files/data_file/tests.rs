#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use arrow::array::{Int64Array, RecordBatch};
use datafusion::logical_expr::{Expr, col, lit};
use datafusion::physical_plan::collect;
use datafusion::prelude::SessionContext;

use super::super::super::faulty::{Faulty, SHORT_READS};
use super::super::super::{ColdTable, Lake};
use super::super::PinnedFiles;
use super::*;
use crate::fault::Kind;

fn rows() -> RecordBatch {
    let values = Arc::new(Int64Array::from_iter_values(0..1000));
    RecordBatch::try_from_iter_with_nullable([("n", values as _, true)]).unwrap()
}

/// A table with one data file, and the file.
async fn table(lake: &Lake) -> (Arc<PinnedFiles>, PathBuf) {
    let txns = vec![("deltaplane/owner".to_owned(), 1)];
    let schema = rows().schema();
    let table = ColdTable::create(lake, "s/t~2", schema, &[], BTreeMap::new(), txns).await;
    let mut table = table.unwrap();
    let staged = table.stage(vec![rows()]).await.unwrap();
    table
        .commit(staged, vec![("log/1".to_owned(), 1)])
        .await
        .unwrap();
    let view = table.view();
    let location = view.files()[0].meta.location.to_string();
    (view, PathBuf::from(format!("/{location}")))
}

async fn rows_of(view: &PinnedFiles, filters: &[Expr]) -> DfResult<usize> {
    let context = SessionContext::new();
    let plan = view.scan(&context.state(), None, filters, None)?;
    let batches = collect(plan, context.task_ctx()).await?;
    Ok(batches.iter().map(RecordBatch::num_rows).sum())
}

async fn scanned(view: &PinnedFiles) -> Result<usize, Fault> {
    let error = match rows_of(view, &[]).await {
        Ok(rows) => return Ok(rows),
        Err(error) => error,
    };
    let mut next: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(found) = next {
        if let Some(fault) = found.downcast_ref::<Fault>() {
            return Err(fault.clone());
        }
        next = found.source();
    }
    panic!("not ours: {error}")
}

/// Both ways to read it end with an error that names the table, the file and these words.
async fn is_told(view: &PinnedFiles, file: &std::path::Path, words: &[&str]) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let scanned = scanned(view).await.unwrap_err();
    let whole = view.each().next().unwrap().read().await.unwrap_err();
    for fault in [scanned, Fault::from(whole)] {
        assert_eq!(fault.kind, Kind::Corrupt, "{fault}");
        assert_eq!(fault.reason, "file_damaged");
        let place = format!("table=s.t, file=s/t~2/{name}: ");
        for word in words.iter().copied().chain([&*place, "from a backup"]) {
            assert!(fault.message.contains(word), "{word} is not in {fault}");
        }
    }
}

#[tokio::test]
async fn a_file_that_is_not_what_the_log_says_is_told_by_name_and_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let (view, file) = table(&lake).await;
    assert_eq!(scanned(&view).await, Ok(1000));
    let good = std::fs::read(&file).unwrap();
    let size = good.len();
    for length in [0, 1, 7, size / 2, size - 1, size + 1, size * 2] {
        let mut bytes = good.clone();
        bytes.resize(length, 0);
        std::fs::write(&file, bytes).unwrap();
        let told = format!("it has {length} bytes and the Delta log says {size}");
        is_told(&view, &file, &[&told]).await;
    }
    let missing = format!("it is missing and the Delta log says that it has {size} bytes");
    std::fs::remove_file(&file).unwrap();
    is_told(&view, &file, &[&missing]).await;
    std::fs::create_dir(&file).unwrap();
    is_told(&view, &file, &[&missing]).await;
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, good).unwrap();
    assert_eq!(scanned(&view).await, Ok(1000));
}

#[tokio::test]
async fn a_footer_that_cannot_be_read_is_told_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let (view, file) = table(&lake).await;
    let good = std::fs::read(&file).unwrap();
    let length_at = good.len() - 8;
    for length in [0, 3, 1 << 20, u32::MAX] {
        let mut bytes = good.clone();
        bytes[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
        std::fs::write(&file, bytes).unwrap();
        is_told(&view, &file, &[]).await;
    }
}

#[tokio::test]
async fn every_changed_byte_of_a_file_is_told_whatever_a_query_reads_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let (view, file) = table(&lake).await;
    // With a filter the rows are read by another reader than the footer.
    let filters: [&[Expr]; 2] = [&[], &[col("n").gt(lit(900i64))]];
    for filter in filters {
        assert_eq!(rows_of(&view, filter).await.unwrap(), 1000);
    }
    let good = std::fs::read(&file).unwrap();
    // In front are the four bytes by which programs tell Parquet files from others.
    for at in 4..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        std::fs::write(&file, bytes).unwrap();
        for filter in filters {
            assert!(rows_of(&view, filter).await.is_err(), "byte {at}");
        }
        let whole = view.each().next().unwrap().read().await;
        assert!(whole.is_err(), "byte {at}");
    }
}

#[tokio::test]
async fn a_range_that_comes_back_shorter_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(&dir.path().to_string_lossy()).await.unwrap();
    let (lake, mode) = Faulty::under(lake, ".parquet");
    let (view, file) = table(&lake).await;
    mode.store(SHORT_READS, Ordering::SeqCst);
    let fault = scanned(&view).await.unwrap_err();
    assert_eq!(
        (fault.kind, &*fault.reason),
        (Kind::Corrupt, "file_damaged")
    );
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(fault.message.contains(name), "{fault}");
    // A small file is read whole.
    let size = std::fs::metadata(&file).unwrap().len();
    assert!(
        fault.message.contains(&format!(
            "{size} bytes were asked for and {} came",
            size - 1
        )),
        "{fault}"
    );
}
