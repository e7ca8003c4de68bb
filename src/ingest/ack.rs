//! From a batch's place in the log to its ack. An [`Ack`] is made from an [`Acked`] alone, and an [`Acked`] from a
//! [`Durable`], which only the log makes after a sync: an ack without a sync does not compile.

use std::sync::Arc;

use super::Reject;
use crate::catalog::Shared;
use crate::catalog::producer::Claim;
use crate::catalog::table::{Committed, Table};
use crate::fault::Fault;
use crate::records::{DurablePoint, Totals};
use crate::types::Lsn;
use crate::wal::{AppendTicket, Durable};

/// Where a batch is on its way to the disk.
pub(super) enum Place {
    /// In the log's queue. `totals`: its stream's or producer's, this batch included.
    Appended {
        ticket: AppendTicket,
        totals: Totals,
    },
    /// The same bytes were taken before. `offset`: theirs, if it is remembered.
    Resent {
        producer: Arc<str>,
        claim: Claim,
        offset: Option<Lsn>,
    },
}

/// A batch on its way to the disk. Its ack needs [`Pending::durable`].
pub struct Pending {
    pub seq: u64,
    pub counts: Totals,
    pub rejects: Vec<Reject>,
    pub(super) shared: Arc<Shared>,
    pub(super) table: Arc<Table>,
    pub(super) place: Place,
}

impl Pending {
    /// Waits for the sync, not much longer than `log.admission_timeout`.
    ///
    /// # Errors
    /// UNAVAILABLE: the log is poisoned, or its disk does not answer; whether the batch is kept is not known, and a resend finds
    /// out. NOT_FOUND: the table was dropped, and the rows with it. FAILED_PRECONDITION: a newer stream of the producer was opened
    /// before a resend that is remembered no more could be answered.
    pub async fn durable(self) -> Result<Acked, Fault> {
        let Pending {
            seq,
            counts,
            rejects,
            shared,
            table,
            place,
        } = self;
        let (durable, seq, totals) = match place {
            Place::Appended { ticket, totals } => {
                (shared.synced(ticket.wait()).await?, seq, totals)
            }
            Place::Resent {
                producer,
                claim,
                offset,
            } => {
                if let Some(offset) = offset {
                    shared.synced(shared.log.synced(offset)).await?;
                }
                // One that is remembered no more is answered with the newest batch, as acks are cumulative: as long as that is a
                // batch of this stream or of one before it.
                let point = table.in_log_order(|producers| match producers.get(&producer) {
                    Some(entry) => match entry.state.durable_at(seq) {
                        Some(point) => Ok(point),
                        None => entry.state.durable_of(&producer, claim),
                    },
                    None => Ok(DurablePoint {
                        seq,
                        ..DurablePoint::default()
                    }),
                })?;
                let durable = shared.synced(shared.log.synced(point.offset)).await?;
                (durable, point.seq, point.totals)
            }
        };
        if table.is_dropped() {
            return Err(table.dropped());
        }
        Ok(Acked {
            durable,
            seq,
            counts,
            totals,
            rejects,
        })
    }
}

/// A batch that is on disk.
#[derive(Debug)]
pub struct Acked {
    durable: Durable,
    seq: u64,
    /// Of this batch; nothing for a resend.
    pub counts: Totals,
    totals: Totals,
    pub rejects: Vec<Reject>,
}

impl Acked {
    pub fn offset(&self) -> Lsn {
        self.durable.offset()
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// What a client is told: every batch up to `seq` has reached the level that it asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    seq: u64,
    offset: Lsn,
    totals: Totals,
    version: Option<i64>,
}

impl Ack {
    /// At level `durable`. `newest`: of [`super::NewestBatch`], which the ack names if it is beyond this one.
    pub fn durable(acked: &Acked, newest: Option<DurablePoint>) -> Self {
        let own = DurablePoint {
            seq: acked.seq,
            offset: acked.offset(),
            totals: acked.totals,
        };
        let point = newest.filter(|n| n.seq >= own.seq).unwrap_or(own);
        Ack {
            seq: point.seq,
            offset: point.offset,
            totals: point.totals,
            version: None,
        }
    }

    /// At level `committed`: names this very batch. `committed` is what was waited for.
    pub fn committed(acked: &Acked, committed: Committed) -> Self {
        Ack {
            version: Some(committed.version),
            ..Ack::durable(acked, None)
        }
    }

    pub fn seq(&self) -> u64 {
        self.seq
    }

    pub fn offset(&self) -> Lsn {
        self.offset
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    pub fn version(&self) -> Option<i64> {
        self.version
    }
}
