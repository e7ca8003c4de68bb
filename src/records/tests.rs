//! Every kind of record comes back as it was written, stands on disk as it did before, and is an error when it is damaged.

#![expect(clippy::unwrap_used, reason = "tests")]

mod damage;
mod fixtures;
mod fuzz_tests;
mod made;
mod round_trip;

use super::*;
use crate::types::Lsn;
use crate::wal::{frame_bytes, read_frame};

/// The record as it stands on disk.
fn on_disk(record: &Record, stamp: Stamp) -> Vec<u8> {
    frame_bytes(&record.clone().encode(stamp).unwrap())
}

/// What replay makes of a frame on disk.
fn read(bytes: &[u8]) -> (Stamp, Record) {
    let frame = read_frame(bytes).unwrap();
    let stamp = Stamp {
        incarnation: Incarnation::new(frame.incarnation),
        contract_version: frame.contract_version,
    };
    (stamp, Record::decode(&frame).unwrap())
}
