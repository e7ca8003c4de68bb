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
//! anyone asks: the number says which of 4 and 5 are done. A pass holds the commit lock, so queries see a row on one side or
//! on the other.
//!
//! A row keeps its `_ingest_ts`, `_source` and `_seq`: it is where it would have been had the rule been what it is now, and
//! lateness is held against its arrival. It knows no SQL: which rows are meant is the caller's function.

mod judge;
mod moves;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use datafusion::common::ScalarValue;

use crate::catalog::Shared;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::clock::Micros;
use crate::cold::ColdFile;
use crate::fault::Fault;
use crate::validate::Override;

use judge::{Judging, judge};
use moves::commit;

pub use moves::{resume, resume_locked};

/// A pass takes whole files until they have so many rows: what is held in memory, and how long a commit of the table waits.
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

/// # Errors
/// A column of `overrides` that the table does not have; the store's and the log's. Passes before the one that failed are
/// done, each whole; the same replay again goes on.
pub async fn replay(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    request: &Request,
) -> Result<Outcome, Fault> {
    let contract = table.contract();
    for (name, _) in &request.overrides {
        if !contract
            .columns
            .iter()
            .any(|c| c.name.eq_ignore_ascii_case(name))
        {
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
        sum.examined += pass.examined;
        sum.replayed += pass.replayed;
        sum.duplicates += pass.duplicates;
        sum.rejected += pass.rejected;
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
    let mut batches = Vec::with_capacity(taken.files().len());
    for file in taken.each() {
        batches.push(file.read().await?);
    }
    let judging = Judging {
        validator: &validator,
        references: &references,
        bytes_max: shared.config.memory.query_bytes_max.as_usize(),
    };
    let judged = judge(&judging, request, &batches, writer.known().await?);
    let moved = match judged {
        Ok(judged) => {
            let cold = writer.cold();
            commit(
                shared,
                table,
                request,
                cold,
                taken.files(),
                &batches,
                judged,
            )
            .await
        }
        Err(fault) => Err(fault),
    };
    if request.dry_run || moved.is_err() {
        // They know of rows that are not in the table.
        writer.forget();
    }
    let (outcome, left) = moved?;
    seen.extend(taken.files().iter().map(|f| f.path().to_owned()));
    seen.extend(left);
    Ok(Some(outcome))
}
