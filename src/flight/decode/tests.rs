#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use arrow::array::{
    Decimal128Array, DictionaryArray, Int32Array, Int64Array, NullArray, StringArray, UnionArray,
};
use arrow::datatypes::{DataType, Field, Fields, Int32Type, Schema};
use arrow_flight::FlightData;
use arrow_flight::utils::batches_to_flight_data;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use proptest::prelude::*;

use super::*;

pub(super) fn bounds() -> Bounds {
    Bounds {
        dictionary_bytes: 10_000,
        columns: 20,
        nesting: 5,
        rows: 1_000,
        ..Bounds::of_messages(&crate::config::Config::default().limits)
    }
}

/// Schema, dictionaries and batch, as an IPC stream has them.
pub(super) fn messages(columns: Vec<(&str, ArrayRef)>) -> Vec<FlightData> {
    messages_with(columns, IpcWriteOptions::default())
}

pub(super) fn messages_with(
    columns: Vec<(&str, ArrayRef)>,
    options: IpcWriteOptions,
) -> Vec<FlightData> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut stream = Vec::new();
    let schema = batch.schema();
    let mut writer = StreamWriter::try_new_with_options(&mut stream, &schema, options).unwrap();
    writer.write(&batch).unwrap();
    drop(writer);
    let mut rest = stream.as_slice();
    let mut out = Vec::new();
    while let Some((head, behind)) = rest.split_first_chunk::<8>() {
        let length = u32::from_le_bytes(head[4..].try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        let (header, behind) = behind.split_at(length);
        let body = arrow_ipc::root_as_message(header).unwrap().bodyLength();
        let (body, behind) = behind.split_at(usize::try_from(body).unwrap());
        out.push(FlightData {
            data_header: header.to_vec().into(),
            data_body: body.to_vec().into(),
            ..FlightData::default()
        });
        rest = behind;
    }
    out
}

fn schema_alone(schema: &Schema) -> FlightData {
    batches_to_flight_data(schema, Vec::new())
        .unwrap()
        .remove(0)
}

/// What the last of the messages is answered with.
fn refused(messages: &[FlightData]) -> String {
    let mut decoder = Decoder::within(bounds());
    let (last, before) = messages.split_last().unwrap();
    before.iter().for_each(|m| {
        decoder.message(m).unwrap();
    });
    decoder.message(last).unwrap_err().reason.into_owned()
}

pub(super) fn words(words: &[&str]) -> ArrayRef {
    let keys = Int32Array::from_iter_values(0..i32::try_from(words.len()).unwrap());
    Arc::new(DictionaryArray::<Int32Type>::new(
        keys,
        Arc::new(StringArray::from(words.to_vec())),
    ))
}

#[test]
fn dictionaries_of_one_stream_have_one_limit_together() {
    let word = "x".repeat(4_000);
    let columns: Vec<(String, ArrayRef)> =
        (0..3).map(|n| (format!("c{n}"), words(&[&word]))).collect();
    let named = columns.iter().map(|(n, a)| (n.as_str(), a.clone()));
    let sent = messages(named.collect());
    // Schema, three dictionaries, batch.
    assert_eq!(sent.len(), 5);
    assert_eq!(refused(&sent[..4]), "dictionaries_too_large");
    // One that replaces another gives its room back.
    let mut decoder = Decoder::within(bounds());
    decoder.message(&sent[0]).unwrap();
    for _ in 0..10 {
        decoder.message(&sent[1]).unwrap();
        decoder.message(&sent[2]).unwrap();
    }
    assert!((8_000..10_000).contains(&decoder.kept_bytes()));
}

