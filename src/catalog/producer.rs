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
mod tests;
