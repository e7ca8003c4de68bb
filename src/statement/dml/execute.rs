//! Runs [`Dml`] under the table's locks: what is durable is flushed, the query finds and makes rows, the touched files are
//! written anew without what changed, and one Delta commit takes the old out and puts the new in. A crash before that commit
//! leaves files that no version has.
//!
//! Rows that are acked meanwhile are hot and stay so: they come after the statement. Only the rows in hand are in memory,
//! and a bit for each row of a touched file.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use tokio_util::sync::CancellationToken;

use super::faults::gone;
use super::marks::Marks;
use super::rows::Run;
use super::snapshot::pinned;
use super::unique::ChangedKeys;
use super::{Dml, Work};
use super::{many, query};
use crate::catalog::lifecycle::offset_i64;
use crate::catalog::table::Table;
use crate::catalog::write::TableWriter;
use crate::catalog::{Shared, visible::Part};
use crate::cold::{self, PinnedFiles, Reason, Removal, Staged};
use crate::fault::{Fault, Kind};
use crate::query::{Engine, QueryContext};
use crate::statement::Bound;
use crate::statement::target::target;

/// A statement is tried so often while other writers change the same files.
const TRIES: usize = 3;
/// What a fault says when they did.
const CHANGED: &str = "changed_meanwhile";

/// Runs the statement to its end, or gives it up before its commit if nobody waits any more. Returns how many rows it
/// changed, deleted and inserted, by all rows of parameters together, which are committed as one.
///
/// # Errors
/// NOT_FOUND; INVALID_ARGUMENT for what the SQL gets wrong, a row that breaks a rule, a row that two source rows would
/// change; ABORTED: another writer changes the same files, again and again; the query engine's limits. Nothing was
/// changed then.
pub async fn run(
    shared: &Arc<Shared>,
    engine: &Arc<Engine>,
    caller: &QueryContext,
    dml: Dml,
    bound: &Bound,
) -> Result<u64, Fault> {
    let executions = many::executions(&dml, bound)?;
    let cancelled = CancellationToken::new();
    let _guard = cancelled.clone().drop_guard();
    let (shared, engine, metering) = (shared.clone(), engine.clone(), engine.clone());
    let caller = caller.clone();
    // A task of its own: a client that goes away does not stop it between its commit and what follows.
    let work = async move {
        locked(&Statement {
            shared: &shared,
            engine: &engine,
            caller: &caller,
            dml: &dml,
            executions: &executions,
            cancelled: &cancelled,
        })
        .await
    };
    tokio::spawn(metering.metered(work))
        .await
        .map_err(|e| Fault::internal(format!("statement: {e}")))?
}

async fn locked(statement: &Statement<'_>) -> Result<u64, Fault> {
    let dml = statement.dml;
    let (table, part) = target(statement.shared, &dml.table)?;
    let mut writer = TableWriter::begin(statement.shared, &table, dml.work.verb()).await?;
    if statement.cancelled.is_cancelled() {
        return Err(gone());
    }
    let mut tries = 1;
    loop {
        match statement.once(&mut writer, (&table, part)).await {
            Err(fault) if fault.reason == CHANGED && tries < TRIES => tries += 1,
            outcome => return outcome,
        }
    }
}

/// One execution of a statement.
pub(super) struct Statement<'a> {
    pub shared: &'a Arc<Shared>,
    pub engine: &'a Engine,
    pub caller: &'a QueryContext,
    pub dml: &'a Dml,
    /// The parameters of each execution, in order.
    pub executions: &'a [Option<Vec<ScalarValue>>],
    /// Nobody waits for it any more.
    pub cancelled: &'a CancellationToken,
}

/// What a statement comes to, in no version yet.
pub(super) struct Found {
    pub staged: Staged,
    /// Paths of the files that go.
    pub removed: BTreeSet<String>,
    /// Rows changed, deleted and inserted. At 0 nothing is staged.
    pub touched: u64,
}

