//! The files `running` and `suspects` as they stand on disk.
//!
//! `suspects` has the form of [`FileIndex`], with a checksum over all of it: by name of the work, `suspected` or `suspended`.
//! There is no file if nobody is. Servers before this one wrote JSON without a checksum; it is read.
//!
//! `running` has slots of 320 bytes, which are 0 where nobody runs:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 1 | `T` taken, `S` taken by a suspect |
//! | 1 | 1 | length of the name |
//! | 2 | n | name: the kind of work and whose it is |
//! | 316 | 4 | CRC-32C of the bytes before, little endian |
//!
//! Slots of servers before this one have 0 (free), 1 (taken) or 2 (taken by a suspect) at first, and no checksum.

#![deny(clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;

use crate::wal::{FileIndex, RealDisk};

pub(super) const SLOT: usize = 320;
pub(super) const NAME_MAX: usize = 255;
pub(super) const FREE: [u8; SLOT] = [0; SLOT];
const CHECKSUM: usize = 4;
const TAKEN: u8 = b'T';
const TAKEN_BY_SUSPECT: u8 = b'S';
const SUSPECTED: &str = "suspected";
const SUSPENDED: &str = "suspended";

/// Names of work.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Suspects {
    pub suspected: BTreeSet<String>,
    pub suspended: BTreeSet<String>,
}

/// What the last process left.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub known: Suspects,
    /// Names of the slots that are taken, and whether by a suspect.
    pub taken: Vec<(String, bool)>,
    /// What is damaged.
    pub problems: Vec<String>,
}

/// What is damaged in the two files of a data directory that no server has open.
pub fn problems(dir: &Path) -> Vec<String> {
    read(dir).problems
}

pub(super) fn read(dir: &Path) -> Left {
    let mut left = Left::default();
    match Suspects::read(dir) {
        Ok(known) => left.known = known,
        Err(problem) => {
            let path = dir.join("suspects");
            let text = format!(
                "{}: is damaged ({problem}), so that it is not known what ended the process before; the next start makes it anew",
                path.display()
            );
            left.problems.push(text);
        }
    }
    let path = dir.join("running");
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            let text = format!("{}: cannot be read: {error}", path.display());
            left.problems.push(text);
            Vec::new()
        }
    };
    let mut damaged = None;
    for (number, bytes) in bytes.chunks(SLOT).enumerate() {
        match taken(bytes) {
            Some(slot) => left.taken.extend(slot),
            None => damaged = damaged.or(Some(number * SLOT)),
        }
    }
    left.problems.extend(damaged.map(|at| {
        format!(
            "{}: is damaged in the slot at byte {at}, so that it is not known what was running when the process ended; the next start makes it anew",
            path.display()
        )
    }));
    left
}

impl Suspects {
    fn read(dir: &Path) -> Result<Self, String> {
        let path = dir.join("suspects");
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error.to_string()),
        };
        if bytes.starts_with(b"{") {
            return serde_json::from_slice(&bytes).map_err(|e| e.to_string());
        }
        let entries: BTreeMap<String, String> = index(dir).entries()?;
        let mut known = Self::default();
        for (name, state) in entries {
            match &*state {
                SUSPENDED => known.suspended.insert(name),
                _ => known.suspected.insert(name),
            };
        }
        Ok(known)
    }

    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let suspected = self.suspected.iter().map(|name| (name.clone(), SUSPECTED));
        let suspended = self.suspended.iter().map(|name| (name.clone(), SUSPENDED));
        let entries: BTreeMap<String, &str> = suspected.chain(suspended).collect();
        if !entries.is_empty() {
            return index(dir).write(&entries, true);
        }
        match fs::remove_file(dir.join("suspects")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn index(dir: &Path) -> FileIndex {
    FileIndex::new(dir.join("suspects"), Arc::new(RealDisk))
}

/// A slot that is taken. `name`: at most [`NAME_MAX`] bytes.
pub(super) fn slot(name: &str, by_suspect: bool) -> Vec<u8> {
    let how = if by_suspect { TAKEN_BY_SUSPECT } else { TAKEN };
    let mut slot = vec![how, u8::try_from(name.len()).unwrap_or(u8::MAX)];
    slot.extend_from_slice(name.as_bytes());
    slot.resize(SLOT - CHECKSUM, 0);
    slot.extend_from_slice(&crc32c::crc32c(&slot).to_le_bytes());
    slot
}

/// Who has the slot, if somebody has; none if it is damaged.
fn taken(slot: &[u8]) -> Option<Option<(String, bool)>> {
    if slot.len() != SLOT {
        return None;
    }
    let (checked, crc) = slot.split_last_chunk::<CHECKSUM>()?;
    let (how, rest) = checked.split_first()?;
    let by_suspect = match (*how, u32::from_le_bytes(*crc)) {
        // Of a server before this one, or free.
        (0, 0) => return Some(None),
        (1, 0) => false,
        (2, 0) => true,
        (TAKEN, crc) if crc == crc32c::crc32c(checked) => false,
        (TAKEN_BY_SUSPECT, crc) if crc == crc32c::crc32c(checked) => true,
        _ => return None,
    };
    let (length, rest) = rest.split_first()?;
    let name = std::str::from_utf8(rest.get(..usize::from(*length))?).ok()?;
    Some((!name.is_empty()).then(|| (name.to_owned(), by_suspect)))
}
