//! A table that cannot be served: why, since when, and what is kept for it until it can be.
//!
//! A parked table stays in the catalogue with its name, contract, producers and counts. Nobody reads or writes it; its frames
//! stay in the log, or beside it (`parking`), and nothing that was acked is lost. `upkeep/repair` brings it back, DROP TABLE
//! lets it go.

use std::collections::{BTreeMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;

use super::expected::COMMITS_MISSING;
use super::parking::Parked as ParkedRows;
use crate::clock::Micros;
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::types::{Lsn, TableName};
use crate::wal::Frame;

/// What the server was doing with the table when it turned out that it cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Its Delta log was read.
    Open,
    /// The commit by which this server becomes its owner.
    Claim,
    /// The file of its rows beside the log was read.
    Parked,
    /// Its rows were read from the log.
    Replay,
    /// A replay of its quarantine, which a crash had cut, was finished.
    Requeue,
    /// Rows were written to Delta.
    Commit,
    /// The process ended twice in a row while it worked on the table.
    Crash,
}

impl Stage {
    pub fn word(self) -> &'static str {
        match self {
            Stage::Open => "open",
            Stage::Claim => "claim",
            Stage::Parked => "parked_rows",
            Stage::Replay => "replay",
            Stage::Requeue => "requeue",
            Stage::Commit => "commit",
            Stage::Crash => "crash",
        }
    }
}

/// Why a table is parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedState {
    pub stage: Stage,
    /// The fault's own stable word.
    pub reason: String,
    pub problem: String,
    pub since: Micros,
}

impl ParkedState {
    pub fn new(stage: Stage, fault: &Fault, since: Micros) -> Self {
        ParkedState {
            stage,
            reason: fault.reason.to_string(),
            problem: fault.message.chars().take(800).collect(),
            since,
        }
    }

    /// What an operator can do about it.
    pub fn way_out(&self, table: &TableName) -> String {
        let first = match (self.stage, self.reason.as_str()) {
            (Stage::Crash, _) => {
                "give the server more memory, or look at the rows that came last; then".to_owned()
            }
            (_, "table_missing") => {
                "bring the table's folders back from a backup, or check storage.tables; then".to_owned()
            }
            (_, "schema_mismatch") => {
                "another writer changed the table's columns: restore the version before with that writer; then".to_owned()
            }
            (_, COMMITS_MISSING) => format!(
                "restore the missing entries from a backup, or accept the loss with REPAIR TABLE {table} ACCEPT LOSS; then"
            ),
            (_, "owned_elsewhere") => "stop the other server; then".to_owned(),
            (_, "store_unavailable") => {
                "it comes back by itself when the store answers; or".to_owned()
            }
            (Stage::Parked, _) => format!(
                "restore the file that the problem names from a backup, or accept the loss with REPAIR TABLE {table} ACCEPT LOSS (until then the log keeps all later rows of the table, also when it is full); then"
            ),
            (Stage::Open | Stage::Claim, _) => {
                "restore the damaged files of the table from a backup; then".to_owned()
            }
            (Stage::Requeue, _) => format!(
                "restore or remove _deltaplane/replay.json beside {}; then",
                table.quarantine()
            ),
            (Stage::Replay | Stage::Commit, _) => "mend what the problem names; then".to_owned(),
        };
        format!("{first} run REPAIR TABLE {table}, or give the table up with DROP TABLE {table}")
    }

    /// What producers and queries are told.
    pub fn fault(&self, table: &TableName) -> Fault {
        Fault::new(
            Kind::Unavailable,
            "table_parked",
            format!(
                "the table is parked and its rows are kept, table={table}, stage={}, reason={}: {}; {}",
                self.stage.word(),
                self.reason,
                self.problem,
                self.way_out(table)
            ),
        )
    }

    /// May the server try again by itself? Not where a try can end the process, or takes the table from another server.
    pub fn is_retried(&self) -> bool {
        self.stage != Stage::Crash && self.reason != "owned_elsewhere"
    }
}

