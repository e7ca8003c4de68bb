//! Quarantined rows that the contract in force now takes go to the table, each once.
//!
//! A replay goes in passes of some files, each of which is one move from one Delta table to another:
//!
//! 1. judged anew, the rows that pass are staged as files of the table, what is left of their files as files of the quarantine;
//! 2. a note beside the quarantine says what the move is, and its number;
//! 3. the table's commit, with the number as `txn`: from here on the move happens, whatever crashes;
//! 4. the quarantine's commit, with the same `txn`;
//! 5. a frame in the log: both versions become visible and the counts change, in one step;
//! 6. the note goes.
//!
//! A crash before 3 leaves files that nobody speaks of. A crash after it is finished by [`resume`] at the next start, before
//! anyone asks: the number says which of 4 and 5 are done. If the note is lost by then, the numbers of table and quarantine
//! differ, and the table takes the rows back. A pass holds the commit lock, so queries see a row on one side or
//! on the other.
//!
//! A row keeps its `_ingest_ts`, `_source` and `_seq`: it is where it would have been had the rule been what it is now, and
//! lateness is held against its arrival. It knows no SQL: which rows are meant is the caller's function.

mod judge;
mod moves;
mod pass;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use datafusion::common::ScalarValue;
use tokio_util::sync::CancellationToken;

use crate::catalog::Shared;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::clock::Micros;
use crate::cold::ColdFile;
use crate::fault::{Fault, Kind};
use crate::types::SameName;
use crate::validate::Override;

use judge::Judging;
use moves::commit;
use pass::Pass;

pub use moves::{accept_loss, problem, resume, resume_locked};

/// A pass takes whole files until they have so many rows: how long a commit of the table waits. What is held in memory is
/// bounded by bytes as well ([`pass()`]).
const PASS_ROWS: usize = 65_536;

/// Which rows of a quarantine are meant: true for each that is.
pub type Filter = dyn Fn(&RecordBatch) -> Result<BooleanArray, Fault> + Send + Sync;

/// What is asked for.
#[derive(Default)]
pub struct Request {
    /// Values that take the place of what was sent, in every row that is meant.
    pub overrides: Vec<Override>,
    /// None: all rows.
    pub filter: Option<Box<Filter>>,
    /// Counts, and changes nothing.
    pub dry_run: bool,
    /// Nobody waits for it any more. It ends before its next move then.
    pub cancelled: CancellationToken,
}

/// What became of the rows that are meant: `examined` is the sum of the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub examined: u64,
    /// They are in the table now.
    pub replayed: u64,
    /// The table has an identical row: they have left the quarantine.
    pub duplicates: u64,
    /// They break a rule still, or are no rows at all.
    pub rejected: u64,
}

impl Outcome {
    fn add(&mut self, other: Outcome) {
        self.examined += other.examined;
        self.replayed += other.replayed;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
    }
}

/// # Errors
/// A column of `overrides` that the table does not have; CANCELLED; the store's and the log's. Passes before the one that
/// failed are done, each whole; the same replay again goes on.
pub async fn replay(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    request: &Request,
) -> Result<Outcome, Fault> {
    let contract = table.contract();
    for (name, _) in &request.overrides {
        if !contract.columns.iter().any(|c| c.name.is_same_name(name)) {
            let known: Vec<&str> = contract.columns.iter().map(|c| &*c.name).collect();
            return Err(Fault::invalid(
                "column_not_found",
                format!(
                    "no such column to set, column={name}, table={}, columns={}",
                    contract.table,
                    known.join(", ")
                ),
            ));
        }
    }
    let mut sum = Outcome::default();
    let mut seen = BTreeSet::new();
    // Rows that come while it runs are not chased.
    let until = shared.clock.now();
    while let Some(pass) = pass(shared, table, request, &mut seen, until).await? {
        sum.add(pass);
    }
    Ok(sum)
}

/// None: no file is left to look at.
async fn pass(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    request: &Request,
    seen: &mut BTreeSet<String>,
    until: Micros,
) -> Result<Option<Outcome>, Fault> {
    let asked_by = table.contract();
    let mut references = shared.lookups.references(shared, &asked_by).await?;
    let mut writer = TableWriter::begin(shared, table, "REPLAY QUARANTINE").await?;
    // It may have waited long for the table.
    if request.cancelled.is_cancelled() {
        return Err(gone());
    }
    let validator = writer.validator().clone();
    if !Arc::ptr_eq(validator.contract(), &asked_by) {
        references = shared
            .lookups
            .references(shared, validator.contract())
            .await?;
    }
    resume_locked(shared, table, writer.cold()).await?;
    let view = writer.files(Part::Quarantine).view();
    let mut files: Vec<Arc<ColdFile>> = Vec::new();
    let mut rows = 0;
    for file in view.files() {
        // Column 0 is `_ingest_ts`.
        let later = matches!(file.lower_bound(0), Some(ScalarValue::TimestampMicrosecond(Some(t), _)) if *t > until);
        if later || seen.contains(file.path()) {
            continue;
        }
        rows += file.rows().unwrap_or(PASS_ROWS);
        files.push(file.clone());
        if rows >= PASS_ROWS {
            break;
        }
    }
    if files.is_empty() {
        return Ok(None);
    }
    let taken = view.with_files(files);
    let judging = Judging {
        validator: &validator,
        references: &references,
        bytes_max: shared.config.memory.query_bytes_max.as_usize(),
    };
    let mut pass = Pass::new(&writer, request);
    let known = writer.known().await?;
    // Nothing is committed yet: it may be dropped, and deletes what it has staged.
    let judged = tokio::select! {
        judged = pass.run(&judging, request, &taken, known) => judged,
        () = request.cancelled.cancelled() => Err(gone()),
        () = shared.draining.cancelled() => Err(Fault::new(
            Kind::Unavailable,
            "shutting_down",
            "the server is shutting down; moves before this one are done, run the replay again after the restart",
        )),
    };
    let moved = match judged {
        Ok(()) => commit(shared, table, writer.cold(), &mut pass).await,
        Err(fault) => Err(fault),
    };
    if request.dry_run || moved.is_err() {
        // They know of rows that are not in the table.
        writer.forget();
    }
    seen.extend(moved?);
    seen.extend(taken.files().iter().map(|f| f.path().to_owned()));
    Ok(Some(pass.outcome))
}

fn gone() -> Fault {
    Fault::new(
        Kind::Cancelled,
        "cancelled",
        "nobody waits for the replay; moves before this one are done, and the same replay again goes on",
    )
}
