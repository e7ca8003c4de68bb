//! Hot rows: durable, visible, not yet in Delta. It is given positions and knows no log.
//!
//! Small batches are coalesced as they come, each row copied a few times at most, so that a query over ten thousand
//! one-row batches meets a dozen chunks.

mod memory;

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::types::Lsn;
pub use memory::Memory;

/// Chunks grow to about this many rows; batches that are as large as this are kept as they came.
const CHUNK_ROWS: usize = 8192;

/// Rows of one or more whole frames, as columns of the table's schema. Immutable; queries share it.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The first and last frame whose rows are in here.
    pub first: Lsn,
    pub last: Lsn,
    pub batch: RecordBatch,
}

/// The hot rows of one Delta table, in the order of their frames.
#[derive(Debug, Default)]
pub struct Buffer {
    chunks: Arc<Vec<Chunk>>,
    memory: Memory,
    /// A commit has taken everything up to here: a later row in one of its chunks would be lost or doubled with it.
    sealed: Lsn,
}

impl Buffer {
    pub fn chunks(&self) -> &Arc<Vec<Chunk>> {
        &self.chunks
    }

    /// What its rows keep in memory.
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    pub fn rows(&self) -> usize {
        self.chunks.iter().map(|c| c.batch.num_rows()).sum()
    }

    pub fn push(&mut self, batch: RecordBatch, offset: Lsn) {
        self.memory.add(&batch);
        let chunks = Arc::make_mut(&mut self.chunks);
        chunks.push(Chunk {
            first: offset,
            last: offset,
            batch,
        });
        // Sizes at least halve from front to back, so a row is copied once per doubling of its chunk.
        while let [.., older, newer] = chunks.as_slice() {
            let (a, b) = (older.batch.num_rows(), newer.batch.num_rows());
            if older.first <= self.sealed || a > 2 * b || a + b > CHUNK_ROWS {
                return;
            }
            let Ok(batch) = concat_batches(&older.batch.schema(), [&older.batch, &newer.batch])
            else {
                return;
            };
            let merged = Chunk {
                first: older.first,
                last: newer.last,
                batch,
            };
            self.memory.remove(&older.batch);
            self.memory.remove(&newer.batch);
            self.memory.add(&merged.batch);
            chunks.truncate(chunks.len() - 2);
            chunks.push(merged);
        }
    }

    /// A chunk as it was when it was parked, behind those that are here.
    pub fn restore(&mut self, chunk: Chunk) {
        self.memory.add(&chunk.batch);
        self.sealed = self.sealed.max(chunk.last);
        Arc::make_mut(&mut self.chunks).push(chunk);
    }

    /// From now on no chunk that holds a row up to `offset` takes a row above it.
    pub fn seal(&mut self, offset: Lsn) {
        self.sealed = self.sealed.max(offset);
    }

    /// Gives every chunk the columns of `schema`, by name; a column that it lacks is null there.
    pub fn conform_to(&mut self, schema: &SchemaRef) {
        for chunk in Arc::make_mut(&mut self.chunks) {
            self.memory.remove(&chunk.batch);
            chunk.batch = conform(&chunk.batch, schema);
            self.memory.add(&chunk.batch);
        }
    }

    /// Lets go of what a commit holds. `offset` has been sealed before.
    pub fn drop_up_to(&mut self, offset: Lsn) {
        let memory = &mut self.memory;
        Arc::make_mut(&mut self.chunks).retain(|chunk| {
            let stays = chunk.last > offset;
            if !stays {
                memory.remove(&chunk.batch);
            }
            stays
        });
    }
}

/// The rows with the columns of `schema`, by name; a column that they lack is null.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> RecordBatch {
    let rows = batch.num_rows();
    let columns = schema.fields().iter().map(|field| {
        let known = batch.column_by_name(field.name()).cloned();
        known.unwrap_or_else(|| new_null_array(field.data_type(), rows))
    });
    // Only nullable columns are ever added, and none changes its type.
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap_or_else(|_| batch.clone())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use proptest::prelude::*;

    use super::*;

    fn batch(value: u64, rows: usize) -> RecordBatch {
        let value = i64::try_from(value).unwrap();
        RecordBatch::try_from_iter([(
            "n",
            Arc::new(Int64Array::from_value(value, rows)) as arrow::array::ArrayRef,
        )])
        .unwrap()
    }

    fn values(chunks: &[Chunk]) -> Vec<i64> {
        let columns = chunks.iter().map(|c| {
            c.batch
                .column(0)
                .as_primitive::<Int64Type>()
                .values()
                .to_vec()
        });
        columns.flatten().collect()
    }

    #[test]
    fn one_row_batches_end_up_in_a_dozen_chunks() {
        let mut buffer = Buffer::default();
        for n in 1..=10_000 {
            buffer.push(batch(n, 1), Lsn::new(n));
        }
        assert!(buffer.chunks().len() <= 16, "{}", buffer.chunks().len());
        assert_eq!(values(buffer.chunks()), (1..=10_000).collect::<Vec<_>>());
        assert_eq!(buffer.rows(), 10_000);
    }

    proptest! {
        /// Commits at any moments, whatever comes between seal and drop: each row is taken by exactly one of them.
        #[test]
        fn each_row_is_committed_once(rows in proptest::collection::vec((1usize..40, any::<bool>(), any::<bool>()), 1..200)) {
            let mut buffer = Buffer::default();
            let mut taken = Vec::new();
            let mut open: Option<(Lsn, Arc<Vec<Chunk>>)> = None;
            let mut sent = Vec::new();
            for (n, (count, begin, end)) in rows.into_iter().enumerate() {
                let n = n as u64 + 1;
                buffer.push(batch(n, count), Lsn::new(n));
                sent.extend(std::iter::repeat_n(n as i64, count));
                if begin && open.is_none() {
                    buffer.seal(Lsn::new(n));
                    open = Some((Lsn::new(n), buffer.chunks().clone()));
                }
                if end && let Some((cut, chunks)) = open.take() {
                    taken.extend(values(&chunks));
                    buffer.drop_up_to(cut);
                }
            }
            if let Some((cut, chunks)) = open.take() {
                taken.extend(values(&chunks));
                buffer.drop_up_to(cut);
            }
            taken.extend(values(buffer.chunks()));
            prop_assert_eq!(taken, sent);
            buffer.seal(Lsn::new(1000));
            buffer.drop_up_to(Lsn::new(1000));
            prop_assert_eq!(buffer.bytes(), 0);
        }
    }
}
