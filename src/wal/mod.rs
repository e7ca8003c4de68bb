//! The write-ahead log: one for the server, shared by all tables. It keeps bytes and knows no contracts.
//!
//! A frame is *queued* when [`Log::append`] returns, and *durable* when its ticket resolves: one named thread writes the
//! queue as a group, syncs it once, makes it visible through the owner's [`GroupHook`] and only then wakes the waiters.
//! A failed write or sync poisons the log for the life of the process: whether the group reached the disk is not known
//! (Rebello et al., USENIX ATC 2020), so nobody is told that it did, and replay decides after a restart.

mod aside;
mod disk;
mod frame;
mod queue;
mod replay;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

pub use aside::Aside;
pub use disk::{Disk, RealDisk, SegmentFile};
pub use frame::{Frame, FrameKind, NewFrame, Payload};
pub use queue::{AppendTicket, Durable, Log, OnDurable, Reservation};
pub use replay::{Opener, Replay, open};

use crate::fault::{Fault, Kind};
use crate::types::Lsn;

#[derive(Clone, Debug)]
pub struct LogConfig {
    pub dir: PathBuf,
    pub segment_bytes: u64,
    /// The whole log; appends wait beyond it.
    pub bytes_max: u64,
    /// Frames between the callers and the disk.
    pub queue_bytes_max: u64,
    /// How long an append waits for room.
    pub admission_timeout: Duration,
}

/// What the log's owner does around each group, on the writer thread.
pub trait GroupHook: Send + Sync {
    /// The group is on disk and its `on_durable` closures are about to run.
    fn begin(&self);
    /// They have run: make the group visible as a whole. Waiters wake after this returns.
    fn end(&self, durable: Lsn);
    /// A new segment is begun and everything before it is durable and visible: the state that it opens with.
    fn checkpoint(&self) -> Vec<u8>;
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "the log is full, bytes={used}, limit={limit}, waited={waited:?}; retry after the next commit, or raise log.bytes_max"
    )]
    Full {
        used: u64,
        limit: u64,
        waited: Duration,
    },
    #[error(
        "the log is poisoned by a failed write or sync, {cause}; restart the server, replay decides what was kept"
    )]
    Poisoned { cause: String },
    #[error(
        "the log is damaged before its tail, segment={segment}, offset={offset}, byte={position}, file={file}; restore it from a backup or another copy"
    )]
    Damaged {
        segment: u64,
        offset: Lsn,
        position: u64,
        file: String,
    },
    #[error("log segments do not follow each other, segment={segment}, file={file}: {problem}")]
    Sequence {
        segment: u64,
        file: String,
        problem: String,
    },
    #[error(
        "parked rows cannot be read, file={file}: {problem}; restore the log's folder from a backup"
    )]
    Parked { file: String, problem: String },
    #[error("frame too large, bytes={bytes}, limit={limit}")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("the log is closed")]
    Closed,
    #[error("log {what} failed: {cause}")]
    Io { what: &'static str, cause: String },
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        move |e| Error::Io {
            what,
            cause: e.to_string(),
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let (kind, reason) = match &error {
            Error::Full { .. } => (Kind::Exhausted, "log_full"),
            Error::Poisoned { .. } => (Kind::Unavailable, "log_poisoned"),
            Error::Damaged { .. } | Error::Sequence { .. } | Error::Parked { .. } => {
                (Kind::Corrupt, "log_damaged")
            }
            Error::TooLarge { .. } => (Kind::Exhausted, "batch_too_large"),
            Error::Closed => (Kind::Unavailable, "shutting_down"),
            Error::Io { .. } => (Kind::Unavailable, "log_unusable"),
        };
        Fault::new(kind, reason, error.to_string())
    }
}
