//! Epochs and numbers of a producer: sent, sent again, fenced, and kept over a restart.

use proptest::prelude::*;

use super::*;

fn opened(producer: &mut Producer, asked: Option<u64>) -> Claim {
    producer.open("p", asked).expect("opens").claim
}

#[test]
fn same_seq_with_same_bytes_is_a_resend_and_with_other_bytes_is_refused() {
    let mut p = Producer::default();
    let claim = opened(&mut p, None);
    assert_eq!(p.decide("p", claim, 1, 7), Ok(Decision::New));
    p.admit(1, 7, Lsn::new(2), Totals::default());
    assert_eq!(p.decide("p", claim, 1, 7), Ok(Decision::Resend));
    let fault = p.decide("p", claim, 1, 8).expect_err("other bytes");
    assert_eq!((fault.kind, &*fault.reason), (Kind::Invalid, "seq_reused"));
}

#[test]
fn a_gap_names_the_expected_seq() {
    let mut p = Producer::default();
    let claim = opened(&mut p, None);
    let fault = p.decide("p", claim, 3, 0).expect_err("gap");
    assert_eq!(fault.kind, Kind::OutOfRange);
    assert!(fault.message.contains("expected=1"), "{fault}");
}

#[test]
fn a_newer_epoch_fences_queued_batches_of_the_older_and_an_equal_one_takes_over() {
    let mut p = Producer::default();
    let old = opened(&mut p, None);
    let new = opened(&mut p, None);
    assert_eq!(new.epoch, old.epoch + 1);
    assert!(p.decide("p", old, 1, 0).is_err());
    let again = opened(&mut p, Some(new.epoch));
    assert!(
        p.decide("p", new, 1, 0).is_err(),
        "the older opening of the epoch"
    );
    assert_eq!(p.decide("p", again, 1, 0), Ok(Decision::New));
    assert!(p.open("p", Some(old.epoch)).is_err());
}

#[test]
fn a_fenced_stream_is_not_told_of_the_batches_of_the_newer_one() {
    for epoch in [None, Some(1)] {
        let mut p = Producer::default();
        let old = opened(&mut p, None);
        p.admit(1, 7, Lsn::new(2), Totals::default());
        p.on_durable(1, Lsn::new(2), Totals::default());
        assert_eq!(p.durable_of("p", old).expect("its own").seq, 1);
        let new = opened(&mut p, epoch);
        p.admit(2, 8, Lsn::new(4), Totals::default());
        p.on_durable(2, Lsn::new(4), Totals::default());
        let fault = p.durable_of("p", old).expect_err("fenced");
        assert_eq!(&*fault.reason, "producer_fenced");
        assert_eq!(p.durable_of("p", new).expect("its own").seq, 2);
    }
}

#[test]
fn no_epoch_that_a_client_names_locks_the_producer_out() {
    let mut p = Producer::default();
    for asked in [EPOCH_MAX + 1, u64::MAX - 1, u64::MAX] {
        let fault = p.open("p", Some(asked)).expect_err("too high");
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Invalid, "invalid_epoch")
        );
    }
    assert_eq!(opened(&mut p, Some(EPOCH_MAX)).epoch, EPOCH_MAX);
    let next = opened(&mut p, None);
    assert_eq!(next.epoch, EPOCH_MAX + 1);
    assert_eq!(
        opened(&mut p, Some(next.epoch)).epoch,
        next.epoch,
        "its own"
    );
    // An older server's log may hold the very last one.
    p.replay_epoch(u64::MAX);
    let old = opened(&mut p, None);
    let new = opened(&mut p, None);
    assert_eq!((old.epoch, new.epoch), (u64::MAX, u64::MAX));
    assert!(p.check_claim("p", old).is_err());
    assert_eq!(p.decide("p", new, 1, 0), Ok(Decision::New));
}

#[test]
fn the_last_number_there_is_ends_with_an_error_and_no_overflow() {
    let mut p = Producer::returning(u64::MAX);
    let claim = opened(&mut p, None);
    assert_eq!(p.decide("p", claim, u64::MAX, 0), Ok(Decision::Resend));
    let mut p = Producer::returning(u64::MAX - 1);
    let claim = opened(&mut p, None);
    assert_eq!(p.decide("p", claim, u64::MAX, 0), Ok(Decision::New));
    p.admit(u64::MAX, 0, Lsn::new(1), Totals::default());
    p.on_durable(u64::MAX, Lsn::new(1), Totals::default());
    assert!(p.decide("p", claim, 5, 0).is_ok(), "a resend");
    assert!(p.decide("p", claim, 0, 0).is_err());
}

