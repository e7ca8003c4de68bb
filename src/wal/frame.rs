//! The bytes of a frame. Little endian throughout.
//!
//! | at | bytes | field |
//! |---|---|---|
//! | 0 | 4 | magic `DPF1` (the digit is the format's version) |
//! | 4 | 4 | header CRC32C, over bytes 8.. of the header and the producer's name |
//! | 8 | 16 | log uuid |
//! | 24 | 8 | segment number |
//! | 32 | 8 | offset |
//! | 40 | 8 | group start: every offset below it was synced before this frame was written |
//! | 48 | 4 | chain: header CRC of the frame before; of the first frame, the segment header's CRC |
//! | 52 | 1 | kind |
//! | 53 | 1 | flags, zero |
//! | 54 | 2 | length of the producer's name |
//! | 56 | 8 | table incarnation |
//! | 64 | 4 | contract version |
//! | 68 | 4 | CRC of the batch as it was sent |
//! | 72 | 8 | epoch |
//! | 80 | 8 | seq |
//! | 88 | 4 | payload length |
//! | 92 | 4 | payload CRC32C |
//! | 96 | n | producer's name, UTF-8 |
//! | 96+n | m | payload |
//!
//! Frames follow each other without padding. The uuid, the segment number and the chain keep a recycled segment's old
//! bytes from ever being taken for new ones.

use std::sync::Arc;

use bytes::Bytes;

use super::fields::{array_at, seal, u32_at, u64_at};
use crate::types::Lsn;

pub(super) const HEADER_BYTES: usize = 96;
const MAGIC: [u8; 4] = *b"DPF1";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Data,
    Create,
    Alter,
    Drop,
    Epoch,
    CommitIntent,
    CommitDone,
    Checkpoint,
    Replayed,
}

impl FrameKind {
    pub(crate) const ALL: [FrameKind; 9] = [
        FrameKind::Data,
        FrameKind::Create,
        FrameKind::Alter,
        FrameKind::Drop,
        FrameKind::Epoch,
        FrameKind::CommitIntent,
        FrameKind::CommitDone,
        FrameKind::Checkpoint,
        FrameKind::Replayed,
    ];

    fn code(self) -> u8 {
        match self {
            FrameKind::Data => 1,
            FrameKind::Create => 2,
            FrameKind::Alter => 3,
            FrameKind::Drop => 4,
            FrameKind::Epoch => 5,
            FrameKind::CommitIntent => 6,
            FrameKind::CommitDone => 7,
            FrameKind::Checkpoint => 8,
            FrameKind::Replayed => 9,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// What a frame carries, in pieces, so that large ones are handed to the disk without being copied together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    pub head: Vec<u8>,
    /// Follow the head.
    pub body: Vec<Bytes>,
    body_bytes: usize,
    /// CRC32C of the body.
    body_crc: u32,
}

impl Payload {
    /// `body_crc`: the body's CRC32C, which its maker has at hand.
    pub fn new(head: Vec<u8>, body: Vec<Bytes>, body_crc: u32) -> Self {
        debug_assert_eq!(body_crc, append(0, &body));
        Payload {
            head,
            body_bytes: body.iter().map(Bytes::len).sum(),
            body,
            body_crc,
        }
    }

    pub fn len(&self) -> usize {
        self.head.len() + self.body_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn crc(&self) -> u32 {
        let head = crc32c::crc32c(&self.head);
        // Combining takes as long as reading so many bytes.
        if self.body_bytes < 64 * 1024 {
            return append(head, &self.body);
        }
        crc32c::crc32c_combine(head, self.body_crc, self.body_bytes)
    }
}

/// CRC32C over all pieces, behind what `crc` is of.
fn append(crc: u32, pieces: &[Bytes]) -> u32 {
    pieces
        .iter()
        .fold(crc, |crc, piece| crc32c::crc32c_append(crc, piece))
}

impl From<Vec<u8>> for Payload {
    fn from(head: Vec<u8>) -> Self {
        Payload {
            head,
            ..Payload::default()
        }
    }
}

/// A frame as its writer gives it: all but its place in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewFrame {
    pub kind: FrameKind,
    pub incarnation: u64,
    pub contract_version: u32,
    /// Empty for unnamed streams and control frames; at most 65,535 bytes.
    pub producer: Arc<str>,
    pub epoch: u64,
    pub seq: u64,
    pub batch_crc: u32,
    pub payload: Payload,
}

impl NewFrame {
    pub fn encoded_len(&self) -> u64 {
        (HEADER_BYTES + self.producer.len() + self.payload.len()) as u64
    }
}

/// A frame as replay gives it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub offset: Lsn,
    pub kind: FrameKind,
    pub incarnation: u64,
    pub contract_version: u32,
    pub producer: Arc<str>,
    pub epoch: u64,
    pub seq: u64,
    pub batch_crc: u32,
    /// Parts of it are taken without a copy.
    pub payload: Bytes,
}

/// Where a frame stands, which its bytes repeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub uuid: [u8; 16],
    pub segment: u64,
    pub offset: Lsn,
    pub group_start: Lsn,
    pub chain: u32,
}

