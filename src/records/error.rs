//! What can be wrong with a record.

use crate::fault::{Fault, Kind};
use crate::types::Lsn;
use crate::validate::VerdictError;
use crate::wal::{Frame, FrameKind};

/// A record cannot be written, or a frame holds none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error(
        "a batch and what the rules find in it have less than 4 GiB each in the log, bytes={bytes}; send smaller batches"
    )]
    TooLarge { bytes: usize },
    #[error("a log record cannot be written: {0}")]
    Unwritable(String),
    #[error(
        "the log has a frame that is whole and cannot be read, kind={}, offset={offset}: {problem}; start the version of the server that wrote it, or restore the log from a backup",
        word(.kind)
    )]
    Unreadable {
        kind: FrameKind,
        offset: Lsn,
        problem: Problem,
    },
    #[error(
        "the state that the oldest segment of the log opens with is whole and cannot be read: {0}; start the version of the server that wrote it, or restore the log from a backup"
    )]
    State(Problem),
}

/// Why the payload of a frame cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("it ends within its {0}")]
    Short(&'static str),
    #[error("its version is {found}, and this server knows {known}")]
    Version { found: u32, known: u32 },
    #[error("it is not the JSON of such a record: {0}")]
    Json(String),
    #[error("its LZ4 block is damaged: {0}")]
    Lz4(String),
    #[error("its verdict: {0}")]
    Verdict(#[from] VerdictError),
    #[error("its batch: {0}")]
    Batch(String),
}

impl Problem {
    pub fn at(self, frame: &Frame) -> Error {
        Error::Unreadable {
            kind: frame.kind,
            offset: frame.offset,
            problem: self,
        }
    }

    /// Of the state that the log's oldest segment opens with.
    pub fn of_checkpoint(self) -> Error {
        Error::State(self)
    }
}

fn word(kind: &FrameKind) -> &'static str {
    match kind {
        FrameKind::Data => "data",
        FrameKind::Create => "create",
        FrameKind::Alter => "alter",
        FrameKind::Drop => "drop",
        FrameKind::Epoch => "epoch",
        FrameKind::CommitIntent => "commit intent",
        FrameKind::CommitDone => "commit done",
        FrameKind::Checkpoint => "checkpoint",
        FrameKind::Replayed => "replayed",
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let (kind, reason) = match &error {
            Error::TooLarge { .. } => (Kind::Exhausted, "batch_too_large"),
            Error::Unwritable(_) => return Fault::internal(error.to_string()),
            Error::Unreadable { .. } | Error::State(_) => (Kind::Corrupt, "log_damaged"),
        };
        Fault::new(kind, reason, error.to_string())
    }
}
