//! Writes a new log from everything that is whole in a damaged one. The damaged one is only read.
//!
//! Frames keep their offsets and the log its uuid, because Delta tables say by both what they hold already. A frame that cannot
//! be read is replaced by a note that recovery passes over (a commit intent of no table), so that offsets stay dense. Frames
//! are found by themselves, wherever they stand in their segment's file: each carries the log's uuid, its segment, its offset
//! and checksums. A segment whose checkpoint is lost is united with the one before.

use std::path::Path;

use super::frame::{self, Frame, FrameKind, NewFrame, Parsed, Place};
use super::manifest::{Contents, Manifest, ManifestFile, Tail};
use super::replay::{numbers, read};
use super::segment::{self, Header};
use super::{Disk, Error, RealDisk};
use crate::types::Lsn;

/// Offsets whose frames are lost, and where they stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    pub first: Lsn,
    pub last: Lsn,
    /// The segment in whose file they were looked for.
    pub segment: u64,
    /// Position in it from which on they were looked for.
    pub position: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Salvaged {
    pub frames: u64,
    pub last: Lsn,
    pub lost: Vec<Lost>,
    /// The state that the oldest segment opened with is lost; a later one stands in for it.
    pub is_state_newer: bool,
}

/// Frames in a row that may be lost: far more than a segment has. Each becomes a note, which takes memory.
const LOST_MAX: u64 = 1 << 20;

/// A new log in the making.
struct Output<'a> {
    to: &'a Path,
    uuid: [u8; 16],
    /// Of the damaged log: bytes of its largest segment, and the segment of the last frame that was found.
    segment_bytes: u64,
    segment: u64,
    /// The segment that is filled: its header and frames.
    header: Option<Header>,
    bytes: Vec<u8>,
    contents: Contents,
    tail: Tail,
    result: Salvaged,
}

/// `from`: the damaged log's folder. `to`: a folder that is not there yet, or empty. `empty_state`: the checkpoint of a log that
/// knows no table, for a log whose first segment has lost its own.
///
/// # Errors
/// `Salvage`: `to` holds something, or nothing can be salvaged. `Io`.
pub fn salvage(from: &Path, to: &Path, empty_state: &[u8]) -> Result<Salvaged, Error> {
    let disk = RealDisk;
    disk.create_dir(to).map_err(Error::io("folder"))?;
    if !disk.list(to).map_err(Error::io("folder"))?.is_empty() {
        return Err(Error::Salvage {
            dir: to.display().to_string(),
            problem: "the folder of the new log is not empty; name one that is not there yet",
        });
    }
    let manifest = Manifest::read(&disk, from).ok().flatten();
    let oldest = manifest.map_or(0, |m| m.contents.oldest);
    let numbers = numbers(from, &disk)?;
    let numbers: Vec<u64> = numbers.into_iter().filter(|n| *n >= oldest).collect();
    let nothing = || Error::Salvage {
        dir: from.display().to_string(),
        problem: "no whole frame is in it; restore it from a backup",
    };
    let uuid = manifest.map(|m| m.contents.uuid);
    let largest = largest_segment(from, &numbers)?;
    let mut output: Option<Output<'_>> = None;
    for (index, number) in numbers.iter().enumerate() {
        let bytes = read(from, &disk, *number)?;
        let frames = frames_of(&bytes, *number, uuid);
        for (position, parsed) in &frames {
            if output.is_none() {
                let later = || {
                    later_state(
                        from,
                        numbers.get(index + 1..).unwrap_or_default(),
                        parsed.place.uuid,
                    )
                };
                let mut begun = begin(to, parsed, empty_state, later)?;
                begun.segment_bytes = largest;
                if let Some(told) = manifest.map(|m| m.contents) {
                    begun.begins_late(told);
                }
                output = Some(begun);
            }
            if let Some(output) = &mut output {
                output.take(*position, parsed)?;
            }
        }
    }
    let mut output = output.ok_or_else(nothing)?;
    if let Some(tail) = manifest.and_then(|m| m.tail) {
        let newest = numbers.last().copied().unwrap_or(tail.segment);
        let segment = tail.segment.min(newest);
        output.fill(tail.offset.next(), segment, tail.position)?;
    }
    output.finish(&disk)
}

