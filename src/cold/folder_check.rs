//! Is a table's folder whole? Every entry of its Delta log, every checkpoint, every data file of the newest version; without a
//! server, and without changing anything.

use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::delta::checkpoint_checksum::{self, is_checkpoint};
use super::delta::entry_checksum::{MISMATCH, is_entry};
use super::{ColdTable, Error, Lake, check, store_error};

/// What is wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// From the root of the tables.
    pub file: String,
    pub problem: String,
}

/// `deep`: data files are read whole, page by page, against their checksums and against what the Delta log says of them; else
/// only their presence and size are compared.
pub async fn findings(lake: &Lake, folder: &str, deep: bool) -> Vec<Finding> {
    let mut out = log_findings(lake, folder).await;
    let finding = |file: String, problem: String| Finding { file, problem };
    let table = match ColdTable::open(lake, folder).await {
        Ok(Some(table)) => table,
        Ok(None) => {
            let problem =
                "is no Delta table: the log of the server has it; restore the folder from a backup"
                    .to_owned();
            out.push(finding(folder.to_owned(), problem));
            return out;
        }
        Err(error) => {
            // What was found in the Delta log says more.
            if out.is_empty() {
                let problem = format!("cannot be opened: {error}");
                out.push(finding(folder.to_owned(), problem));
            }
            return out;
        }
    };
    let view = table.view();
    for file in view.each() {
        let problem = match deep {
            true => check::problem(file).await,
            false => check::size_problem(file).await,
        };
        if let Some(problem) = problem {
            out.push(finding(format!("{folder}/{}", file.path()), problem));
        }
    }
    out
}

/// What the Delta library does not look at when it opens a table. Entries are compared with their checksums as they are read.
///
/// # Errors
/// `EmptyEntry`: a commit's entry has no bytes. `Damaged`: the newest checkpoint is not what was written. The store's.
pub async fn log_is_sound(lake: &Lake, folder: &str) -> Result<(), Error> {
    let prefix = lake.path(&format!("{folder}/_delta_log"));
    let store = lake.store();
    let listed: Vec<ObjectMeta> = store
        .list(Some(&prefix))
        .try_collect()
        .await
        .map_err(store_error)?;
    let is_empty = |entry: &&ObjectMeta| {
        let name = entry.location.filename();
        entry.size == 0 && name.is_some_and(is_entry)
    };
    if let Some(entry) = listed.iter().find(is_empty) {
        return Err(Error::EmptyEntry {
            file: lake.shown(&entry.location),
        });
    }
    let checkpoints = listed.iter().filter_map(|meta| {
        let name = meta.location.filename()?;
        is_checkpoint(name).then_some((name, &meta.location))
    });
    let Some((name, location)) = checkpoints.max() else {
        return Ok(());
    };
    let got = store.get(location).await.map_err(store_error)?;
    let bytes = got.bytes().await.map_err(store_error)?;
    match checkpoint_problem(name, &bytes) {
        Some(problem) => Err(Error::Damaged(format!(
            "{problem}, file={}",
            lake.shown(location)
        ))),
        None => Ok(()),
    }
}

fn checkpoint_problem(name: &str, file: &[u8]) -> Option<String> {
    (!checkpoint_checksum::is_whole(name, file)).then(|| {
        format!(
            "{MISMATCH}; delete it if the entries of the Delta log before it are all there, else restore it from a backup"
        )
    })
}

