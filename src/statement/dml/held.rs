//! UPDATE, DELETE and MERGE in a transaction: the new files are written and the old ones stay, until the transaction's commit
//! exchanges both in one version. Until then the transaction alone sees the table as its statements leave it. A rollback, or a
//! transaction that ends by itself, deletes the new files; after a crash vacuum does.
//!
//! No lock is held between two statements. What others write to the table meanwhile stays, and is seen. If they have taken out
//! a file that the transaction takes out as well, the transaction cannot be committed any more.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio_util::sync::CancellationToken;

use super::Dml;
use super::execute::{Statement, reason};
use super::faults::gone;
use super::many;
use crate::catalog::Shared;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::{self, Reason, Removal, Staged, Stager};
use crate::fault::{Fault, Kind};
use crate::ingest::staged::{StagedRows, changed_in_transaction};
use crate::query::{Engine, OwnFiles, QueryContext, same_columns};
use crate::statement::Bound;
use crate::statement::target::target;
use crate::validate::Validator;

/// What a transaction has done to the files of a table, in no version yet.
pub struct Held {
    table: Arc<Table>,
    /// The rules by which its rows were judged.
    validator: Arc<Validator>,
    /// What its own queries see.
    pub files: Arc<OwnFiles>,
    staged: Vec<Arc<StagedFiles>>,
    /// Files that one of its statements has staged and a later one has taken out.
    replaced: BTreeSet<String>,
    reason: Reason,
}

/// Files that are deleted with this, unless a version has them.
struct StagedFiles {
    staged: Staged,
    stager: Stager,
    committed: AtomicBool,
}

impl StagedFiles {
    fn new(staged: Staged, stager: &Stager) -> Arc<Self> {
        Arc::new(StagedFiles {
            staged,
            stager: stager.clone(),
            committed: AtomicBool::new(false),
        })
    }
}

impl Drop for StagedFiles {
    fn drop(&mut self) {
        if !self.committed.load(Ordering::Relaxed)
            && self.staged.files() > 0
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let (stager, staged) = (self.stager.clone(), self.staged.clone());
            runtime.spawn(async move { stager.discard(staged).await });
        }
    }
}

fn conflict(reason: &'static str, message: String) -> Fault {
    Fault::new(Kind::Conflict, reason, message)
}

/// Runs a statement over what the transaction sees: `rows` that it holds of the table, and what earlier statements have `held`.
/// Returns how many rows were touched, and what it holds from now on in the place of both.
///
/// # Errors
/// As [`super::run`]. FAILED_PRECONDITION for a table whose rules ask earlier rows, and for a quarantine. ABORTED: others have
/// changed the same files, or the contract. The transaction is as it was then.
pub async fn hold(
    shared: &Arc<Shared>,
    engine: &Arc<Engine>,
    caller: &QueryContext,
    dml: Dml,
    bound: &Bound,
    rows: Option<StagedRows>,
    held: Option<Arc<Held>>,
) -> Result<(u64, Held), Fault> {
    let executions = many::executions(&dml, bound)?;
    let cancelled = CancellationToken::new();
    let _guard = cancelled.clone().drop_guard();
    let (shared, engine, metering) = (shared.clone(), engine.clone(), engine.clone());
    let caller = caller.clone();
    let work = async move {
        let statement = Statement {
            shared: &shared,
            engine: &engine,
            caller: &caller,
            dml: &dml,
            executions: &executions,
            cancelled: &cancelled,
        };
        held_by(&statement, rows, held).await
    };
    tokio::spawn(metering.metered(work))
        .await
        .map_err(|e| Fault::internal(format!("statement: {e}")))?
}

