//! What one version did to a table's rows, as its log entry says, and the bell that rings when there is a new one. Entries are
//! read anew each time: whoever is behind reads the store and is in nobody's way.

use std::collections::HashMap;
use std::sync::Arc;

use object_store::ObjectStoreExt;
use serde_json::Value;
use tokio::sync::watch;

use super::super::files::file::said_in;
use super::super::{ColdFile, Described, Error, FileList, store_error};
use super::history::{At, History, entry};
use crate::partition_folder;

/// The table is gone: what its bell rings last.
pub const GONE: i64 = i64::MAX;

/// What one version did to the rows. A version that only writes rows anew (compaction) did nothing.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Files whose rows came, in the entry's order.
    pub added: Vec<Arc<ColdFile>>,
    /// Files whose rows went.
    pub removed: Vec<Arc<ColdFile>>,
    /// When it was committed, in milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
}

impl History {
    /// Rings when a version becomes visible; holds the newest one, or [`GONE`].
    pub fn news(&self) -> watch::Receiver<i64> {
        self.news.subscribe()
    }

    /// Tells those who follow the table. Never waits.
    pub fn announce(&self, version: i64) {
        self.news.send_if_modified(|known| {
            let is_news = version > *known;
            *known = version.max(*known);
            is_news
        });
    }

    /// What the version changed. `now`: a list of the table, for its columns.
    ///
    /// # Errors
    /// `NoVersion`: there is no such version yet. `Untold`: its entry has gone from the log.
    pub async fn change(&self, version: i64, now: &FileList) -> Result<Change, Error> {
        let path = self.path(&format!("_delta_log/{version:020}.json"))?;
        let got = match self.lake.store().get(&path).await {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => {
                // Says so if there never was one.
                let newest = self.number(At::Version(version)).await;
                return Err(match newest {
                    Err(Error::NoVersion { newest, .. }) if version <= newest => {
                        Error::Untold { version, newest }
                    }
                    Err(other) => other,
                    Ok(_) => Error::Untold {
                        version,
                        newest: now.version(),
                    },
                });
            }
            Err(other) => return Err(store_error(other)),
        };
        let modified = got.meta.last_modified.timestamp_millis();
        let bytes = got.bytes().await.map_err(store_error)?;
        let mut change = Change {
            timestamp_ms: entry(version, modified, &bytes).timestamp_ms,
            ..Change::default()
        };
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let action: Value = serde_json::from_slice(line).map_err(store_error)?;
            if let Some(file) = self.moved(&action["add"], now).await? {
                change.added.push(file);
            }
            if let Some(file) = self.moved(&action["remove"], now).await? {
                change.removed.push(file);
            }
        }
        Ok(change)
    }

    /// The file of an `add` or `remove` that changes rows.
    async fn moved(&self, action: &Value, now: &FileList) -> Result<Option<Arc<ColdFile>>, Error> {
        let Some(path) = action["path"].as_str() else {
            return Ok(None);
        };
        if action["dataChange"].as_bool() == Some(false) {
            return Ok(None);
        }
        // Paths in a log are URLs (Delta protocol, "Add File and Remove File").
        let path = object_store::path::Path::from_url_path(path)
            .map_or_else(|_| path.to_owned(), |p| p.to_string());
        let mut values: HashMap<String, Option<String>> = HashMap::new();
        match action["partitionValues"].as_object() {
            Some(told) => values.extend(
                told.iter()
                    .map(|(k, v)| (k.clone(), v.as_str().map(str::to_owned))),
            ),
            // Other writers may leave them out of a removal; then the folders say them.
            None => values.extend(path.split('/').filter_map(|part| {
                let (column, value) = part.split_once('=')?;
                let value =
                    (value != partition_folder::NULL).then(|| partition_folder::unescaped(value));
                Some((partition_folder::unescaped(column), value))
            })),
        }
        let size = match action["size"].as_i64() {
            Some(size) => size,
            None => {
                let head = self.lake.store().head(&self.path(&path)?).await;
                i64::try_from(head.map_err(store_error)?.size).map_err(store_error)?
            }
        };
        let root = self.lake.path(&self.folder);
        let modified = action["modificationTime"].as_i64().unwrap_or(0);
        ColdFile::new(
            &root,
            Described {
                path: &path,
                size,
                modified_ms: modified,
                stats: action["stats"].as_str(),
                partition_values: &values,
                in_one_form: said_in(action),
            },
            now.columns(),
        )
        .map(Some)
    }

    /// Says what it is when a version's changes cannot be read because files of it were vacuumed; none: they are all there.
    pub async fn vacuumed(&self, version: i64, change: &Change, newest: i64) -> Option<Error> {
        let files = change.added.iter().chain(&change.removed);
        let paths: Vec<String> = files.map(|f| f.path().to_owned()).collect();
        let path = self.missing_file(paths.into_iter()).await.ok()??;
        Some(Error::Swept {
            version,
            path,
            newest,
        })
    }

    /// Is this the way to the same table?
    pub fn is_same(&self, other: &History) -> bool {
        std::ptr::eq(self, other) || self.folder == other.folder
    }
}
