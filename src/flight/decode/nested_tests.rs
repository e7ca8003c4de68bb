#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use arrow::array::{
    Array, Int32Builder, Int64Builder, LargeListBuilder, ListBuilder, ListViewBuilder, MapBuilder,
    StringBuilder,
};
use proptest::prelude::*;

use super::tests::{bounds, messages};
use super::*;
use crate::dataset::{Column, ColumnType, Contract};
use crate::types::TableName;
use crate::validate::{Keys, Origin, References, Scope, Source, Validator};

pub(super) fn columns() -> Vec<(&'static str, ArrayRef)> {
    let mut list = ListBuilder::new(Int64Builder::new());
    let mut large = LargeListBuilder::new(StringBuilder::new());
    let mut view = ListViewBuilder::new(Int32Builder::new());
    let mut map = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
    for row in 0..3 {
        list.append_value([Some(row), None]);
        large.append_value([Some("a"), Some("bcd")]);
        view.append_value([Some(1), Some(2)]);
        map.keys().append_value("k");
        map.values().append_value(row);
        map.append(true).unwrap();
    }
    let list: ArrayRef = Arc::new(list.finish());
    let inner = Arc::new(arrow::datatypes::Field::new(
        "a",
        list.data_type().clone(),
        true,
    ));
    let structs = arrow::array::StructArray::from(vec![(inner, list.clone())]);
    vec![
        ("list", list),
        ("large", Arc::new(large.finish())),
        ("view", Arc::new(view.finish())),
        ("map", Arc::new(map.finish())),
        ("struct", Arc::new(structs)),
    ]
}

pub(super) fn validator() -> Validator {
    let leaf = |text: &str| text.parse().map_err(|()| text.to_owned());
    let columns = [
        ("list", "ARRAY<DOUBLE>"),
        ("large", "ARRAY<STRING>"),
        ("view", "ARRAY<BIGINT NOT NULL>"),
        ("map", "MAP<STRING, DOUBLE>"),
        ("struct", "STRUCT<a ARRAY<INT>>"),
    ];
    let columns = columns.map(|(name, t)| Column::new(name, ColumnType::read(t, &leaf).unwrap()));
    let table = TableName::new("public", "t").unwrap();
    Validator::new(Arc::new(Contract::plain(table, columns.to_vec())))
}

/// Decodes and judges; how many rows are accepted. None: a message is refused.
fn accepted(sent: &[FlightData]) -> Option<u64> {
    let mut decoder = Decoder::within(Bounds {
        columns: 100,
        nesting: 10,
        ..bounds()
    });
    let mut accepted = 0;
    for message in sent {
        if let Decoded::Batch(batch) = decoder.message(message).ok()? {
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
            let judged = validator().judge(&batch, &origin, &References::new(), scope);
            accepted += judged.ok()?.verdict().accepted();
        }
    }
    Some(accepted)
}

#[test]
fn nested_columns_come_through() {
    assert_eq!(accepted(&messages(columns())), Some(3));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Offsets, sizes and lengths that point anywhere give rows or a fault, never a panic.
    #[test]
    fn changed_bytes_of_nested_columns_decode_or_are_refused(
        at in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..4),
        which in 0usize..2,
        in_body in any::<bool>(),
    ) {
        let mut sent = messages(columns());
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
        accepted(&sent);
    }
}
