//! What a data frame carries: the batch as it was sent, and the verdict on it.
//!
//! | bytes | field |
//! |---|---|
//! | 1 | payload version, 1 |
//! | 1 | compression of the batch: 0 none, 1 LZ4 block |
//! | 2 | zero |
//! | 8 | arrival time, microseconds since 1970, little endian |
//! | 4 | length of the verdict |
//! | 4 | length of the batch before compression; 0: a batch without rows or columns |
//! | n | verdict (`validate::Verdict::encode`) |
//! | m | batch: one Arrow IPC stream (schema, batch), to the payload's end |
//!
//! The frame's own checksum covers all of it. The CRC by which a resend is known is that of the uncompressed IPC
//! stream, which the server writes itself from the decoded batch: a client may compress differently the second time.

use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamEncoder;
use bytes::Bytes;

use crate::clock::Micros;
use crate::fault::{Fault, Kind};
use crate::validate::{Validated, Verdict};
use crate::wal::Payload;

const VERSION: u8 = 1;
const HEADER: usize = 20;

/// A batch in the form in which it is compared and stored: one IPC stream in pieces, the large ones being the batch's own buffers.
pub struct Encoded {
    pieces: Vec<Bytes>,
    bytes: usize,
    pub crc: u32,
}

impl Encoded {
    /// A batch without rows: `{"seq":n}` alone.
    pub fn empty() -> Self {
        Encoded {
            pieces: Vec::new(),
            bytes: 0,
            crc: 0,
        }
    }

    pub fn of(batch: &RecordBatch) -> Result<Self, Fault> {
        let buffers =
            stream(batch).map_err(|e| Fault::internal(format!("cannot encode the batch: {e}")))?;
        let bytes = buffers.iter().map(Buffer::len).sum();
        let mut pieces: Vec<Bytes> = Vec::new();
        let mut small = Vec::with_capacity(if bytes < TOGETHER { bytes } else { 4096 });
        for buffer in buffers {
            if bytes < TOGETHER || buffer.len() < TOGETHER {
                small.extend_from_slice(&buffer);
                continue;
            }
            if !small.is_empty() {
                pieces.push(std::mem::take(&mut small).into());
            }
            pieces.push(Bytes::from_owner(Owner(buffer)));
        }
        if !small.is_empty() {
            pieces.push(small.into());
        }
        let crc = pieces
            .iter()
            .fold(0, |crc, piece| crc32c::crc32c_append(crc, piece));
        Ok(Encoded { pieces, bytes, crc })
    }

    pub fn len(&self) -> usize {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// The frame's payload. `disk_ns_per_byte`: what the log's disk takes for a byte, 0 if unknown.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED `batch_too_large`: the verdict or the batch is longer than the payload's header can say.
    pub fn payload(
        &self,
        validated: &Validated,
        arrived: Micros,
        balance: &mut Balance,
        disk_ns_per_byte: f64,
    ) -> Result<Payload, Fault> {
        let verdict = validated.verdict().encode();
        let length = |bytes: usize| {
            u32::try_from(bytes).map(u32::to_le_bytes).map_err(|_| {
                Fault::new(
                    Kind::Exhausted,
                    "batch_too_large",
                    format!(
                        "a batch and what the rules find in it have less than 4 GiB each in the log, bytes={bytes}; send smaller batches"
                    ),
                )
            })
        };
        let mut out = Vec::with_capacity(HEADER + verdict.len());
        out.extend_from_slice(&[VERSION, 0, 0, 0]);
        out.extend_from_slice(&arrived.to_le_bytes());
        out.extend_from_slice(&length(verdict.len())?);
        out.extend_from_slice(&length(self.bytes)?);
        out.extend_from_slice(&verdict);
        if balance.wants(self.bytes, disk_ns_per_byte)
            && let Some(block) = self.compressed(balance)
        {
            out[1] = 1;
            let crc = crc32c::crc32c(&block);
            return Ok(Payload::new(out, vec![block.into()], crc));
        }
        Ok(Payload::new(out, self.pieces.clone(), self.crc))
    }

    /// The batch as an LZ4 block; none if it does not shrink.
    fn compressed(&self, balance: &mut Balance) -> Option<Vec<u8>> {
        let began = Instant::now();
        let block = lz4_flex::block::compress(&self.pieces.concat());
        balance.measured(self.bytes, block.len(), began.elapsed());
        (block.len() < self.bytes).then_some(block)
    }
}

/// Pieces below this are copied together, and whole batches: a piece costs an allocation, and maybe a write of its own.
const TOGETHER: usize = 64 * 1024;

/// A buffer as the owner of its bytes.
struct Owner(Buffer);

impl AsRef<[u8]> for Owner {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Below this a batch is compressed without asking: its time is nothing beside the sync's.
const SMALL: usize = 64 * 1024;
/// So many batches go by uncompressed before the next one is tried again.
const TRY_AGAIN: u32 = 64;

/// Whether LZ4 pays on a stream: the time that it takes against the time in which the disk would write what it saves. On a slow
/// disk it does, on a fast one the core has better things to do; noise in floats seldom shrinks at all.
#[derive(Debug, Default)]
pub struct Balance {
    /// Nanoseconds a byte of input, and bytes saved a byte of input, at the last try.
    cost: f64,
    saved: f64,
    skipped: u32,
}

impl Balance {
    fn wants(&mut self, bytes: usize, disk_ns_per_byte: f64) -> bool {
        if bytes == 0 {
            return false;
        }
        let unknown = self.cost == 0.0 || disk_ns_per_byte == 0.0;
        if bytes < SMALL || unknown || self.cost < self.saved * disk_ns_per_byte {
            return true;
        }
        self.skipped += 1;
        if self.skipped < TRY_AGAIN {
            return false;
        }
        self.skipped = 0;
        true
    }

