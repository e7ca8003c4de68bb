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

use arrow::array::RecordBatch;
use arrow_ipc::reader::StreamReader;
use arrow_ipc::writer::StreamWriter;

use crate::clock::Micros;
use crate::fault::{Fault, Kind};
use crate::validate::Verdict;

const VERSION: u8 = 1;
const HEADER: usize = 20;
/// Below this share of the sample LZ4 has to bring a batch to be worth its time.
const WORTHWHILE: f64 = 0.92;
const SAMPLE: usize = 32 * 1024;

/// A batch in the form in which it is compared and stored.
pub struct Encoded {
    ipc: Vec<u8>,
    pub crc: u32,
}

impl Encoded {
    /// A batch without rows: `{"seq":n}` alone.
    pub fn empty() -> Self {
        Encoded {
            ipc: Vec::new(),
            crc: 0,
        }
    }

    pub fn of(batch: &RecordBatch) -> Result<Self, Fault> {
        let mut ipc = Vec::with_capacity(batch.get_array_memory_size() + 1024);
        write_ipc(&mut ipc, batch)
            .map_err(|e| Fault::internal(format!("cannot encode the batch: {e}")))?;
        let crc = crc32c::crc32c(&ipc);
        Ok(Encoded { ipc, crc })
    }

    pub fn len(&self) -> usize {
        self.ipc.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ipc.is_empty()
    }

    /// The frame's payload.
    pub fn payload(&self, verdict: &Verdict, arrived: Micros) -> Vec<u8> {
        let verdict = verdict.encode();
        let compressed = self.compress();
        let body = compressed.as_deref().unwrap_or(&self.ipc);
        let mut out = Vec::with_capacity(HEADER + verdict.len() + body.len());
        out.extend_from_slice(&[VERSION, u8::from(compressed.is_some()), 0, 0]);
        out.extend_from_slice(&arrived.to_le_bytes());
        // Both lengths are bounded by `limits.batch_bytes_max`, far below 4 GiB.
        out.extend_from_slice(
            &u32::try_from(verdict.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        out.extend_from_slice(
            &u32::try_from(self.ipc.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        out.extend_from_slice(&verdict);
        out.extend_from_slice(body);
        out
    }

    /// LZ4, unless a sample says that it does not pay: noise in floats seldom shrinks.
    fn compress(&self) -> Option<Vec<u8>> {
        let middle = self.ipc.len() / 2;
        let sample = self
            .ipc
            .get(middle..(middle + SAMPLE).min(self.ipc.len()))?;
        if sample.is_empty() {
            return None;
        }
        if self.ipc.len() > 4 * SAMPLE {
            let shrunk = lz4_flex::block::compress(sample).len();
            if shrunk as f64 > sample.len() as f64 * WORTHWHILE {
                return None;
            }
        }
        let compressed = lz4_flex::block::compress(&self.ipc);
        (compressed.len() < self.ipc.len()).then_some(compressed)
    }
}

/// A data frame's payload, decoded. Replay hands it to `validate::apply`, which never validates again.
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

fn write_ipc(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<(), arrow::error::ArrowError> {
    let mut writer = StreamWriter::try_new(out, batch.schema_ref())?;
    writer.write(batch)?;
    writer.finish()
}

fn read_ipc(bytes: &[u8]) -> Result<RecordBatch, String> {
    let mut reader = StreamReader::try_new(bytes, None).map_err(|e| e.to_string())?;
    reader
        .next()
        .ok_or_else(|| "no batch in the stream".to_owned())?
        .map_err(|e| e.to_string())
}
