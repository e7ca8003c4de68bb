//! The life of one producer on one table, as a pure state machine: epochs, sequence numbers, the last
//! CRCs, and the totals that acks carry. It does no I/O and reads no clock; the caller holds it under a lock,
//! so that the order of admission is the order in the log.

use std::collections::VecDeque;

use crate::fault::{Fault, Kind};
use crate::records::{DurablePoint, SavedProducer, Totals};
use crate::types::Lsn;

/// How many batches back a resend is compared byte by byte (DESIGN, section 3).
pub const RECENT_CRCS: usize = 64;

/// The highest epoch that a client may name. Those that the server gives go on above it, so that a client that has named it
/// leaves room for every opening to come.
pub const EPOCH_MAX: u64 = i64::MAX as u64;

/// Who asks: the epoch that a stream was given, and which opening of it. A later opening of the same epoch takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    pub epoch: u64,
    pub opening: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Next in line: append it.
    New,
    /// Seen before with the same bytes: acknowledge again, write nothing.
    Resend,
}

/// What an `open` leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    pub claim: Claim,
    /// The epoch is new to the table: it must be durable before the stream is told `ready`.
    pub record_epoch: bool,
}

/// One of the last batches, remembered so that a resend can be compared, and answered as the batch itself was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Recent {
    seq: u64,
    crc: u32,
    /// None: restored from a log that kept the CRC alone.
    place: Option<(Lsn, Totals)>,
}

/// Admission state: ahead of the log by the batches that are queued but not yet durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    epoch: u64,
    opening: u64,
    admitted: u64,
    recent: VecDeque<Recent>,
    durable: DurablePoint,
    /// The highest epoch on disk: what a checkpoint may speak of.
    durable_epoch: u64,
}

impl Producer {
    /// One that was forgotten, and whose last committed batch the Delta table tells: it goes on behind it. An older resend is
    /// taken on trust, as one beyond the last [`RECENT_CRCS`] is; totals begin anew.
    pub fn returning(seq: u64) -> Self {
        let mut producer = Producer::default();
        producer.resume(seq);
        producer
    }

    /// Replay of a return.
    pub fn resume(&mut self, seq: u64) {
        self.admitted = self.admitted.max(seq);
        self.durable.seq = self.durable.seq.max(seq);
    }

    /// Is everything that came from it on disk?
    pub fn is_durable(&self) -> bool {
        self.admitted == self.durable.seq && self.epoch == self.durable_epoch
    }

    pub fn restore(saved: &SavedProducer) -> Self {
        let place = |index: usize| {
            let (back, accepted, quarantined, duplicates) = *saved.places.get(index)?;
            let counts = Totals {
                accepted,
                quarantined,
                duplicates,
            };
            let offset = saved.durable.offset.get().checked_sub(back)?;
            Some((Lsn::new(offset), counts))
        };
        let recent = saved.recent.iter().enumerate();
        Producer {
            epoch: saved.epoch,
            opening: 0,
            admitted: saved.durable.seq,
            recent: recent
                .map(|(index, (seq, crc))| Recent {
                    seq: *seq,
                    crc: *crc,
                    place: place(index),
                })
                .collect(),
            durable: saved.durable,
            durable_epoch: saved.epoch,
        }
    }

    /// The durable part only: a batch that is still queued when a checkpoint is made stands in a frame behind it.
    pub fn save(&self, name: &str) -> SavedProducer {
        let durable = |r: &&Recent| r.seq <= self.durable.seq;
        let recent: Vec<&Recent> = self.recent.iter().filter(durable).collect();
        // All of them or none: what an older server wrote stands in front and leaves in time.
        let places = recent.iter().map(|r| {
            let (offset, counts) = r.place?;
            let back = self.durable.offset.get().checked_sub(offset.get())?;
            Some((back, counts.accepted, counts.quarantined, counts.duplicates))
        });
        SavedProducer {
            name: name.to_owned(),
            epoch: self.durable_epoch,
            durable: self.durable,
            places: places.collect::<Option<_>>().unwrap_or_default(),
            recent: recent.iter().map(|r| (r.seq, r.crc)).collect(),
            seen: 0,
        }
    }

    /// Where a batch of before stands in the log, on disk or still on its way. None: it is not among the last
    /// [`RECENT_CRCS`], or was taken by an older server.
    pub fn offset_of(&self, seq: u64) -> Option<Lsn> {
        let batch = self.recent.iter().find(|r| r.seq == seq)?;
        Some(batch.place?.0)
    }

    /// A durable batch of before as its first ack named it: its own offset, and the totals up to it. None as in
    /// [`Producer::offset_of`], or while the batch is not on disk.
    pub fn durable_at(&self, seq: u64) -> Option<DurablePoint> {
        if seq > self.durable.seq {
            return None;
        }
        let offset = self.offset_of(seq)?;
        let mut totals = self.durable.totals;
        for later in &self.recent {
            if later.seq > seq && later.seq <= self.durable.seq {
                totals = totals.without(later.place?.1)?;
            }
        }
        Some(DurablePoint {
            seq,
            offset,
            totals,
        })
    }

    pub fn durable(&self) -> DurablePoint {
        self.durable
    }

