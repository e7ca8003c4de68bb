//! What is defined by a statement and has no rows of its own: views, which are stored queries, and schemas that may be empty.
//!
//! All of it stands in one file, `definitions` of the data directory, which is written whole under another name, synced, renamed,
//! and the folder synced. So a crash leaves the state before a statement or the one after.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPV1` |
//! | 4 | 4 | CRC32C of everything behind it, little endian |
//! | 8 | n | `Kept` as JSON, to the file's end |
//!
//! Its generation rises with each write and stands in `definitions.index` as well ([`FileIndex`]), so that a file which is missing, or
//! an older copy of itself, is told.
//!
//! A file that cannot be read stops nothing but statements that define: the server starts without views, and the file stays as it
//! is until someone decides. Queries get what is defined with their snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::sync::{Mutex, RwLock};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

use crate::fault::{Fault, Kind};
use crate::types::{SameName, TableName, quote_name};
use crate::wal::{Disk, FileIndex};

const MAGIC: [u8; 4] = *b"DPV1";
const HEADER: usize = 8;
const FILE: &str = "definitions";
const INDEX: &str = "definitions.index";

/// Views over views: each is planned within the plan of the one that reads it.
pub const VIEWS_DEEP: usize = 32;

/// A column of a view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewColumn {
    pub name: String,
    /// What the query calls it.
    pub from: String,
    /// As it was when the view was created; a query has the type that the tables give by then.
    #[serde(rename = "type")]
    pub data_type: String,
}

/// A stored query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredView {
    pub name: TableName,
    /// As it was written.
    pub sql: String,
    /// Where names without a schema are looked for.
    pub schema: String,
    pub columns: Vec<ViewColumn>,
    /// Tables and views that it names.
    pub reads: Vec<TableName>,
}

impl StoredView {
    /// The columns as tools list them.
    pub fn columns_schema(&self) -> SchemaRef {
        let fields = self.columns.iter().map(|column| {
            // A type whose text is not read back is shown as text; queries do not ask here.
            let data_type = column.data_type.parse().unwrap_or(DataType::Utf8);
            Field::new(&column.name, data_type, true)
        });
        Arc::new(Schema::new(fields.collect::<Vec<_>>()))
    }

    /// Why it is not changed as a table is: FAILED_PRECONDITION `is_a_view`.
    pub fn no_table(&self) -> Fault {
        Fault::new(
            Kind::Precondition,
            "is_a_view",
            format!(
                "{} is a view, a stored query, and no table; use a table that it reads, or ALTER VIEW and DROP VIEW",
                self.name
            ),
        )
    }

    /// The statement that makes it.
    pub fn to_ddl(&self, or_replace: bool) -> String {
        let renamed = self.columns.iter().any(|c| c.name != c.from);
        let names: Vec<String> = self.columns.iter().map(|c| quote_name(&c.name)).collect();
        format!(
            "CREATE {}VIEW {}{}\nAS {}",
            if or_replace { "OR REPLACE " } else { "" },
            self.name,
            if renamed {
                format!(" ({})", names.join(", "))
            } else {
                String::new()
            },
            self.sql
        )
    }
}

/// Everything that is defined, by folded name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defined {
    pub views: BTreeMap<TableName, Arc<StoredView>>,
    pub schemas: BTreeMap<String, String>,
}

impl Defined {
    pub fn view(&self, name: &TableName) -> Option<&Arc<StoredView>> {
        self.views.get(&name.folded())
    }

    /// How many views stand over each other if one reads these.
    pub fn depth(&self, reads: &[TableName]) -> usize {
        let mut level: Vec<TableName> = reads.iter().map(TableName::folded).collect();
        let mut depth = 1;
        while depth <= VIEWS_DEEP {
            let views = level.iter().filter_map(|name| self.views.get(name));
            let below: BTreeSet<TableName> = views
                .clone()
                .flat_map(|view| view.reads.iter().map(TableName::folded))
                .collect();
            if views.count() == 0 {
                return depth;
            }
            depth += 1;
            level = below.into_iter().collect();
        }
        depth
    }

