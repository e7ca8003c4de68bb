//! One segment's bytes, read frame by frame as far as they are what was written. It changes nothing.

use super::frame::{self, FrameKind, Place};
use super::segment::{self, Header};
use crate::types::Lsn;

/// What a segment holds.
#[derive(Clone, Debug)]
pub(super) struct Scan {
    pub header: Header,
    pub header_crc: u32,
    /// Where the payload of the checkpoint that it opens with stands.
    pub checkpoint: Option<std::ops::Range<usize>>,
    /// Frames behind the checkpoint that follow each other without a fault.
    pub frames: u64,
    /// Offset of the last of them; the one before the segment's first if there is none.
    pub last: Lsn,
    /// CRC of that frame's header, which the next one repeats.
    pub chain: u32,
    /// Where it ends: what follows is no frame that belongs there.
    pub end: usize,
    /// A frame further on was written after this place had been synced: it is damage and no torn tail.
    pub is_damaged: bool,
}

impl Scan {
    /// None: the bytes do not open with the header of segment `number`.
    pub(super) fn of(bytes: &[u8], number: u64) -> Option<Self> {
        let (header, header_crc) = Header::parse(bytes).filter(|(h, _)| h.number == number)?;
        let mut scan = Scan {
            header,
            header_crc,
            checkpoint: None,
            frames: 0,
            // The checkpoint comes first and repeats the offset before the segment's own.
            last: Lsn::new(header.first.get().saturating_sub(1)),
            chain: header_crc,
            end: usize::try_from(segment::HEADER_BYTES).unwrap_or(64),
            is_damaged: false,
        };
        while let Some(parsed) = bytes.get(scan.end..).and_then(frame::parse) {
            let is_first = scan.checkpoint.is_none();
            let offset = if is_first {
                scan.last
            } else {
                scan.last.next()
            };
            let belongs = is_first == (parsed.frame.kind == FrameKind::Checkpoint)
                && parsed.place.uuid == header.uuid
                && parsed.place.segment == number
                && parsed.place.offset == offset
                && parsed.place.chain == scan.chain;
            if !belongs {
                break;
            }
            let end = scan.end + parsed.len;
            if is_first {
                scan.checkpoint = Some(end - parsed.frame.payload.len()..end);
            } else {
                scan.frames += 1;
                scan.last = offset;
            }
            scan.end = end;
            scan.chain = parsed.crc;
        }
        let next = scan.next();
        let was_synced = |p: &Place| {
            p.uuid == header.uuid && p.segment == number && p.offset > next && p.group_start > next
        };
        scan.is_damaged = frame::find_later(bytes.get(scan.end..).unwrap_or_default(), was_synced);
        Some(scan)
    }

    /// Offset of the first frame that is not there.
    pub(super) fn next(&self) -> Lsn {
        match self.checkpoint {
            Some(_) => self.last.next(),
            None => self.last,
        }
    }
}

/// Are there frames of the segment in these bytes, other than the checkpoint that it opens with? A recycled segment's old ones
/// have another number.
pub(super) fn has_frames_of(bytes: &[u8], number: u64) -> bool {
    let own = |parsed: &frame::Parsed| {
        parsed.place.segment == number && parsed.frame.kind != FrameKind::Checkpoint
    };
    frame::find_frame(bytes, 0, own).is_some()
}
