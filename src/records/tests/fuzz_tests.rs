//! Changed bytes of frames, of checkpoints and of the payloads of data.

use arrow::array::RecordBatch;
use bytes::Bytes;

use super::fixtures::{verdict, warned};
use super::made::{ARRIVED, batch, checkpoint};
use super::*;
use crate::fuzz_tests::{Target, assert_same, sealed_frame};
use crate::validate::Verdict;
use crate::wal::Frame;

/// Pieces of the JSON that records are.
const WORDS: &[&str] = &[
    "null",
    "true",
    "[]",
    "{}",
    "\"",
    "\\u0000",
    "\\ud800",
    ",",
    "}",
    "]",
    "{\"a\":",
    "[[[[",
    "\"long\"",
    "\"ARRAY<LONG>\"",
    "\"MAP<STRING, ",
    "\"version\":1",
    "\"lost\"",
];

fn fixtures() -> Vec<Vec<u8>> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/records/fixtures");
    let files = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Reads the record of a frame, and holds it against itself after it was written. Is there one?
fn comes_back(frame: &Frame) -> bool {
    let stamp = Stamp {
        incarnation: Incarnation::new(frame.incarnation),
        contract_version: frame.contract_version,
    };
    let Ok(record) = Record::decode(frame) else {
        return false;
    };
    let (stamp_read, again) = super::read(&on_disk(&record, stamp));
    assert_eq!(stamp_read, stamp);
    assert_same(&record, &again);
    let (Record::Data(data), Record::Data(again)) = (&record, &again) else {
        return true;
    };
    data.verdict().violations();
    data.counts();
    let Ok(read) = data.batch() else {
        return false;
    };
    assert_eq!(again.batch().as_ref(), Ok(&read));
    // A time zone that is the empty text is left out by the writer of Arrow, and never in a batch: the decoder takes it out.
    let has_empty_zone =
        |batch: &RecordBatch| format!("{:?}", batch.schema()).contains("Some(\"\")");
    if let Some(batch) = read.filter(|batch| !has_empty_zone(batch)) {
        // It is compared by these bytes when it is sent again.
        let encoded = Encoded::of(&batch).unwrap();
        for stored in [encoded.stored(), encoded.compressed()] {
            assert_eq!(stored.read().unwrap(), Some(batch.clone()));
        }
    }
    true
}

#[test]
fn frames_of_records() {
    let target = Target {
        seeds: fixtures(),
        seal: &sealed_frame,
        words: WORDS,
        ..Target::default()
    };
    target.run(|input| read_frame(input).is_some_and(|frame| comes_back(&frame)));
}

#[test]
fn checkpoints() {
    let full = serde_json::to_vec(&checkpoint()).unwrap();
    let empty = serde_json::to_vec(&Checkpoint::empty()).unwrap();
    let target = Target {
        seeds: vec![full, empty],
        seal: &lz4_flex::block::compress_prepend_size,
        words: WORDS,
        ..Target::default()
    };
    target.run(|input| {
        let Ok(checkpoint) = Checkpoint::decode(input) else {
            return false;
        };
        let again = Checkpoint::decode(&checkpoint.encode()).unwrap();
        assert_same(&checkpoint, &again);
        true
    });
}

fn payload(verdict: Verdict, stored: Stored) -> Vec<u8> {
    let data = Data::made(Sender::Unnamed, ARRIVED, verdict, stored);
    let frame = read_frame(&on_disk(&Record::Data(data), Stamp::default())).unwrap();
    frame.payload.to_vec()
}

/// The payload of data whose verdict and batch are not compressed, compressed.
fn compressed(input: &[u8]) -> Vec<u8> {
    let Some((head, rest)) = input.split_first_chunk::<20>() else {
        return input.to_vec();
    };
    let verdict_bytes = u32::from_le_bytes([head[12], head[13], head[14], head[15]]) as usize;
    let (verdict, batch) = rest.split_at(verdict_bytes.min(rest.len()));
    let verdict = lz4_flex::block::compress_prepend_size(verdict);
    let mut head = *head;
    (head[1], head[2]) = (1, 1);
    head[12..16].copy_from_slice(&u32::try_from(verdict.len()).unwrap().to_le_bytes());
    head[16..20].copy_from_slice(&u32::try_from(batch.len()).unwrap().to_le_bytes());
    [&head[..], &verdict, &lz4_flex::block::compress(batch)].concat()
}

#[test]
fn payloads_of_data() {
    let encoded = |rows| Encoded::of(&batch(rows)).unwrap();
    let target = Target {
        seeds: vec![
            payload(verdict(), encoded(4).stored()),
            payload(warned(), encoded(1).stored()),
            payload(Verdict::empty(), Stored::nothing()),
        ],
        seal: &compressed,
        words: WORDS,
        ..Target::default()
    };
    let frame = read_frame(&on_disk(&Record::Drop, Stamp::default())).unwrap();
    target.run(|input| {
        comes_back(&Frame {
            kind: FrameKind::Data,
            payload: Bytes::copy_from_slice(input),
            ..frame.clone()
        })
    });
}
