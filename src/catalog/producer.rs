//! The life of one producer on one table, as a pure state machine: epochs, sequence numbers, the last
//! CRCs, and the totals that acks carry. It does no I/O and reads no clock; the caller holds it under a lock,
//! so that the order of admission is the order in the log.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::fault::{Fault, Kind};
use crate::types::Lsn;

/// How many batches back a resend is compared byte by byte (DESIGN, section 3).
pub const RECENT_CRCS: usize = 64;

/// What has been accepted from a producer, over all its streams to one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub accepted: u64,
    pub quarantined: u64,
    pub duplicates: u64,
}

impl Totals {
    pub fn add(&mut self, other: Totals) {
        self.accepted += other.accepted;
        self.quarantined += other.quarantined;
        self.duplicates += other.duplicates;
    }
}

/// The newest durable batch of a producer, and its totals up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurablePoint {
    pub seq: u64,
    pub offset: Lsn,
    pub totals: Totals,
}

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

/// Admission state: ahead of the log by the batches that are queued but not yet durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producer {
    epoch: u64,
    opening: u64,
    admitted: u64,
    recent: VecDeque<(u64, u32)>,
    durable: DurablePoint,
    /// The highest epoch on disk: what a checkpoint may speak of.
    durable_epoch: u64,
}

/// A producer as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    pub name: String,
    pub epoch: u64,
    pub durable: DurablePoint,
    pub recent: Vec<(u64, u32)>,
    /// When it was last heard of, in microseconds since 1970; 0: not known.
    #[serde(default)]
    pub seen: Micros,
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

    pub fn restore(saved: &Saved) -> Self {
        Producer {
            epoch: saved.epoch,
            opening: 0,
            admitted: saved.durable.seq,
            recent: saved.recent.iter().copied().collect(),
            durable: saved.durable,
            durable_epoch: saved.epoch,
        }
    }

    /// The durable part only: a batch that is still queued when a checkpoint is made stands in a frame behind it.
    pub fn save(&self, name: &str) -> Saved {
        let recent = self.recent.iter().copied();
        Saved {
            name: name.to_owned(),
            epoch: self.durable_epoch,
            durable: self.durable,
            recent: recent.filter(|(seq, _)| *seq <= self.durable.seq).collect(),
            seen: 0,
        }
    }

    pub fn durable(&self) -> DurablePoint {
        self.durable
    }

    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Opens a stream. `asked` none: the next epoch. A lower one than known is fenced, an equal one takes over.
    ///
    /// # Errors
    /// `producer_fenced` when `asked` is below the epoch in force, or zero.
    pub fn open(&mut self, name: &str, asked: Option<u64>) -> Result<Opened, Fault> {
        let epoch = asked.unwrap_or(self.epoch + 1);
        if epoch < self.epoch || epoch == 0 {
            return Err(fenced(name, epoch, self.epoch));
        }
        let record_epoch = epoch > self.durable_epoch;
        self.epoch = epoch;
        self.opening += 1;
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
        let expected = self.admitted + 1;
        if seq == expected {
            return Ok(Decision::New);
        }
        if seq > expected || seq == 0 {
            return Err(Fault::new(
                Kind::OutOfRange,
                "expected",
                format!(
                    "gap in the stream, expected={expected}, got={seq}, producer={name}; send seq {expected} next"
                ),
            ));
        }
        match self.recent.iter().find(|(known, _)| *known == seq) {
            Some((_, known)) if *known != crc => Err(Fault::invalid(
                "seq_reused",
                format!(
                    "seq {seq} was sent before with other bytes, producer={name}; give new data a new seq, the next is {expected}"
                ),
            )),
            _ => Ok(Decision::Resend),
        }
    }

    /// Takes the next batch: it is on its way into the log.
    pub fn admit(&mut self, seq: u64, crc: u32) {
        debug_assert_eq!(seq, self.admitted + 1);
        self.admitted = seq;
        self.recent.push_back((seq, crc));
        // Batches that are not durable yet stay known on top of the promised number: a checkpoint keeps durable ones only.
        let pending = usize::try_from(self.admitted - self.durable.seq).unwrap_or(usize::MAX);
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
        if seq == self.admitted + 1 {
            self.admit(seq, crc);
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
        p.admit(1, 7);
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
    fn a_checkpoint_made_while_batches_are_queued_speaks_of_durable_ones_only() {
        let mut p = Producer::default();
        let claim = opened(&mut p, None);
        p.admit(1, 1);
        p.on_durable(
            1,
            Lsn::new(5),
            Totals {
                accepted: 3,
                ..Totals::default()
            },
        );
        p.admit(2, 2);
        let saved = p.save("p");
        assert_eq!(saved.durable.seq, 1);
        assert_eq!(saved.recent, vec![(1, 1)]);
        assert_eq!(saved.epoch, 0, "the epoch frame is not durable yet");
        let restored = Producer::restore(&saved);
        assert_eq!(restored.durable().totals.accepted, 3);
        assert_eq!(claim.epoch, 1);
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
                        p.admit(seq, crc);
                        p.on_durable(seq, Lsn::new(seq), Totals::default());
                        taken.push(seq);
                    }
                    Ok(Decision::Resend) => prop_assert!(taken.contains(&seq)),
                    Err(fault) => prop_assert!(false, "{fault}"),
                }
            }
            let dense: Vec<u64> = (1..=taken.len() as u64).collect();
            prop_assert_eq!(taken, dense);
        }
    }
}
