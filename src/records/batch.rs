//! A batch as bytes: the stream by which it is compared and kept, and the form in which a frame holds it.
//!
//! Damaged bytes are an error and nothing else. Arrow's reader allocates what a message declares, and it panics on offsets
//! that do not fit. So every length is compared with the bytes that are there before the reader sees them, and what it panics
//! on is caught.

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::error::ArrowError;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamEncoder;
use bytes::Bytes;

use super::Problem;
use crate::fault::Fault;

/// A batch in the form in which it is compared and stored: one IPC stream in pieces, the large ones being the batch's own buffers.
pub struct Encoded {
    pieces: Vec<Bytes>,
    bytes: usize,
    crc: u32,
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

    /// By which the same batch is known again.
    pub fn crc(&self) -> u32 {
        self.crc
    }

    /// As a frame holds it when LZ4 does not pay. No byte is copied.
    pub fn stored(&self) -> Stored {
        Stored {
            is_compressed: false,
            sent_bytes: self.bytes,
            body: self.pieces.clone(),
            body_bytes: self.bytes,
            crc: self.crc,
        }
    }

    /// As a frame holds it as one LZ4 block, which may be longer than the batch.
    pub fn compressed(&self) -> Stored {
        let block = lz4_flex::block::compress(&self.pieces.concat());
        Stored {
            is_compressed: true,
            sent_bytes: self.bytes,
            body_bytes: block.len(),
            crc: crc32c::crc32c(&block),
            body: vec![block.into()],
        }
    }
}

/// A batch as a frame holds it.
#[derive(Clone, Debug)]
pub struct Stored {
    is_compressed: bool,
    /// Of the batch before compression; 0: it had no rows, and there is no body.
    sent_bytes: usize,
    body: Vec<Bytes>,
    body_bytes: usize,
    /// CRC32C of the body.
    crc: u32,
}

impl Stored {
    /// Of a batch that has a number and no rows.
    pub fn nothing() -> Self {
        Encoded::empty().stored()
    }

    /// Bytes in the frame.
    pub fn len(&self) -> usize {
        self.body_bytes
    }

    pub fn is_empty(&self) -> bool {
        self.body_bytes == 0
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.is_compressed
    }

    pub(super) fn sent_bytes(&self) -> usize {
        self.sent_bytes
    }

    pub(super) fn into_body(self) -> (Vec<Bytes>, u32) {
        (self.body, self.crc)
    }

    pub(super) fn of_frame(is_compressed: bool, sent_bytes: usize, body: Bytes) -> Self {
        Stored {
            is_compressed,
            sent_bytes,
            body_bytes: body.len(),
            crc: crc32c::crc32c(&body),
            body: vec![body],
        }
    }

    pub(super) fn read(&self) -> Result<Option<RecordBatch>, Problem> {
        if self.sent_bytes == 0 {
            return Ok(None);
        }
        let together;
        let body: &[u8] = match self.body.as_slice() {
            [whole] => whole,
            pieces => {
                together = pieces.concat();
                &together
            }
        };
        if !self.is_compressed {
            return read_stream(body).map(Some);
        }
        read_stream(&lz4_block(body, self.sent_bytes)?).map(Some)
    }
}

/// An LZ4 block becomes at most so many times longer.
const LZ4_RATIO_MAX: usize = 255;

/// What a block of the log holds, which is `length` bytes long.
fn lz4_block(block: &[u8], length: usize) -> Result<Vec<u8>, Problem> {
    if length > block.len().saturating_mul(LZ4_RATIO_MAX) {
        let from = block.len();
        return Err(Problem::Lz4(format!("{from} bytes cannot become {length}")));
    }
    lz4_flex::block::decompress(block, length).map_err(|e| Problem::Lz4(e.to_string()))
}

/// What a block of the log holds, behind its length (u32, little endian).
pub(super) fn sized_lz4_block(bytes: &[u8]) -> Result<Vec<u8>, Problem> {
    let (length, block) = bytes
        .split_first_chunk::<4>()
        .ok_or(Problem::Short("length"))?;
    lz4_block(block, u32::from_le_bytes(*length) as usize)
}

/// The same bytes, in whatever pieces.
impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.is_compressed == other.is_compressed
            && self.sent_bytes == other.sent_bytes
            && self.body.concat() == other.body.concat()
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

/// The batch as an IPC stream, nothing of its columns copied.
fn stream(batch: &RecordBatch) -> Result<Vec<Buffer>, ArrowError> {
    let mut encoder = StreamEncoder::try_new(batch.schema_ref())?;
    let mut buffers = encoder.encode(batch)?;
    buffers.extend(encoder.finish()?);
    Ok(buffers)
}

fn read_stream(bytes: &[u8]) -> Result<RecordBatch, Problem> {
    check_lengths(bytes).map_err(|what| Problem::Batch(what.to_owned()))?;
    let read = || -> Result<RecordBatch, String> {
        let mut reader = StreamReader::try_new(bytes, None).map_err(|e| e.to_string())?;
        reader
            .next()
            .ok_or_else(|| "there is none in the stream".to_owned())?
            .map_err(|e| e.to_string())
    };
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err("its reader panicked".to_owned()))
        .map_err(Problem::Batch)
}

/// Marks the start of a message, in front of the length of its metadata.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Every message of the stream lies within it, and none is compressed by itself, which this server never writes.
fn check_lengths(mut stream: &[u8]) -> Result<(), &'static str> {
    while let Some((mut length, mut rest)) = stream.split_first_chunk::<4>() {
        if *length == CONTINUATION {
            (length, rest) = rest.split_first_chunk().ok_or("a message has no length")?;
        }
        let length = usize::try_from(i32::from_le_bytes(*length))
            .map_err(|_| "the length of a message is below zero")?;
        if length == 0 {
            return Ok(());
        }
        let (metadata, rest) = rest
            .split_at_checked(length)
            .ok_or("a message is longer than the stream")?;
        let message =
            arrow_ipc::root_as_message(metadata).map_err(|_| "a message has no metadata")?;
        let rows = message.header_as_record_batch();
        let dictionary = message.header_as_dictionary_batch();
        let rows = rows.or_else(|| dictionary.and_then(|d| d.data()));
        if rows.is_some_and(|rows| rows.compression().is_some()) {
            return Err("a message is compressed by itself");
        }
        let body = usize::try_from(message.bodyLength())
            .map_err(|_| "the length of a body is below zero")?;
        stream = rest.get(body..).ok_or("a body is longer than the stream")?;
    }
    Ok(())
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
                (encoded.len(), encoded.crc()),
                (whole.len(), crc32c::crc32c(&whole))
            );
        }
    }
}