#[test]
fn rows_columns_and_levels_are_bounded() {
    assert_eq!(
        refused(&messages(vec![("n", Arc::new(NullArray::new(1_001)))])),
        "too_many_rows"
    );
    let many = (0..21).map(|n| Field::new(format!("c{n}"), DataType::Int64, true));
    let many = Schema::new(many.collect::<Fields>());
    assert_eq!(refused(&[schema_alone(&many)]), "too_many_columns");
    let nested = |levels: usize| {
        let mut inner = DataType::Int64;
        for _ in 1..levels {
            inner = DataType::new_list(inner, true);
        }
        schema_alone(&Schema::new(vec![Field::new("c", inner, true)]))
    };
    assert!(Decoder::within(bounds()).message(&nested(5)).is_ok());
    assert_eq!(refused(&[nested(6)]), "nested_too_deep");
    // Deeper than flatbuffers' own limit.
    assert_eq!(refused(&[nested(30)]), "nested_too_deep");
    let wide = Schema::new(vec![Field::new("x".repeat(5 << 20), DataType::Int64, true)]);
    assert_eq!(refused(&[schema_alone(&wide)]), "header_too_large");
}

#[test]
fn a_batch_for_another_schema_is_malformed_and_not_a_panic() {
    let numbers = messages(vec![("a", Arc::new(Int64Array::from(vec![1, 2, 3])))]);
    let texts = messages(vec![
        ("a", Arc::new(StringArray::from(vec!["x", "y"])) as ArrayRef),
        ("b", Arc::new(StringArray::from(vec!["x", "y"]))),
    ]);
    assert_eq!(
        refused(&[texts[0].clone(), numbers[1].clone()]),
        "malformed_ipc"
    );
    assert_eq!(refused(&[numbers[1].clone()]), "malformed_ipc");
    assert_eq!(
        refused(&[numbers[0].clone(), numbers[0].clone()]),
        "malformed_ipc"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any change of a few bytes of header or body gives rows or a fault, never a panic.
    #[test]
    fn changed_bytes_decode_or_are_refused(
        at in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..4),
        which in 0usize..3,
        in_body in any::<bool>(),
    ) {
        let mut sent = messages(vec![
            ("d", words(&["one", "two", "three"])),
            ("t", Arc::new(StringArray::from(vec![Some("a"), None, Some("ccc")]))),
            ("n", Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]))),
        ]);
        let message = &mut sent[which];
        let mut bytes = if in_body { message.data_body.to_vec() } else { message.data_header.to_vec() };
        if !bytes.is_empty() {
            for (at, value) in at {
                let at = at % bytes.len();
                bytes[at] = value;
            }
        }
        if in_body {
            message.data_body = bytes.into();
        } else {
            message.data_header = bytes.into();
        }
        let mut decoder = Decoder::within(bounds());
        for message in &sent {
            if decoder.message(message).is_err() {
                break;
            }
        }
    }
}

#[test]
fn a_body_may_stand_anywhere_in_memory() {
    let fields = [(0, Arc::new(Field::new("t", DataType::Utf8, true)))];
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let (ids, offsets) = (vec![0i8, 0].into(), vec![1i32, 0].into());
    let union = UnionArray::try_new(
        fields.into_iter().collect(),
        ids,
        Some(offsets),
        vec![texts],
    );
    let numbers = Decimal128Array::from(vec![1, 2]);
    let columns: Vec<(&str, ArrayRef)> =
        vec![("u", Arc::new(union.unwrap())), ("d", Arc::new(numbers))];
    let sent = messages(columns.clone());
    for shift in 0..16 {
        let mut decoder = Decoder::within(bounds());
        decoder.message(&sent[0]).unwrap();
        let mut batch = sent[1].clone();
        let mut moved = vec![0; shift];
        moved.extend_from_slice(&batch.data_body);
        batch.data_body = bytes::Bytes::from(moved).slice(shift..);
        let Decoded::Batch(read) = decoder.message(&batch).unwrap() else {
            panic!("no batch");
        };
        for (column, (_, expected)) in read.columns().iter().zip(&columns) {
            assert_eq!(column, expected, "{shift}");
        }
    }
}