    /// The newest durable batch, if this stream is still the producer's own. A stream that was fenced has sent batches of its
    /// own under the numbers that the newer stream then gave: what is durable by now says nothing of them.
    ///
    /// # Errors
    /// As [`Producer::check_claim`].
    pub fn durable_of(&self, name: &str, claim: Claim) -> Result<DurablePoint, Fault> {
        self.check_claim(name, claim)?;
        Ok(self.durable)
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Opens a stream. `asked` none: the next epoch. A lower one than known is fenced, an equal one takes over.
    ///
    /// At the end of the numbers, which only a log of an older server can hold, the next epoch is the same one again: the newer
    /// opening takes over, and the name is not lost.
    ///
    /// # Errors
    /// `producer_fenced` when `asked` is below the epoch in force, or zero; INVALID_ARGUMENT `invalid_epoch` when it is above
    /// [`EPOCH_MAX`] and not the one in force.
    pub fn open(&mut self, name: &str, asked: Option<u64>) -> Result<Opened, Fault> {
        let epoch = asked.unwrap_or(self.epoch.saturating_add(1));
        if asked.is_some() && epoch > EPOCH_MAX && epoch != self.epoch {
            return Err(Fault::invalid(
                "invalid_epoch",
                format!(
                    "an epoch that a client names is at most {EPOCH_MAX}, producer={name}, epoch={epoch}, newest={}; open with epoch null for the next one",
                    self.epoch
                ),
            ));
        }
        if epoch < self.epoch || epoch == 0 {
            return Err(fenced(name, epoch, self.epoch));
        }
        let record_epoch = epoch > self.durable_epoch;
        self.epoch = epoch;
        self.opening = self.opening.wrapping_add(1);
        Ok(Opened {
            claim: Claim {
                epoch,
                opening: self.opening,
            },
            record_epoch,
        })
    }

    /// Is this stream still the producer's own?
    pub fn check_claim(&self, name: &str, claim: Claim) -> Result<(), Fault> {
        if claim.epoch != self.epoch {
            return Err(fenced(name, claim.epoch, self.epoch));
        }
        if claim.opening != self.opening {
            return Err(Fault::new(
                Kind::Precondition,
                "producer_fenced",
                format!(
                    "this stream was taken over by a newer one of the same epoch, producer={name}, epoch={}",
                    self.epoch
                ),
            ));
        }
        Ok(())
    }

    /// Judges a batch before anything is done for it; [`Producer::admit`] must follow under the same lock to take it.
    ///
    /// # Errors
    /// `producer_fenced`; OUT_OF_RANGE `expected` for a gap; INVALID_ARGUMENT `seq_reused` for other bytes under a known
    /// number (known: the last [`RECENT_CRCS`]; an older resend is taken on trust).
    pub fn decide(&self, name: &str, claim: Claim, seq: u64, crc: u32) -> Result<Decision, Fault> {
        self.check_claim(name, claim)?;
        if Some(seq) == self.admitted.checked_add(1) {
            return Ok(Decision::New);
        }
        let expected = self.admitted.saturating_add(1);
        if seq > self.admitted || seq == 0 {
            return Err(Fault::new(
                Kind::OutOfRange,
                "expected",
                format!(
                    "gap in the stream, expected={expected}, got={seq}, producer={name}; send seq {expected} next"
                ),
            ));
        }
        match self.recent.iter().find(|known| known.seq == seq) {
            Some(known) if known.crc != crc => Err(Fault::invalid(
                "seq_reused",
                format!(
                    "seq {seq} was sent before with other bytes, producer={name}; give new data a new seq, the next is {expected}"
                ),
            )),
            _ => Ok(Decision::Resend),
        }
    }

    /// Takes the next batch: it is on its way into the log, at `offset`.
    pub fn admit(&mut self, seq: u64, crc: u32, offset: Lsn, counts: Totals) {
        debug_assert_eq!(Some(seq), self.admitted.checked_add(1));
        self.admitted = seq;
        self.recent.push_back(Recent {
            seq,
            crc,
            place: Some((offset, counts)),
        });
        // Batches that are not durable yet stay known on top of the promised number: a checkpoint keeps durable ones only.
        let pending = self.admitted.saturating_sub(self.durable.seq);
        let pending = usize::try_from(pending).unwrap_or(usize::MAX);
        while self.recent.len() > RECENT_CRCS.saturating_add(pending) {
            self.recent.pop_front();
        }
    }

    /// A batch has reached the disk.
    pub fn on_durable(&mut self, seq: u64, offset: Lsn, counts: Totals) {
        self.durable.seq = self.durable.seq.max(seq);
        self.durable.offset = self.durable.offset.max(offset);
        self.durable.totals.add(counts);
    }

    /// An epoch frame has reached the disk.
    pub fn on_durable_epoch(&mut self, epoch: u64) {
        self.durable_epoch = self.durable_epoch.max(epoch);
    }

    /// Replay of a data frame: what [`Producer::admit`] and [`Producer::on_durable`] did before the crash.
    pub fn replay(&mut self, epoch: u64, seq: u64, crc: u32, offset: Lsn, counts: Totals) {
        self.replay_epoch(epoch);
        if Some(seq) == self.admitted.checked_add(1) {
            self.admit(seq, crc, offset, counts);
            self.on_durable(seq, offset, counts);
        }
    }

    pub fn replay_epoch(&mut self, epoch: u64) {
        self.epoch = self.epoch.max(epoch);
        self.durable_epoch = self.durable_epoch.max(epoch);
    }
}

fn fenced(name: &str, asked: u64, known: u64) -> Fault {
    Fault::new(
        Kind::Precondition,
        "producer_fenced",
        format!(
            "a newer epoch of this producer has written here, producer={name}, epoch={asked}, newest={known}; open with epoch null for the next one"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
}
