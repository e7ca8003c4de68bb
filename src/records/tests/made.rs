//! Records of every kind, for tests: one of each by hand, and any number by proptest.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::dataset::from_toml;
use crate::types::TableName;
use crate::validate::{Cell, Rejected, Verdict};

pub(super) const ARRIVED: i64 = 1_790_000_000_000_000;

pub(super) fn contract() -> Contract {
    let toml = r#"
dataset = "plant"
[[table]]
name = "raw"
event_time = "ts"
key = ["id", "ts"]
retention = "3d"
columns = [
  { name = "id", type = "string", required = true },
  { name = "ts", type = "timestamp", required = true },
  { name = "at", type = "double", unit = "degC", range = [-10.0, 60.0] },
  { name = "v", type = "double" },
  { name = "n", type = "long" },
  { name = "w", type = "long" },
]
rules = [
  { column = "v", min = 0.0, max = 100.0, action = "clamp" },
  { column = "n", min = 0.0, max = 10.0, action = "null" },
  { column = "w", min = 0.0, max = 10.0, action = "warn" },
]
"#;
    let mut contract = from_toml(toml).unwrap().tables.remove(0);
    contract.version = 3;
    contract
}

/// Rows for [`contract`], of which the second to fourth break a rule each.
pub(super) fn batch(rows: usize) -> RecordBatch {
    let ts = TimestampMicrosecondArray::from(vec![ARRIVED - 1_000_000; rows]).with_timezone("UTC");
    let at = (0..rows).map(|r| Some(if r == 1 { 99.5 } else { 20.0 + r as f64 }));
    let v = (0..rows).map(|r| Some(if r == 2 { 120.0 } else { 50.0 }));
    let n = (0..rows).map(|r| Some(if r == 3 { 11 } else { 5 }));
    let w = (0..rows).map(|r| (r == 0).then_some(77));
    let id = StringArray::from_iter_values((0..rows).map(|r| format!("R{}", r % 3)));
    RecordBatch::try_from_iter([
        ("id", Arc::new(id) as ArrayRef),
        ("ts", Arc::new(ts)),
        ("at", Arc::new(Float64Array::from_iter(at))),
        ("v", Arc::new(Float64Array::from_iter(v))),
        ("n", Arc::new(Int64Array::from_iter(n))),
        ("w", Arc::new(Int64Array::from_iter(w))),
    ])
    .unwrap()
}

pub(super) fn expected() -> Expected {
    Expected {
        main: Least {
            offset: Lsn::new(980),
            version: 13,
        },
        quarantine: Least {
            offset: Lsn::new(970),
            version: 4,
        },
    }
}

pub(super) fn checkpoint() -> Checkpoint {
    let producer = SavedProducer {
        name: "edge-7".to_owned(),
        epoch: 2,
        durable: DurablePoint {
            seq: 42,
            offset: Lsn::new(1001),
            totals: Totals {
                accepted: 100,
                quarantined: 1,
                duplicates: 2,
            },
        },
        recent: vec![(41, 11), (42, 22)],
        places: vec![(3, 4, 1, 0), (0, 3, 1, 0)],
        seen: ARRIVED,
    };
    let day = Day {
        received: 103,
        accepted: 100,
        quarantined: 1,
        duplicates: 2,
        replayed: 6,
        rules: BTreeMap::from([("range:at".to_owned(), 1)]),
    };
    Checkpoint {
        next_incarnation: 8,
        lives: vec![(TableName::new("plant", "raw").unwrap(), 2)],
        tables: vec![SavedTable {
            incarnation: Incarnation::new(7),
            folder: "plant/raw~2".to_owned(),
            contract: contract(),
            producers: vec![producer],
            days: BTreeMap::from([(20_717, day)]),
            replays: 2,
            forgetful: true,
            expected: expected(),
        }],
        ..Checkpoint::empty()
    }
}