/// Bytes of the largest segment, as its file or its header says: a file may be cut short.
fn largest_segment(from: &Path, numbers: &[u64]) -> Result<u64, Error> {
    let mut largest = 0;
    for number in numbers {
        let bytes = read(from, &RealDisk, *number)?;
        let told = Header::parse(&bytes).map_or(0, |(header, _)| header.bytes);
        largest = largest.max(told).max(bytes.len() as u64);
    }
    Ok(largest)
}

/// Every whole frame of the segment, in order, with its position.
fn frames_of(bytes: &[u8], number: u64, uuid: Option<[u8; 16]>) -> Vec<(u64, Parsed)> {
    let mut out: Vec<(u64, Parsed)> = Vec::new();
    let mut at = 0;
    loop {
        let before = out.last().map(|(_, p)| p.place);
        let own = |p: &Parsed| {
            p.place.segment == number
                && uuid.is_none_or(|uuid| p.place.uuid == uuid)
                && before.is_none_or(|b| p.place.uuid == b.uuid && p.place.offset > b.offset)
        };
        let Some((found, parsed)) = frame::find_frame(bytes, at, own) else {
            return out;
        };
        at = found + parsed.len;
        out.push((found as u64, parsed));
    }
}

/// The state that one of these segments opens with.
fn later_state(from: &Path, numbers: &[u64], uuid: [u8; 16]) -> Result<Option<Vec<u8>>, Error> {
    for number in numbers {
        let bytes = read(from, &RealDisk, *number)?;
        let frames = frames_of(&bytes, *number, Some(uuid));
        let opens = frames.into_iter().map(|(_, p)| p.frame);
        let state = opens.take(1).find(|f| f.kind == FrameKind::Checkpoint);
        if let Some(state) = state {
            return Ok(Some(state.payload.to_vec()));
        }
    }
    Ok(None)
}

fn begin<'a>(
    to: &'a Path,
    opens: &Parsed,
    empty_state: &[u8],
    later: impl FnOnce() -> Result<Option<Vec<u8>>, Error>,
) -> Result<Output<'a>, Error> {
    let uuid = opens.place.uuid;
    let mut output = Output {
        to,
        uuid,
        segment_bytes: 0,
        segment: opens.place.segment,
        header: None,
        bytes: Vec::new(),
        contents: Contents::new(uuid),
        tail: Tail {
            segment: 0,
            offset: Lsn::ZERO,
            position: 0,
            chain: 0,
        },
        result: Salvaged::default(),
    };
    let offset = opens.place.offset;
    if opens.frame.kind == FrameKind::Checkpoint {
        output.result.last = offset;
    } else if opens.place.segment == 1 {
        output.begin_segment(1, empty_state.to_vec());
    } else {
        output.result.is_state_newer = true;
        output.result.last = Lsn::new(offset.get().saturating_sub(1));
        let state = later()?.ok_or_else(|| Error::Salvage {
            dir: to.display().to_string(),
            problem: "no segment of the damaged log has the state that it opened with; restore it from a backup",
        })?;
        output.begin_segment(opens.place.segment, state);
    }
    Ok(output)
}