async fn held_by(
    statement: &Statement<'_>,
    rows: Option<StagedRows>,
    held: Option<Arc<Held>>,
) -> Result<(u64, Held), Fault> {
    let (shared, dml) = (statement.shared, statement.dml);
    let (table, part) = target(shared, &dml.table)?;
    if part != Part::Main || table.validator().needs_history() {
        return Err(Fault::new(
            Kind::Precondition,
            "transaction",
            format!(
                "{} of {} cannot be held until the end of a transaction: that is done for tables without unique and monotonic rules; set autocommit",
                dml.verb(),
                dml.table
            ),
        ));
    }
    let mut writer = TableWriter::begin(shared, &table, dml.verb()).await?;
    if statement.cancelled.is_cancelled() {
        return Err(gone());
    }
    // What others have written to the table is part of what the statement sees.
    writer.refresh(part).await?;
    let validator = writer.validator().clone();
    let files = writer.files(part);
    let stager = files.stager();
    let schema = files.view().schema();
    let mut own = OwnFiles::none(schema.clone());
    let (mut staged, mut replaced, mut first) = (Vec::new(), BTreeSet::new(), None);
    if let Some(held) = &held {
        held.still_fits(&table, &validator)?;
        own = (*held.files).clone();
        staged.clone_from(&held.staged);
        replaced.clone_from(&held.replaced);
        first = Some(held.reason.clone());
    }
    if let Some(rows) = rows {
        let rows = fitting(&rows, &validator, &schema)?;
        let written = StagedFiles::new(files.stage(rows).await?, &stager);
        own.come.extend(files.listed(&written.staged)?);
        staged.push(written);
    }
    let view = files.view().changed(&own.gone, &own.come);
    let view = view.map_err(|error| told(error, &table))?;
    let found = statement
        .find(&writer, (&table, part), Arc::new(view))
        .await?;
    let written = StagedFiles::new(found.staged, &stager);
    for path in found.removed {
        let before = own.come.len();
        own.come.retain(|file| file.path() != path);
        if own.come.len() < before {
            replaced.insert(path);
        } else {
            own.gone.insert(path);
        }
    }
    own.come.extend(files.listed(&written.staged)?);
    staged.push(written);
    let held = Held {
        table: table.clone(),
        validator,
        files: Arc::new(own),
        staged,
        replaced,
        reason: first.unwrap_or_else(|| reason(dml)),
    };
    Ok((found.touched, held))
}

/// Rows that were judged before, for the table as it is now.
fn fitting(
    rows: &StagedRows,
    in_force: &Arc<Validator>,
    schema: &SchemaRef,
) -> Result<Vec<RecordBatch>, Fault> {
    rows.refuse_unless(in_force)?;
    let mut own = rows.rows().iter();
    match own.all(|r| same_columns(&r.schema(), schema)) {
        true => Ok(rows.rows().to_vec()),
        // Another writer has changed the columns.
        false => Err(changed_in_transaction(in_force.contract())),
    }
}

/// What a transaction is told whose files others have taken out.
fn told(error: cold::Error, table: &Table) -> Fault {
    match error {
        cold::Error::Changed { path } => conflict(
            "transaction_conflict",
            format!(
                "rows of the transaction were changed or rewritten by others meanwhile, table={}, file={path}; nothing was written, run the transaction again",
                table.name()
            ),
        ),
        other => other.into(),
    }
}

impl Held {
    fn still_fits(&self, table: &Arc<Table>, validator: &Arc<Validator>) -> Result<(), Fault> {
        if Arc::ptr_eq(table, &self.table) && Arc::ptr_eq(validator, &self.validator) {
            return Ok(());
        }
        Err(changed_in_transaction(self.validator.contract()))
    }

    /// What judged its rows.
    pub fn by(&self) -> &Arc<Validator> {
        &self.validator
    }

    /// Makes it a version, with the rows that were held since.
    ///
    /// # Errors
    /// ABORTED: others have changed the same files, or the contract. The log's; the store's. Nothing is in the table then.
    pub async fn commit(
        &self,
        shared: &Arc<Shared>,
        rows: Option<StagedRows>,
    ) -> Result<(), Fault> {
        self.table.served()?;
        let mut writer = TableWriter::begin(shared, &self.table, "a transaction").await?;
        writer.refresh(Part::Main).await?;
        self.still_fits(&self.table, writer.validator())?;
        let files = writer.files(Part::Main);
        let mut all = Staged::empty();
        for written in &self.staged {
            all.append(written.staged.without(&self.replaced));
        }
        let rows = match rows {
            Some(rows) => fitting(&rows, &self.validator, &files.view().schema())?,
            None => Vec::new(),
        };
        let last = StagedFiles::new(files.stage(rows).await?, &files.stager());
        all.append(last.staged.clone());
        if all.files() == 0 && self.files.gone.is_empty() {
            return Ok(());
        }
        let removal = Removal::Files(self.files.gone.clone());
        let outcome = writer
            .rewrite(Part::Main, &removal, all, &self.reason, &[])
            .await;
        if let Err(error) = outcome {
            if !matches!(error, cold::Error::Changed { .. }) {
                // It may have become a version all the same: vacuum knows.
                self.keep(&last);
            }
            return Err(told(error, &self.table));
        }
        // Those that it has replaced are left to vacuum: a query of the transaction may still read them.
        self.keep(&last);
        Ok(())
    }

    fn keep(&self, last: &StagedFiles) {
        for written in self.staged.iter().map(|w| &**w).chain([last]) {
            written.committed.store(true, Ordering::Relaxed);
        }
    }
}
