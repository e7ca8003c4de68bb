//! What an operator is shown of a log that no server has open: every segment, every frame, the first damage. It only reads.

use std::path::{Path, PathBuf};

use super::frame::{self, FrameKind};
use super::manifest::Manifest;
use super::replay::{numbers, read, verify};
use super::scan::Scan;
use super::{Error, RealDisk, segment};
use crate::types::Lsn;

/// One segment's file.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    pub number: u64,
    pub file: PathBuf,
    pub bytes: u64,
    /// Frames that follow each other without a fault.
    pub frames: u64,
    /// Offset of the first frame that belongs here; none if the header cannot be read.
    pub first: Option<Lsn>,
    /// Offset of the last of `frames`.
    pub last: Option<Lsn>,
    /// Where the last of `frames` ends.
    pub end: u64,
    /// Whole frames of this segment further on, behind something that is none: the first and the last.
    pub behind: Option<(Lsn, Lsn)>,
    pub frames_behind: u64,
}

/// A log's folder.
#[derive(Debug)]
pub struct Report {
    pub manifest: Option<Manifest>,
    pub segments: Vec<SegmentReport>,
    /// Why a server would not start with it.
    pub problem: Option<Error>,
}

/// # Errors
/// `Io`: the folder or a file cannot be read.
pub fn inspect(dir: &Path) -> Result<Report, Error> {
    let disk = RealDisk;
    let mut segments = Vec::new();
    for number in numbers(dir, &disk)? {
        let bytes = read(dir, &disk, number)?;
        segments.push(report(dir, number, &bytes));
    }
    Ok(Report {
        manifest: Manifest::read(&disk, dir).ok().flatten(),
        segments,
        problem: verify(dir, &disk).err(),
    })
}

/// The uuid of the log in a folder; none for a folder without a log.
///
/// # Errors
/// `Manifest`, `Io`.
pub fn uuid_of(dir: &Path) -> Result<Option<uuid::Uuid>, Error> {
    let disk = RealDisk;
    if let Some(manifest) = Manifest::read(&disk, dir)? {
        return Ok(Some(uuid::Uuid::from_bytes(manifest.contents.uuid)));
    }
    for number in numbers(dir, &disk)?.into_iter().rev() {
        if let Some(scan) = Scan::of(&read(dir, &disk, number)?, number) {
            return Ok(Some(uuid::Uuid::from_bytes(scan.header.uuid)));
        }
    }
    Ok(None)
}

fn report(dir: &Path, number: u64, bytes: &[u8]) -> SegmentReport {
    let scan = Scan::of(bytes, number);
    let end = scan.as_ref().map_or(0, |s| s.end);
    let mut behind: Option<(Lsn, Lsn)> = None;
    let mut frames_behind = 0;
    let mut at = end;
    let own =
        |p: &frame::Parsed| p.place.segment == number && p.frame.kind != FrameKind::Checkpoint;
    while let Some((found, parsed)) = frame::find_frame(bytes, at, own) {
        let offset = parsed.place.offset;
        behind = Some((behind.map_or(offset, |(first, _)| first), offset));
        frames_behind += 1;
        at = found + parsed.len;
    }
    SegmentReport {
        number,
        file: segment::path(dir, number),
        bytes: bytes.len() as u64,
        frames: scan.as_ref().map_or(0, |s| s.frames),
        first: scan.as_ref().map(|s| s.header.first),
        last: scan.as_ref().filter(|s| s.frames > 0).map(|s| s.last),
        end: end as u64,
        behind,
        frames_behind,
    }
}
