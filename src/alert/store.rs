//! Alerts on disk: a file each, `alerts/<schema>.<name>.alert` of the data directory (both as `folder_name` spells them), written whole under another name, synced,
//! renamed, and the folder synced. So a crash leaves the state before or the one after.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPL1` |
//! | 4 | 4 | CRC32C of everything behind it, little endian |
//! | 8 | n | [`Kept`] as JSON, to the file's end |
//!
//! The JSON has one member more, `generation`: it rises with each write of the alert. `alerts.index` of the data directory
//! ([`FileIndex`]) says which alerts there are and the newest generation of each, so that a file which is missing, or an older
//! copy of itself, is told. The index is synced when an alert is made or dropped; a change of its state leaves it to the kernel.
//!
//! A file that is not what was synced stops nothing: it is told of by name, and stays as it is until someone decides.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use serde::{Deserialize, Serialize};

use super::machine::State;
use crate::clock::Micros;
use crate::dataset::AlertDeclaration;
use crate::fault::{Fault, Kind};
use crate::folder_name::{BYTES_MAX, decoded, encoded, is_word};
use crate::types::TableName;
use crate::wal::{Disk, FileIndex};

const MAGIC: [u8; 4] = *b"DPL1";
const HEADER: usize = 8;
const SUFFIX: &str = "alert";

/// All of one alert that outlives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Kept {
    pub declaration: AlertDeclaration,
    /// Tables and views that the query read when it was made.
    #[serde(default)]
    pub reads: Vec<TableName>,
    /// In whose name it asks.
    pub principal: String,
    pub created: Micros,
    #[serde(default)]
    pub paused: bool,
    /// It was dropped, and is here until receivers know that what fired is over.
    #[serde(default)]
    pub dropped: bool,
    pub state: State,
}

/// Folders' names have no dots.
fn file_name(name: &TableName) -> String {
    let name = name.folded();
    format!(
        "{}.{}.{SUFFIX}",
        encoded(name.schema()),
        encoded(name.table())
    )
}

/// Why an alert of this name cannot be kept, and what to do; none if it can.
pub(super) fn problem(name: &TableName) -> Option<String> {
    let bytes = file_name(name).len();
    (bytes > BYTES_MAX).then(|| {
        format!(
            "the names of the alert and its schema take {bytes} bytes as the name of a file, and {BYTES_MAX} are allowed, alert={name}; take a shorter one"
        )
    })
}

/// [`Kept`] as the file has it.
#[derive(Serialize)]
struct Stored<'a> {
    generation: u64,
    #[serde(flatten)]
    kept: &'a Kept,
}

/// The generation alone. A server that knew none wrote none.
#[derive(Deserialize)]
struct Generation {
    #[serde(default)]
    generation: u64,
}

/// A file that cannot be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damaged {
    pub name: TableName,
    pub path: PathBuf,
    pub problem: String,
}

impl Damaged {
    pub(super) fn message(&self) -> String {
        format!(
            "the alert's file cannot be read, path={}: {}; put it back from a backup and restart, or say CREATE OR REPLACE ALERT {} .. or DROP ALERT",
            self.path.display(),
            self.problem,
            self.name
        )
    }
}

#[derive(Clone)]
pub(super) struct Store {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    index: FileIndex,
    /// What the index says: generations by folded name. Held for moments, and while the index is written.
    known: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Store {
    pub(super) fn new(data_dir: &Path, disk: Arc<dyn Disk>) -> Self {
        Store {
            dir: data_dir.join("alerts"),
            index: FileIndex::new(data_dir.join("alerts.index"), disk.clone()),
            known: Arc::default(),
            disk,
        }
    }

    fn path(&self, name: &TableName) -> PathBuf {
        self.dir.join(file_name(name))
    }

    fn fault(path: &Path, what: &str, error: &std::io::Error) -> Fault {
        Fault::new(
            Kind::Unavailable,
            "alert_not_kept",
            format!(
                "cannot {what} the alert's file, path={}: {error}",
                path.display()
            ),
        )
    }

    /// Puts an alert in the place of what was kept of it before. On `Ok` it is synced under its name; on an error the one
    /// before still stands.
    ///
    /// # Errors
    /// UNAVAILABLE: the disk refused.
    pub(super) fn write(&self, kept: &Kept) -> Result<(), Fault> {
        let path = self.path(&kept.declaration.name);
        let name = kept.declaration.name.folded().to_string();
        let generation = self.known.lock().get(&name).map_or(1, |g| g + 1);
        let stored = Stored { generation, kept };
        let body = serde_json::to_vec(&stored).map_err(|e| Fault::internal(e.to_string()))?;
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
        let fresh = path.with_extension("tmp");
        let size = out.len() as u64;
        let fault = |what: &'static str| {
            let path = path.clone();
            move |e: std::io::Error| Self::fault(&path, what, &e)
        };
        self.disk
            .create_dir(&self.dir)
            .map_err(fault("make the folder of"))?;
        let file = self.disk.create(&fresh, size).map_err(fault("create"))?;
        file.write_at(&out, 0).map_err(fault("write"))?;
        file.sync().map_err(fault("sync"))?;
        self.disk.rename(&fresh, &path).map_err(fault("rename"))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(fault("sync the folder of"))?;
        let mut known = self.known.lock();
        let is_new = known.insert(name, generation).is_none();
        self.index
            .write(&known, is_new)
            .map_err(fault("write the index of"))
    }

