//! The checkpoint that a new segment of the log opens with, from the state of the catalogue.

use super::Registry;
use super::table::Table;
use super::visible::Kept;
use crate::records::{Checkpoint, SavedProducer, SavedTable};

/// Runs on the log's writer thread: everything before this segment has been applied, nothing behind it exists.
pub fn of(registry: &Registry, kept: impl Fn(&Table) -> Kept) -> Checkpoint {
    let tables = registry.tables.values().map(|table| {
        let kept = kept(table);
        SavedTable {
            incarnation: table.incarnation,
            folder: table.folder.clone(),
            contract: (*table.contract()).clone(),
            producers: table.in_log_order(|producers| {
                let producers = producers.iter();
                let saved = producers.map(|(name, entry)| SavedProducer {
                    seen: entry.seen,
                    ..entry.state.save(name)
                });
                saved.collect()
            }),
            days: kept.days,
            replays: kept.replays,
            forgetful: table.is_forgetful(),
            expected: kept.expected,
        }
    });
    Checkpoint {
        next_incarnation: registry.next_incarnation,
        lives: registry
            .lives
            .iter()
            .map(|(n, l)| (n.clone(), *l))
            .collect(),
        tables: tables.collect(),
        ..Checkpoint::empty()
    }
}
