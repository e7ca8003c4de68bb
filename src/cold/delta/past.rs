//! Older versions: their file lists, and what the log says of the commits since.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Value;

use super::super::scan::plain_schema;
use super::super::{ColdFile, ColdView, Error, Lake, store_error};

/// The file list of an older version.
///
/// # Errors
/// `Store`: the version is not to be had any more, or the store did not answer.
pub async fn view_at(lake: &Lake, folder: &str, version: i64) -> Result<Arc<ColdView>, Error> {
    let wanted = u64::try_from(version).map_err(store_error)?;
    let mut delta = lake.table(folder)?;
    delta.load_version(wanted).await.map_err(store_error)?;
    let snapshot = delta.snapshot().map_err(store_error)?;
    let schema = plain_schema(&snapshot.snapshot().arrow_schema());
    let partition_by = snapshot.metadata().partition_columns().to_vec();
    let root = lake.path(folder);
    let files = snapshot
        .log_data()
        .iter()
        .map(|file| {
            ColdFile::new(
                &root,
                &file.path(),
                file.size(),
                file.modification_time(),
                file.stats().as_deref(),
                &file.partition_values_map(),
                &schema,
                &partition_by,
            )
        })
        .collect::<Result<Vec<_>, _>>()?;
    let empty = ColdView::empty(lake, schema, partition_by);
    Ok(Arc::new(empty.with_files(version, files)))
}

/// Paths that the versions behind `after`, up to `last`, took out or put in without a change of rows: compaction.
///
/// # Errors
/// `Store`: a version's entry is not to be had any more.
pub async fn silent_paths(
    lake: &Lake,
    folder: &str,
    after: i64,
    last: i64,
) -> Result<HashSet<String>, Error> {
    let log = lake.log_store(folder)?;
    let mut silent = HashSet::new();
    let mut loud = HashSet::new();
    for version in after.saturating_add(1)..=last {
        let version = u64::try_from(version).map_err(store_error)?;
        let entry = log.read_commit_entry(version).await.map_err(store_error)?;
        let entry =
            entry.ok_or_else(|| Error::Store(format!("no log entry of version {version}")))?;
        for line in entry.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let action: Value = serde_json::from_slice(line).map_err(store_error)?;
            for kind in ["add", "remove"] {
                let Some(path) = action[kind]["path"].as_str() else {
                    continue;
                };
                let path = decoded(path);
                if action[kind]["dataChange"].as_bool() == Some(false) {
                    silent.insert(path);
                } else {
                    loud.insert(path);
                }
            }
        }
    }
    // A file that came with rows and was compacted since is gone on both sides; what took its place holds those rows.
    if silent.iter().any(|path| loud.contains(path)) {
        let mixed: HashSet<&String> = silent.intersection(&loud).collect();
        tracing::debug!(
            folder,
            files = mixed.len(),
            "rows came and were compacted between two looks"
        );
        return Ok(HashSet::new());
    }
    Ok(silent)
}

/// Paths stand URL-encoded in the log.
fn decoded(path: &str) -> String {
    object_store::path::Path::from_url_path(path)
        .map_or_else(|_| path.to_owned(), |p| p.to_string())
}
