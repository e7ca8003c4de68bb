//! From `FlightData` to record batches, for bytes that nobody vouches for.
//!
//! A compressed body says itself how large it will be, and arrow-ipc allocates what it says; offsets and lengths may point
//! anywhere. So the declared sizes are checked against the batch limit and the body before anything is decoded, and the
//! caller decodes each stream in a task of its own whose panic ends that stream alone.

#![deny(clippy::indexing_slicing)]

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow_flight::FlightData;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{MessageHeader, root_as_message};

use crate::fault::{Fault, Kind};

/// More rows than this in one batch can only be a column without buffers; real ones meet the byte limit first.
const ROWS_MAX: i64 = 16 * 1024 * 1024;

/// Decodes the messages of one stream, in order.
pub struct Decoder {
    batch_bytes_max: u64,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
}

#[derive(Debug)]
pub enum Decoded {
    Schema(SchemaRef),
    Batch(RecordBatch),
    /// A dictionary for batches to come.
    Dictionary,
    /// No data: a descriptor or metadata alone.
    Nothing,
}

fn malformed(what: impl std::fmt::Display) -> Fault {
    Fault::invalid(
        "malformed_ipc",
        format!("not an Arrow IPC message: {what}; send FlightData as an Arrow library writes it"),
    )
}

/// What a client's stream ended with, when it did not end well.
pub fn broken(status: &tonic::Status) -> Fault {
    match status.code() {
        // tonic's word for a message above the decoding limit.
        tonic::Code::OutOfRange => Fault::new(
            Kind::Exhausted,
            "message_too_large",
            format!(
                "{}; send smaller batches, or raise limits.message_bytes_max",
                status.message()
            ),
        ),
        _ => Fault::new(
            Kind::Cancelled,
            "stream_broken",
            status.message().to_owned(),
        ),
    }
}

impl Decoder {
    pub fn new(batch_bytes_max: u64) -> Self {
        Decoder {
            batch_bytes_max,
            schema: None,
            dictionaries: HashMap::new(),
        }
    }

    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// # Errors
    /// INVALID_ARGUMENT `malformed_ipc`; RESOURCE_EXHAUSTED `batch_too_large` before anything of that size is allocated.
    pub fn message(&mut self, data: &FlightData) -> Result<Decoded, Fault> {
        if data.data_header.is_empty() {
            return if data.data_body.is_empty() {
                Ok(Decoded::Nothing)
            } else {
                Err(malformed("a body without a header"))
            };
        }
        let message = root_as_message(&data.data_header).map_err(malformed)?;
        match message.header_type() {
            MessageHeader::Schema => {
                if self.schema.is_some() {
                    return Err(malformed("a second schema in one stream"));
                }
                let schema = message
                    .header_as_schema()
                    .ok_or_else(|| malformed("schema missing"))?;
                // Panics on a malformed one, which ends this stream's task and nothing else.
                let schema = Arc::new(arrow_ipc::convert::fb_to_schema(schema));
                self.schema = Some(schema.clone());
                Ok(Decoded::Schema(schema))
            }
            MessageHeader::RecordBatch => {
                let header = message
                    .header_as_record_batch()
                    .ok_or_else(|| malformed("record batch missing"))?;
                let schema = self
                    .schema
                    .clone()
                    .ok_or_else(|| malformed("a batch before the schema"))?;
                self.check(&header, &data.data_body)?;
                let body = Buffer::from(data.data_body.clone());
                let batch = read_record_batch(
                    &body,
                    header,
                    schema,
                    &self.dictionaries,
                    None,
                    &message.version(),
                )
                .map_err(malformed)?;
                Ok(Decoded::Batch(batch))
            }
            MessageHeader::DictionaryBatch => {
                let header = message
                    .header_as_dictionary_batch()
                    .ok_or_else(|| malformed("dictionary missing"))?;
                let schema = self
                    .schema
                    .clone()
                    .ok_or_else(|| malformed("a dictionary before the schema"))?;
                if let Some(values) = header.data() {
                    self.check(&values, &data.data_body)?;
                }
                let body = Buffer::from(data.data_body.clone());
                read_dictionary(
                    &body,
                    header,
                    &schema,
                    &mut self.dictionaries,
                    &message.version(),
                )
                .map_err(malformed)?;
                Ok(Decoded::Dictionary)
            }
            other => Err(malformed(format!("message type {other:?}"))),
        }
    }

    /// Holds what a batch declares to its body and to the limit.
    fn check(&self, header: &arrow_ipc::RecordBatch<'_>, body: &[u8]) -> Result<(), Fault> {
        if header.length() < 0 || header.length() > ROWS_MAX {
            return Err(malformed(format!("{} rows in one batch", header.length())));
        }
        for node in header.nodes().into_iter().flatten() {
            if node.length() < 0 || node.null_count() < 0 || node.null_count() > node.length() {
                return Err(malformed("a column with impossible lengths"));
            }
        }
        let compressed = header.compression().is_some();
        let mut declared: u64 = 0;
        for buffer in header.buffers().into_iter().flatten() {
            let (Ok(offset), Ok(length)) = (
                usize::try_from(buffer.offset()),
                usize::try_from(buffer.length()),
            ) else {
                return Err(malformed("a buffer at a negative position"));
            };
            let bytes = offset
                .checked_add(length)
                .and_then(|end| body.get(offset..end))
                .ok_or_else(|| malformed("a buffer outside its body"))?;
            // Compressed buffers begin with their length once decompressed; -1 says that this one is not.
            let size = match (compressed, bytes.first_chunk::<8>()) {
                (true, Some(prefix)) => match i64::from_le_bytes(*prefix) {
                    -1 => length as u64,
                    size => u64::try_from(size)
                        .map_err(|_| malformed("a negative decompressed length"))?,
                },
                (true, None) if length > 0 => {
                    return Err(malformed("a compressed buffer without its length"));
                }
                _ => length as u64,
            };
            declared = declared.saturating_add(size);
        }
        if declared > self.batch_bytes_max {
            return Err(Fault::new(
                Kind::Exhausted,
                "batch_too_large",
                format!(
                    "batch too large, bytes={declared}, limit={}; send smaller batches or raise limits.batch_bytes_max",
                    self.batch_bytes_max
                ),
            ));
        }
        Ok(())
    }
}