/// Any record, with any stamp.
pub(super) fn any_record() -> impl Strategy<Value = (Stamp, Record)> {
    let stamp = (any::<u64>(), any::<u32>()).prop_map(|(incarnation, contract_version)| Stamp {
        incarnation: Incarnation::new(incarnation),
        contract_version,
    });
    let record = prop_oneof![
        4 => any_data().prop_map(Record::Data),
        1 => ("[a-z/~2]{1,20}", any_contract())
            .prop_map(|(folder, contract)| Record::Create(Box::new(Created { folder, contract }))),
        1 => any_contract().prop_map(|contract| Record::Alter(Box::new(contract))),
        1 => Just(Record::Drop),
        1 => ("\\PC{1,30}", 1..u64::MAX, any::<u64>()).prop_map(|(producer, epoch, behind)| {
            Record::Epoch(Epoch::Opened { producer: producer.into(), epoch, behind })
        }),
        1 => "\\PC{1,30}".prop_map(|p| Record::Epoch(Epoch::Forgotten { producer: p.into() })),
        2 => any_intent().prop_map(Record::Intent),
        2 => any_done().prop_map(Record::Done),
        1 => any_checkpoint().prop_map(|checkpoint| Record::Checkpoint(Box::new(checkpoint))),
        1 => (any::<i64>(), prop::collection::btree_map(any::<i32>(), any_left(), 0..4))
            .prop_map(|(number, days)| Record::Replayed(Replayed { number, days })),
    ];
    (stamp, record)
}

fn any_left() -> impl Strategy<Value = Left> {
    (any::<u64>(), any::<u64>()).prop_map(|(accepted, duplicates)| Left {
        accepted,
        duplicates,
    })
}

fn any_data() -> impl Strategy<Value = Data> {
    let sender = prop_oneof![
        Just(Sender::Unnamed),
        ("\\PC{1,30}", any::<u64>(), any::<u64>(), any::<u32>()).prop_map(
            |(producer, epoch, seq, crc)| Sender::Named {
                producer: producer.into(),
                epoch,
                seq,
                crc,
            }
        ),
    ];
    let stored = prop_oneof![
        1 => Just(Stored::nothing()),
        4 => (any_batch(), any::<bool>()).prop_map(|(batch, compressed)| {
            let encoded = Encoded::of(&batch).unwrap();
            if compressed { encoded.compressed() } else { encoded.stored() }
        }),
    ];
    (sender, any::<i64>(), any_verdict(), stored)
        .prop_map(|(sender, arrived, verdict, stored)| Data::made(sender, arrived, verdict, stored))
}

fn any_batch() -> impl Strategy<Value = RecordBatch> {
    let cell = (
        prop::option::of("\\PC{0,12}"),
        any::<Option<i64>>(),
        any::<f64>(),
    );
    prop::collection::vec(cell, 0..30).prop_map(|rows| {
        let texts: StringArray = rows.iter().map(|(text, _, _)| text.as_deref()).collect();
        let numbers: Int64Array = rows.iter().map(|(_, number, _)| *number).collect();
        let floats = Float64Array::from_iter_values(rows.iter().map(|(_, _, float)| *float));
        RecordBatch::try_from_iter_with_nullable([
            ("text", Arc::new(texts) as ArrayRef, true),
            ("number", Arc::new(numbers), true),
            ("float", Arc::new(floats), false),
        ])
        .unwrap()
    })
}

/// Of few digits: serde_json reads a number of 17 digits as one of its neighbours, for lack of its feature `float_roundtrip`.
fn any_bound() -> impl Strategy<Value = f64> + Clone {
    any::<i32>().prop_map(|hundredths| f64::from(hundredths) / 100.0)
}

