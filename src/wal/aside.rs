//! What stands beside the segments: rows that one table cannot commit, kept in a file of their own so that they pin no one
//! else's segments. It keeps bytes; `catalog/parking` knows what they mean.
//!
//! One file an incarnation, `parked/<incarnation>.rows`, written whole under another name and renamed:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPA1`, or `DPA2` where the body has frames that were not replayed |
//! | 4 | 4 | CRC32C of everything behind it |
//! | 8 | 16 | log uuid |
//! | 24 | 8 | incarnation |
//! | 32 | n | body, to the file's end |
//!
//! `parked.index` beside the folder ([`FileIndex`]) says of each file which checksums it may have: one, or two while the file is
//! being replaced. A file that is missing, or that is an older copy, is told by it: rows that the log has let go of would be
//! gone in silence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::fields::{array_at, seal, u32_at, u64_at};
use super::{Disk, Error, FileIndex};

const MAGIC: [u8; 4] = *b"DPA1";
/// An older server does not know such a body, and must not take it for one without frames.
const MAGIC_FRAMES: [u8; 4] = *b"DPA2";
const HEADER: usize = 32;
const FOLDER: &str = "parked";
const SUFFIX: &str = "rows";

/// The folder of parked rows. Cheap to clone.
#[derive(Clone)]
pub struct Aside {
    dir: PathBuf,
    uuid: [u8; 16],
    disk: Arc<dyn Disk>,
    index: FileIndex,
    /// What the index says. The lock is held while files change, one table at a time: parking is rare.
    known: Arc<Mutex<Known>>,
}

/// By incarnation: the checksums that its file may have.
type Known = BTreeMap<String, Vec<u32>>;

impl Aside {
    /// `log_dir`: the folder of the segments. It is made when the first table is parked.
    pub fn new(log_dir: &Path, uuid: uuid::Uuid, disk: Arc<dyn Disk>) -> Self {
        Aside {
            dir: log_dir.join(FOLDER),
            uuid: uuid.into_bytes(),
            index: FileIndex::new(log_dir.join("parked.index"), disk.clone()),
            known: Arc::default(),
            disk,
        }
    }

    fn path(&self, incarnation: u64) -> PathBuf {
        self.dir.join(format!("{incarnation}.{SUFFIX}"))
    }