async fn log_findings(lake: &Lake, folder: &str) -> Vec<Finding> {
    let log = format!("{folder}/_delta_log");
    let prefix = lake.path(&log);
    let store = lake.store();
    let listed: Result<Vec<ObjectMeta>, _> = store.list(Some(&prefix)).try_collect().await;
    let mut entries = match listed {
        Ok(entries) => entries,
        Err(error) => {
            let problem = format!("cannot be listed: {error}");
            return vec![Finding { file: log, problem }];
        }
    };
    entries.sort_by(|a, b| a.location.cmp(&b.location));
    let mut out = Vec::new();
    let mut versions: Vec<i64> = Vec::new();
    for entry in entries {
        let Some(name) = entry.location.filename().map(str::to_owned) else {
            continue;
        };
        let is_commit = is_entry(&name);
        if is_commit {
            let number = name.get(..20).map(str::parse::<i64>);
            versions.extend(number.and_then(Result::ok));
        }
        let problem = if is_commit || name == "_last_checkpoint" {
            read(lake, &entry.location).await.and_then(json_problem)
        } else if name.ends_with(".checkpoint.parquet") {
            let bytes = read(lake, &entry.location).await;
            bytes.and_then(|bytes| parquet_problem(&name, bytes))
        } else {
            Ok(())
        };
        if let Err(problem) = problem {
            let file = format!("{log}/{name}");
            out.push(Finding { file, problem });
        }
    }
    for pair in versions.windows(2) {
        if let [before, after] = pair
            && *after != before + 1
        {
            out.push(Finding {
                file: format!("{log}/{:020}.json", before + 1),
                problem: "is missing: restore it from a backup".to_owned(),
            });
        }
    }
    out
}

async fn read(lake: &Lake, location: &Path) -> Result<bytes::Bytes, String> {
    let read = async { lake.store().get(location).await?.bytes().await };
    read.await.map_err(|e| match store_error(&e) {
        Error::Damaged(problem) => format!("is damaged: {problem}"),
        _ => format!("cannot be read now: {e}"),
    })
}

/// An object a line.
fn json_problem(bytes: bytes::Bytes) -> Result<(), String> {
    let mut at = 0;
    let mut lines = 0;
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let text = line.trim_ascii();
        if !text.is_empty() {
            lines += 1;
            serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(text)
                .map_err(|e| format!("is damaged at byte {at}: {e}; restore it from a backup"))?;
        }
        at += line.len();
    }
    match lines {
        0 => Err("is empty: restore it from a backup".to_owned()),
        _ => Ok(()),
    }
}

fn parquet_problem(name: &str, bytes: bytes::Bytes) -> Result<(), String> {
    if let Some(problem) = checkpoint_problem(name, &bytes) {
        return Err(format!("is damaged: {problem}"));
    }
    let damaged = |e: &dyn std::fmt::Display| {
        format!(
            "is damaged: {e}; delete it if the entries of the Delta log before it are all there, else restore it from a backup"
        )
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.build())
        .map_err(|e| damaged(&e))?;
    for batch in reader {
        batch.map_err(|e| damaged(&e))?;
    }
    Ok(())
}

/// The folders below the root that hold a Delta log, for a root whose tables nobody knows.
///
/// # Errors
/// The store's.
pub async fn folders(lake: &Lake) -> Result<Vec<String>, String> {
    let store = lake.store();
    let list = async |folder: &str| -> Result<Vec<String>, String> {
        let path = lake.path(folder);
        let path = if folder.is_empty() {
            lake.root_path()
        } else {
            path
        };
        let listed = store.list_with_delimiter(Some(&path)).await;
        let listed = listed.map_err(|e| e.to_string())?;
        let names = listed
            .common_prefixes
            .iter()
            .filter_map(|p| p.filename().map(str::to_owned));
        Ok(names.collect())
    };
    let mut out = Vec::new();
    for dataset in list("").await? {
        for table in list(&dataset).await? {
            let folder = format!("{dataset}/{table}");
            if list(&folder).await?.iter().any(|name| name == "_delta_log") {
                out.push(folder);
            }
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_damaged_entry_is_told_by_its_byte() {
        let good = bytes::Bytes::from_static(b"{\"a\":1}\n{\"b\":2}\n");
        assert_eq!(json_problem(good.clone()), Ok(()));
        let cut = json_problem(good.slice(..good.len() - 3)).unwrap_err();
        assert!(cut.contains("byte 8"), "{cut}");
        let empty = json_problem(bytes::Bytes::new()).unwrap_err();
        assert!(empty.contains("empty"), "{empty}");
    }
}