fn any_verdict() -> impl Strategy<Value = Verdict> {
    let cell = (
        any::<u32>(),
        any::<u16>(),
        prop::option::of(any_bound()),
        ".{0,8}",
    )
        .prop_map(|(row, column, bound, rule)| Cell {
            row,
            column,
            bound,
            rule,
        });
    let cells = prop::collection::vec(cell, 0..3);
    let rejected = (
        prop::collection::vec(".{0,8}", 1..3),
        ".{0,20}",
        ".{0,8}",
        ".{0,8}",
    );
    (
        100u32..1000,
        prop::collection::vec((0u32..100, rejected), 0..4),
        prop::collection::vec(0u32..100, 0..4),
        (cells.clone(), cells),
        prop::collection::btree_map(".{0,8}", any::<u64>(), 0..3),
    )
        .prop_map(
            |(rows, rejected, duplicates, (nulled, clamped), warned)| Verdict {
                rows,
                rejected: rejected
                    .into_iter()
                    .map(|(row, (rules, reason, column, value))| Rejected {
                        row,
                        rules,
                        reason,
                        column,
                        value,
                    })
                    .collect(),
                nulled,
                clamped,
                duplicates,
                warned,
            },
        )
}

fn any_contract() -> impl Strategy<Value = Contract> {
    let delta = prop::collection::btree_map("[a-z.]{1,12}", ".{0,12}", 0..3);
    (
        any::<u32>(),
        any::<bool>(),
        prop::option::of("[1-9]d"),
        delta,
    )
        .prop_map(|(version, system_columns, retention, delta)| Contract {
            version,
            system_columns,
            retention,
            delta,
            ..contract()
        })
}

fn any_intent() -> impl Strategy<Value = Intent> {
    let files = prop::collection::vec(".{0,40}", 0..4);
    prop_oneof![
        (any::<u64>(), files, any::<bool>()).prop_map(|(cut, files, quarantine)| Intent::Commit {
            cut: Lsn::new(cut),
            files,
            quarantine,
        }),
        Just(Intent::Statement),
        Just(Intent::Lost),
        any::<u64>().prop_map(|n| Intent::Other(Bytes::from(format!("{{\"other\":{n}}}")))),
    ]
}

fn any_expected() -> impl Strategy<Value = Expected> {
    let least = || {
        (any::<u64>(), any::<i64>()).prop_map(|(offset, version)| Least {
            offset: Lsn::new(offset),
            version,
        })
    };
    (least(), least()).prop_map(|(main, quarantine)| Expected { main, quarantine })
}

fn any_done() -> impl Strategy<Value = Done> {
    prop_oneof![
        (any::<u64>(), any::<bool>(), any::<i64>()).prop_map(|(cut, quarantine, version)| {
            Done::Commit {
                cut: Lsn::new(cut),
                quarantine,
                version,
            }
        }),
        any::<[i64; 2]>().prop_map(Done::Unlogged),
        any_expected().prop_map(Done::Accepted),
        any::<u64>().prop_map(|n| Done::Other(Bytes::from(format!("{{\"other\":{n}}}")))),
    ]
}

fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
    let producers = prop::collection::vec(("\\PC{0,20}", any::<[u64; 4]>(), any::<u32>()), 0..4);
    let table = (
        any::<u64>(),
        any_contract(),
        producers,
        any_expected(),
        any::<i64>(),
    );
    let tables = prop::collection::vec(table, 0..3);
    (any::<u64>(), tables).prop_map(|(next_incarnation, tables)| Checkpoint {
        next_incarnation,
        lives: vec![(TableName::new("plant", "raw").unwrap(), next_incarnation)],
        tables: tables
            .into_iter()
            .map(
                |(incarnation, contract, producers, expected, replays)| SavedTable {
                    incarnation: Incarnation::new(incarnation),
                    folder: format!("plant/raw~{incarnation}"),
                    contract,
                    producers: producers
                        .into_iter()
                        .map(
                            |(name, [epoch, seq, offset, accepted], crc)| SavedProducer {
                                name,
                                epoch,
                                durable: DurablePoint {
                                    seq,
                                    offset: Lsn::new(offset),
                                    totals: Totals {
                                        accepted,
                                        ..Totals::default()
                                    },
                                },
                                recent: vec![(seq, crc)],
                                places: vec![(0, accepted, 0, 0)],
                                seen: replays,
                            },
                        )
                        .collect(),
                    days: BTreeMap::from([(20_717, Day::default())]),
                    replays,
                    forgetful: incarnation % 2 == 0,
                    expected,
                },
            )
            .collect(),
        ..Checkpoint::empty()
    })
}
