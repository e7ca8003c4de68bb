//! Changed messages of Arrow IPC: headers, bodies and dictionaries, compressed or not.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use arrow::array::{BooleanArray, Float64Array, Int64Array, NullArray, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::IpcWriteOptions;

use super::nested_tests::{columns, validator};
use super::tests::{bounds, messages, messages_with, words};
use super::*;
use crate::fuzz_tests::Target;
use crate::validate::{Keys, Origin, References, Scope, Source};

const BATCH_BYTES: u64 = 1 << 20;

/// Each message as the lengths of its header and body, and the two.
fn framed(messages: &[FlightData]) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        for part in [&message.data_header, &message.data_body] {
            out.extend_from_slice(&u32::try_from(part.len()).unwrap().to_le_bytes());
        }
        out.extend_from_slice(&message.data_header);
        out.extend_from_slice(&message.data_body);
    }
    out
}

/// The messages of an input, as far as there are bytes.
fn unframed(mut input: &[u8]) -> Vec<FlightData> {
    let mut out = Vec::new();
    while let Some((lengths, rest)) = input.split_first_chunk::<8>() {
        let length = |at: usize| u32::from_le_bytes(*lengths[at..].first_chunk().unwrap()) as usize;
        let (header, rest) = rest.split_at(length(0).min(rest.len()));
        let (body, rest) = rest.split_at(length(4).min(rest.len()));
        out.push(FlightData {
            data_header: header.to_vec().into(),
            data_body: body.to_vec().into(),
            ..FlightData::default()
        });
        input = rest;
    }
    out
}

fn plain() -> Vec<(&'static str, ArrayRef)> {
    let texts = ["a", "bb", "a text that repeats, a text that repeats"];
    vec![
        ("d", words(&["one", "two", "three"])),
        (
            "t",
            Arc::new(StringArray::from_iter_values(texts)) as ArrayRef,
        ),
        (
            "n",
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
        ),
        ("f", Arc::new(Float64Array::from(vec![f64::NAN, -0.0, 1.5]))),
        ("b", Arc::new(BooleanArray::from(vec![true, false, true]))),
        ("z", Arc::new(NullArray::new(3))),
    ]
}

fn seeds() -> Vec<Vec<u8>> {
    let with = |columns, compression| {
        let options = IpcWriteOptions::default().try_with_compression(compression);
        framed(&messages_with(columns, options.unwrap()))
    };
    vec![
        framed(&messages(plain())),
        framed(&messages(columns())),
        with(plain(), Some(CompressionType::LZ4_FRAME)),
        with(plain(), Some(CompressionType::ZSTD)),
        with(columns(), Some(CompressionType::LZ4_FRAME)),
    ]
}

fn decoder() -> Decoder {
    Decoder::within(Bounds {
        bytes: BATCH_BYTES,
        columns: 100,
        nesting: 10,
        ..bounds()
    })
}

/// The batches of a stream; none if a message is refused.
fn batches(messages: &[FlightData]) -> Option<Vec<RecordBatch>> {
    let mut decoder = decoder();
    let mut out = Vec::new();
    for message in messages {
        if let Decoded::Batch(batch) = decoder.message(message).ok()? {
            out.push(batch);
        }
    }
    Some(out)
}

/// Judges the batch as one of a table, which reads each value.
fn judge(batch: &RecordBatch) {
    let origin = Origin {
        ingest_ts: 5,
        source: &Source::new("p"),
        seq: 1,
    };
    let scope = Scope {
        keys: None::<&Keys>,
        lateness: true,
        bytes_max: 1 << 20,
    };
    let _ = validator().judge(batch, &origin, &References::new(), scope);
}

#[test]
fn messages_of_arrow_ipc() {
    let target = Target {
        seeds: seeds(),
        bytes_max: 8 * BATCH_BYTES,
        ..Target::default()
    };
    target.run(|input| {
        let Some(batches) = batches(&unframed(input)) else {
            return false;
        };
        for batch in &batches {
            judge(batch);
            let schema = batch.schema();
            let names = schema.fields().iter().map(|f| f.name().as_str());
            let columns = names.zip(batch.columns().iter().cloned()).collect();
            // Names may be there twice, and a batch may have no columns: neither can be said by its columns alone.
            if batch.num_columns() == 0 {
                continue;
            }
            let again = self::batches(&messages(columns));
            // Dictionaries and columns may have limits that all messages together do not meet.
            if let Some(again) = again {
                assert_eq!(again.len(), 1);
                assert_eq!(again[0].columns(), batch.columns());
            }
        }
        true
    });
}
