//! What each log segment opens with: everything that frames before it did and that later frames rely on. Stored as JSON
//! with a version; LZ4 block when it is large, because thousands of producers repeat each other's shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::batch::sized_lz4_block;
use super::{Day, Expected, Problem, Totals, read_json};
use crate::clock::Micros;
use crate::dataset::Contract;
use crate::types::{Incarnation, Lsn, TableName};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Checkpoint {
    pub version: u32,
    pub next_incarnation: u64,
    pub lives: Vec<(TableName, u64)>,
    pub tables: Vec<SavedTable>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SavedTable {
    pub incarnation: Incarnation,
    pub folder: String,
    pub contract: Contract,
    #[serde(default)]
    pub producers: Vec<SavedProducer>,
    #[serde(default)]
    pub days: BTreeMap<i32, Day>,
    /// The newest replay of the quarantine that `days` count.
    #[serde(default)]
    pub replays: i64,
    /// Idle producers were forgotten: an unknown name may be one that Delta knows.
    #[serde(default)]
    pub forgetful: bool,
    /// What its Delta tables hold at least, once all segments before this one are trimmed.
    #[serde(default)]
    pub expected: Expected,
}

/// A producer as a checkpoint keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedProducer {
    pub name: String,
    pub epoch: u64,
    pub durable: DurablePoint,
    pub recent: Vec<(u64, u32)>,
    /// For each of `recent`: how far its offset stands before that of `durable`, and how many of its rows were accepted,
    /// quarantined and duplicates. Empty in a checkpoint of an older server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<(u64, u64, u64, u64)>,
    /// When it was last heard of, in microseconds since 1970; 0: not known.
    #[serde(default)]
    pub seen: Micros,
}

/// The newest durable batch of a producer, and its totals up to there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurablePoint {
    pub seq: u64,
    pub offset: Lsn,
    pub totals: Totals,
}

const VERSION: u32 = 1;

impl Checkpoint {
    /// The state of a log that knows no table.
    pub fn empty() -> Self {
        Checkpoint {
            version: VERSION,
            ..Checkpoint::default()
        }
    }

    /// The payload of its frame.
    pub fn encode(&self) -> Vec<u8> {
        // Plain data with string keys: serde_json cannot fail on it.
        let json = serde_json::to_vec(self).unwrap_or_default();
        lz4_flex::block::compress_prepend_size(&json)
    }

    /// From the payload of its frame.
    ///
    /// # Errors
    /// [`Problem::Short`], [`Problem::Lz4`], [`Problem::Json`], [`Problem::Version`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Problem> {
        let json = sized_lz4_block(bytes)?;
        let checkpoint: Checkpoint = read_json(&json)?;
        if checkpoint.version != VERSION {
            return Err(Problem::Version {
                found: checkpoint.version,
                known: VERSION,
            });
        }
        Ok(checkpoint)
    }
}
