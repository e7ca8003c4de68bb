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

use std::collections::{BTreeMap, BTreeSet};
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
    unread: Arc<Mutex<Unread>>,
}

/// The files whose rows are not served.
#[derive(Default)]
struct Unread {
    /// By incarnation: files that could not be read.
    numbers: BTreeSet<u64>,
    strays: usize,
}

/// By incarnation: the checksums that its file may have.
type Known = BTreeMap<String, Vec<u32>>;

/// A file's checksum and body, or what is wrong with the file.
type Read = Result<(u32, Vec<u8>), Error>;

/// An incarnation's body, or what is wrong with its file.
pub(super) type Body = (u64, Result<Vec<u8>, Error>);

/// What the folder was found to hold.
struct Contents {
    read: Vec<(u64, Read)>,
    /// Files whose name says no table. They are nobody's, and stay.
    strays: Vec<Error>,
}

impl Aside {
    /// `log_dir`: the folder of the segments. It is made when the first table is parked.
    pub fn new(log_dir: &Path, uuid: uuid::Uuid, disk: Arc<dyn Disk>) -> Self {
        Aside {
            dir: log_dir.join(FOLDER),
            uuid: uuid.into_bytes(),
            index: FileIndex::new(log_dir.join("parked.index"), disk.clone()),
            known: Arc::default(),
            unread: Arc::default(),
            disk,
        }
    }

    /// How many files were found whose rows cannot be had: they are damaged or missing, or no table's.
    pub fn unread(&self) -> usize {
        let unread = self.unread.lock();
        unread.numbers.len() + unread.strays
    }

