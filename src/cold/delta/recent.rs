//! The last versions that this server wrote to a table, and what each took: for `system.commits`. Kept in memory; the Delta
//! log has the whole history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

/// About 100 bytes each.
const KEPT: usize = 256;

/// One version, as it was written.
#[derive(Clone, Debug)]
pub struct CommitNote {
    pub version: i64,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Delta's word for the operation: `WRITE`, `OPTIMIZE`, `DELETE`, ..
    pub kind: String,
    /// Rows, files and bytes put in.
    pub rows: u64,
    pub files: usize,
    pub bytes: u64,
    pub files_removed: usize,
    /// From the first row that was encoded to the version.
    pub took: Duration,
}

/// Cheap to clone; read without the commit lock.
#[derive(Clone, Debug, Default)]
pub struct Recent(Arc<Mutex<VecDeque<CommitNote>>>);

impl Recent {
    pub(super) fn note(&self, note: CommitNote) {
        let mut notes = self.0.lock();
        if notes.len() == KEPT {
            notes.pop_front();
        }
        notes.push_back(note);
    }

    /// Oldest first.
    pub fn notes(&self) -> Vec<CommitNote> {
        self.0.lock().iter().cloned().collect()
    }
}
