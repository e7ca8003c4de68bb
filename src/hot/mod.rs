//! Hot rows: durable, visible, not yet in Delta. It is given positions and knows no log.

use arrow::array::RecordBatch;

use crate::types::Lsn;

/// Rows of one or more whole frames, as columns of the table's schema. Immutable; queries share it.
#[derive(Clone, Debug)]
pub struct Chunk {
    /// The first and last frame whose rows are in here.
    pub first: Lsn,
    pub last: Lsn,
    pub batch: RecordBatch,
}
