//! The log's manifest: which segments the folder must hold, and how far they were synced. Without it, a segment that is
//! missing, empty, cut short or replaced by an older copy of itself could not be told from one that was never written.
//!
//! The file `manifest` has three parts of 4,096 bytes, so that a torn write of one touches no other. Parts 0 and 1 are equal:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPM1` |
//! | 4 | 4 | CRC32C of bytes 8..128 |
//! | 8 | 16 | log uuid |
//! | 24 | 8 | generation: rises by 1 with each write |
//! | 32 | 8 | number of the oldest segment |
//! | 40 | 8 | its first offset |
//! | 48 | 8 | number of the newest segment, 0 before the first was begun |
//! | 56 | 8 | its first offset |
//! | 64 | 4 | CRC of its header |
//! | 68 | 60 | zero |
//!
//! They are written one after the other when a segment is begun (after its header is synced, before its first frame) and when
//! segments are let go of (before they are). Each is synced before the other is touched, and the one that holds the newest
//! contents is written last: a write that is torn leaves the other, with what was synced before.
//!
//! Part 2 is the tail, written behind each synced group and *not* synced by itself:
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPT1` |
//! | 4 | 4 | CRC32C of bytes 8..56 |
//! | 8 | 16 | log uuid |
//! | 24 | 8 | segment |
//! | 32 | 8 | offset of the last synced frame |
//! | 40 | 8 | position behind it in the segment |
//! | 48 | 4 | CRC of its header |
//! | 52 | 4 | zero |
//!
//! A tail never says more than what was synced. After the end of the process it is exact, because the kernel has it; after a
//! power cut it may be that of the last sync of the manifest: then a damaged or missing frame behind it cannot be told from a
//! torn one. A tail that does not match its checksum is no tail.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fields::{array_at, seal, u32_at, u64_at};
use super::shared::Shared;
use super::watched_disk::watched_file;
use super::{Disk, Error, SegmentFile};
use crate::types::Lsn;

const PART_BYTES: usize = 4096;
const PART: u64 = 4096;
const MAGIC: [u8; 4] = *b"DPM1";
const TAIL_MAGIC: [u8; 4] = *b"DPT1";
const CONTENTS_BYTES: usize = 128;
const TAIL_BYTES: usize = 56;

pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join("manifest")
}

/// Which segments there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contents {
    pub uuid: [u8; 16],
    pub generation: u64,
    pub oldest: u64,
    pub oldest_first: Lsn,
    /// 0: no segment was ever begun.
    pub newest: u64,
    pub newest_first: Lsn,
    pub newest_crc: u32,
}

/// How far a segment was synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    pub segment: u64,
    pub offset: Lsn,
    pub position: u64,
    pub chain: u32,
}

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub contents: Contents,
    pub tail: Option<Tail>,
    /// One of the two equal parts is damaged or one write behind.
    pub is_half: bool,
}

/// The file, open for writing. Only the writer thread has it.
pub(super) struct ManifestFile {
    file: Arc<dyn SegmentFile>,
    pub contents: Contents,
    /// The part that has them, synced: the other one may be damaged, or one write behind.
    whole: u64,
}

impl Contents {
    pub fn new(uuid: [u8; 16]) -> Self {
        Contents {
            uuid,
            generation: 0,
            oldest: 0,
            oldest_first: Lsn::ZERO,
            newest: 0,
            newest_first: Lsn::ZERO,
            newest_crc: 0,
        }
    }

    pub(super) fn encode(&self) -> [u8; CONTENTS_BYTES] {
        let mut out = [0; CONTENTS_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[8..24].copy_from_slice(&self.uuid);
        out[24..32].copy_from_slice(&self.generation.to_le_bytes());
        out[32..40].copy_from_slice(&self.oldest.to_le_bytes());
        out[40..48].copy_from_slice(&self.oldest_first.get().to_le_bytes());
        out[48..56].copy_from_slice(&self.newest.to_le_bytes());
        out[56..64].copy_from_slice(&self.newest_first.get().to_le_bytes());
        out[64..68].copy_from_slice(&self.newest_crc.to_le_bytes());
        seal(&mut out);
        out
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let part = checked::<CONTENTS_BYTES>(bytes, MAGIC)?;
        Some(Contents {
            uuid: array_at(part, 8),
            generation: u64_at(part, 24),
            oldest: u64_at(part, 32),
            oldest_first: Lsn::new(u64_at(part, 40)),
            newest: u64_at(part, 48),
            newest_first: Lsn::new(u64_at(part, 56)),
            newest_crc: u32_at(part, 64),
        })
    }
}

impl Tail {
    pub(super) fn encode(&self, uuid: [u8; 16]) -> [u8; TAIL_BYTES] {
        let mut out = [0; TAIL_BYTES];
        out[..4].copy_from_slice(&TAIL_MAGIC);
        out[8..24].copy_from_slice(&uuid);
        out[24..32].copy_from_slice(&self.segment.to_le_bytes());
        out[32..40].copy_from_slice(&self.offset.get().to_le_bytes());
        out[40..48].copy_from_slice(&self.position.to_le_bytes());
        out[48..52].copy_from_slice(&self.chain.to_le_bytes());
        seal(&mut out);
        out
    }

    pub(super) fn parse(bytes: &[u8], uuid: [u8; 16]) -> Option<Self> {
        let part = checked::<TAIL_BYTES>(bytes, TAIL_MAGIC)?;
        (array_at(part, 8) == uuid).then(|| Tail {
            segment: u64_at(part, 24),
            offset: Lsn::new(u64_at(part, 32)),
            position: u64_at(part, 40),
            chain: u32_at(part, 48),
        })
    }
}

fn checked<const N: usize>(bytes: &[u8], magic: [u8; 4]) -> Option<&[u8; N]> {
    let part: &[u8; N] = bytes.first_chunk()?;
    let crc = crc32c::crc32c(part.get(8..)?);
    (part.starts_with(&magic) && u32_at(part, 4) == crc).then_some(part)
}

impl Manifest {
    /// None: the folder has no manifest.
    ///
    /// # Errors
    /// `Manifest`: neither part can be read. `Io`.
    pub fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Self>, Error> {
        let path = path(dir);
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io("open")(e)),
        };
        let bytes = file.read_all().map_err(Error::io("read"))?;
        let parts = parts(&bytes);
        let Some((_, contents)) = newest(parts) else {
            return Err(Error::Manifest {
                file: path.display().to_string(),
                problem: match bytes.len() {
                    0 => "it is empty".to_owned(),
                    _ => "checksum mismatch".to_owned(),
                },
            });
        };
        let tail = bytes.get(PART_BYTES * 2..).unwrap_or_default();
        Ok(Some(Manifest {
            contents,
            tail: Tail::parse(tail, contents.uuid),
            is_half: parts[0] != parts[1],
        }))
    }
}

/// The two parts that should be equal.
fn parts(bytes: &[u8]) -> [Option<Contents>; 2] {
    let part = |n: usize| Contents::parse(bytes.get(n * PART_BYTES..).unwrap_or_default());
    [part(0), part(1)]
}

/// The number of the part with the newest contents, and these.
fn newest(parts: [Option<Contents>; 2]) -> Option<(u64, Contents)> {
    match parts {
        [Some(a), Some(b)] if a.generation < b.generation => Some((1, b)),
        [Some(one), _] => Some((0, one)),
        [None, other] => other.map(|one| (1, one)),
    }
}

impl ManifestFile {
    /// The same, whose calls are noted.
    pub(super) fn watched(self, shared: &Arc<Shared>) -> Self {
        ManifestFile {
            file: watched_file(self.file, shared.clone()),
            ..self
        }
    }

    /// Opens the file, or makes it, and writes all of it. On `Ok` it is synced under its name.
    ///
    /// # Errors
    /// `Io`, `NoRoom`.
    pub(super) fn begin(
        disk: &dyn Disk,
        dir: &Path,
        contents: Contents,
        tail: Option<Tail>,
    ) -> Result<Self, Error> {
        let path = path(dir);
        let file = match disk.open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                // Whole under another name first: a crash leaves no manifest, or this one.
                let fresh = path.with_extension("tmp");
                let file = disk.create(&fresh, PART * 3).map_err(Error::io("create"))?;
                let mut out = vec![0; PART_BYTES * 3];
                for part in out.chunks_mut(PART_BYTES).take(2) {
                    if let Some(place) = part.first_chunk_mut() {
                        *place = contents.encode();
                    }
                }
                file.write_at(&out, 0).map_err(Error::io("write"))?;
                file.sync().map_err(Error::io("sync"))?;
                disk.rename(&fresh, &path).map_err(Error::io("rename"))?;
                disk.sync_dir(dir).map_err(Error::io("folder sync"))?;
                file
            }
            Err(e) => return Err(Error::io("open")(e)),
        };
        let bytes = file.read_all().map_err(Error::io("read"))?;
        let mut this = ManifestFile {
            file,
            contents,
            whole: newest(parts(&bytes)).map_or(0, |(part, _)| part),
        };
        if let Some(tail) = tail {
            this.write_tail(&tail)?;
        }
        this.write(contents)?;
        Ok(this)
    }

    /// On `Ok` it is synced, and so is the tail that was written before.
    ///
    /// # Errors
    /// `Io`, `NoRoom`: either the contents before or these are on disk.
    pub(super) fn write(&mut self, mut contents: Contents) -> Result<(), Error> {
        // A damaged file may say any number.
        contents.generation = self.contents.generation.saturating_add(1);
        let out = contents.encode();
        for part in [1 - self.whole, self.whole] {
            let at = PART * part;
            self.file.write_at(&out, at).map_err(Error::io("write"))?;
            self.sync()?;
        }
        self.contents = contents;
        Ok(())
    }

    /// Not synced.
    ///
    /// # Errors
    /// `Io`, `NoRoom`.
    pub(super) fn write_tail(&self, tail: &Tail) -> Result<(), Error> {
        let out = tail.encode(self.contents.uuid);
        self.file
            .write_at(&out, PART * 2)
            .map_err(Error::io("write"))
    }

    /// # Errors
    /// `Io`.
    pub(super) fn sync(&self) -> Result<(), Error> {
        self.file.sync().map_err(Error::io("sync"))
    }
}