/// A frame of a parked table that waits for its rows to be made.
#[derive(Clone, Debug)]
pub struct HeldFrame {
    pub frame: Frame,
    /// Its producer's number and its day's counts are known already.
    pub counted: bool,
}

/// What a table that was parked at the start keeps until it is repaired.
#[derive(Clone, Debug, Default)]
pub struct Backlog {
    /// In the log's order.
    pub frames: Vec<HeldFrame>,
    /// Contracts by version, as the log tells them.
    pub contracts: BTreeMap<u32, Arc<Contract>>,
    /// Rows that stand beside the log.
    pub rows: Option<ParkedRows>,
    /// Rows stand beside the log in a file that could not be read. Frames that are in it too are among `frames`.
    pub unread: bool,
}

impl Backlog {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.rows.is_none() && !self.unread
    }

    /// The first frame that only the log keeps, where those up to `parked` stand beside it.
    pub fn first_pinned(&self, parked: Lsn) -> Option<Lsn> {
        let offsets = self.frames.iter().map(|f| f.frame.offset);
        offsets.filter(|offset| *offset > parked).min()
    }

    /// The file beside the log was read after all: frames that it has are not held twice.
    pub fn take_parked(&mut self, mut rows: ParkedRows) {
        let counted: HashSet<Lsn> = self
            .frames
            .iter()
            .filter(|held| held.counted)
            .map(|held| held.frame.offset)
            .collect();
        for held in &mut rows.frames {
            held.counted |= counted.contains(&held.frame.offset);
        }
        self.frames.retain(|held| held.frame.offset > rows.cut);
        self.rows = Some(rows);
        self.unread = false;
    }

    pub fn last(&self) -> Option<Lsn> {
        self.frames.last().map(|f| f.frame.offset)
    }

    pub fn bytes(&self) -> usize {
        self.frames.iter().map(|f| f.frame.payload.len()).sum()
    }
}

/// Runs what libraries do with a table's files. A panic in it is an error of this table alone.
///
/// # Errors
/// INTERNAL `panicked`, beside the work's own.
pub async fn guarded<T, E: Into<Fault>>(
    what: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done.map_err(Into::into),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            let text: String = text.chars().take(300).collect();
            Err(Fault::new(
                Kind::Internal,
                "panicked",
                format!("{what} panicked: {text}"),
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_of_the_table_that_it_was_about() {
        let work = async {
            match "x".parse::<u32>() {
                Ok(version) => Ok::<_, Fault>(version),
                Err(_) => panic!("a table without a version"),
            }
        };
        let fault = guarded("opening t", work).await.unwrap_err();
        assert_eq!(fault.reason, "panicked");
        assert!(
            fault.message.contains("a table without a version"),
            "{fault}"
        );
        assert_eq!(guarded("x", async { Ok::<_, Fault>(7) }).await.unwrap(), 7);
    }

    #[test]
    fn every_reason_names_a_way_out() {
        let table = TableName::new("a", "b").unwrap();
        for stage in [
            Stage::Open,
            Stage::Claim,
            Stage::Parked,
            Stage::Replay,
            Stage::Requeue,
            Stage::Commit,
            Stage::Crash,
        ] {
            for reason in [
                "table_missing",
                "schema_mismatch",
                "owned_elsewhere",
                COMMITS_MISSING,
                "other",
            ] {
                let fault = Fault::new(Kind::Corrupt, "x", "the file is cut short");
                let mut state = ParkedState::new(stage, &fault, 0);
                state.reason = reason.to_owned();
                let told = state.fault(&table).to_string();
                for word in [
                    "REPAIR TABLE a.b",
                    "DROP TABLE a.b",
                    stage.word(),
                    "cut short",
                ] {
                    assert!(told.contains(word), "{told}");
                }
            }
        }
    }
}
