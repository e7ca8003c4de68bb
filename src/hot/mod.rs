//! Hot rows: durable, visible, not yet in Delta. It is given positions and knows no log.
//!
//! Small batches are coalesced as they come, each row copied a few times at most, so that a query over ten thousand
//! one-row batches meets some thirty chunks.

mod memory;

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use crate::types::Lsn;
pub use memory::Memory;

/// Chunks grow to about this many rows; batches that are as large as this are kept as they came.
const CHUNK_ROWS: usize = 8192;
/// So many chunks of one size become one.
const TOGETHER: usize = 8;

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
        while let Some(run) = together(chunks, self.sealed) {
            let parts = chunks.get(run..).unwrap_or_default();
            let (Some(first), Some(last)) = (parts.first(), parts.last()) else {
                return;
            };
            let batches = parts.iter().map(|c| &c.batch);
            let Ok(batch) = concat_batches(&first.batch.schema(), batches) else {
                return;
            };
            let merged = Chunk {
                first: first.first,
                last: last.last,
                batch,
            };
            parts.iter().for_each(|c| self.memory.remove(&c.batch));
            self.memory.add(&merged.batch);
            chunks.truncate(run);
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

/// Where the newest chunks begin that are to be made one: [`TOGETHER`] of them, none of a higher order (a power of [`TOGETHER`]) than
/// the newest, or fewer if the next one of the same size would find no room in [`CHUNK_ROWS`]. So a row is copied once for each
/// order by which its chunk grows, and for each there are fewer than [`TOGETHER`] chunks.
fn together(chunks: &[Chunk], sealed: Lsn) -> Option<usize> {
    let newest = chunks.last()?.batch.num_rows();
    let order = |rows: usize| rows.max(1).ilog(TOGETHER);
    let mut total = 0;
    let run = chunks.iter().rev().take_while(|chunk| {
        let rows = chunk.batch.num_rows();
        let joins = chunk.first > sealed && order(rows) <= order(newest);
        joins && total + rows <= CHUNK_ROWS && {
            total += rows;
            true
        }
    });
    let count = run.count();
    let is_due = count >= TOGETHER || count >= 2 && total + newest > CHUNK_ROWS;
    is_due.then(|| chunks.len() - count)
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
    fn small_batches_end_up_in_few_chunks_and_are_copied_few_times() {
        for rows in [1, 2, 7, 8, 9, 100, 1000, 2000, 3000, 5000] {
            let mut buffer = Buffer::default();
            let batches = 20_000 / rows + 100;
            let mut copied = 0;
            for n in 1..=batches {
                let before = buffer.chunks().len();
                buffer.push(batch(n as u64, rows), Lsn::new(n as u64));
                if buffer.chunks().len() <= before {
                    copied += buffer.chunks().last().unwrap().batch.num_rows();
                }
            }
            // Twice as often where two chunks of a size become one.
            assert!(copied <= 4 * rows * batches, "{rows}: {copied}");
            let sent = (1..=batches as i64).flat_map(|n| std::iter::repeat_n(n, rows));
            assert_eq!(values(buffer.chunks()), sent.collect::<Vec<_>>());
            let sizes: Vec<_> = buffer.chunks().iter().map(|c| c.batch.num_rows()).collect();
            let full = sizes.iter().filter(|s| **s > CHUNK_ROWS / 2).count();
            // Of each order below a full chunk's: 1, 8, 64, 512.
            assert!(
                sizes.len() - full <= 4 * (TOGETHER - 1),
                "{rows}: {sizes:?}"
            );
            assert!(sizes.iter().all(|s| *s <= CHUNK_ROWS), "{rows}: {sizes:?}");
        }
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
