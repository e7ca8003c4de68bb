//! Reads along an HTTP/2 connection's incoming bytes: how many of them are bodies of calls, and how many calls begin. It
//! keeps nothing and judges nothing; h2 does that.
//!
//! | bytes | part |
//! |---|---|
//! | 24 | preface, once |
//! | 3 | length of the frame, big-endian |
//! | 1 | type: 0 DATA, 1 HEADERS |
//! | 1 | flags |
//! | 4 | stream; the highest bit is reserved |
//! | n | payload |
//!
//! Source: RFC 9113, sections 3.4, 4.1 and 6.

#![deny(clippy::indexing_slicing)]

const PREFACE_BYTES: usize = 24;
const HEAD_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;

/// What some bytes brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// Bytes of DATA frames' payloads.
    pub data: u64,
    /// Streams that the client opened.
    pub opened: u64,
    /// The preface ended here.
    pub greeted: bool,
}

#[derive(Debug)]
pub(super) struct Frames {
    /// Of the preface, still to come.
    preface: usize,
    head: [u8; HEAD_BYTES],
    have: usize,
    /// Of the payload, still to come.
    left: usize,
    is_data: bool,
    newest_stream: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Frames {
            preface: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            have: 0,
            left: 0,
            is_data: false,
            newest_stream: 0,
        }
    }
}

impl Frames {
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        if self.preface > 0 {
            let skip = self.preface.min(bytes.len());
            self.preface -= skip;
            bytes = bytes.get(skip..).unwrap_or(&[]);
            seen.greeted = self.preface == 0;
        }
        while !bytes.is_empty() {
            if self.left > 0 {
                let step = self.left.min(bytes.len());
                if self.is_data {
                    seen.data += step as u64;
                }
                self.left -= step;
                bytes = bytes.get(step..).unwrap_or(&[]);
                continue;
            }
            for (place, byte) in self.head.iter_mut().skip(self.have).zip(bytes) {
                *place = *byte;
            }
            let step = (HEAD_BYTES - self.have).min(bytes.len());
            self.have += step;
            bytes = bytes.get(step..).unwrap_or(&[]);
            if self.have == HEAD_BYTES {
                self.have = 0;
                let [a, b, c, kind, _, s, t, u, v] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.is_data = kind == DATA;
                let stream = u32::from_be_bytes([s, t, u, v]) & 0x7FFF_FFFF;
                if kind == HEADERS && stream > self.newest_stream {
                    self.newest_stream = stream;
                    seen.opened += 1;
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap_or(0).to_be_bytes();
        let mut out = length.get(1..).unwrap_or(&[]).to_vec();
        out.extend([kind, 0]);
        out.extend(stream.to_be_bytes());
        out.extend(payload);
        out
    }

    #[test]
    fn bodies_and_calls_are_counted_however_the_bytes_are_cut() {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, &[]));
        bytes.extend(frame(HEADERS, 1, &[0; 30]));
        bytes.extend(frame(DATA, 1, &[7; 1000]));
        // The headers of a stream that is open already are its trailers.
        bytes.extend(frame(HEADERS, 1, &[0; 10]));
        bytes.extend(frame(HEADERS, 3, &[0; 5]));
        bytes.extend(frame(DATA, 3, &[0; 24]));
        for step in [1, 2, 9, 10, 1000, bytes.len()] {
            let mut frames = Frames::default();
            let mut total = Seen::default();
            for part in bytes.chunks(step) {
                let seen = frames.read(part);
                total.data += seen.data;
                total.opened += seen.opened;
                total.greeted |= seen.greeted;
            }
            let expected = Seen {
                data: 1024,
                opened: 2,
                greeted: true,
            };
            assert_eq!(total, expected, "step {step}");
        }
    }
}
