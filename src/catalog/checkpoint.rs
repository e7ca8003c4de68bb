//! What each log segment opens with: everything that frames before it did and that later frames rely on. Stored as JSON
//! with a version; LZ4 block when it is large, because thousands of producers repeat each other's shape.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::expected::Expected;
use super::visible::Kept;
use super::{Day, Registry, producer};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::types::{Incarnation, TableName};

#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checkpoint {
    pub version: u32,
    pub next_incarnation: u64,
    pub lives: Vec<(TableName, u64)>,
    pub tables: Vec<SavedTable>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SavedTable {
    pub incarnation: Incarnation,
    pub folder: String,
    pub contract: Contract,
    #[serde(default)]
    pub producers: Vec<producer::Saved>,
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

/// Payload of a `Create` frame.
#[derive(Debug, Serialize, Deserialize)]
pub struct Created {
    pub folder: String,
    pub contract: Contract,
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

    /// Runs on the log's writer thread: everything before this segment has been applied, nothing behind it exists.
    pub fn of(registry: &Registry, kept: impl Fn(&super::table::Table) -> Kept) -> Self {
        let tables = registry.tables.values().map(|table| {
            let kept = kept(table);
            SavedTable {
                incarnation: table.incarnation,
                folder: table.folder.clone(),
                contract: (*table.contract()).clone(),
                producers: table
                    .producers
                    .lock()
                    .iter()
                    .map(|(name, entry)| producer::Saved {
                        seen: entry.seen,
                        ..entry.state.save(name)
                    })
                    .collect(),
                days: kept.days,
                replays: kept.replays,
                forgetful: table.is_forgetful(),
                expected: kept.expected,
            }
        });
        Checkpoint {
            version: VERSION,
            next_incarnation: registry.next_incarnation,
            lives: registry
                .lives
                .iter()
                .map(|(n, l)| (n.clone(), *l))
                .collect(),
            tables: tables.collect(),
        }
    }

    pub fn encode(&self) -> Vec<u8> {
        // Plain data with string keys: serde_json cannot fail on it.
        let json = serde_json::to_vec(self).unwrap_or_default();
        lz4_flex::block::compress_prepend_size(&json)
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let damaged = |e: String| {
            Fault::new(
                Kind::Corrupt,
                "log_damaged",
                format!("checkpoint frame: {e}"),
            )
        };
        let json = lz4_flex::block::decompress_size_prepended(bytes)
            .map_err(|e| damaged(e.to_string()))?;
        let checkpoint: Checkpoint =
            serde_json::from_slice(&json).map_err(|e| damaged(e.to_string()))?;
        if checkpoint.version != VERSION {
            return Err(damaged(format!("unknown version {}", checkpoint.version)));
        }
        Ok(checkpoint)
    }
}