    /// Can the rows in the table's file be had?
    pub fn mark(&self, incarnation: u64, is_read: bool) {
        let numbers = &mut self.unread.lock().numbers;
        if is_read {
            numbers.remove(&incarnation);
        } else {
            numbers.insert(incarnation);
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
        self.note(&mut known, incarnation, Some(vec![crc]))?;
        self.mark(incarnation, true);
        Ok(())
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

    /// Every parked body, by incarnation. `Parked` in the place of a body: the file is missing, is not what was synced last, or
    /// belongs to another log. It is about that table alone, and the file stays as it is. So does a file whose name says no table;
    /// the log names it.
    ///
    /// # Errors
    /// `Io`: the index cannot be written.
    pub fn read_all(&self) -> Result<Vec<Body>, Error> {
        let mut known = self.known.lock();
        *known = self.index.read();
        let Contents {
            read: bodies,
            strays,
        } = self.read_against(&known);
        for stray in &strays {
            tracing::error!("a file in the folder of parked rows is left alone: {stray}");
        }
        let unread = bodies.iter().filter(|(_, body)| body.is_err());
        *self.unread.lock() = Unread {
            numbers: unread.map(|(number, _)| *number).collect(),
            strays: strays.len(),
        };
        let mut found = Known::new();
        for (incarnation, body) in &bodies {
            let number = incarnation.to_string();
            match body {
                Ok((crc, _)) => found.insert(number, vec![*crc]),
                // What it must be stays known, so that no other file is taken for it.
                Err(_) => known
                    .get(&number)
                    .and_then(|crcs| found.insert(number, crcs.clone())),
            };
        }
        if found != *known {
            self.index.write(&found, true).map_err(Error::io("index"))?;
            *known = found;
        }
        let without_crc = |(number, body): (u64, Read)| (number, body.map(|(_, body)| body));
        Ok(bodies.into_iter().map(without_crc).collect())
    }

    /// One table's parked body.
    ///
    /// # Errors
    /// As those in [`Self::read_all`].
    pub fn read(&self, incarnation: u64) -> Result<Vec<u8>, Error> {
        let known = self.known.lock();
        self.read_one(&known, incarnation).map(|(_, body)| body)
    }

    /// What is wrong with the files, as a start would find it. It changes nothing.
    pub fn problems(&self) -> Vec<Error> {
        let known = match self.index.entries() {
            Ok(known) => known,
            Err(problem) => {
                return vec![Error::Parked {
                    file: self.index.path().display().to_string(),
                    problem: format!("{problem}; the next start makes it anew from the files"),
                }];
            }
        };
        let Contents { read, strays } = self.read_against(&known);
        let unread = read.into_iter().filter_map(|(_, body)| body.err());
        unread.chain(strays).collect()
    }

    /// Every file that is there or should be.
    fn read_against(&self, known: &Known) -> Contents {
        // No folder: nothing was ever parked here, or the index says so.
        let files = self.disk.list(&self.dir).unwrap_or_default();
        let mut numbers: BTreeSet<u64> = known.keys().filter_map(|n| n.parse().ok()).collect();
        let mut strays = Vec::new();
        for path in files {
            if path.extension().is_none_or(|e| e != SUFFIX) {
                continue;
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            match stem.and_then(|stem| stem.parse().ok()) {
                // Not 007.rows, which would be read as 7.rows.
                Some(number) if self.path(number) == path => {
                    numbers.insert(number);
                }
                _ => strays.push(Error::Stray {
                    file: path.display().to_string(),
                }),
            }
        }
        let read = |number: u64| (number, self.read_one(known, number));
        Contents {
            read: numbers.into_iter().map(read).collect(),
            strays,
        }
    }

    fn read_one(&self, known: &Known, incarnation: u64) -> Read {
        let path = self.path(incarnation);
        let damaged = |problem: &str| Error::Parked {
            file: path.display().to_string(),
            problem: problem.to_owned(),
        };
        let file = match self.disk.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(damaged("it is missing"));
            }
            Err(e) => return Err(damaged(&format!("it cannot be opened: {e}"))),
        };
        let bytes = file
            .read_all()
            .map_err(|e| damaged(&format!("it cannot be read: {e}")))?;
        let (owner, body) = self.parse(&bytes).map_err(damaged)?;
        if owner != incarnation {
            return Err(damaged("it is the file of another table"));
        }
        let crc = u32_at(&bytes, 4);
        let crcs = known.get(&incarnation.to_string());
        if crcs.is_some_and(|crcs| !crcs.contains(&crc)) {
            return Err(damaged(
                "it is not the one that parked.index names, either is an older copy",
            ));
        }
        Ok((crc, body.to_vec()))
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

    /// Lets go of a table's parked rows and keeps their file under another name; fine if there is none.
    ///
    /// # Errors
    /// `Io`: the file has its name still.
    pub fn set_apart(&self, incarnation: u64) -> Result<(), Error> {
        let path = self.path(incarnation);
        let apart = path.with_extension("lost");
        let mut known = self.known.lock();
        // The file first: an index without it and a file with it would be read as whole.
        match self.disk.rename(&path, &apart) {
            Ok(()) => self
                .disk
                .sync_dir(&self.dir)
                .map_err(Error::io("folder sync"))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("rename")(e)),
        }
        self.note(&mut known, incarnation, None)?;
        self.mark(incarnation, true);
        Ok(())
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
                .map_err(Error::io("folder sync"))?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("remove")(e)),
        }
        self.mark(incarnation, true);
        Ok(())
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

    /// The bodies of files that can all be read.
    fn whole(aside: &Aside) -> Vec<(u64, Vec<u8>)> {
        let bodies = aside.read_all().unwrap().into_iter();
        bodies.map(|(n, body)| (n, body.unwrap())).collect()
    }

    /// What is wrong with the one file that cannot be read.
    fn problem_of(aside: &Aside, number: u64) -> String {
        let bodies = aside.read_all().unwrap();
        let found = bodies.into_iter().find(|(n, _)| *n == number).unwrap();
        found.1.unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_last_comes_back_until_it_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let here = aside(dir.path(), 1);
        assert_eq!(whole(&here), vec![]);
        here.remove(7).unwrap();
        here.write(7, b"first", false).unwrap();
        here.write(7, b"second", false).unwrap();
        assert_eq!(whole(&here), vec![(7, b"second".to_vec())]);
        assert_eq!(here.read(7).unwrap(), b"second");
        here.remove(7).unwrap();
        assert_eq!(whole(&here), vec![]);
    }

