//! Older versions: their file lists, and what the log says of the commits since.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use deltalake::DeltaTable;
use serde_json::Value;

use super::super::files::file::{is_in_one_form, said_in};
use super::super::{ColdFile, Columns, Described, Error, FileList, Lake, store_error};
use super::schema::{mapping_of, plain_schema};
use super::table::version_of;

/// The file list of an older version, whether or not its files are still there.
///
/// # Errors
/// `Store`: the version is not to be had any more, or the store did not answer.
pub async fn list_at(lake: &Lake, folder: &str, version: i64) -> Result<Arc<FileList>, Error> {
    let wanted = u64::try_from(version).map_err(store_error)?;
    let mut delta = lake.table(folder)?;
    delta.load_version(wanted).await.map_err(store_error)?;
    Ok(Arc::new(list_of(lake, folder, &delta)?))
}

/// The file list of the version that is loaded.
pub(super) fn list_of(lake: &Lake, folder: &str, delta: &DeltaTable) -> Result<FileList, Error> {
    let snapshot = delta.snapshot().map_err(store_error)?;
    let schema = plain_schema(&snapshot.snapshot().arrow_schema());
    let partition_by = snapshot.metadata().partition_columns().to_vec();
    let mapping = Arc::new(mapping_of(snapshot)?);
    let empty = FileList::empty(schema, partition_by);
    let empty = empty.in_folder(folder).mapped(mapping);
    let files = files_of(lake, folder, delta, empty.columns())?;
    Ok(empty.of_version(version_of(delta), files))
}

/// The files of the version that is loaded, as columns of a schema.
pub(super) fn files_of(
    lake: &Lake,
    folder: &str,
    delta: &DeltaTable,
    columns: Columns<'_>,
) -> Result<Vec<Arc<ColdFile>>, Error> {
    let root = lake.path(folder);
    let snapshot = delta.snapshot().map_err(store_error)?;
    let files = snapshot.log_data();
    let files = files.iter().map(|file| {
        // The library shows tags in no other way.
        #[expect(deprecated)]
        let add = file.add_action();
        let described = Described {
            path: &add.path,
            size: add.size,
            modified_ms: add.modification_time,
            stats: add.stats.as_deref(),
            partition_values: &add.partition_values,
            in_one_form: is_in_one_form(add.tags.as_ref()),
        };
        ColdFile::new(&root, described, columns)
    });
    files.collect()
}

/// Files of the versions behind one version, up to another, that no difference of their file lists tells right.
#[derive(Clone, Debug, Default)]
pub struct Silent {
    /// Came or went without a change of rows: compaction.
    pub paths: HashSet<String>,
    /// Came and went between the two, once with a change of rows and once without: their rows have changed, though neither
    /// list has the file.
    pub passed: Vec<Arc<ColdFile>>,
    /// Some version took rows out, and not only to put them elsewhere.
    pub rows_taken_out: bool,
}

/// What compaction did between two versions of a table, `last` the later.
///
/// # Errors
/// `Store`: a version's entry is not to be had any more.
pub async fn silent_files(
    lake: &Lake,
    folder: &str,
    after: i64,
    last: &FileList,
) -> Result<Silent, Error> {
    let log = lake.log_store(folder)?;
    let (mut silent, mut loud) = (HashSet::new(), HashSet::new());
    let mut added = HashMap::new();
    let mut rows_taken_out = false;
    for version in after.saturating_add(1)..=last.version() {
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
                    silent.insert(path.clone());
                } else {
                    rows_taken_out |= kind == "remove";
                    loud.insert(path.clone());
                }
                if kind == "add" {
                    added.insert(path, action["add"].clone());
                }
            }
        }
    }
    let both = added
        .iter()
        .filter(|(path, _)| silent.contains(*path) && loud.contains(*path));
    let passed = both
        .map(|(path, add)| file_of(lake, folder, path, add, last))
        .collect::<Result<_, _>>()?;
    Ok(Silent {
        paths: silent,
        passed,
        rows_taken_out,
    })
}

/// A log's add action as a file of the version.
fn file_of(
    lake: &Lake,
    folder: &str,
    path: &str,
    add: &Value,
    version: &FileList,
) -> Result<Arc<ColdFile>, Error> {
    let values = add["partitionValues"].as_object();
    let values = values.into_iter().flatten();
    let values = values
        .map(|(column, value)| (column.clone(), value.as_str().map(ToOwned::to_owned)))
        .collect();
    ColdFile::new(
        &lake.path(folder),
        Described {
            path,
            size: add["size"].as_i64().unwrap_or(0),
            modified_ms: add["modificationTime"].as_i64().unwrap_or(0),
            stats: add["stats"].as_str(),
            partition_values: &values,
            in_one_form: said_in(add),
        },
        version.columns(),
    )
}

/// Paths stand URL-encoded in the log.
fn decoded(path: &str) -> String {
    object_store::path::Path::from_url_path(path)
        .map_or_else(|_| path.to_owned(), |p| p.to_string())
}