    /// The way by which a view that reads `reads` would read itself; empty: it would not.
    pub fn circle(&self, name: &TableName, reads: &[TableName]) -> Vec<TableName> {
        let wanted = name.folded();
        let mut seen: BTreeMap<TableName, Option<TableName>> = BTreeMap::new();
        let mut next: Vec<TableName> = Vec::new();
        for read in reads {
            seen.insert(read.folded(), None);
            next.push(read.folded());
        }
        while let Some(at) = next.pop() {
            if at == wanted {
                let mut way = vec![at.clone()];
                let mut back = seen.get(&at).cloned().flatten();
                while let Some(before) = back {
                    back = seen.get(&before).cloned().flatten();
                    way.push(before);
                }
                way.reverse();
                return way;
            }
            for read in self.views.get(&at).iter().flat_map(|view| &view.reads) {
                let read = read.folded();
                if !seen.contains_key(&read) {
                    seen.insert(read.clone(), Some(at.clone()));
                    next.push(read);
                }
            }
        }
        Vec::new()
    }
}

/// [`Defined`] as the file has it.
#[derive(Serialize, Deserialize)]
struct Kept {
    generation: u64,
    views: Vec<StoredView>,
    schemas: Vec<String>,
}

/// What work on the data directory's disk comes to, which goes on by itself. Nobody waits for a disk that hangs.
///
/// # Errors
/// UNAVAILABLE `disk_stalled`: it is not known yet. INTERNAL: it panicked.
pub async fn answered<T>(patience: Duration, what: &str, work: JoinHandle<T>) -> Result<T, Fault> {
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done.map_err(|e| Fault::internal(format!("{what}: {e}"))),
        Err(_) => Err(Fault::new(
            Kind::Unavailable,
            "disk_stalled",
            format!(
                "the disk of the data directory has not answered for {patience:?}, while {what} were written; the statement takes effect when it does, or not at all: look at the disk, then at what there is, and say it again if it is missing"
            ),
        )),
    }
}

/// What is defined, in memory and on disk.
pub struct Definitions {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    index: FileIndex,
    now: RwLock<Arc<Defined>>,
    /// Held while the file is written: one change at a time. The file's generation, or what is wrong with it.
    changing: Mutex<Result<u64, String>>,
    /// So long a statement waits for the disk.
    patience: Duration,
}

impl Definitions {
    /// Reads what was defined before. `patience`: so long a change waits for the disk.
    pub fn open(data_dir: &Path, disk: Arc<dyn Disk>, patience: Duration) -> Self {
        let path = data_dir.join(FILE);
        let index = FileIndex::new(data_dir.join(INDEX), disk.clone());
        let (defined, generation) = match read(&path, &*disk, &index) {
            Ok((defined, generation)) => (defined, Ok(generation)),
            Err(problem) => {
                tracing::error!(path = %path.display(), %problem, "the views of this server cannot be read");
                (Defined::default(), Err(problem))
            }
        };
        Definitions {
            path,
            disk,
            index,
            now: RwLock::new(Arc::new(defined)),
            changing: Mutex::new(generation),
            patience,
        }
    }

    /// What is wrong with the file.
    pub fn problem(&self) -> Option<String> {
        let problem = self.changing.lock().clone().err()?;
        Some(format!("{}: {problem}", self.path.display()))
    }

    pub fn now(&self) -> Arc<Defined> {
        self.now.read().clone()
    }

