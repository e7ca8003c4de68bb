//! The write-ahead log: one for the server, shared by all tables. It keeps bytes and knows no contracts.
//!
//! A frame is *queued* when [`Log::append`] returns, and *durable* when its ticket resolves: one named thread writes the
//! queue as a group, syncs it once, makes it visible through the owner's [`GroupHook`] and only then wakes the waiters.
//! A failed write or sync poisons the log for the life of the process, and so does a panic of that thread: whether the group
//! reached the disk is not known (Rebello et al., USENIX ATC 2020), so nobody is told that it did, and replay decides after a
//! restart. A full disk is no failure: the writer waits for room, and whoever waits for longer than the admission time-out
//! is told so ([`Health`]). A disk that does not answer at all is seen by those who look for it ([`Log::look_for_stall`]).

#![deny(clippy::indexing_slicing)]

mod aside;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod damage_tests;
mod disk;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod failure_tests;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod faulty;
mod fields;
mod frame;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod fuzz_tests;
mod index;
mod inspect;
mod manifest;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod model_tests;
mod queue;
mod replay;
mod salvage;
mod scan;
mod segment;
mod shared;
#[cfg(test)]
mod stored_tests;
#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "a test may panic")]
mod tests;
mod watched_disk;
mod writer;

use std::path::PathBuf;
use std::time::Duration;

pub use aside::Aside;
pub use disk::{Disk, RealDisk, SegmentFile};
pub use frame::{Frame, FrameKind, NewFrame, Payload};
#[cfg(test)]
pub use frame::{frame_bytes, read_frame};
pub use index::FileIndex;
pub use inspect::{Report, SegmentReport, inspect, uuid_of};
pub use queue::{AppendTicket, Durable, Log, Reservation};
pub use replay::{Opener, Replay, open, read_only};
pub use salvage::{Lost, Salvaged, salvage};
pub use shared::{Health, OnDurable};

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
    /// The group is on disk and its `on_durable` closures have run: make it visible as a whole. Waiters wake after this returns.
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
        "the disk of the log is full, waited={waited:?}, {cause}; nothing of this was written: free space on that disk, the server goes on by itself, then retry"
    )]
    DiskFull { waited: Duration, cause: String },
    #[error(
        "the disk of the log does not answer, waited={waited:?}; nothing of this was written: look at that disk, the server goes on by itself when it answers, then retry"
    )]
    Stalled { waited: Duration },
    #[error(
        "the disk of the log is full, waited={waited:?}, {cause}; this waits in the log's queue and may still become durable: free space on that disk, the server goes on by itself, and send again under the same producer and seq what was not acked"
    )]
    StillQueued { waited: Duration, cause: String },
    #[error(
        "the log is poisoned by a failed write or sync, {cause}; restart the server, replay decides what was kept"
    )]
    Poisoned { cause: String },
    #[error(
        "the log is damaged before its tail, segment={segment}, offset={offset}, byte={position}, file={file}: the frame at this offset is not what was synced; put the file back from a backup, or see with `deltaplane log check` what is whole and write a new log of it with `deltaplane log salvage`"
    )]
    Damaged {
        segment: u64,
        offset: Lsn,
        position: u64,
        file: String,
    },
    #[error(
        "a log segment is not the one that was written, segment={segment}, file={file}: {problem}; put the file back from a backup, or see with `deltaplane log check` what is whole and write a new log of it with `deltaplane log salvage`"
    )]
    Sequence {
        segment: u64,
        file: String,
        problem: String,
    },
    #[error(
        "the log's manifest is not the one that was written, file={file}: {problem}; put the file back from a backup, or see with `deltaplane log check` what is whole and write a new log of it with `deltaplane log salvage`"
    )]
    Manifest { file: String, problem: String },
    #[error("parked rows cannot be read, file={file}: {problem}; restore that file from a backup")]
    Parked { file: String, problem: String },
    #[error(
        "the name of a file of parked rows is not the number of a table, file={file}; move the file away, or give it the name back that the server gave it"
    )]
    Stray { file: String },
    #[error("the log cannot be salvaged, folder={dir}: {problem}")]
    Salvage { dir: String, problem: &'static str },
    #[error("frame too large, bytes={bytes}, limit={limit}")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("the log is closed")]
    Closed,
    #[error("log {what} failed: {cause}")]
    Io { what: &'static str, cause: String },
    #[error(
        "log {what} failed, the disk is full: {cause}; make room on the disk of the folder log.dir, which `deltaplane config` shows, and start again"
    )]
    NoRoom { what: &'static str, cause: String },
}

impl Error {
    fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        move |e| {
            let cause = e.to_string();
            match e.kind() {
                StorageFull | QuotaExceeded => Error::NoRoom { what, cause },
                _ => Error::Io { what, cause },
            }
        }
    }

    fn panicked() -> Error {
        Error::Poisoned {
            cause: "the log's thread panicked".to_owned(),
        }
    }

    /// What everyone gets from now on.
    fn poison(&self) -> Error {
        match self {
            Error::Poisoned { .. } => self.clone(),
            other => Error::Poisoned {
                cause: other.to_string(),
            },
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let (kind, reason) = match &error {
            Error::Full { .. } | Error::DiskFull { .. } | Error::StillQueued { .. } => {
                (Kind::Exhausted, "log_full")
            }
            Error::Poisoned { .. } => (Kind::Unavailable, "log_poisoned"),
            Error::Stalled { .. } => (Kind::Unavailable, "log_stalled"),
            Error::Damaged { .. } | Error::Sequence { .. } | Error::Manifest { .. } => {
                (Kind::Corrupt, "log_damaged")
            }
            Error::Parked { .. } | Error::Stray { .. } => (Kind::Corrupt, "parked_rows_damaged"),
            Error::Salvage { .. } => (Kind::Precondition, "log_not_salvaged"),
            Error::TooLarge { .. } => (Kind::Exhausted, "batch_too_large"),
            Error::Closed => (Kind::Unavailable, "shutting_down"),
            Error::Io { .. } | Error::NoRoom { .. } => (Kind::Unavailable, "log_unusable"),
        };
        Fault::new(kind, reason, error.to_string())
    }
}
