//! Older versions of a table, and what the log says that each version did. It reads the store anew each time it is asked:
//! what is there depends on checkpoints, log clean-up and vacuum, which are nobody's business here.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use deltalake::DeltaTable;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};
use parking_lot::Mutex;
use serde_json::{Map, Value};
use tokio::sync::watch;

use super::super::{Error, FileList, Lake, PinnedFiles, store_error};
use super::past::{Silent, list_of, silent_files};

/// Versions that are remembered; each holds its file list.
const REMEMBERED: usize = 16;
/// Requests to the store at a time.
const REQUESTS: usize = 16;

/// Which version is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    Version(i64),
    /// The newest that was there then, microseconds since 1970 UTC.
    Time(i64),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            At::Version(version) => write!(f, "version {version}"),
            At::Time(micros) => write!(f, "timestamp {}", rfc3339(*micros)),
        }
    }
}

pub(super) fn rfc3339(micros: i64) -> String {
    DateTime::<Utc>::from_timestamp_micros(micros).map_or_else(
        || micros.to_string(),
        |t| t.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
    )
}

/// What one version did, as its log entry says.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    pub version: i64,
    /// Milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
    pub operation: Option<String>,
    pub parameters: Map<String, Value>,
    /// As the writer told, and the files and rows as the entry's own actions count them.
    pub metrics: Map<String, Value>,
    pub blind_append: Option<bool>,
    pub engine: Option<String>,
    /// Application transactions that it records.
    pub txns: Map<String, Value>,
}

/// What there is in the log's folder.
struct Log {
    commits: BTreeMap<i64, ObjectMeta>,
    /// The oldest version that can be put together.
    oldest: i64,
    newest: i64,
}

/// The way to a table's other versions. Shared by all its views.
pub struct History {
    pub(super) lake: Lake,
    pub(super) folder: String,
    /// The newest version that is visible: what subscribers wait for.
    pub(super) news: watch::Sender<i64>,
    /// Versions never change, so what was read once stays right.
    remembered: Mutex<BTreeMap<i64, Arc<FileList>>>,
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "History({})", self.folder)
    }
}

impl History {
    pub fn new(lake: &Lake, folder: &str) -> Self {
        History {
            lake: lake.clone(),
            folder: folder.to_owned(),
            news: watch::channel(-1).0,
            remembered: Mutex::default(),
        }
    }

    /// Of the table in the lake; no other table ever has the same.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// What compaction did between two versions, `last` the later.
    ///
    /// # Errors
    /// `Store`: a version's entry is not to be had any more.
    pub async fn silent(&self, after: i64, last: &FileList) -> Result<Silent, Error> {
        silent_files(&self.lake, &self.folder, after, last).await
    }