    /// Lets go of an alert; fine if nothing is kept of it.
    ///
    /// # Errors
    /// UNAVAILABLE: the file is there and stays.
    pub(super) fn remove(&self, name: &TableName) -> Result<(), Fault> {
        let path = self.path(name);
        {
            let mut known = self.known.lock();
            if known.remove(&name.folded().to_string()).is_some() {
                let written = self.index.write(&known, true);
                written.map_err(|e| Self::fault(&path, "write the index of", &e))?;
            }
        }
        match self.disk.remove(&path) {
            Ok(()) => self
                .disk
                .sync_dir(&self.dir)
                .map_err(|e| Self::fault(&path, "sync the folder of", &e)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Self::fault(&path, "remove", &e)),
        }
    }

    /// What is wrong with the index.
    pub(super) fn index_problem(&self) -> Option<String> {
        let problem = self.index.entries::<u64>().err()?;
        let path = self.index.path().display();
        Some(format!(
            "{path}: {problem}; the next start makes it anew from the files"
        ))
    }

    /// Everything that is kept, and the files that cannot be read.
    pub(super) fn read_all(&self) -> (Vec<Kept>, Vec<Damaged>) {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        let mut known = self.known.lock();
        *known = self.index.read();
        let mut missing = known.clone();
        // No folder: there never was an alert, or the index says so.
        let mut files = self.disk.list(&self.dir).unwrap_or_default();
        files.sort();
        for path in files {
            let stem = path.file_stem().and_then(|s| s.to_str());
            // Older servers wrote every name as it is.
            let read =
                |part: &str| decoded(part).or_else(|| is_word(part).then(|| part.to_owned()));
            let name = stem
                .and_then(|s| s.split_once('.'))
                .and_then(|(schema, name)| Some((read(schema)?, read(name)?)))
                .and_then(|(schema, name)| TableName::new(&schema, &name).ok());
            let Some(name) = name.filter(|_| path.extension().is_some_and(|e| e == SUFFIX)) else {
                continue;
            };
            missing.remove(&name.to_string());
            let at_least = known.get(&name.to_string()).copied().unwrap_or(0);
            match self.read(&path) {
                // Generation 0: an older server wrote it last.
                Ok((_, generation)) if generation > 0 && generation < at_least => {
                    bad.push(Damaged {
                        problem: format!(
                            "it is an older copy of itself, generation {generation}; the newest was {at_least}"
                        ),
                        name,
                        path,
                    });
                }
                Ok((kept, generation)) if kept.declaration.name.folded() == name => {
                    known.insert(name.to_string(), generation);
                    good.push(kept);
                }
                Ok((kept, _)) => bad.push(Damaged {
                    problem: format!("it is the file of {}", kept.declaration.name),
                    name,
                    path,
                }),
                Err(problem) => bad.push(Damaged {
                    name,
                    path,
                    problem,
                }),
            }
        }
        for name in missing.into_keys() {
            if let Ok(name) = TableName::try_from(name) {
                bad.push(Damaged {
                    path: self.path(&name),
                    name,
                    problem: "it is missing".to_owned(),
                });
            }
        }
        (good, bad)
    }

    fn read(&self, path: &Path) -> Result<(Kept, u64), String> {
        let file = self.disk.open(path).map_err(|e| e.to_string())?;
        let bytes = file.read_all().map_err(|e| e.to_string())?;
        let (head, body) = bytes.split_at_checked(HEADER).ok_or("it is cut short")?;
        let (magic, crc) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err("it is no alert's file, or a newer server's".to_owned());
        }
        if crc != crc32c::crc32c(body).to_le_bytes() {
            return Err("checksum mismatch".to_owned());
        }
        let unknown = |e| format!("it says what this server does not know: {e}");
        let kept = serde_json::from_slice(body).map_err(unknown)?;
        let Generation { generation } = serde_json::from_slice(body).map_err(unknown)?;
        Ok((kept, generation))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::dataset::Watched;
    use crate::stored_form::{is_stored_as, stored};
    use crate::wal::RealDisk;

