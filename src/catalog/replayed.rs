//! A batch that stands in the log, as replay makes its rows again: at a start, and when a table is repaired.

use arrow::array::RecordBatch;

use super::table::Table;
use super::visible::{Arrival, ProducerMove};
use crate::clock;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::hot;
use crate::records::{Data, Record, Sender, Totals};
use crate::types::Lsn;
use crate::validate::{Applied, Origin, Source, Validator};
use crate::wal::Frame;

/// A data frame, read.
pub struct ReplayedFrame {
    data: Data,
    batch: Option<RecordBatch>,
    counts: Totals,
}

impl ReplayedFrame {
    /// # Errors
    /// DATA_LOSS: the frame holds no batch that can be read.
    pub fn read(frame: &Frame) -> Result<Self, Fault> {
        match Record::decode(frame)? {
            Record::Data(data) => Self::of(data, frame),
            other => Err(Fault::internal(format!(
                "a batch was expected in the log, offset={}, kind={:?}",
                frame.offset,
                other.kind()
            ))),
        }
    }

    fn of(data: Data, frame: &Frame) -> Result<Self, Fault> {
        let batch = data.batch().map_err(|problem| problem.at(frame))?;
        let counts = data.counts();
        Ok(ReplayedFrame {
            data,
            batch,
            counts,
        })
    }

    /// Its rows under the columns that are in force, by the contract that judged them. `offset`: of the frame; `committed`: up to
    /// which the table's rows and the quarantine's stand in Delta. Of a frame without rows beyond them nothing is made: columns may
    /// have moved since it was committed, and nobody needs to know the contract that judged it.
    ///
    /// # Errors
    /// The rows do not fit the contract of their version.
    pub fn rows(
        &self,
        (offset, committed): (Lsn, (Lsn, Lsn)),
        judged_by: &Validator,
        now: &Contract,
    ) -> Result<Applied, Fault> {
        let (main, quarantine) = committed;
        let waits = (offset > main && self.counts.accepted > 0)
            || (offset > quarantine && self.counts.quarantined > 0);
        let Some(batch) = self.batch.as_ref().filter(|_| waits) else {
            return Ok(Applied::default());
        };
        let (source, seq) = match self.data.sender() {
            Sender::Named { producer, seq, .. } => (Source::new(producer.clone()), *seq),
            Sender::Unnamed => (Source::unnamed(), 0),
        };
        let origin = Origin {
            ingest_ts: self.data.arrived(),
            source: &source,
            seq: i64::try_from(seq).unwrap_or(i64::MAX),
        };
        let applied = judged_by.replay(batch, &origin, self.data.verdict())?;
        let schema = now.table_schema();
        Ok(applied.reshaped(|rows| hot::conform(rows, &schema)))
    }

    /// `offset`: of the frame.
    pub fn arrival(&self, offset: Lsn) -> Arrival {
        let moved = match self.data.sender() {
            Sender::Named { producer, seq, .. } => Some(ProducerMove {
                producer: producer.clone(),
                seq: *seq,
            }),
            Sender::Unnamed => None,
        };
        Arrival {
            day: clock::day_of(self.data.arrived()),
            counts: self.counts,
            violations: self.data.verdict().violations(),
            moved,
            offset,
        }
    }

    /// The producer's number goes on.
    pub fn note_producer(&self, table: &Table, offset: Lsn) {
        let Sender::Named {
            producer,
            epoch,
            seq,
            crc,
        } = self.data.sender()
        else {
            return;
        };
        table.in_log_order(|producers| {
            let entry = producers.entry(producer.clone()).or_default();
            let state = &mut entry.state;
            state.replay(*epoch, *seq, *crc, offset, self.counts);
            entry.seen = entry.seen.max(self.data.arrived());
        });
    }
}