    /// Changes what is defined. On `Ok` it is synced; on an error what was defined before is in force.
    ///
    /// # Errors
    /// What `change` says; DATA_LOSS `definitions_damaged`: the file could not be read at the start; UNAVAILABLE: the disk
    /// refused, or `disk_stalled`.
    pub async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Defined) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let this = self.clone();
        // It waits for the disk.
        let work = tokio::task::spawn_blocking(move || {
            let mut changing = this.changing.lock();
            let generation = changing.clone().map_err(|problem| {
                Fault::new(
                    Kind::Corrupt,
                    "definitions_damaged",
                    format!(
                        "the file of views and schemas cannot be read, path={}: {problem}; stop the server and put the file back from a backup, or remove it and {INDEX} and create the views again",
                        this.path.display()
                    ),
                )
            })?;
            let before = this.now();
            let mut after = (*before).clone();
            let out = change(&mut after)?;
            if after != *before {
                this.write(&after, generation + 1)?;
                *changing = Ok(generation + 1);
                *this.now.write() = Arc::new(after);
            }
            Ok(out)
        });
        answered(self.patience, "views and schemas", work).await?
    }

    fn write(&self, defined: &Defined, generation: u64) -> Result<(), Fault> {
        let kept = Kept {
            generation,
            views: defined.views.values().map(|v| (**v).clone()).collect(),
            schemas: defined.schemas.values().cloned().collect(),
        };
        let body = serde_json::to_vec(&kept).map_err(|e| Fault::internal(e.to_string()))?;
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
        let written = || {
            let fresh = self.path.with_extension("tmp");
            let file = self.disk.create(&fresh, out.len() as u64)?;
            file.write_at(&out, 0)?;
            file.sync()?;
            self.disk.rename(&fresh, &self.path)?;
            let folder = self.path.parent().unwrap_or(Path::new("."));
            self.disk.sync_dir(folder)
        };
        written().map_err(|error: std::io::Error| {
            Fault::new(
                Kind::Unavailable,
                "definition_not_kept",
                format!(
                    "cannot write the file of views and schemas, path={}: {error}; what was defined before is in force, look at the disk and say it again",
                    self.path.display()
                ),
            )
        })?;
        let known = BTreeMap::from([(FILE.to_owned(), generation)]);
        if let Err(error) = self.index.write(&known, true) {
            // The file is newer than the index says, which is no damage.
            tracing::warn!(path = %self.index.path().display(), %error, "the index of views was not written");
        }
        Ok(())
    }
}

