use bytes::Bytes;
use proptest::prelude::*;

use super::fixtures::all_rejected;
use super::made::{any_record, batch};
use super::*;
use crate::fault::{Fault, Kind};
use crate::validate::Verdict;
use crate::wal::Frame;

/// The frame with another payload, which its checksum would not let through.
fn with(frame: &Frame, payload: Vec<u8>) -> Frame {
    Frame {
        payload: Bytes::from(payload),
        ..frame.clone()
    }
}

/// Reads all of it. Any answer is right but a panic.
fn read_whole(frame: &Frame) -> Result<(), Fault> {
    if let Record::Data(data) = Record::decode(frame)? {
        data.batch().map_err(|problem| problem.at(frame))?;
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Zeros(prop::sample::Index, usize),
    Word(prop::sample::Index, u32),
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<prop::sample::Index>(), 1..=u8::MAX).prop_map(|(at, with)| Damage::Flip(at, with)),
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), 1usize..64).prop_map(|(at, n)| Damage::Zeros(at, n)),
        (any::<prop::sample::Index>(), any::<u32>()).prop_map(|(at, word)| Damage::Word(at, word)),
    ]
}

fn damaged(mut payload: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
    for damage in damages {
        if payload.is_empty() {
            return payload;
        }
        let length = payload.len();
        match damage {
            Damage::Flip(at, with) => payload[at.index(length)] ^= with,
            Damage::Cut(at) => payload.truncate(at.index(length)),
            Damage::Zeros(at, n) => payload
                .iter_mut()
                .skip(at.index(length))
                .take(n)
                .for_each(|b| *b = 0),
            Damage::Word(at, word) => {
                let places = payload.iter_mut().skip(at.index(length));
                places.zip(word.to_le_bytes()).for_each(|(b, new)| *b = new);
            }
        }
    }
    payload
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn damaged_records_are_errors_or_other_records(
        (stamp, record) in any_record(), damages in prop::collection::vec(any_damage(), 1..4),
    ) {
        let frame = read_frame(&on_disk(&record, stamp)).unwrap();
        let payload = damaged(frame.payload.to_vec(), damages);
        let _ = read_whole(&with(&frame, payload));
    }

    #[test]
    fn any_bytes_are_errors_or_records(
        kind in prop::sample::select(&FrameKind::ALL[..]), payload in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let frame = read_frame(&on_disk(&Record::Drop, Stamp::default())).unwrap();
        let _ = read_whole(&Frame { kind, ..with(&frame, payload) });
    }
}

#[test]
fn each_byte_of_a_batch_may_be_another() {
    let encoded = Encoded::of(&batch(4)).unwrap();
    for stored in [encoded.stored(), encoded.compressed()] {
        let data = Data::made(Sender::Unnamed, 7, Verdict::empty(), stored);
        let frame = read_frame(&on_disk(&Record::Data(data), Stamp::default())).unwrap();
        for at in 0..frame.payload.len() {
            for change in [0x01, 0x80, 0xff] {
                let mut payload = frame.payload.to_vec();
                payload[at] ^= change;
                let _ = read_whole(&with(&frame, payload));
            }
            let _ = read_whole(&with(&frame, frame.payload[..at].to_vec()));
        }
    }
}

#[test]
fn each_byte_of_a_long_verdict_may_be_another() {
    let data = Data::made(Sender::Unnamed, 7, all_rejected(), Stored::nothing());
    let frame = read_frame(&on_disk(&Record::Data(data), Stamp::default())).unwrap();
    assert_eq!(frame.payload[2], 1, "it is compressed");
    for at in 0..frame.payload.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut payload = frame.payload.to_vec();
            payload[at] ^= change;
            let _ = read_whole(&with(&frame, payload));
        }
        let _ = read_whole(&with(&frame, frame.payload[..at].to_vec()));
    }
    // The length that its block declares stands behind the header.
    let mut payload = frame.payload.to_vec();
    payload[20..24].fill(0xff);
    let text = read_whole(&with(&frame, payload)).unwrap_err().message;
    assert!(text.contains("cannot become 4294967295"), "{text}");
}

#[test]
fn lengths_are_compared_with_the_bytes_before_anything_is_allocated() {
    let problem = |payload: Vec<u8>, kind: FrameKind| {
        let frame = read_frame(&on_disk(&Record::Drop, Stamp::default())).unwrap();
        let fault = read_whole(&Frame {
            kind,
            ..with(&frame, payload)
        })
        .unwrap_err();
        assert_eq!((fault.kind, &*fault.reason), (Kind::Corrupt, "log_damaged"));
        fault.message.to_string()
    };
    let mut lz4 = u32::MAX.to_le_bytes().to_vec();
    lz4.extend_from_slice(&[0; 100]);
    let text = problem(lz4, FrameKind::Checkpoint);
    assert!(text.contains("cannot become 4294967295"), "{text}");

    let encoded = Encoded::of(&batch(4)).unwrap();
    let data = |stored: Stored| {
        let data = Data::made(Sender::Unnamed, 7, Verdict::empty(), stored);
        read_frame(&on_disk(&Record::Data(data), Stamp::default()))
            .unwrap()
            .payload
            .to_vec()
    };
    let mut payload = data(encoded.compressed());
    payload[16..20].fill(0xff);
    let text = problem(payload, FrameKind::Data);
    assert!(text.contains("cannot become 4294967295"), "{text}");

    // A message of the stream declares the length of its body somewhere.
    let stored = data(encoded.stored());
    let texts: Vec<String> = (20..stored.len() - 8)
        .filter_map(|at| {
            let mut payload = stored.clone();
            payload[at..at + 8].copy_from_slice(&(1i64 << 50).to_le_bytes());
            let frame = read_frame(&on_disk(&Record::Drop, Stamp::default())).unwrap();
            let frame = Frame {
                kind: FrameKind::Data,
                ..with(&frame, payload)
            };
            read_whole(&frame)
                .err()
                .map(|fault| fault.message.to_string())
        })
        .collect();
    let found = |what: &str| texts.iter().any(|text| text.contains(what));
    assert!(found("a body is longer than the stream"), "{texts:?}");
}