    fn kept(name: &str) -> Kept {
        let sql = "SELECT 1".to_owned();
        Kept {
            declaration: AlertDeclaration::new(
                TableName::new("a", name).unwrap(),
                Watched::Query { sql },
            ),
            reads: Vec::new(),
            principal: "p".to_owned(),
            created: 5,
            paused: false,
            dropped: false,
            state: State::default(),
        }
    }

    #[test]
    fn what_is_written_last_comes_back_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), Arc::new(RealDisk));
        assert_eq!(store.read_all(), (vec![], vec![]));
        let mut one = kept("One");
        store.write(&one).unwrap();
        one.paused = true;
        store.write(&one).unwrap();
        store.write(&kept("two")).unwrap();
        store.write(&kept("../zwei \u{dc}.\"x\"")).unwrap();
        store
            .remove(&kept("../zwei \u{fc}.\"X\"").declaration.name)
            .unwrap();
        assert_eq!(store.read_all(), (vec![one.clone(), kept("two")], vec![]));
        store.remove(&one.declaration.name).unwrap();
        store.remove(&one.declaration.name).unwrap();
        assert_eq!(store.read_all().0, [kept("two")]);
    }

    #[test]
    fn an_alerts_file_has_its_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alerts/a.one.alert");
        let store = Store::new(dir.path(), Arc::new(RealDisk));
        store.write(&kept("one")).unwrap();
        is_stored_as("alert", &std::fs::read(&path).unwrap());
        std::fs::write(&path, stored("alert")).unwrap();
        assert_eq!(store.read_all(), (vec![kept("one")], vec![]));
    }

    #[test]
    fn a_file_cut_or_changed_at_any_byte_is_told_of_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path(), Arc::new(RealDisk));
        store.write(&kept("one")).unwrap();
        store.write(&kept("two")).unwrap();
        let path = dir.path().join("alerts/a.one.alert");
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            for bytes in [&whole[..at], &flipped] {
                std::fs::write(&path, bytes).unwrap();
                let (good, bad) = store.read_all();
                assert_eq!(good, [kept("two")], "{at}");
                assert_eq!(bad.len(), 1);
                assert!(bad[0].message().contains("a.one.alert"));
            }
        }
        std::fs::remove_file(&path).unwrap();
        let (good, bad) = store.read_all();
        assert_eq!((good.len(), bad.len()), (1, 1));
        assert!(bad[0].message().contains("it is missing"), "{bad:?}");
        // A write that never came to its end leaves a file that nobody reads.
        std::fs::write(dir.path().join("alerts/a.one.tmp"), "half").unwrap();
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(store.read_all().0.len(), 2);
    }

    #[test]
    fn an_older_copy_is_told_of_and_an_older_servers_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::new(dir.path(), Arc::new(RealDisk));
        let store = open();
        let mut one = kept("one");
        store.write(&one).unwrap();
        let path = dir.path().join("alerts/a.one.alert");
        let older = std::fs::read(&path).unwrap();
        one.paused = true;
        store.write(&one).unwrap();
        let newest = std::fs::read(&path).unwrap();
        std::fs::write(&path, older).unwrap();
        let (good, bad) = open().read_all();
        assert_eq!(good, []);
        assert!(bad[0].message().contains("older copy"), "{bad:?}");
        // Without its index the newest file is whole all the same.
        std::fs::write(&path, newest).unwrap();
        std::fs::write(dir.path().join("alerts.index"), "").unwrap();
        let store = open();
        assert_eq!(store.read_all(), (vec![one.clone()], vec![]));
        store.write(&one).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(open().read_all().1.len(), 1);
        // Replaced after all, or dropped.
        let store = open();
        store.read_all();
        store.write(&one).unwrap();
        assert_eq!(open().read_all().0, [one.clone()]);
        store.remove(&one.declaration.name).unwrap();
        assert_eq!(open().read_all(), (vec![], vec![]));
        // As a server without generations wrote it.
        let body = serde_json::to_vec(&one).unwrap();
        let crc = crc32c::crc32c(&body).to_le_bytes();
        std::fs::write(&path, [&MAGIC[..], &crc, &body].concat()).unwrap();
        assert_eq!(open().read_all().0, [one]);
    }
}