/// Appends the header and name to `out`; the payload follows it on disk. Returns the header's CRC, the next frame's chain.
pub(super) fn encode_header(frame: &NewFrame, place: &Place, out: &mut Vec<u8>) -> u32 {
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&place.uuid);
    out.extend_from_slice(&place.segment.to_le_bytes());
    out.extend_from_slice(&place.offset.get().to_le_bytes());
    out.extend_from_slice(&place.group_start.get().to_le_bytes());
    out.extend_from_slice(&place.chain.to_le_bytes());
    out.extend_from_slice(&[frame.kind.code(), 0]);
    // Both lengths are held to their limits at admission.
    out.extend_from_slice(
        &u16::try_from(frame.producer.len())
            .unwrap_or(u16::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(&frame.incarnation.to_le_bytes());
    out.extend_from_slice(&frame.contract_version.to_le_bytes());
    out.extend_from_slice(&frame.batch_crc.to_le_bytes());
    out.extend_from_slice(&frame.epoch.to_le_bytes());
    out.extend_from_slice(&frame.seq.to_le_bytes());
    out.extend_from_slice(
        &u32::try_from(frame.payload.len())
            .unwrap_or(u32::MAX)
            .to_le_bytes(),
    );
    out.extend_from_slice(&frame.payload.crc().to_le_bytes());
    out.extend_from_slice(frame.producer.as_bytes());
    seal(out.get_mut(start..).unwrap_or_default())
}

/// A frame read from bytes, with what its place said.
#[derive(Debug)]
pub(super) struct Parsed {
    pub frame: Frame,
    pub place: Place,
    pub crc: u32,
    pub len: usize,
}

/// Reads the frame at the start of `bytes`; none if there is no whole, undamaged one. Says nothing of whether it belongs here.
pub(super) fn parse(bytes: &[u8]) -> Option<Parsed> {
    let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
    if header[..4] != MAGIC {
        return None;
    }
    let u64_at = |at: usize| u64_at(header, at);
    let u32_at = |at: usize| u32_at(header, at);
    let name_len = usize::from(u16::from_le_bytes([header[54], header[55]]));
    let payload_len = u32_at(88) as usize;
    let with_name = bytes.get(8..HEADER_BYTES + name_len)?;
    let crc = crc32c::crc32c(with_name);
    if crc != u32_at(4) {
        return None;
    }
    let start = HEADER_BYTES + name_len;
    let payload = bytes.get(start..start.checked_add(payload_len)?)?;
    if crc32c::crc32c(payload) != u32_at(92) {
        return None;
    }
    let offset = Lsn::new(u64_at(32));
    Some(Parsed {
        frame: Frame {
            offset,
            kind: FrameKind::from_code(header[52])?,
            incarnation: u64_at(56),
            contract_version: u32_at(64),
            producer: std::str::from_utf8(bytes.get(HEADER_BYTES..start)?)
                .ok()?
                .into(),
            epoch: u64_at(72),
            seq: u64_at(80),
            batch_crc: u32_at(68),
            payload: Bytes::copy_from_slice(payload),
        },
        place: Place {
            uuid: array_at(header, 8),
            segment: u64_at(24),
            offset,
            group_start: Lsn::new(u64_at(40)),
            chain: u32_at(48),
        },
        crc,
        len: start + payload_len,
    })
}

/// The frame as it stands on disk, at a place that is always the same.
#[cfg(test)]
pub fn frame_bytes(frame: &NewFrame) -> Vec<u8> {
    let place = Place {
        uuid: [0xab; 16],
        segment: 5,
        offset: Lsn::new(1001),
        group_start: Lsn::new(1000),
        chain: 0x0102_0304,
    };
    let mut bytes = Vec::new();
    encode_header(frame, &place, &mut bytes);
    bytes.extend_from_slice(&frame.payload.head);
    bytes.extend(frame.payload.body.iter().flatten());
    bytes
}

/// The frame that starts these bytes, if it is whole.
#[cfg(test)]
pub fn read_frame(bytes: &[u8]) -> Option<Frame> {
    parse(bytes).map(|parsed| parsed.frame)
}

/// Is there a frame further on in `bytes` for which `wanted` holds? Tells damage from a torn tail.
pub(super) fn find_later(bytes: &[u8], wanted: impl Fn(&Place) -> bool) -> bool {
    let found = find_frame(bytes, 1, |frame| wanted(&frame.place));
    found.is_some()
}

/// Where the first whole frame from `at` on stands for which `wanted` holds, whatever is between, and the frame.
pub(super) fn find_frame(
    bytes: &[u8],
    mut at: usize,
    wanted: impl Fn(&Parsed) -> bool,
) -> Option<(usize, Parsed)> {
    while let Some(found) = bytes
        .get(at..)
        .and_then(|rest| rest.windows(4).position(|w| w == MAGIC))
    {
        at += found;
        if let Some(parsed) = bytes.get(at..).and_then(parse).filter(&wanted) {
            return Some((at, parsed));
        }
        at += 1;
    }
    None
}
