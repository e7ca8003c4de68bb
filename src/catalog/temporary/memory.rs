//! What the rows of temporary tables take in memory, counted for each session and for all, and bounded by the limits of both.

use std::sync::Arc;

use crate::sync::Mutex;
use arrow::array::RecordBatch;

use crate::fault::{Fault, Kind};
use crate::hot::{Buffer, Chunk};
use crate::types::Lsn;

/// The chunks of a buffer have places in the log; those here have none.
const NO_PLACE: Lsn = Lsn::new(1);

#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Rows of all sessions together.
    pub bytes: usize,
    /// Rows of one session.
    pub session_bytes: usize,
    /// Tables of one session.
    pub tables: usize,
}

/// What the temporary tables of all sessions hold.
#[derive(Debug, Default)]
pub struct TemporaryMemory {
    pub(super) limits: Limits,
    held: Mutex<usize>,
}

impl TemporaryMemory {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(TemporaryMemory {
            limits,
            held: Mutex::default(),
        })
    }

    /// Bytes of all sessions.
    pub fn held(&self) -> usize {
        *self.held.lock()
    }
}

/// Bytes that are counted until this is dropped.
#[derive(Debug)]
struct Charge {
    bytes: usize,
    session: Arc<Mutex<usize>>,
    memory: Arc<TemporaryMemory>,
}

impl Charge {
    /// # Errors
    /// RESOURCE_EXHAUSTED `temporary_full`: there is no room for so many. The charge is as it was then.
    fn set(&mut self, bytes: usize) -> Result<(), Fault> {
        let mut session = self.session.lock();
        let mut all = self.memory.held.lock();
        let after = |held: usize| held.saturating_sub(self.bytes).saturating_add(bytes);
        let limits = &self.memory.limits;
        if bytes > self.bytes {
            for (of, bytes, limit, setting) in [
                (
                    "this session",
                    after(*session),
                    limits.session_bytes,
                    "limits.temporary_session_bytes_max",
                ),
                (
                    "all sessions",
                    after(*all),
                    limits.bytes,
                    "limits.temporary_bytes_max",
                ),
            ] {
                if bytes > limit {
                    return Err(Fault::new(
                        Kind::Exhausted,
                        "temporary_full",
                        format!(
                            "the temporary tables of {of} would take more memory than {setting}, bytes={bytes}, limit={limit}; nothing was written: drop temporary tables, use a table that is not temporary, or raise {setting}"
                        ),
                    ));
                }
            }
        }
        *session = after(*session);
        *all = after(*all);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut session = self.session.lock();
        *session = session.saturating_sub(self.bytes);
        let mut all = self.memory.held.lock();
        *all = all.saturating_sub(self.bytes);
    }
}

/// Rows in memory that are counted: those of a table, or those that a statement gathers for one.
#[derive(Debug)]
pub struct TemporaryRows {
    buffer: Buffer,
    charge: Charge,
}

impl TemporaryRows {
    /// # Errors
    /// RESOURCE_EXHAUSTED `temporary_full`.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), Fault> {
        if batch.num_rows() > 0 {
            self.buffer.push(batch, NO_PLACE);
        }
        self.charge.set(self.buffer.bytes())
    }

    pub fn count(&self) -> u64 {
        self.buffer.rows() as u64
    }

    /// `held`: the bytes of the session.
    pub(super) fn new(memory: &Arc<TemporaryMemory>, held: &Arc<Mutex<usize>>) -> Self {
        TemporaryRows {
            buffer: Buffer::default(),
            charge: Charge {
                bytes: 0,
                session: held.clone(),
                memory: memory.clone(),
            },
        }
    }

    pub(super) fn chunks(&self) -> &Arc<Vec<Chunk>> {
        self.buffer.chunks()
    }

    /// Puts rows in the place of all that there are. Batches that were there before are counted once.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED `temporary_full`: the rows are as they were then.
    pub(super) fn exchange(&mut self, rows: Vec<RecordBatch>) -> Result<(), Fault> {
        let mut buffer = Buffer::default();
        for batch in rows.into_iter().filter(|batch| batch.num_rows() > 0) {
            buffer.push(batch, NO_PLACE);
        }
        self.charge.set(buffer.bytes())?;
        self.buffer = buffer;
        Ok(())
    }

    /// Adds rows that are counted already.
    pub(super) fn append(&mut self, more: TemporaryRows) {
        for chunk in more.buffer.chunks().iter() {
            self.buffer.push(chunk.batch.clone(), NO_PLACE);
        }
        let TemporaryRows { buffer, mut charge } = more;
        self.charge.bytes += std::mem::take(&mut charge.bytes);
        drop(buffer);
        self.settle();
    }

    /// Counts what the rows take now. Chunks that were made one may take a little more than both did: rows that are in the table
    /// stay there, so that this is no error.
    fn settle(&mut self) {
        let bytes = self.buffer.bytes();
        let mut session = self.charge.session.lock();
        let mut all = self.charge.memory.held.lock();
        for held in [&mut *session, &mut *all] {
            *held = held.saturating_sub(self.charge.bytes).saturating_add(bytes);
        }
        self.charge.bytes = bytes;
    }
}
