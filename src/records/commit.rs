//! Records of commits: what is about to be committed, and what was.
//!
//! Both kinds are notes. Those of the flush say nothing that replay needs, and other servers may have written notes of other
//! forms: what is not known is kept as it is and means nothing.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Error, json, read_json};
use crate::types::Lsn;

/// What one Delta log holds at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Least {
    /// Every row of a frame up to here is committed. In a checkpoint: or stands in the parked file.
    #[serde(default)]
    pub offset: Lsn,
    /// The newest version whose content is in no frame.
    #[serde(default)]
    pub version: i64,
}

/// What the Delta logs of a table and of its quarantine hold at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    #[serde(default)]
    pub main: Least,
    #[serde(default)]
    pub quarantine: Least,
}

/// What is about to happen, or why a frame is there that does nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Hot rows up to `cut` are staged in these files, of the table or of its quarantine: `{"cut","files","quarantine"}`.
    Commit {
        cut: Lsn,
        files: Vec<String>,
        quarantine: bool,
    },
    /// A statement waits until the frames before this one are durable: `{"statement":true}`.
    Statement,
    /// In the place of a frame that was lost with a damaged log (`wal::salvage` writes it): `{"lost":true}`.
    Lost,
    Other(Bytes),
}

const STATEMENT: &[u8] = br#"{"statement":true}"#;
const LOST: &[u8] = br#"{"lost":true}"#;

/// Fields in the order in which they are written.
#[derive(Serialize, Deserialize)]
struct IntentNote<F> {
    cut: Lsn,
    files: F,
    quarantine: bool,
}

impl Intent {
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        match self {
            Intent::Commit {
                cut,
                files,
                quarantine,
            } => json(&IntentNote {
                cut: *cut,
                files,
                quarantine: *quarantine,
            }),
            Intent::Statement => Ok(STATEMENT.to_vec()),
            Intent::Lost => Ok(LOST.to_vec()),
            Intent::Other(bytes) => Ok(bytes.to_vec()),
        }
    }

    pub(super) fn decode(bytes: &Bytes) -> Self {
        if bytes == STATEMENT {
            return Intent::Statement;
        }
        if bytes == LOST {
            return Intent::Lost;
        }
        match read_json::<IntentNote<Vec<String>>>(bytes) {
            Ok(note) => Intent::Commit {
                cut: note.cut,
                files: note.files,
                quarantine: note.quarantine,
            },
            Err(_) => Intent::Other(bytes.clone()),
        }
    }
}

/// What was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// Hot rows up to `cut` are in this version: `{"cut","quarantine","version"}`.
    Commit {
        cut: Lsn,
        quarantine: bool,
        version: i64,
    },
    /// The newest versions of table and quarantine whose content is in no frame, 0 if there is none: `{"unlogged":[..]}`.
    Unlogged([i64; 2]),
    /// An operator has accepted that the Delta logs hold no more than this: `{"accepted":{..}}`.
    Accepted(Expected),
    Other(Bytes),
}

#[derive(Serialize, Deserialize)]
struct DoneNote {
    cut: Lsn,
    quarantine: bool,
    version: i64,
}

#[derive(Serialize, Deserialize)]
struct UnloggedNote {
    unlogged: [i64; 2],
}

#[derive(Serialize, Deserialize)]
struct AcceptedNote {
    accepted: Expected,
}

impl Done {
    pub(super) fn encode(&self) -> Result<Vec<u8>, Error> {
        match self {
            Done::Commit {
                cut,
                quarantine,
                version,
            } => json(&DoneNote {
                cut: *cut,
                quarantine: *quarantine,
                version: *version,
            }),
            Done::Unlogged(unlogged) => json(&UnloggedNote {
                unlogged: *unlogged,
            }),
            Done::Accepted(accepted) => json(&AcceptedNote {
                accepted: *accepted,
            }),
            Done::Other(bytes) => Ok(bytes.to_vec()),
        }
    }

    pub(super) fn decode(bytes: &Bytes) -> Self {
        if let Ok(note) = read_json::<UnloggedNote>(bytes) {
            return Done::Unlogged(note.unlogged);
        }
        if let Ok(note) = read_json::<AcceptedNote>(bytes) {
            return Done::Accepted(note.accepted);
        }
        match read_json::<DoneNote>(bytes) {
            Ok(note) => Done::Commit {
                cut: note.cut,
                quarantine: note.quarantine,
                version: note.version,
            },
            Err(_) => Done::Other(bytes.clone()),
        }
    }
}