impl Output<'_> {
    fn take(&mut self, position: u64, parsed: &Parsed) -> Result<(), Error> {
        let segment = parsed.place.segment;
        if parsed.frame.kind == FrameKind::Checkpoint {
            if self.header.is_some() {
                self.fill(parsed.place.offset.next(), segment, 0)?;
                self.end_segment()?;
            }
            self.begin_segment(segment, parsed.frame.payload.to_vec());
            return Ok(());
        }
        // The state that the segment opens with says that the frame was there before: one of the two was made up.
        if parsed.place.offset <= self.result.last {
            return Ok(());
        }
        self.fill(parsed.place.offset, segment, position)?;
        self.push(new_frame(&parsed.frame), parsed.place.offset);
        self.result.frames += 1;
        Ok(())
    }

    /// What was in front of the first frame that was found is lost, as far as the manifest knows.
    fn begins_late(&mut self, told: Contents) {
        let last = self.result.last;
        if told.newest > 0 && told.oldest_first <= last {
            self.result.lost.push(Lost {
                first: told.oldest_first,
                last,
                segment: told.oldest,
                position: 0,
            });
        }
    }

    fn begin_segment(&mut self, number: u64, state: Vec<u8>) {
        let header = Header {
            uuid: self.uuid,
            number,
            first: self.result.last.next(),
            bytes: 0,
            chain: self.tail.chain,
            has_manifest: true,
        };
        // A segment's number follows the one before: a file that is missing as a whole leaves a gap.
        let number = match self.contents.newest {
            0 => number,
            newest => newest + 1,
        };
        let header = Header { number, ..header };
        self.header = Some(header);
        self.bytes = vec![0; header.encode().0.len()];
        // The chain begins with the header's CRC, which is not known before the length is: see `end_segment`.
        let last = self.result.last;
        let checkpoint = note(FrameKind::Checkpoint, state);
        self.push(checkpoint, last);
    }

    /// Notes in the place of frames that are lost, up to the one before `offset`.
    ///
    /// # Errors
    /// `Salvage`: more frames would be lost than the segments between have room for, so that an offset is made up.
    fn fill(&mut self, offset: Lsn, segment: u64, position: u64) -> Result<(), Error> {
        let first = self.result.last.next();
        let segments = segment.saturating_sub(self.segment).saturating_add(1);
        self.segment = segment;
        if offset <= first {
            return Ok(());
        }
        let room = segments.saturating_mul(self.segment_bytes) / frame::HEADER_BYTES as u64;
        if offset.get() - first.get() > room.min(LOST_MAX) {
            return Err(Error::Salvage {
                dir: self.to.display().to_string(),
                problem: "more frames are missing in the damaged log than its segments have room for; restore it from a backup",
            });
        }
        self.result.lost.push(Lost {
            first,
            last: Lsn::new(offset.get() - 1),
            segment,
            position,
        });
        while self.result.last.next() < offset {
            let next = self.result.last.next();
            self.push(
                note(FrameKind::CommitIntent, b"{\"lost\":true}".to_vec()),
                next,
            );
        }
        Ok(())
    }

    /// The frames' places are set in `end_segment`, when the chain is known.
    fn push(&mut self, frame: NewFrame, offset: Lsn) {
        let place = Place {
            uuid: self.uuid,
            segment: self.header.map_or(0, |h| h.number),
            offset,
            group_start: offset,
            chain: 0,
        };
        frame::encode_header(&frame, &place, &mut self.bytes);
        self.bytes.extend_from_slice(&frame.payload.head);
        self.result.last = offset;
    }

    fn end_segment(&mut self) -> Result<(), Error> {
        let Some(mut header) = self.header.take() else {
            return Ok(());
        };
        header.bytes = self.bytes.len() as u64;
        let (head, crc) = header.encode();
        let mut out = head.to_vec();
        let mut chain = crc;
        let mut at = head.len();
        // Once more, now with the chain.
        while let Some(parsed) = self.bytes.get(at..).and_then(frame::parse) {
            at += parsed.len;
            let place = Place {
                chain,
                ..parsed.place
            };
            let frame = new_frame(&parsed.frame);
            chain = frame::encode_header(&frame, &place, &mut out);
            out.extend_from_slice(&frame.payload.head);
        }
        let path = segment::path(self.to, header.number);
        let file = RealDisk
            .create_unsynced(&path)
            .map_err(Error::io("create"))?;
        file.write_at(&out, 0).map_err(Error::io("write"))?;
        file.sync().map_err(Error::io("sync"))?;
        if self.contents.newest == 0 {
            self.contents.oldest = header.number;
            self.contents.oldest_first = header.first;
        }
        self.contents.newest = header.number;
        self.contents.newest_first = header.first;
        self.contents.newest_crc = crc;
        self.tail = Tail {
            segment: header.number,
            offset: self.result.last,
            position: out.len() as u64,
            chain,
        };
        Ok(())
    }

    fn finish(mut self, disk: &dyn Disk) -> Result<Salvaged, Error> {
        self.end_segment()?;
        ManifestFile::begin(disk, self.to, self.contents, Some(self.tail))?.sync()?;
        disk.sync_dir(self.to).map_err(Error::io("folder sync"))?;
        Ok(self.result)
    }
}

fn note(kind: FrameKind, payload: Vec<u8>) -> NewFrame {
    NewFrame {
        kind,
        incarnation: 0,
        contract_version: 0,
        producer: "".into(),
        epoch: 0,
        seq: 0,
        batch_crc: 0,
        payload: payload.into(),
    }
}

fn new_frame(frame: &Frame) -> NewFrame {
    NewFrame {
        kind: frame.kind,
        incarnation: frame.incarnation,
        contract_version: frame.contract_version,
        producer: frame.producer.clone(),
        epoch: frame.epoch,
        seq: frame.seq,
        batch_crc: frame.batch_crc,
        payload: frame.payload.to_vec().into(),
    }
}
