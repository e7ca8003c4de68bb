//! What a data frame carries: the batch as it was sent, and the verdict on it.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | payload version, 1 |
//! | 1 | compression of the batch: 0 none, 1 LZ4 block |
//! | 1 | compression of the verdict: 0 none, 1 its length (u32, little endian) and an LZ4 block |
//! | 1 | zero |
//! | 8 | arrival time, microseconds since 1970, little endian |
//! | 4 | length of the verdict as it stands here |
//! | 4 | length of the batch before compression; 0: a batch without rows or columns |
//! | n | verdict (`validate::Verdict::encode`) |
//! | m | batch: one Arrow IPC stream (schema, batch), to the payload's end |
//!
//! The frame's own checksum covers all of it. The CRC by which a resend is known is that of the uncompressed IPC
//! stream, which the server writes itself from the decoded batch: a client may compress differently the second time.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::batch::{Stored, sized_lz4_block};
use super::{Error, Problem, Totals};
use crate::clock::Micros;
use crate::validate::{Additions, Applied, Validated, Verdict};
use crate::wal::{Frame, NewFrame, Payload};

const VERSION: u8 = 1;
const HEADER: usize = 20;

/// Longer verdicts are compressed. One of a batch whose rows are all rejected has a hundred bytes a row, most of them the same in
/// each: uncompressed it would hold up the log, and every other stream with it, for longer than the batch itself.
const LONG_VERDICT: usize = 4096;

/// Who sent a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    /// A producer's stream: its epoch, the number of the batch, and the CRC by which a resend is known.
    Named {
        producer: Arc<str>,
        epoch: u64,
        seq: u64,
        crc: u32,
    },
    Unnamed,
}

/// A batch in its place in the log. One is made from a [`Validated`], or read from a frame, and from nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct Data {
    sender: Sender,
    arrived: Micros,
    verdict: Verdict,
    batch: Stored,
}

impl Data {
    /// The record of a batch that was judged, beside its rows and what the table's keys learn of them. `batch`: as it was
    /// sent, or [`Stored::nothing`].
    pub fn of(
        sender: Sender,
        arrived: Micros,
        batch: Stored,
        validated: Validated,
    ) -> (Self, Applied, Additions) {
        let (applied, verdict, additions) = validated.into_parts();
        let data = Data {
            sender,
            arrived,
            verdict,
            batch,
        };
        (data, applied, additions)
    }

    pub fn sender(&self) -> &Sender {
        &self.sender
    }

    /// When it came, in microseconds since 1970.
    pub fn arrived(&self) -> Micros {
        self.arrived
    }

    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    pub fn counts(&self) -> Totals {
        Totals::of(&self.verdict)
    }

    /// The batch as it was sent; none: it had no rows.
    ///
    /// # Errors
    /// [`Problem::Lz4`], [`Problem::Batch`].
    pub fn batch(&self) -> Result<Option<RecordBatch>, Problem> {
        self.batch.read()
    }

    #[cfg(test)]
    pub(super) fn made(sender: Sender, arrived: Micros, verdict: Verdict, batch: Stored) -> Self {
        Data {
            sender,
            arrived,
            verdict,
            batch,
        }
    }

    #[cfg(test)]
    pub(super) fn into_batch(self) -> Stored {
        self.batch
    }

    pub(super) fn put_into(self, frame: &mut NewFrame) -> Result<(), Error> {
        if let Sender::Named {
            producer,
            epoch,
            seq,
            crc,
        } = self.sender
        {
            (frame.producer, frame.epoch, frame.seq) = (producer, epoch, seq);
            frame.batch_crc = crc;
        }
        let length = |bytes: usize| {
            u32::try_from(bytes)
                .map(u32::to_le_bytes)
                .map_err(|_| Error::TooLarge { bytes })
        };
        let (is_verdict_compressed, verdict) = packed(self.verdict.encode());
        let mut head = Vec::with_capacity(HEADER + verdict.len());
        head.extend_from_slice(&[
            VERSION,
            u8::from(self.batch.is_compressed()),
            u8::from(is_verdict_compressed),
            0,
        ]);
        head.extend_from_slice(&self.arrived.to_le_bytes());
        head.extend_from_slice(&length(verdict.len())?);
        head.extend_from_slice(&length(self.batch.sent_bytes())?);
        head.extend_from_slice(&verdict);
        let (body, crc) = self.batch.into_body();
        frame.payload = Payload::new(head, body, crc);
        Ok(())
    }

    pub(super) fn take_from(frame: &Frame) -> Result<Self, Problem> {
        let payload = &frame.payload;
        let mut header: &[u8] = payload;
        let [version, compression, verdict_compression, _] = take(&mut header)?;
        if version != VERSION {
            return Err(Problem::Version {
                found: version.into(),
                known: VERSION.into(),
            });
        }
        let arrived = Micros::from_le_bytes(take(&mut header)?);
        let verdict_bytes = u32::from_le_bytes(take(&mut header)?) as usize;
        let sent_bytes = u32::from_le_bytes(take(&mut header)?) as usize;
        let body_at = HEADER.saturating_add(verdict_bytes);
        let verdict = payload
            .get(HEADER..body_at)
            .ok_or(Problem::Short("verdict"))?;
        let sender = if frame.producer.is_empty() {
            Sender::Unnamed
        } else {
            Sender::Named {
                producer: frame.producer.clone(),
                epoch: frame.epoch,
                seq: frame.seq,
                crc: frame.batch_crc,
            }
        };
        Ok(Data {
            sender,
            arrived,
            verdict: if verdict_compression == 0 {
                Verdict::decode(verdict)?
            } else {
                Verdict::decode(&sized_lz4_block(verdict)?)?
            },
            batch: Stored::of_frame(compression != 0, sent_bytes, payload.slice(body_at..)),
        })
    }
}

/// The verdict as its frame holds it, and whether that is an LZ4 block.
fn packed(verdict: Vec<u8>) -> (bool, Vec<u8>) {
    if verdict.len() < LONG_VERDICT {
        return (false, verdict);
    }
    let block = lz4_flex::block::compress_prepend_size(&verdict);
    if block.len() < verdict.len() {
        (true, block)
    } else {
        (false, verdict)
    }
}

/// The next `N` bytes of the header.
fn take<const N: usize>(header: &mut &[u8]) -> Result<[u8; N], Problem> {
    let (taken, rest) = header.split_first_chunk().ok_or(Problem::Short("header"))?;
    *header = rest;
    Ok(*taken)
}