    fn measured(&mut self, input: usize, output: usize, took: Duration) {
        if input >= SMALL {
            self.cost = took.as_nanos() as f64 / input as f64;
            self.saved = 1.0 - (output as f64 / input as f64).min(1.0);
        }
    }
}

/// A data frame's payload, decoded. Replay hands it to `validate::Validator::replay`, which judges nothing.
pub struct Decoded {
    pub arrived: Micros,
    pub verdict: Verdict,
    pub batch: Option<RecordBatch>,
}

pub fn decode(payload: &[u8]) -> Result<Decoded, Fault> {
    let damaged = |what: &str| {
        Fault::new(
            Kind::Corrupt,
            "log_damaged",
            format!("data frame payload, {what}"),
        )
    };
    let header: &[u8; HEADER] = payload
        .get(..HEADER)
        .and_then(|h| h.try_into().ok())
        .ok_or_else(|| damaged("too short"))?;
    if header[0] != VERSION {
        return Err(damaged(&format!("unknown version {}", header[0])));
    }
    let arrived = Micros::from_le_bytes([
        header[4], header[5], header[6], header[7], header[8], header[9], header[10], header[11],
    ]);
    let verdict_len = u32::from_le_bytes([header[12], header[13], header[14], header[15]]) as usize;
    let ipc_len = u32::from_le_bytes([header[16], header[17], header[18], header[19]]) as usize;
    let verdict = payload
        .get(HEADER..HEADER + verdict_len)
        .ok_or_else(|| damaged("verdict cut short"))?;
    let verdict = Verdict::decode(verdict).map_err(|e| damaged(&format!("verdict: {e}")))?;
    let body = &payload[HEADER + verdict_len..];
    let batch = match (ipc_len, header[1]) {
        (0, _) => None,
        (_, 0) => Some(read_ipc(body).map_err(|e| damaged(&e))?),
        _ => {
            let ipc =
                lz4_flex::block::decompress(body, ipc_len).map_err(|e| damaged(&e.to_string()))?;
            Some(read_ipc(&ipc).map_err(|e| damaged(&e))?)
        }
    };
    Ok(Decoded {
        arrived,
        verdict,
        batch,
    })
}

/// The batch as an IPC stream, nothing of its columns copied.
fn stream(batch: &RecordBatch) -> Result<Vec<Buffer>, ArrowError> {
    let mut encoder = StreamEncoder::try_new(batch.schema_ref())?;
    let mut buffers = encoder.encode(batch)?;
    buffers.extend(encoder.finish()?);
    Ok(buffers)
}

fn read_ipc(bytes: &[u8]) -> Result<RecordBatch, String> {
    let mut reader = StreamReader::try_new(bytes, None).map_err(|e| e.to_string())?;
    reader
        .next()
        .ok_or_else(|| "no batch in the stream".to_owned())?
        .map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow_ipc::writer::StreamWriter;

    use super::*;

    #[test]
    #[expect(clippy::unwrap_used, reason = "test")]
    fn pieces_together_are_the_stream_that_a_writer_makes() {
        for rows in [0, 1, 7, 100_000] {
            let texts: StringArray = (0..rows)
                .map(|n| (n % 3 > 0).then(|| n.to_string()))
                .collect();
            let numbers: Int64Array = (0..rows).collect();
            let columns: [(&str, ArrayRef); 2] =
                [("text", Arc::new(texts)), ("number", Arc::new(numbers))];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let batch = batch.slice(
                0,
                batch
                    .num_rows()
                    .saturating_sub(2)
                    .max(1)
                    .min(batch.num_rows()),
            );
            let mut whole = Vec::new();
            let mut writer = StreamWriter::try_new(&mut whole, batch.schema_ref()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            let encoded = Encoded::of(&batch).unwrap();
            assert_eq!(encoded.pieces.concat(), whole, "{rows}");
            assert_eq!(
                (encoded.len(), encoded.crc),
                (whole.len(), crc32c::crc32c(&whole))
            );
        }
    }

    #[test]
    fn lz4_is_used_where_the_disk_is_slower_than_it() {
        let mut balance = Balance::default();
        let bytes = 1 << 20;
        assert!(balance.wants(bytes, 0.0), "nothing is known yet");
        // Half of it saved at 2 ns a byte: worth it above 4 ns a byte of disk.
        balance.measured(bytes, bytes / 2, Duration::from_nanos(2 * bytes as u64));
        assert!(balance.wants(bytes, 5.0));
        assert!(!balance.wants(bytes, 3.0));
        assert!(balance.wants(1000, 3.0), "small batches always");
        assert!(
            (0..TRY_AGAIN).any(|_| balance.wants(bytes, 3.0)),
            "tried again after a while"
        );
    }
}
