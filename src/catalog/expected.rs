//! What a table's Delta logs hold at least, as the server's own log knows it. Without this, a Delta log that has lost its newest
//! entries looks like one that never had them, and the table would start with fewer rows than were acked.
//!
//! Two facts are kept for the table and for its quarantine:
//!
//! - **Offset.** The last frame with rows before a segment stands in the segment's checkpoint. A segment is trimmed only when
//!   all its rows are in Delta or in the table's parked file. So when a segment is the oldest one, every row up to that offset
//!   is in one of the two. Nothing has to be written at the trim, and a crash at any point leaves an oldest segment whose
//!   checkpoint is right. A parked file records what was committed when it was written; beside the file, the Delta logs have to
//!   hold that much.
//! - **Version.** Statements, compaction, refreshes and ALTER commit versions whose content is in no frame. A `CommitDone` frame
//!   records the number of such a version right after its commit, and checkpoints repeat it.
//!
//! Versions of the flush are not counted: while their frames are in the log, the frames make them again. A version that another
//! writer adds only raises the number.

use super::Shared;
use super::control::{append_synced, note};
use super::lifecycle::quarantine_folder;
use super::parking::Parked;
use super::table::{Cold, Table};
use super::visible::Part;
use crate::fault::{Fault, Kind};
use crate::records::{Done, Expected, Least, Record};
use crate::types::Lsn;

/// The reason of a table whose Delta log holds less than it has to.
pub const COMMITS_MISSING: &str = "commits_missing";

/// What the two Delta logs were found to hold, the table's first.
#[derive(Clone, Copy, Debug)]
pub struct Holdings {
    pub versions: [i64; 2],
    /// The log's positions up to which rows are in them.
    pub committed: [Lsn; 2],
}

impl Expected {
    /// No more than what was found.
    pub fn lowered_to(self, held: Holdings) -> Self {
        let least = |least: Least, at: usize| Least {
            offset: held
                .committed
                .get(at)
                .map_or(least.offset, |o| least.offset.min(*o)),
            version: held
                .versions
                .get(at)
                .map_or(least.version, |v| least.version.min(*v)),
        };
        Expected {
            main: least(self.main, 0),
            quarantine: least(self.quarantine, 1),
        }
    }

    /// What a record of a commit says of it. The flush's say nothing.
    pub fn after(mut self, done: &Done) -> Self {
        match done {
            Done::Unlogged(versions) => {
                self.raise_versions(*versions);
                self
            }
            Done::Accepted(accepted) => *accepted,
            Done::Commit { .. } | Done::Other(_) => self,
        }
    }

    /// What the Delta logs hold beside a file of parked rows. The file has every row from what was committed when it was written
    /// up to its cut, and nothing older; frames up to the cut add no rows, whether they are in the log or not.
    pub fn without(mut self, parked: &Parked) -> Self {
        let [main, quarantine] = parked.committed;
        for (least, committed) in [(&mut self.main, main), (&mut self.quarantine, quarantine)] {
            if least.offset <= parked.cut {
                least.offset = committed;
            }
        }
        self
    }

    pub fn offsets(&self) -> [Lsn; 2] {
        [self.main.offset, self.quarantine.offset]
    }

    /// Was a loss accepted in between?
    pub fn is_below(self, before: Self) -> bool {
        let below =
            |now: Least, before: Least| now.offset < before.offset || now.version < before.version;
        below(self.main, before.main) || below(self.quarantine, before.quarantine)
    }

    /// A commit of hot rows up to `offset` has happened.
    pub fn raise_offset(&mut self, part: Part, offset: Lsn) {
        let side = match part {
            Part::Main => &mut self.main,
            Part::Quarantine => &mut self.quarantine,
        };
        side.offset = side.offset.max(offset);
    }

    /// The Delta logs were found to hold rows up to there.
    pub fn raise_offsets(&mut self, [main, quarantine]: [Lsn; 2]) {
        self.raise_offset(Part::Main, main);
        self.raise_offset(Part::Quarantine, quarantine);
    }

    /// True: this was not known.
    pub fn raise_versions(&mut self, [main, quarantine]: [i64; 2]) -> bool {
        let before = *self;
        self.main.version = self.main.version.max(main);
        self.quarantine.version = self.quarantine.version.max(quarantine);
        *self != before
    }

    /// Compares with what was read from the store.
    ///
    /// # Errors
    /// DATA_LOSS `commits_missing` names the first entry that is missing.
    pub fn check(&self, folder: &str, held: Holdings) -> Result<(), Fault> {
        let folders = [folder.to_owned(), quarantine_folder(folder)];
        let sides = [self.main, self.quarantine].into_iter().zip(folders);
        let holdings = held.versions.into_iter().zip(held.committed);
        for ((least, folder), (version, committed)) in sides.zip(holdings) {
            let next = version.saturating_add(1);
            let missing = if version < least.version {
                format!(
                    "its newest version is {version}, and version {} was committed",
                    least.version
                )
            } else if committed < least.offset {
                format!(
                    "it holds rows up to offset {committed} of the server's log, and rows up to {} were committed",
                    least.offset
                )
            } else {
                continue;
            };
            return Err(Fault::new(
                Kind::Corrupt,
                COMMITS_MISSING,
                format!(
                    "the newest entries of a Delta log are missing: {missing}; the first missing file is {folder}/_delta_log/{next:020}.json"
                ),
            ));
        }
        Ok(())
    }
}

/// Records versions that no frame can make again, so that a start notices when they are missing. Nothing waits for the record: a
/// crash before it is on disk leaves the commit without its guard, and with all its rows.
pub fn note_unlogged(shared: &Shared, table: &Table, cold: &Cold) {
    let unlogged = [cold.main.unlogged(), cold.quarantine.unlogged()];
    if !table.expected.lock().raise_versions(unlogged) {
        return;
    }
    note(shared, table, Record::Done(Done::Unlogged(unlogged)));
}

/// From now on the table's Delta logs need to hold only what they were found to hold: an operator has said so. On `Ok` that is in
/// the log.
///
/// # Errors
/// The log's.
pub async fn accept_loss(
    shared: &Shared,
    table: &Table,
    held: Holdings,
    why: &Fault,
) -> Result<(), Fault> {
    let accepted = table.expected.lock().lowered_to(held);
    append_synced(shared, table, Record::Done(Done::Accepted(accepted))).await?;
    shared
        .visible
        .restore_expected(table, accepted, held.committed);
    tracing::warn!(table = %table.name(), "a loss was accepted: {why}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beside_a_parked_file_the_delta_logs_hold_what_was_committed_when_it_was_written() {
        let least = |offset| Least {
            offset: Lsn::new(offset),
            ..Least::default()
        };
        let parked = Parked {
            cut: Lsn::new(20),
            committed: [Lsn::new(5), Lsn::new(15)],
            ..Parked::default()
        };
        for (main, quarantine, expected) in [
            // The rows behind 5 are in the file. The quarantine was committed further than trimmed segments say.
            (10, 10, [5, 15]),
            // A commit after the file was written.
            (21, 30, [21, 30]),
        ] {
            let before = Expected {
                main: least(main),
                quarantine: least(quarantine),
            };
            assert_eq!(before.without(&parked).offsets(), expected.map(Lsn::new));
        }
    }
}
