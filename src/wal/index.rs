//! Which files a folder must hold: an index beside the folder, so that a file which is missing, or was replaced by an older
//! copy of itself, is told from one that never was. What is said of each file is the owner's business.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPI1` |
//! | 4 | 4 | CRC32C of everything behind it, little endian |
//! | 8 | n | a JSON object, an entry a file, to the file's end |
//!
//! The files have checksums of their own. An index that cannot be read is therefore made anew from them: it takes two faults at
//! once to lose a file in silence.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Disk;
use super::fields::u32_at;

const MAGIC: [u8; 4] = *b"DPI1";
const HEADER: usize = 8;

/// Cheap to clone.
#[derive(Clone)]
pub struct FileIndex {
    path: PathBuf,
    disk: Arc<dyn Disk>,
}

impl FileIndex {
    pub fn new(path: PathBuf, disk: Arc<dyn Disk>) -> Self {
        FileIndex { path, disk }
    }

    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// The entries by file; none if there is no index, or one that cannot be read.
    pub fn read<T: DeserializeOwned>(&self) -> BTreeMap<String, T> {
        match self.entries() {
            Ok(entries) => entries,
            Err(problem) => {
                tracing::error!(
                    file = %self.path.display(),
                    "an index of files cannot be read and is made anew from the files that are there: {problem}"
                );
                BTreeMap::new()
            }
        }
    }

    /// # Errors
    /// What is wrong with the file. None there: no entries.
    pub fn entries<T: DeserializeOwned>(&self) -> Result<BTreeMap<String, T>, String> {
        let file = match self.disk.open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(e) => return Err(e.to_string()),
        };
        let bytes = file.read_all().map_err(|e| e.to_string())?;
        let (head, body) = bytes.split_at_checked(HEADER).ok_or("it is cut short")?;
        if !head.starts_with(&MAGIC) || u32_at(head, 4) != crc32c::crc32c(body) {
            return Err("checksum mismatch".to_owned());
        }
        serde_json::from_slice(body).map_err(|e| e.to_string())
    }

    /// Puts the entries in the place of those before. If `synced`, they outlive a power cut; else the end of the process only.
    ///
    /// # Errors
    /// The disk's: the entries before still stand.
    pub fn write<T: Serialize>(
        &self,
        entries: &BTreeMap<String, T>,
        synced: bool,
    ) -> io::Result<()> {
        let body = serde_json::to_vec(entries)?;
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
        out.extend_from_slice(&body);
        let fresh = self.path.with_extension("index.tmp");
        let file = self.disk.create_unsynced(&fresh)?;
        file.write_at(&out, 0)?;
        if synced {
            file.sync()?;
        }
        self.disk.rename(&fresh, &self.path)?;
        match self.path.parent() {
            Some(parent) if synced => self.disk.sync_dir(parent),
            _ => Ok(()),
        }
    }
}