    /// Puts a body in the place of what was parked before. On `Ok` it is synced under its name; on an error the one before
    /// still stands.
    ///
    /// # Errors
    /// `Io`: the disk refused.
    pub fn write(&self, incarnation: u64, body: &[u8], has_frames: bool) -> Result<(), Error> {
        self.disk
            .create_dir(&self.dir)
            .map_err(Error::io("folder"))?;
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(if has_frames { &MAGIC_FRAMES } else { &MAGIC });
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.uuid);
        out.extend_from_slice(&incarnation.to_le_bytes());
        out.extend_from_slice(body);
        let crc = seal(&mut out);
        let mut known = self.known.lock();
        // A first file is noted when it is there: until then the log holds its rows.
        if let Some(mut either) = known.get(&incarnation.to_string()).cloned() {
            either.push(crc);
            self.note(&mut known, incarnation, Some(either))?;
        }
        let path = self.path(incarnation);
        let fresh = path.with_extension("tmp");
        let file = self
            .disk
            .create(&fresh, out.len() as u64)
            .map_err(Error::io("create"))?;
        file.write_at(&out, 0).map_err(Error::io("write"))?;
        file.sync().map_err(Error::io("sync"))?;
        self.disk
            .rename(&fresh, &path)
            .map_err(Error::io("rename"))?;
        self.disk
            .sync_dir(&self.dir)
            .map_err(Error::io("folder sync"))?;
        self.note(&mut known, incarnation, Some(vec![crc]))
    }

    /// On `Ok` the index is synced.
    fn note(
        &self,
        known: &mut Known,
        incarnation: u64,
        crcs: Option<Vec<u32>>,
    ) -> Result<(), Error> {
        let mut next = known.clone();
        match crcs {
            Some(crcs) => next.insert(incarnation.to_string(), crcs),
            None => next.remove(&incarnation.to_string()),
        };
        if next != *known {
            self.index.write(&next, true).map_err(Error::io("index"))?;
            *known = next;
        }
        Ok(())
    }

    /// Every parked body, by incarnation.
    ///
    /// # Errors
    /// `Parked`: a file is missing, is not what was synced last, or belongs to another log.
    pub fn read_all(&self) -> Result<Vec<(u64, Vec<u8>)>, Error> {
        let mut known = self.known.lock();
        *known = self.index.read();
        let (bodies, found) = self.read_against(&known)?;
        if found != *known {
            self.index.write(&found, true).map_err(Error::io("index"))?;
            *known = found;
        }
        Ok(bodies)
    }

    /// Why [`Self::read_all`] would fail. It changes nothing.
    pub fn problem(&self) -> Option<Error> {
        let known = match self.index.entries() {
            Ok(known) => known,
            Err(problem) => {
                return Some(Error::Parked {
                    file: self.index.path().display().to_string(),
                    problem: format!("{problem}; the next start makes it anew from the files"),
                });
            }
        };
        self.read_against(&known).err()
    }

    #[expect(clippy::type_complexity, reason = "two lists about the same files")]
    fn read_against(&self, known: &Known) -> Result<(Vec<(u64, Vec<u8>)>, Known), Error> {
        // No folder: nothing was ever parked here, or the index says so.
        let files = self.disk.list(&self.dir).unwrap_or_default();
        let lost = |number: &&String| {
            let file = format!("{number}.{SUFFIX}");
            !files
                .iter()
                .any(|f| f.file_name().is_some_and(|n| *n == *file))
        };
        if let Some(number) = known.keys().find(lost) {
            return Err(Error::Parked {
                file: self
                    .dir
                    .join(format!("{number}.{SUFFIX}"))
                    .display()
                    .to_string(),
                problem: "it is missing".to_owned(),
            });
        }
        let mut found = Known::new();
        let mut out = Vec::new();
        for path in files {
            if path.extension().is_none_or(|e| e != SUFFIX) {
                continue;
            }
            let file = self.disk.open(&path).map_err(Error::io("open"))?;
            let bytes = file.read_all().map_err(Error::io("read"))?;
            let damaged = |problem: &str| Error::Parked {
                file: path.display().to_string(),
                problem: problem.to_owned(),
            };
            let (incarnation, body) = self.parse(&bytes).map_err(damaged)?;
            let crc = u32_at(&bytes, 4);
            let number = incarnation.to_string();
            if path.file_stem().is_none_or(|stem| *stem != *number) {
                return Err(damaged("it is the file of another table"));
            }
            if known.get(&number).is_some_and(|crcs| !crcs.contains(&crc)) {
                return Err(damaged(
                    "it is not the one that parked.index names, either is an older copy",
                ));
            }
            found.insert(number, vec![crc]);
            out.push((incarnation, body.to_vec()));
        }
        Ok((out, found))
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Result<(u64, &'a [u8]), &'static str> {
        let (head, body) = bytes.split_at_checked(HEADER).ok_or("cut short")?;
        if !head.starts_with(&MAGIC) && !head.starts_with(&MAGIC_FRAMES) {
            return Err("no parked rows");
        }
        if u32_at(head, 4) != crc32c::crc32c(bytes.get(8..).unwrap_or_default()) {
            return Err("checksum mismatch");
        }
        if array_at(head, 8) != self.uuid {
            return Err("it belongs to another log");
        }
        Ok((u64_at(head, 24), body))
    }

    /// Lets go of a table's parked rows; fine if there are none.
    ///
    /// # Errors
    /// `Io`: the file is there and stays.
    pub fn remove(&self, incarnation: u64) -> Result<(), Error> {
        let mut known = self.known.lock();
        self.note(&mut known, incarnation, None)?;
        match self.disk.remove(&self.path(incarnation)) {
            Ok(()) => self
                .disk
                .sync_dir(&self.dir)
                .map_err(Error::io("folder sync")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("remove")(e)),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::super::RealDisk;
    use super::*;

    fn aside(dir: &Path, uuid: u128) -> Aside {
        Aside::new(dir, uuid::Uuid::from_u128(uuid), Arc::new(RealDisk))
    }

    #[test]
    fn what_is_written_last_comes_back_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let here = aside(dir.path(), 1);
        assert_eq!(here.read_all().unwrap(), vec![]);
        here.remove(7).unwrap();
        here.write(7, b"first", false).unwrap();
        here.write(7, b"second", false).unwrap();
        assert_eq!(here.read_all().unwrap(), vec![(7, b"second".to_vec())]);
        here.remove(7).unwrap();
        assert_eq!(here.read_all().unwrap(), vec![]);
    }

    #[test]
    fn a_file_that_is_missing_or_an_older_copy_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        aside(dir.path(), 1).write(7, b"first", false).unwrap();
        let file = dir.path().join("parked/7.rows");
        let older = std::fs::read(&file).unwrap();
        let here = aside(dir.path(), 1);
        here.read_all().unwrap();
        here.write(7, b"second", false).unwrap();
        let newest = std::fs::read(&file).unwrap();
        let problem = || {
            let refused = aside(dir.path(), 1).read_all().unwrap_err();
            refused.to_string()
        };
        std::fs::write(&file, older).unwrap();
        assert!(problem().contains("7.rows: it is not the one that parked.index names"));
        std::fs::remove_file(&file).unwrap();
        assert!(problem().contains("7.rows: it is missing"));
        std::fs::remove_dir(dir.path().join("parked")).unwrap();
        assert!(problem().contains("7.rows: it is missing"));
        std::fs::create_dir(dir.path().join("parked")).unwrap();
        std::fs::write(&file, newest).unwrap();
        // An index that cannot be read is made anew from the files.
        for bytes in [&b""[..], b"nonsense that is long enough"] {
            std::fs::write(dir.path().join("parked.index"), bytes).unwrap();
            assert_eq!(aside(dir.path(), 1).read_all().unwrap().len(), 1);
        }
        std::fs::remove_file(&file).unwrap();
        assert!(problem().contains("7.rows: it is missing"));
        aside(dir.path(), 1).remove(7).unwrap();
    }

    #[test]
    fn damage_and_another_logs_rows_are_refused_by_file() {
        let dir = tempfile::tempdir().unwrap();
        aside(dir.path(), 1).write(7, b"rows", false).unwrap();
        let other = aside(dir.path(), 2).read_all().unwrap_err();
        assert!(other.to_string().contains("another log"), "{other}");
        let file = dir.path().join("parked/7.rows");
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let damaged = aside(dir.path(), 1).read_all().unwrap_err();
        assert!(damaged.to_string().contains("7.rows"), "{damaged}");
    }
}