#[test]
fn a_checkpoint_made_while_batches_are_queued_speaks_of_durable_ones_only() {
    let mut p = Producer::default();
    let claim = opened(&mut p, None);
    let counts = Totals {
        accepted: 3,
        ..Totals::default()
    };
    p.admit(1, 1, Lsn::new(5), counts);
    p.on_durable(1, Lsn::new(5), counts);
    p.admit(2, 2, Lsn::new(6), counts);
    let saved = p.save("p");
    assert_eq!(saved.durable.seq, 1);
    assert_eq!(saved.recent, vec![(1, 1)]);
    assert_eq!(saved.epoch, 0, "the epoch frame is not durable yet");
    let restored = Producer::restore(&saved);
    assert_eq!(restored.durable().totals.accepted, 3);
    assert_eq!(claim.epoch, 1);
}

#[test]
fn a_resend_is_answered_with_its_own_offset_and_totals_also_after_a_restart() {
    let mut p = Producer::default();
    opened(&mut p, None);
    let counts = |n: u64| Totals {
        accepted: n,
        quarantined: 1,
        duplicates: 0,
    };
    for seq in 1..=100u64 {
        p.admit(seq, 0, Lsn::new(seq * 10), counts(seq));
        p.on_durable(seq, Lsn::new(seq * 10), counts(seq));
    }
    p.admit(101, 0, Lsn::new(1010), counts(101));
    for p in [p.clone(), Producer::restore(&p.save("p"))] {
        for seq in 37..=100u64 {
            let at = p.durable_at(seq).expect("one of the last 64");
            assert_eq!((at.seq, at.offset), (seq, Lsn::new(seq * 10)));
            let sum = seq * (seq + 1) / 2;
            assert_eq!((at.totals.accepted, at.totals.quarantined), (sum, seq));
        }
        assert_eq!(p.durable_at(36), None, "beyond what is remembered");
        assert_eq!(p.durable_at(101), None, "not on disk yet");
    }
    assert_eq!(p.offset_of(101), Some(Lsn::new(1010)));
}

#[test]
fn a_checkpoint_of_an_older_server_compares_resends_and_knows_no_offsets() {
    let old = r#"{"name":"p","epoch":1,"durable":{"seq":2,"offset":9,"totals":{"accepted":5,"quarantined":0,"duplicates":0}},"recent":[[1,11],[2,22]],"seen":7}"#;
    let saved: SavedProducer = serde_json::from_str(old).expect("reads");
    let mut p = Producer::restore(&saved);
    let claim = opened(&mut p, Some(1));
    assert_eq!(p.decide("p", claim, 2, 22), Ok(Decision::Resend));
    assert!(p.decide("p", claim, 2, 23).is_err());
    assert_eq!(p.durable_at(2), None);
    assert!(p.save("p").places.is_empty());
}

proptest! {
    /// Any mix of sends, resends and restarts takes each number once, in order.
    #[test]
    fn each_seq_is_taken_once(ops in prop::collection::vec((0u64..8, any::<bool>()), 1..200)) {
        let mut p = Producer::default();
        let mut claim = opened(&mut p, None);
        let mut taken = Vec::new();
        for (back, restart) in ops {
            if restart {
                p.on_durable_epoch(claim.epoch);
                p = Producer::restore(&p.save("p"));
                claim = opened(&mut p, Some(claim.epoch));
            }
            let seq = (p.durable().seq + 1).saturating_sub(back).max(1);
            let crc = u32::try_from(seq * 31).unwrap_or(0);
            match p.decide("p", claim, seq, crc) {
                Ok(Decision::New) => {
                    p.admit(seq, crc, Lsn::new(seq), Totals::default());
                    p.on_durable(seq, Lsn::new(seq), Totals::default());
                    taken.push(seq);
                }
                Ok(Decision::Resend) => {
                    prop_assert!(taken.contains(&seq));
                    prop_assert_eq!(p.durable_at(seq).map(|p| p.offset), Some(Lsn::new(seq)));
                }
                Err(fault) => prop_assert!(false, "{fault}"),
            }
        }
        let dense: Vec<u64> = (1..=taken.len() as u64).collect();
        prop_assert_eq!(taken, dense);
    }
}
