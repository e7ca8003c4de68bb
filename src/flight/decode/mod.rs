//! From `FlightData` to record batches, for bytes that nobody vouches for.
//!
//! A compressed body says itself how large it will be, and arrow-ipc allocates what it says; offsets and lengths may point
//! anywhere; a flatbuffer may refer to one part of itself many times. So everything that a message declares is compared with
//! the limits and with its own bytes before it is decoded (`check`). What arrow-ipc still answers with a panic is caught
//! where it happens (`quiet`). What a batch becomes once it is cast to its table's columns is in `expand`.

#![deny(clippy::indexing_slicing)]

mod bounds;
mod check;
pub mod expand;
#[cfg(test)]
mod fuzz_tests;
#[cfg(test)]
mod nested_tests;
mod quiet;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow_flight::FlightData;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::{MessageHeader, root_as_message_with_opts};

pub use super::status::broken;
pub use bounds::Bounds;

use check::malformed;

use super::wire::{Charge, Connection};
use crate::config::Config;
use crate::fault::{Fault, Kind};
use crate::threads;

/// Buffers within a body are aligned to it, if the body is.
const BODY_ALIGNMENT: usize = 8;

/// Decodes the messages of one stream, in order.
pub struct Decoder {
    bounds: Bounds,
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    /// Bytes of each dictionary, by its id.
    dictionary_bytes: HashMap<i64, u64>,
    account: Option<Arc<Connection>>,
    /// The dictionaries' room.
    charge: Option<Charge>,
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

/// A message's body. It stands in memory wherever the network put it. arrow-ipc moves a buffer that is not aligned, but takes
/// the two of a union as they are and panics: so a body with a union is moved as a whole.
fn body(data: &FlightData, schema: &Schema) -> Buffer {
    let body = Buffer::from(data.data_body.clone());
    let aligned = body.as_ptr().align_offset(BODY_ALIGNMENT) == 0;
    if aligned || !schema.fields().iter().any(|f| has_union(f.data_type())) {
        return body;
    }
    Buffer::from_slice_ref(body.as_slice())
}

fn has_union(data_type: &DataType) -> bool {
    match data_type {
        DataType::Union(..) => true,
        DataType::Dictionary(_, value) => has_union(value),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _)
        | DataType::RunEndEncoded(_, item) => has_union(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|f| has_union(f.data_type())),
        _ => false,
    }
}

/// What arrow-ipc makes of a message that declares so many bytes; none if it panics. `declared`: what a body of a few bytes
/// becomes once it is decompressed is what takes the time.
fn decode<T>(declared: u64, read: impl FnOnce() -> T) -> Option<T> {
    let declared = usize::try_from(declared).unwrap_or(usize::MAX);
    threads::step_aside_if(threads::is_long(0, declared), || quiet::run(read))
}

impl Decoder {
    /// For batches of at most so many bytes, decoded; the other bounds are the defaults.
    pub fn new(batch_bytes_max: u64) -> Self {
        Decoder::within(Bounds {
            bytes: batch_bytes_max,
            ..Bounds::of_messages(&Config::default().limits)
        })
    }

    pub fn within(bounds: Bounds) -> Self {
        Decoder {
            bounds,
            schema: None,
            dictionaries: HashMap::new(),
            dictionary_bytes: HashMap::new(),
            account: None,
            charge: None,
        }
    }

    /// What stays in memory from one message to the next is charged to this connection.
    pub fn charged_to(mut self, account: Arc<Connection>) -> Self {
        self.account = Some(account);
        self
    }

    pub fn schema(&self) -> Option<&SchemaRef> {
        self.schema.as_ref()
    }

    /// Bytes that stay in memory for as long as the stream is open: the dictionaries.
    pub fn kept_bytes(&self) -> u64 {
        self.dictionary_bytes.values().sum()
    }

    /// # Errors
    /// - INVALID_ARGUMENT `malformed_ipc`
    /// - RESOURCE_EXHAUSTED `batch_too_large`, `too_many_rows`, `dictionaries_too_large`, `too_many_columns`, `nested_too_deep`,
    ///   `header_too_large`, `wire_full`: before anything of that size is allocated
    pub fn message(&mut self, data: &FlightData) -> Result<Decoded, Fault> {
        if data.data_header.is_empty() {
            return if data.data_body.is_empty() {
                Ok(Decoded::Nothing)
            } else {
                Err(malformed("a body without a header"))
            };
        }
        let options = check::verifier(&self.bounds);
        let message = root_as_message_with_opts(&options, &data.data_header)
            .map_err(|error| check::unverified(error, &self.bounds))?;
        match message.header_type() {
            MessageHeader::Schema => {
                if self.schema.is_some() {
                    return Err(malformed("a second schema in one stream"));
                }
                let schema = message
                    .header_as_schema()
                    .ok_or_else(|| malformed("schema missing"))?;
                check::schema(&schema, &self.bounds)?;
                let schema = quiet::run(|| arrow_ipc::convert::fb_to_schema(schema))
                    .ok_or_else(|| malformed("a schema with types that Arrow does not have"))?;
                let schema = Arc::new(zones::without_empty_zones(schema));
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
                let declared = check::batch(&header, &data.data_body, &self.bounds)?;
                let body = body(data, &schema);
                let dictionaries = &self.dictionaries;
                let version = message.version();
                let read =
                    || read_record_batch(&body, header, schema, dictionaries, None, &version);
                let batch = decode(declared, read)
                    .ok_or_else(|| malformed("a batch that does not fit its schema"))?
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
                let values = header
                    .data()
                    .ok_or_else(|| malformed("a dictionary without values"))?;
                let declared = check::batch(&values, &data.data_body, &self.bounds)?;
                let total = self.dictionaries_with(&header, declared, data.data_body.len())?;
                let body = body(data, &schema);
                let version = message.version();
                let dictionaries = &mut self.dictionaries;
                let read = || read_dictionary(&body, header, &schema, dictionaries, &version);
                decode(declared, read)
                    .ok_or_else(|| malformed("a dictionary that does not fit its schema"))?
                    .map_err(malformed)?;
                self.dictionary_bytes.insert(header.id(), total);
                Ok(Decoded::Dictionary)
            }
            other => Err(malformed(format!("message type {other:?}"))),
        }
    }

    /// What this dictionary will take, if all dictionaries of the stream then still have room.
    fn dictionaries_with(
        &mut self,
        header: &arrow_ipc::DictionaryBatch<'_>,
        declared: u64,
        body: usize,
    ) -> Result<u64, Fault> {
        let before = self
            .dictionary_bytes
            .get(&header.id())
            .copied()
            .unwrap_or(0);
        // Values that are not compressed keep the whole body that they came in.
        let own = declared.max(body as u64);
        let after = if header.isDelta() { before + own } else { own };
        let total = self.kept_bytes() - before + after;
        if total > self.bounds.dictionary_bytes {
            return Err(Fault::new(
                Kind::Exhausted,
                "dictionaries_too_large",
                format!(
                    "the dictionaries of the stream are too large, bytes={total}, limit={}; send plain values, open a new stream, or raise limits.dictionary_bytes_max",
                    self.bounds.dictionary_bytes
                ),
            ));
        }
        if let Some(account) = &self.account {
            let held = self.charge.as_ref().map_or(0, Charge::bytes);
            if total > held {
                let more = account.charge_now(total - held)?;
                match &mut self.charge {
                    Some(charge) => charge.add(more),
                    None => self.charge = Some(more),
                }
            }
        }
        Ok(after)
    }
}
