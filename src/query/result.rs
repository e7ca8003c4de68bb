//! What stands between a running query and the reader of its rows: few batches, bounded in bytes, and counted in the memory
//! of queries while they wait. A reader that stops reading holds no more than this.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use futures::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::errors::fault_of;
use super::meter::Meter;
use super::running;
use crate::fault::{Fault, Kind};

/// Batches between a query and the stream that sends it.
pub(super) const BATCHES_AHEAD: usize = 4;
/// Their bytes; one batch that is larger goes alone.
const BYTES_AHEAD: usize = 8 << 20;
/// The unit in which they are counted: a semaphore has 32 bits.
const UNIT: usize = 1024;
/// Batches below are not counted in the pool: with the pool full, a small answer still comes.
const COUNTED_BYTES: usize = 64 * 1024;

/// A running query. Dropping it cancels the query.
pub struct ResultStream {
    pub wire: SchemaRef,
    pub batches: Batches,
}

impl ResultStream {
    pub async fn collect(mut self) -> Result<Vec<RecordBatch>, Fault> {
        let mut all = Vec::new();
        while let Some(batch) = self.batches.recv().await {
            all.push(batch?);
        }
        Ok(all)
    }
}

/// What a waiting batch takes; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    _bytes: Option<MemoryReservation>,
    _room: Option<OwnedSemaphorePermit>,
}

/// A batch on its way, with what it is charged.
#[derive(Debug)]
pub struct Parcel {
    outcome: Result<RecordBatch, Fault>,
    charge: Option<Charge>,
}

impl From<Result<RecordBatch, Fault>> for Parcel {
    /// Of a batch that is bounded elsewhere.
    fn from(outcome: Result<RecordBatch, Fault>) -> Self {
        Parcel {
            outcome,
            charge: None,
        }
    }
}

/// The query's end of a result.
pub(super) struct Sender {
    pub parcels: mpsc::Sender<Parcel>,
    pool: Arc<dyn MemoryPool>,
    room: Arc<Semaphore>,
}

/// A result's two ends. `ended` is set by the query when all of its rows have been sent.
pub(super) fn channel(pool: Arc<dyn MemoryPool>, ended: Arc<AtomicBool>) -> (Sender, Batches) {
    let (parcels, receiver) = mpsc::channel(BATCHES_AHEAD);
    let sender = Sender {
        parcels,
        pool,
        room: Arc::new(Semaphore::new(BYTES_AHEAD / UNIT)),
    };
    (sender, Batches::new(receiver, ended))
}

impl Sender {
    /// Waits until there is room.
    ///
    /// # Errors
    /// CANCELLED: nobody reads any more; RESOURCE_EXHAUSTED: the memory of queries is full.
    pub(super) async fn send(&self, batch: RecordBatch) -> Result<(), Fault> {
        let bytes = bytes_of(&batch);
        let counted = if bytes >= COUNTED_BYTES {
            let reservation =
                MemoryConsumer::new("rows that wait for their reader").register(&self.pool);
            reservation.try_grow(bytes).map_err(fault_of)?;
            Some(reservation)
        } else {
            None
        };
        let units = (bytes / UNIT).clamp(1, BYTES_AHEAD / UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(units).await;
        let parcel = Parcel {
            outcome: Ok(batch),
            charge: Some(Charge {
                _bytes: counted,
                _room: room.ok(),
            }),
        };
        let sent = self.parcels.send(parcel).await;
        sent.map_err(|_| running::cancelled())
    }

    pub(super) async fn fail(&self, fault: Fault) {
        let _ = self.parcels.send(Err(fault).into()).await;
    }

    /// Until nobody reads any more.
    pub(super) async fn closed(&self) {
        self.parcels.closed().await;
    }
}

/// The batches of a running query. An end that the query did not tell (the server stops, an operator panics) is an error,
/// and never a shorter result.
pub struct Batches {
    receiver: mpsc::Receiver<Parcel>,
    /// Set by the query when all of its rows have been sent.
    ended: Arc<AtomicBool>,
    /// Of the batch that was read last: its reader works on it until it asks for the next one.
    reading: Option<Charge>,
    /// Of the query, whose rows are its own until the reader is gone.
    _meter: Option<Arc<Meter>>,
}

impl Batches {
    pub fn new(receiver: mpsc::Receiver<Parcel>, ended: Arc<AtomicBool>) -> Self {
        Batches {
            receiver,
            ended,
            reading: None,
            _meter: None,
        }
    }

    /// The rows stay in the account of the query for as long as this lives.
    pub fn counted_by(self, meter: Arc<Meter>) -> Self {
        Batches {
            _meter: Some(meter),
            ..self
        }
    }

    pub async fn recv(&mut self) -> Option<Result<RecordBatch, Fault>> {
        self.reading = None;
        match self.receiver.recv().await {
            Some(Parcel { outcome, charge }) => {
                self.reading = charge;
                Some(outcome)
            }
            None if self.ended.swap(true, Ordering::AcqRel) => None,
            None => Some(Err(Fault::new(
                Kind::Unavailable,
                "query_broken_off",
                "the query ended before its last row; the server is stopping, or its log says why; run it again",
            ))),
        }
    }

    pub fn into_stream(self) -> impl Stream<Item = Result<RecordBatch, Fault>> {
        futures::stream::unfold(self, |mut batches| async move {
            let batch = batches.recv().await?;
            Some((batch, batches))
        })
    }
}

/// Bytes of the rows themselves, not of the buffers that they are slices of.
pub fn bytes_of(batch: &RecordBatch) -> usize {
    let columns = batch.columns().iter();
    let bytes = columns.map(|c| {
        c.to_data()
            .get_slice_memory_size()
            .unwrap_or_else(|_| c.get_array_memory_size())
    });
    bytes.sum()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{ArrayRef, StringArray};
    use arrow::datatypes::Schema;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[tokio::test]
    async fn a_result_that_is_broken_off_is_an_error_and_not_a_short_result() {
        for told in [true, false] {
            let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(1 << 20));
            let (tx, batches) = channel(pool, Arc::new(AtomicBool::new(told)));
            tx.send(RecordBatch::new_empty(Arc::new(Schema::empty())))
                .await
                .unwrap();
            drop(tx);
            let wire = Arc::new(Schema::empty());
            let result = ResultStream { wire, batches }.collect().await;
            assert_eq!(result.is_ok(), told);
        }
    }

    #[tokio::test]
    async fn rows_that_wait_are_counted_until_the_next_ones_are_asked_for() {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(24 << 20));
        let (tx, mut batches) = channel(pool.clone(), Arc::default());
        let column = Arc::new(StringArray::from(vec!["x".repeat(10 << 20)])) as ArrayRef;
        let batch = RecordBatch::try_from_iter([("t", column)]).unwrap();
        tx.send(batch.clone()).await.unwrap();
        // It is larger than what may wait, so that the next one waits for room, counted.
        let mut second = Box::pin(tx.send(batch.clone()));
        assert!(futures::poll!(&mut second).is_pending());
        assert!(pool.reserved() >= 20 << 20);
        let (other, _reader) = channel(pool.clone(), Arc::default());
        let fault = other.send(batch).await.unwrap_err();
        assert_eq!(fault.kind, Kind::Exhausted);
        batches.recv().await.unwrap().unwrap();
        assert!(futures::poll!(&mut second).is_pending());
        let next = batches.recv();
        let (sent, got) = futures::join!(second, next);
        sent.unwrap();
        got.unwrap().unwrap();
        drop(batches);
        assert_eq!(pool.reserved(), 0);
    }
}
