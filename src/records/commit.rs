//! What the records of commits say.

use serde::{Deserialize, Serialize};

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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    #[serde(default)]
    pub main: Least,
    #[serde(default)]
    pub quarantine: Least,
}

/// Payload of a `CommitDone` frame of a version that is in no other frame. The flush's frames of this kind have other fields.
#[derive(Debug, Serialize, Deserialize)]
pub struct Unlogged {
    /// Of the table and of its quarantine; 0 if there was none.
    pub unlogged: [i64; 2],
}

/// Payload of a `CommitDone` frame: an operator has accepted that the Delta logs hold no more than this.
#[derive(Debug, Serialize, Deserialize)]
pub struct Accepted {
    pub accepted: Expected,
}