impl Statement<'_> {
    /// One try on the newest version.
    async fn once(
        &self,
        writer: &mut TableWriter<'_>,
        (table, part): (&Table, Part),
    ) -> Result<u64, Fault> {
        // What others have written to the table is part of what the statement sees.
        writer.refresh(part).await?;
        let view = writer.files(part).view();
        let found = self.find(writer, (table, part), view).await?;
        if found.touched == 0 {
            return Ok(0);
        }
        let (removal, staged) = (Removal::Files(found.removed), found.staged);
        let outcome = writer
            .rewrite(part, &removal, staged.clone(), &reason(self.dml), &[])
            .await;
        if matches!(
            outcome,
            Err(cold::Error::Changed { .. } | cold::Error::OtherColumns { .. })
        ) {
            writer.files(part).discard(&staged).await;
        }
        outcome?;
        Ok(found.touched)
    }

    /// Finds the rows of the table's files that the statement takes out, and stages what it puts in their place.
    ///
    /// # Errors
    /// As [`run`]. Nothing is staged then.
    pub(super) async fn find(
        &self,
        writer: &TableWriter<'_>,
        (table, part): (&Table, Part),
        view: Arc<PinnedFiles>,
    ) -> Result<Found, Fault> {
        let (shared, dml) = (self.shared, self.dml);
        let validator = (part == Part::Main).then(|| writer.validator().clone());
        let contract = validator.as_ref().map(|v| v.contract().clone());
        let files = writer.files(part);
        let name = match part {
            Part::Main => table.name(),
            Part::Quarantine => table.name().quarantine(),
        };
        let rows_name = name.variant("rows");
        let query = query::build(dml, contract.as_deref(), &rows_name)?;
        let references = match &contract {
            Some(contract) => shared.lookups.references(shared, contract).await?,
            None => Default::default(),
        };
        let now = shared.clock.now();
        let mut run = Run {
            engine: self.engine,
            caller: self.caller,
            validator: validator.as_deref(),
            files: Some(files),
            keys: contract
                .as_deref()
                .and_then(|c| ChangedKeys::new(c, &query)),
            snapshot: pinned(self.caller.sees(shared.snapshot()), &name, &view),
            name: &name,
            rows_name: &rows_name,
            view,
            references,
            bytes_max: shared.config.memory.query_bytes_max.as_usize(),
            now,
            offset: offset_i64(shared.log.durable()),
            marks: Marks::default(),
            earlier: Marks::default(),
            many: self.executions.len() > 1,
            touched: 0,
            held: Vec::new(),
            held_bytes: 0,
            staged: Staged::empty(),
        };
        // Nobody waits for it any more, or the server ends: nothing is committed yet.
        let made = tokio::select! {
            made = run.make(&query, self.executions, self.cancelled) => made,
            () = self.cancelled.cancelled() => Err(gone()),
            () = shared.draining.cancelled() => Err(Fault::new(
                Kind::Unavailable,
                "shutting_down",
                "the server is shutting down; nothing was changed, run the statement again after the restart",
            )),
        };
        let Run {
            staged,
            marks,
            touched,
            view,
            ..
        } = run;
        if made.is_err() || touched == 0 {
            files.discard(&staged).await;
            return made.map(|()| Found {
                staged: Staged::empty(),
                removed: BTreeSet::new(),
                touched: 0,
            });
        }
        let removed = marks
            .files
            .keys()
            .filter_map(|place| view.files().get(*place))
            .map(|f| f.path().to_owned())
            .collect();
        Ok(Found {
            staged,
            removed,
            touched,
        })
    }
}

pub(super) fn reason(dml: &Dml) -> Reason {
    let predicate = dml.condition.clone();
    match &dml.work {
        Work::Delete { .. } => Reason::Delete { predicate },
        Work::Update { .. } => Reason::Update { predicate },
        Work::Merge(_) => Reason::Merge {
            predicate: predicate.unwrap_or_default(),
        },
    }
}