/// What the file has, and its generation; 0: there never was one.
fn read(path: &Path, disk: &dyn Disk, index: &FileIndex) -> Result<(Defined, u64), String> {
    // An index that cannot be read says nothing; the next change makes it anew.
    let least = index.entries::<u64>().unwrap_or_default();
    let least = least.get(FILE).copied().unwrap_or(0);
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && least == 0 => {
            return Ok((Defined::default(), 0));
        }
        Err(error) => return Err(error.to_string()),
    };
    let bytes = file.read_all().map_err(|e| e.to_string())?;
    let (head, body) = bytes.split_at_checked(HEADER).ok_or("it is cut short")?;
    let (magic, crc) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err("it is no file of definitions, or a newer server's".to_owned());
    }
    if crc != crc32c::crc32c(body).to_le_bytes() {
        return Err("checksum mismatch".to_owned());
    }
    let kept: Kept = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    if kept.generation < least {
        return Err(format!(
            "it is an older copy of itself, generation {}; the newest was {least}",
            kept.generation
        ));
    }
    let views = kept.views.into_iter();
    let schemas = kept.schemas.into_iter();
    let defined = Defined {
        views: views
            .map(|view| (view.name.folded(), Arc::new(view)))
            .collect(),
        schemas: schemas.map(|name| (name.folded_name(), name)).collect(),
    };
    Ok((defined, kept.generation))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn nobody_waits_for_a_disk_that_hangs() {
        let hangs = tokio::spawn(std::future::pending::<()>());
        let told = answered(Duration::from_millis(10), "views and schemas", hangs).await;
        assert_eq!(told.unwrap_err().reason, "disk_stalled");
    }
    use crate::stored_form::{is_stored_as, stored};
    use crate::wal::RealDisk;

    fn name(table: &str) -> TableName {
        TableName::new("public", table).unwrap()
    }

    fn view(table: &str, reads: &[&str]) -> Arc<StoredView> {
        Arc::new(StoredView {
            name: name(table),
            sql: "SELECT 1 AS a".to_owned(),
            schema: "public".to_owned(),
            columns: vec![ViewColumn {
                name: "a".to_owned(),
                from: "a".to_owned(),
                data_type: "Int64".to_owned(),
            }],
            reads: reads.iter().map(|r| name(r)).collect(),
        })
    }

    #[tokio::test]
    async fn what_was_defined_is_there_after_a_start() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            Arc::new(Definitions::open(
                dir.path(),
                Arc::new(RealDisk),
                Duration::from_secs(10),
            ))
        };
        let definitions = open();
        assert_eq!(*definitions.now(), Defined::default());
        let define = |d: &mut Defined| {
            d.views.insert(name("V").folded(), view("V", &["t"]));
            d.schemas.insert("lab".to_owned(), "Lab".to_owned());
            Ok(())
        };
        definitions.change(define).await.unwrap();
        let refused = |d: &mut Defined| -> Result<(), Fault> {
            d.views.clear();
            Err(Fault::invalid("no", "no"))
        };
        assert!(definitions.change(refused).await.is_err());
        let path = dir.path().join(FILE);
        is_stored_as("definitions", &std::fs::read(&path).unwrap());
        std::fs::write(&path, stored("definitions")).unwrap();
        let again = open();
        assert_eq!(again.now(), definitions.now());
        assert_eq!(again.now().view(&name("v")).unwrap().name, name("V"));
        assert_eq!(again.now().views.len(), 1);
    }

    /// Each byte of the file is held against the checksum, and what cannot be read is not written over.
    #[tokio::test]
    async fn a_damaged_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            Arc::new(Definitions::open(
                dir.path(),
                Arc::new(RealDisk),
                Duration::from_secs(10),
            ))
        };
        let define = |d: &mut Defined| {
            d.views.insert(name("v"), view("v", &[]));
            Ok(())
        };
        open().change(define).await.unwrap();
        let path = dir.path().join(FILE);
        let good = std::fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            std::fs::write(&path, &bad).unwrap();
            let fault = open().change(define).await.unwrap_err();
            assert_eq!(
                (fault.kind, &*fault.reason),
                (Kind::Corrupt, "definitions_damaged")
            );
            assert_eq!(std::fs::read(&path).unwrap(), bad);
        }
        std::fs::write(&path, &good[..5]).unwrap();
        assert!(open().now().views.is_empty());
        std::fs::write(&path, &good).unwrap();
        assert_eq!(open().now().views.len(), 1);
        // An older copy, and none at all.
        let another = |d: &mut Defined| {
            d.views.insert(name("w"), view("w", &[]));
            Ok(())
        };
        open().change(another).await.unwrap();
        let newest = std::fs::read(&path).unwrap();
        std::fs::write(&path, &good).unwrap();
        let problem = open().problem().unwrap();
        assert!(
            problem.contains("generation 1; the newest was 2"),
            "{problem}"
        );
        std::fs::remove_file(&path).unwrap();
        assert!(open().problem().is_some());
        std::fs::write(&path, &newest).unwrap();
        assert_eq!((open().now().views.len(), open().problem()), (2, None));
    }

    #[test]
    fn a_circle_is_found_on_its_whole_way() {
        let mut defined = Defined::default();
        for (table, reads) in [("a", ["b"]), ("b", ["c"]), ("c", ["t"])] {
            defined.views.insert(name(table), view(table, &reads));
        }
        assert!(defined.circle(&name("d"), &[name("a")]).is_empty());
        let way = defined.circle(&name("C"), &[name("t"), name("A")]);
        assert_eq!(way, ["a", "b", "c"].map(name));
        assert_eq!(defined.circle(&name("x"), &[name("X")]), [name("x")]);
        assert_eq!(defined.depth(&[name("t")]), 1);
        assert_eq!(defined.depth(&[name("t"), name("A")]), 4);
    }
}