    /// Where the table is.
    pub fn location(&self) -> Result<String, Error> {
        let url = self.lake.url(&self.folder)?;
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    pub(super) fn path(&self, below: &str) -> Result<Path, Error> {
        let root = self.lake.path(&self.folder);
        Path::parse(format!("{root}/{below}")).map_err(store_error)
    }

    async fn log(&self) -> Result<Log, Error> {
        let store = self.lake.store();
        let found = store
            .list_with_delimiter(Some(&self.path("_delta_log")?))
            .await
            .map_err(store_error)?;
        let (mut commits, mut checkpoints) = (BTreeMap::new(), BTreeSet::new());
        for meta in found.objects {
            let name = meta.location.filename().unwrap_or_default();
            let Some((number, rest)) = name.split_once('.') else {
                continue;
            };
            let Ok(version) = number.parse::<i64>() else {
                continue;
            };
            if rest == "json" {
                commits.insert(version, meta);
            } else if rest.starts_with("checkpoint") && rest.ends_with("parquet") {
                checkpoints.insert(version);
            }
        }
        let newest = commits
            .keys()
            .next_back()
            .copied()
            .max(checkpoints.iter().next_back().copied())
            .ok_or_else(|| Error::Store(format!("no Delta log in {}", self.folder)))?;
        let oldest = if commits.contains_key(&0) {
            0
        } else {
            checkpoints.iter().next().copied().unwrap_or(newest)
        };
        Ok(Log {
            commits,
            oldest,
            newest,
        })
    }

    async fn read(&self, version: i64, meta: &ObjectMeta) -> Result<Entry, Error> {
        let store = self.lake.store();
        let got = store.get(&meta.location).await.map_err(store_error)?;
        let bytes = got.bytes().await.map_err(store_error)?;
        Ok(entry(
            version,
            meta.last_modified.timestamp_millis(),
            &bytes,
        ))
    }

    /// The version's number, if the log still tells it.
    ///
    /// # Errors
    /// `NoVersion` names those that are there.
    pub async fn number(&self, at: At) -> Result<i64, Error> {
        let log = self.log().await?;
        let missing = |note: String| Error::NoVersion {
            asked: at.to_string(),
            oldest: log.oldest,
            newest: log.newest,
            note,
        };
        let micros = match at {
            At::Version(version) if version < log.oldest || version > log.newest => {
                return Err(missing(String::new()));
            }
            At::Version(version) => return Ok(version),
            At::Time(micros) => micros,
        };
        let millis = micros.div_euclid(1000);
        // Times of commits rise: the last one up to the time, by bisection.
        let versions: Vec<(i64, &ObjectMeta)> = log
            .commits
            .range(log.oldest..)
            .map(|(v, meta)| (*v, meta))
            .collect();
        let (mut low, mut high) = (0, versions.len());
        let mut first = None;
        while low < high {
            let middle = low.midpoint(high);
            let Some((version, meta)) = versions.get(middle) else {
                break;
            };
            let time = self.read(*version, meta).await?.timestamp_ms;
            if middle == 0 {
                first = Some(time);
            }
            if time <= millis {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        match low.checked_sub(1).and_then(|at| versions.get(at)) {
            Some((version, _)) => Ok(*version),
            None => Err(missing(first.map_or_else(String::new, |ms| {
                format!(", the oldest is of {}", rfc3339(ms.saturating_mul(1000)))
            }))),
        }
    }

    pub(super) async fn load(&self, version: i64) -> Result<DeltaTable, Error> {
        let mut delta = self.lake.table(&self.folder)?;
        let number = u64::try_from(version).map_err(store_error)?;
        delta.load_version(number).await.map_err(store_error)?;
        Ok(delta)
    }

    async fn list(&self, version: i64) -> Result<Arc<FileList>, Error> {
        if let Some(list) = self.remembered.lock().get(&version) {
            return Ok(list.clone());
        }
        let delta = self.load(version).await?;
        let list = Arc::new(list_of(&self.lake, &self.folder, &delta)?);
        let mut remembered = self.remembered.lock();
        while remembered.len() >= REMEMBERED {
            remembered.pop_first();
        }
        remembered.insert(version, list.clone());
        Ok(list)
    }

    /// One of the files that is not in the store any more. Those of `now` are there.
    pub(super) async fn missing_file(
        &self,
        paths: impl Iterator<Item = String>,
    ) -> Result<Option<String>, Error> {
        let checks = paths.map(|path| async move {
            match self.lake.store().head(&self.path(&path)?).await {
                Ok(_) => Ok(None),
                Err(object_store::Error::NotFound { .. }) => Ok(Some(path)),
                Err(error) => Err(store_error(error)),
            }
        });
        let mut found = stream::iter(checks).buffer_unordered(REQUESTS);
        while let Some(missing) = found.try_next().await? {
            if missing.is_some() {
                return Ok(missing);
            }
        }
        Ok(None)
    }

    async fn lost(&self, list: &FileList, now: &PinnedFiles) -> Result<Option<String>, Error> {
        let there: HashSet<&str> = now.files().iter().map(|f| f.path()).collect();
        let gone = list
            .files()
            .iter()
            .map(|f| f.path())
            .filter(|path| !there.contains(path))
            .map(str::to_owned)
            .collect::<Vec<_>>();
        // In this order: what a vacuum had chosen before it was pinned is going until it is gone.
        if let Some(going) = gone.iter().find(|path| now.pins().is_going(path)) {
            return Ok(Some(going.clone()));
        }
        self.missing_file(gone.into_iter()).await
    }

    /// The version's files, all of them in the store. `now`: the newest version that is known here.
    ///
    /// # Errors
    /// `NoVersion`; `Vacuumed` names the versions that can still be read.
    pub async fn view(&self, at: At, now: &PinnedFiles) -> Result<Arc<PinnedFiles>, Error> {
        let version = self.number(at).await?;
        // Pinned first and looked for then, so that no vacuum comes in between.
        let list = self.list(version).await?;
        let view = Arc::new(now.pin(&list));
        let Some(path) = self.lost(&view, now).await? else {
            return Ok(view);
        };
        // Vacuum takes what was removed first, so what is whole begins somewhere between.
        let (mut low, mut high) = (version + 1, now.version().max(version));
        while low < high {
            let middle = low.midpoint(high);
            let probe = self.list(middle).await?;
            match self.lost(&probe, now).await? {
                Some(_) => low = middle + 1,
                None => high = middle,
            }
        }
        Err(Error::Vacuumed {
            version,
            path,
            from: high,
            to: now.version().max(high),
        })
    }

    /// The newest versions first, at most `limit`.
    pub async fn entries(&self, limit: Option<usize>) -> Result<Vec<Entry>, Error> {
        let log = self.log().await?;
        let wanted = log
            .commits
            .iter()
            .rev()
            .take(limit.unwrap_or(usize::MAX))
            .map(|(version, meta)| self.read(*version, meta));
        // A list of futures first: what borrows the log lives as long as they do.
        let wanted: Vec<_> = wanted.collect();
        stream::iter(wanted).buffered(REQUESTS).try_collect().await
    }

    /// What the newest version says of the table as a whole.
    pub async fn detail(&self) -> Result<Detail, Error> {
        let mut delta = self.lake.table(&self.folder)?;
        delta.load().await.map_err(store_error)?;
        let snapshot = delta.snapshot().map_err(store_error)?;
        let metadata = snapshot.metadata();
        let (mut files, mut bytes) = (0i64, 0i64);
        for file in snapshot.log_data().iter() {
            files += 1;
            bytes = bytes.saturating_add(file.size());
        }
        let version = i64::try_from(snapshot.version()).unwrap_or(i64::MAX);
        let log = self.log().await?;
        let modified = match log.commits.get(&version) {
            Some(meta) => Some(self.read(version, meta).await?.timestamp_ms),
            None => None,
        };
        let protocol = snapshot.protocol();
        Ok(Detail {
            id: metadata.id().to_string(),
            description: metadata.description().map(ToOwned::to_owned),
            location: self.location()?,
            created_ms: metadata.created_time(),
            modified_ms: modified,
            partition_by: metadata.partition_columns().to_vec(),
            files,
            bytes,
            properties: metadata.configuration().clone().into_iter().collect(),
            reader_version: protocol.min_reader_version(),
            writer_version: protocol.min_writer_version(),
        })
    }
}

/// A table as a whole.
#[derive(Clone, Debug)]
pub struct Detail {
    pub id: String,
    pub description: Option<String>,
    pub location: String,
    pub created_ms: Option<i64>,
    pub modified_ms: Option<i64>,
    pub partition_by: Vec<String>,
    pub files: i64,
    pub bytes: i64,
    pub properties: BTreeMap<String, String>,
    pub reader_version: i32,
    pub writer_version: i32,
}

/// Reads a commit: a JSON object a line (Delta protocol, "Delta Log Entries").
pub(super) fn entry(version: i64, modified_ms: i64, bytes: &[u8]) -> Entry {
    let mut out = Entry {
        version,
        timestamp_ms: modified_ms,
        ..Entry::default()
    };
    let (mut added, mut removed, mut rows) = (0u64, 0u64, Some(0u64));
    let lines = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    for line in lines {
        let Ok(Value::Object(action)) = serde_json::from_slice::<Value>(line) else {
            continue;
        };
        if let Some(info) = action.get("commitInfo") {
            out.timestamp_ms = info["timestamp"].as_i64().unwrap_or(modified_ms);
            out.operation = info["operation"].as_str().map(str::to_owned);
            out.blind_append = info["isBlindAppend"].as_bool();
            out.engine = info["engineInfo"].as_str().map(str::to_owned);
            let map = |key: &str| info[key].as_object().cloned().unwrap_or_default();
            out.parameters = map("operationParameters");
            out.metrics.extend(map("operationMetrics"));
        } else if let Some(txn) = action.get("txn") {
            let app = txn["appId"].as_str().unwrap_or_default();
            out.txns.insert(app.to_owned(), txn["version"].clone());
        } else if let Some(add) = action.get("add") {
            added += 1;
            let stats: Option<Value> = add["stats"]
                .as_str()
                .and_then(|s| serde_json::from_str(s).ok());
            let more = stats.and_then(|s| s["numRecords"].as_u64());
            rows = rows.zip(more).map(|(a, b)| a.saturating_add(b));
        } else if action.contains_key("remove") {
            removed += 1;
        }
    }
    out.metrics.insert("numAddedFiles".to_owned(), added.into());
    out.metrics
        .insert("numRemovedFiles".to_owned(), removed.into());
    if let Some(rows) = rows {
        out.metrics.insert("numOutputRows".to_owned(), rows.into());
    }
    out
}
