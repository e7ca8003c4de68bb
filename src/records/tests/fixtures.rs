//! Frames as they stand on disk since the first server that wrote their kind. A test that is red here says that logs of older
//! servers cannot be read, or that older servers cannot read new ones. Then a new form needs a version, and a fixture beside
//! the old one.

use std::collections::BTreeMap;

use super::made::{ARRIVED, batch, checkpoint, contract, expected};
use super::*;
use crate::validate::{Cell, Rejected, Verdict};

const STAMP: Stamp = Stamp {
    incarnation: Incarnation::new(7),
    contract_version: 3,
};

/// The frame as an older server wrote it.
fn stored(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/records/fixtures");
    std::fs::read(format!("{folder}/{name}.frame")).unwrap()
}

fn sender(seq: u64, crc: u32) -> Sender {
    Sender::Named {
        producer: "edge-7".into(),
        epoch: 2,
        seq,
        crc,
    }
}

pub(super) fn verdict() -> Verdict {
    let cell = |row, column, bound, rule: &str| Cell {
        row,
        column,
        bound,
        rule: rule.to_owned(),
    };
    Verdict {
        rows: 4,
        rejected: vec![Rejected {
            row: 1,
            rules: vec!["range_at".to_owned()],
            reason: "at = 99.5 is outside of -10 to 60".to_owned(),
            column: "at".to_owned(),
            value: "99.5".to_owned(),
        }],
        nulled: vec![cell(3, 4, None, "range_n")],
        clamped: vec![cell(2, 3, Some(100.0), "range_v")],
        duplicates: Vec::new(),
        warned: BTreeMap::from([("range_w".to_owned(), 1)]),
    }
}

/// Longer than what a frame keeps uncompressed.
pub(super) fn all_rejected() -> Verdict {
    let mut verdict = verdict();
    let pattern = verdict.rejected.remove(0);
    verdict.rows = 100;
    verdict.rejected = (0..100)
        .map(|row| Rejected {
            row,
            ..pattern.clone()
        })
        .collect();
    (verdict.nulled, verdict.clamped) = (Vec::new(), Vec::new());
    verdict
}

pub(super) fn warned() -> Verdict {
    Verdict {
        rows: 1,
        warned: BTreeMap::from([("range_w".to_owned(), 1)]),
        ..Verdict::empty()
    }
}

/// What each fixture says.
fn said() -> Vec<(&'static str, Stamp, Record)> {
    let four = Encoded::of(&batch(4)).unwrap();
    let one = Encoded::of(&batch(1)).unwrap();
    let data = Data::made(
        sender(42, four.crc()),
        ARRIVED,
        verdict(),
        four.compressed(),
    );
    let hundred = Encoded::of(&batch(100)).unwrap();
    let rejected = Data::made(
        sender(44, hundred.crc()),
        ARRIVED,
        all_rejected(),
        hundred.compressed(),
    );
    let unnamed = Data::made(Sender::Unnamed, ARRIVED, warned(), one.stored());
    let empty = Data::made(sender(43, 0), ARRIVED, Verdict::empty(), Stored::nothing());
    let created = Created {
        folder: "plant/raw~2".to_owned(),
        contract: contract(),
    };
    let opened = |epoch, behind| {
        Record::Epoch(Epoch::Opened {
            producer: "edge-7".into(),
            epoch,
            behind,
        })
    };
    let forgotten = Epoch::Forgotten {
        producer: "edge-7".into(),
    };
    let files = ["event_date=2026-09-21/part-1.parquet", "part-2.parquet"];
    let intent = Intent::Commit {
        cut: Lsn::new(990),
        files: files.map(str::to_owned).to_vec(),
        quarantine: false,
    };
    let done = Done::Commit {
        cut: Lsn::new(990),
        quarantine: false,
        version: 12,
    };
    let left = Left {
        accepted: 5,
        duplicates: 1,
    };
    let replayed = Replayed {
        number: 2,
        days: BTreeMap::from([(20_717, left)]),
    };
    let none = Stamp::default();
    vec![
        ("data", STAMP, Record::Data(data)),
        ("data_unnamed", STAMP, Record::Data(unnamed)),
        ("data_rejected", STAMP, Record::Data(rejected)),
        ("data_empty", STAMP, Record::Data(empty)),
        ("create", STAMP, Record::Create(Box::new(created))),
        ("alter", STAMP, Record::Alter(Box::new(contract()))),
        ("drop", STAMP, Record::Drop),
        ("epoch", STAMP, opened(3, 0)),
        ("epoch_returned", STAMP, opened(1, 42)),
        ("epoch_forgotten", STAMP, Record::Epoch(forgotten)),
        ("intent", STAMP, Record::Intent(intent)),
        ("intent_statement", STAMP, Record::Intent(Intent::Statement)),
        ("intent_lost", none, Record::Intent(Intent::Lost)),
        ("done", STAMP, Record::Done(done)),
        (
            "done_unlogged",
            STAMP,
            Record::Done(Done::Unlogged([13, 4])),
        ),
        (
            "done_accepted",
            STAMP,
            Record::Done(Done::Accepted(expected())),
        ),
        (
            "checkpoint",
            none,
            Record::Checkpoint(Box::new(checkpoint())),
        ),
        ("replayed", STAMP, Record::Replayed(replayed)),
    ]
}

#[test]
fn records_on_disk_are_read_as_what_they_said() {
    for (name, stamp, record) in said() {
        assert_eq!(read(&stored(name)), (stamp, record), "{name}");
    }
}

#[test]
fn records_are_written_as_they_always_were() {
    for (name, stamp, record) in said() {
        assert_eq!(on_disk(&record, stamp), stored(name), "{name}");
    }
}

#[test]
fn a_stored_batch_has_the_rows_that_were_sent() {
    let rows = |name: &str| match read(&stored(name)) {
        (_, Record::Data(data)) => data.batch().unwrap(),
        other => panic!("not data: {other:?}"),
    };
    assert_eq!(rows("data"), Some(batch(4)));
    assert_eq!(rows("data_unnamed"), Some(batch(1)));
    assert_eq!(rows("data_empty"), None);
}
