//! A segment: a preallocated file that opens with a header and a checkpoint frame.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPS1` |
//! | 4 | 4 | CRC32C of bytes 8..52 |
//! | 8 | 16 | log uuid |
//! | 24 | 8 | segment number |
//! | 32 | 8 | first offset |
//! | 40 | 8 | bytes of the file |
//! | 48 | 4 | chain: header CRC of the last frame of the segment before, 0 for the first |
//! | 52 | 4 | 2: the folder has a manifest; 0: written by a server that knew none, and the rest is zero |
//! | 56 | 4 | zero |
//! | 60 | 4 | CRC32C of bytes 0..60 |
//!
//! Frames begin at byte 64.

use std::path::{Path, PathBuf};

use super::fields::{array_at, u32_at, u64_at};
use crate::types::Lsn;

pub(super) const HEADER_BYTES: u64 = 64;
const MAGIC: [u8; 4] = *b"DPS1";
const WITH_MANIFEST: u32 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub uuid: [u8; 16],
    pub number: u64,
    pub first: Lsn,
    pub bytes: u64,
    pub chain: u32,
    /// Written by a server that keeps a manifest.
    pub has_manifest: bool,
}

impl Header {
    pub(super) fn encode(&self) -> ([u8; 64], u32) {
        let mut out = [0u8; 64];
        out[..4].copy_from_slice(&MAGIC);
        out[8..24].copy_from_slice(&self.uuid);
        out[24..32].copy_from_slice(&self.number.to_le_bytes());
        out[32..40].copy_from_slice(&self.first.get().to_le_bytes());
        out[40..48].copy_from_slice(&self.bytes.to_le_bytes());
        out[48..52].copy_from_slice(&self.chain.to_le_bytes());
        let crc = crc32c::crc32c(&out[8..52]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        if self.has_manifest {
            out[52..56].copy_from_slice(&WITH_MANIFEST.to_le_bytes());
            let whole = crc32c::crc32c(&out[..60]);
            out[60..].copy_from_slice(&whole.to_le_bytes());
        }
        (out, crc)
    }

    /// The header and its CRC; none if these bytes are no segment's.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, u32)> {
        let header: &[u8; 64] = bytes.first_chunk()?;
        let u64_at = |at: usize| u64_at(header, at);
        let crc = crc32c::crc32c(&header[8..52]);
        if header[..4] != MAGIC || header[4..8] != crc.to_le_bytes() {
            return None;
        }
        let has_manifest = header[52..].iter().any(|b| *b != 0);
        if has_manifest {
            let whole = crc32c::crc32c(&header[..60]);
            let is_known = header[52..56] == WITH_MANIFEST.to_le_bytes();
            if !is_known || header[60..] != whole.to_le_bytes() {
                return None;
            }
        }
        let parsed = Header {
            uuid: array_at(header, 8),
            number: u64_at(24),
            first: Lsn::new(u64_at(32)),
            bytes: u64_at(40),
            chain: u32_at(header, 48),
            has_manifest,
        };
        Some((parsed, crc))
    }
}

pub(super) fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.log"))
}

/// A trimmed segment that waits for its next life.
pub(super) fn spare_path(dir: &Path) -> PathBuf {
    dir.join("spare.recycled")
}

/// The number in a segment file's name.
pub(super) fn number_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(".log")?.parse().ok()
}