    #[test]
    fn a_file_that_is_missing_or_an_older_copy_is_named_at_every_start() {
        let dir = tempfile::tempdir().unwrap();
        aside(dir.path(), 1).write(7, b"first", false).unwrap();
        let file = dir.path().join("parked/7.rows");
        let older = std::fs::read(&file).unwrap();
        let here = aside(dir.path(), 1);
        whole(&here);
        here.write(7, b"second", false).unwrap();
        here.write(8, b"of another table", false).unwrap();
        let newest = std::fs::read(&file).unwrap();
        // Twice: what the file must be is not forgotten.
        for _ in 0..2 {
            std::fs::write(&file, &older).unwrap();
            let here = aside(dir.path(), 1);
            let problem = problem_of(&here, 7);
            assert!(
                problem.contains("7.rows: it is not the one that parked.index names"),
                "{problem}"
            );
            assert_eq!(here.read(8).unwrap(), b"of another table");
            std::fs::remove_file(&file).unwrap();
            let problem = problem_of(&aside(dir.path(), 1), 7);
            assert!(problem.contains("7.rows: it is missing"), "{problem}");
        }
        // An index that cannot be read is made anew from the files.
        std::fs::write(&file, newest).unwrap();
        for bytes in [&b""[..], b"nonsense that is long enough"] {
            std::fs::write(dir.path().join("parked.index"), bytes).unwrap();
            assert_eq!(whole(&aside(dir.path(), 1)).len(), 2);
        }
        std::fs::remove_dir_all(dir.path().join("parked")).unwrap();
        let problem = problem_of(&aside(dir.path(), 1), 7);
        assert!(problem.contains("7.rows: it is missing"), "{problem}");
        aside(dir.path(), 1).remove(7).unwrap();
    }

    #[test]
    fn damage_and_another_logs_rows_are_told_by_file_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let here = aside(dir.path(), 1);
        here.write(7, b"rows", false).unwrap();
        here.write(8, b"more", false).unwrap();
        let other = problem_of(&aside(dir.path(), 2), 7);
        assert!(other.contains("another log"), "{other}");
        let file = dir.path().join("parked/7.rows");
        let mut bytes = std::fs::read(&file).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&file, &bytes).unwrap();
        let here = aside(dir.path(), 1);
        let damaged = problem_of(&here, 7);
        assert!(damaged.contains("7.rows"), "{damaged}");
        assert_eq!((here.problems().len(), here.unread()), (1, 1));
        assert_eq!(here.read(8).unwrap(), b"more");
        assert_eq!(std::fs::read(&file).unwrap(), bytes);
    }

    #[test]
    fn a_file_whose_name_says_no_table_is_named_and_stops_nobody() {
        let dir = tempfile::tempdir().unwrap();
        aside(dir.path(), 1).write(7, b"rows", false).unwrap();
        let copy = std::fs::read(dir.path().join("parked/7.rows")).unwrap();
        let strays = ["copy of 7.rows", "007.rows", "-7.rows", "x.rows"];
        for name in strays {
            std::fs::write(dir.path().join("parked").join(name), &copy).unwrap();
        }
        let here = aside(dir.path(), 1);
        assert_eq!(whole(&here), vec![(7, b"rows".to_vec())]);
        let problems: Vec<String> = here.problems().iter().map(ToString::to_string).collect();
        assert_eq!((problems.len(), here.unread()), (4, 4), "{problems:?}");
        for name in strays {
            assert!(problems.iter().any(|p| p.contains(name)), "{problems:?}");
            let file = dir.path().join("parked").join(name);
            assert_eq!(std::fs::read(file).unwrap(), copy);
        }
    }

    #[test]
    fn unread_files_are_counted_until_they_are_read_replaced_or_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let first = aside(dir.path(), 1);
        let file = |number: u64| dir.path().join(format!("parked/{number}.rows"));
        for number in 1..=4 {
            first.write(number, b"rows", false).unwrap();
        }
        let good = std::fs::read(file(1)).unwrap();
        (1..=4).for_each(|number| std::fs::write(file(number), b"").unwrap());
        let here = aside(dir.path(), 1);
        here.read_all().unwrap();
        assert_eq!(here.unread(), 4);
        std::fs::write(file(1), good).unwrap();
        here.read(1).unwrap();
        here.mark(1, true);
        assert_eq!(here.unread(), 3);
        here.set_apart(2).unwrap();
        here.remove(3).unwrap();
        here.write(4, b"more", false).unwrap();
        assert_eq!(here.unread(), 0);
    }
}
