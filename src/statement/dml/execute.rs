//! Runs [`Dml`] under the table's locks: what is durable is flushed, the query finds and makes rows, the touched files are
//! written anew without what changed, and one Delta commit takes the old out and puts the new in. A crash before that commit
//! leaves files that no version has.
//!
//! Rows that are acked meanwhile are hot and stay so: they come after the statement. Only the rows in hand are in memory,
//! and a bit for each row of a touched file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Int32Type, Int64Type, Schema};
use datafusion::common::ScalarValue;
use tokio_util::sync::CancellationToken;

use super::many;
use super::marks::{Bits, Marks};
use super::query::{self, Made, Query};
use super::unique::ChangedKeys;
use super::{Dml, Work};
use crate::catalog::lifecycle::offset_i64;
use crate::catalog::table::Table;
use crate::catalog::view::{Snapshot, TableView};
use crate::catalog::write::TableWriter;
use crate::catalog::{Shared, visible::Part};
use crate::clock::Micros;
use crate::cold::{self, ColdFile, ColdTable, PinnedFiles, Reason, Removal, Staged};
use crate::fault::{Fault, Kind};
use crate::ingest::insert::assign;
use crate::query::{Caller, Engine, SYSTEM};
use crate::statement::Bound;
use crate::types::{QUARANTINE_SUFFIX, TableName};
use crate::validate::{self, Origin, References, Scope, Source, Validator};

/// Rows are staged in slices of about so many bytes in memory.
const SLICE_BYTES: usize = 64 << 20;
/// Files that one query reads again.
const FILES_A_QUERY: usize = 64;
/// A statement is tried so often while other writers change the same files.
const TRIES: usize = 3;
/// What a fault says when they did.
const CHANGED: &str = "changed_meanwhile";
/// The `_source` of inserted rows.
const SOURCE: &str = "merge";

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
    dml: Dml,
    bound: &Bound,
) -> Result<u64, Fault> {
    let executions = many::executions(&dml, bound)?;
    let cancelled = CancellationToken::new();
    let _guard = cancelled.clone().drop_guard();
    let (shared, engine, metering) = (shared.clone(), engine.clone(), engine.clone());
    // A task of its own: a client that goes away does not stop it between its commit and what follows.
    let work = async move {
        locked(&Statement {
            shared: &shared,
            engine: &engine,
            dml: &dml,
            executions: &executions,
            cancelled: &cancelled,
        })
        .await
    };
    let work = Caller::current().run(work);
    tokio::spawn(metering.metered(work))
        .await
        .map_err(|e| Fault::internal(format!("statement: {e}")))?
}

/// The table that is meant, or the one whose quarantine is.
pub(crate) fn target(shared: &Shared, name: &TableName) -> Result<(Arc<Table>, Part), Fault> {
    if name.schema().eq_ignore_ascii_case(SYSTEM)
        || name.schema().eq_ignore_ascii_case("information_schema")
    {
        return Err(Fault::invalid(
            "read_only",
            format!("{name} is kept by the server and cannot be written"),
        ));
    }
    let lower = name.table().to_ascii_lowercase();
    match lower.strip_suffix(QUARANTINE_SUFFIX) {
        Some(base) => {
            let base = TableName::new(name.schema(), base)
                .map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
            Ok((shared.table(&base)?, Part::Quarantine))
        }
        None => Ok((shared.writable(name)?, Part::Main)),
    }
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
        if matches!(outcome, Err(cold::Error::Changed { .. })) {
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
            validator: validator.as_deref(),
            files,
            keys: contract
                .as_deref()
                .and_then(|c| ChangedKeys::new(c, &query)),
            snapshot: pinned(shared.snapshot(), &name, &view),
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

pub(super) fn gone() -> Fault {
    Fault::new(
        Kind::Cancelled,
        "cancelled",
        "nobody waits for the statement",
    )
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

/// The snapshot in which the table has its committed rows alone, and once more under another name with their places.
pub(super) fn pinned(snapshot: Snapshot, name: &TableName, view: &Arc<PinnedFiles>) -> Snapshot {
    let mut tables = (*snapshot.tables).clone();
    if let Some(own) = tables.get_mut(&name.folded()) {
        own.cold = view.clone();
        own.hot = Arc::default();
    }
    with_rows(&mut tables, name, view);
    Snapshot {
        read_point: snapshot.read_point,
        tables: Arc::new(tables),
        defined: snapshot.defined,
    }
}

fn with_rows(tables: &mut BTreeMap<TableName, TableView>, name: &TableName, view: &PinnedFiles) {
    let located = view.located();
    let name = name.variant("rows");
    tables.insert(
        name.folded(),
        TableView {
            name,
            contract: None,
            schema: located.schema(),
            cold: Arc::new(located),
            hot: Arc::default(),
            comment: None,
            progress: None,
        },
    );
}

struct Run<'a> {
    engine: &'a Engine,
    /// None: the table is a quarantine.
    validator: Option<&'a Validator>,
    files: &'a ColdTable,
    view: Arc<PinnedFiles>,
    snapshot: Snapshot,
    name: &'a TableName,
    rows_name: &'a TableName,
    references: References,
    bytes_max: usize,
    now: Micros,
    offset: i64,
    keys: Option<ChangedKeys>,
    marks: Marks,
    /// Of the executions before the present one.
    earlier: Marks,
    /// There are several executions, which find each other's rows in `held`.
    many: bool,
    /// Rows changed, deleted and inserted.
    touched: u64,
    held: Vec<RecordBatch>,
    held_bytes: usize,
    staged: Staged,
}

pub(super) fn internal(error: impl std::fmt::Display) -> Fault {
    Fault::internal(format!("rows of a statement: {error}"))
}

/// Where each row of a result stands: file and row.
pub(super) fn places(
    batch: &RecordBatch,
    at: usize,
) -> Result<impl Iterator<Item = Option<(usize, usize)>>, Fault> {
    let wrong = || Fault::internal("a result without places");
    let file = batch.columns().get(at).ok_or_else(wrong)?.clone();
    let row = batch.columns().get(at + 1).ok_or_else(wrong)?.clone();
    let file = file
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(wrong)?
        .clone();
    let row = row
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(wrong)?
        .clone();
    Ok((0..batch.num_rows()).map(move |i| {
        if file.is_null(i) || row.is_null(i) {
            return None;
        }
        Some((
            usize::try_from(file.value(i)).ok()?,
            usize::try_from(row.value(i)).ok()?,
        ))
    }))
}

impl Run<'_> {
    async fn make(
        &mut self,
        query: &Query,
        executions: &[Option<Vec<ScalarValue>>],
        cancelled: &CancellationToken,
    ) -> Result<(), Fault> {
        if query.all
            && let Some(rows) = self.view.rows()
        {
            // Every file goes as it is; none is read.
            let files = 0..self.view.files().len();
            self.marks
                .files
                .extend(files.map(|file| (file, Bits::default())));
            self.touched = rows as u64;
            return Ok(());
        }
        for parameters in executions {
            self.execute(query, parameters.clone(), cancelled).await?;
        }
        self.marks = std::mem::take(&mut self.earlier);
        if self.many {
            self.settle().await?;
        }
        if let Some(keys) = &self.keys
            && let Some(contract) = self.validator.map(Validator::contract)
        {
            keys.check(
                self.engine,
                self.snapshot.clone(),
                contract,
                self.rows_name,
                &self.marks,
            )
            .await?;
        }
        let partly: Vec<usize> = self
            .marks
            .files
            .iter()
            .filter(|(place, bits)| {
                let file = self.view.files().get(**place);
                file.and_then(|f| f.rows()) != Some(bits.count())
            })
            .map(|(place, _)| *place)
            .collect();
        if !partly.is_empty() {
            self.files.all_columns_known()?;
        }
        for places in partly.chunks(FILES_A_QUERY) {
            self.keep(places, cancelled).await?;
        }
        if cancelled.is_cancelled() {
            return Err(gone());
        }
        self.stage().await
    }

    /// One execution, on what those before it have left.
    async fn execute(
        &mut self,
        query: &Query,
        parameters: Option<Vec<ScalarValue>>,
        cancelled: &CancellationToken,
    ) -> Result<(), Fault> {
        let files = self.view.files().len();
        let snapshot = match self.many {
            true => many::with_held(&self.snapshot, self.rows_name, files, &self.held)?,
            false => self.snapshot.clone(),
        };
        let mut stream = self
            .engine
            .query_over(snapshot, &query.sql, parameters)
            .await?;
        while let Some(batch) = stream.batches.recv().await {
            if cancelled.is_cancelled() {
                return Err(gone());
            }
            let batch = many::untouched(&batch?, &self.earlier)?;
            self.take(&batch, query).await?;
        }
        self.earlier.add(std::mem::take(&mut self.marks));
        Ok(())
    }

    /// Keeps of the rows that several executions have made those that the last of them has left.
    async fn settle(&mut self) -> Result<(), Fault> {
        self.many = false;
        self.held_bytes = 0;
        let files = self.view.files().len();
        for (rows, file) in std::mem::take(&mut self.held).iter().zip(files..) {
            let rows = many::left(rows, file, &self.marks)?;
            if let (Some(keys), Some(validator)) = (&mut self.keys, self.validator) {
                keys.add(validator.contract(), &rows)?;
            }
            self.hold(rows).await?;
        }
        self.marks.files.retain(|file, _| *file < files);
        Ok(())
    }

    /// Marks the rows of a result, and holds what its clauses make of them.
    async fn take(&mut self, batch: &RecordBatch, query: &Query) -> Result<(), Fault> {
        let clause = batch
            .columns()
            .get(2)
            .and_then(|c| c.as_primitive_opt::<Int64Type>())
            .ok_or_else(|| Fault::internal("a result without clauses"))?;
        let made = |n: i64| {
            let index = usize::try_from(n - 1).ok();
            index.and_then(|n| query.clauses.get(n))
        };
        for (place, row) in places(batch, 0)?.zip(0..) {
            let inserted = matches!(made(clause.value(row)), Some(Made::Inserted { .. }));
            let Some((file, at)) = place.filter(|_| !inserted) else {
                self.touched += 1;
                continue;
            };
            if self.marks.set(file, at) {
                self.touched += 1;
            } else if !query.repeats {
                return Err(Fault::invalid(
                    "merge_ambiguous",
                    format!(
                        "several rows of the source match one row of {} and would change it; make the source unique by the columns of ON, nothing was written",
                        self.name
                    ),
                ));
            }
        }
        for (made, number) in query.clauses.iter().zip(1i64..) {
            let columns = match made {
                Made::Nothing => continue,
                Made::Changed { columns, .. } | Made::Inserted { columns, .. } => columns,
            };
            let own: BooleanArray = clause.values().iter().map(|n| Some(*n == number)).collect();
            if own.true_count() == 0 {
                continue;
            }
            let columns: Vec<usize> = columns.clone().collect();
            let mut rows = batch.project(&columns).map_err(internal)?;
            if own.true_count() < rows.num_rows() {
                rows = filter_record_batch(&rows, &own).map_err(internal)?;
            }
            let rows = match made {
                Made::Inserted { names, .. } => self.inserted(names, &rows)?,
                _ => self.changed(&rows)?,
            };
            if let (Some(keys), Some(validator), false) =
                (&mut self.keys, self.validator, self.many)
            {
                keys.add(validator.contract(), &rows)?;
            }
            self.hold(rows).await?;
        }
        Ok(())
    }

    /// New rows of the table, judged as a stream's would be.
    fn inserted(&self, names: &[String], values: &RecordBatch) -> Result<RecordBatch, Fault> {
        self.judged(names, values.columns(), true)
    }

    /// Changed rows: judged, with the date of their event time as it is now, and where they came from as it was.
    fn changed(&self, values: &RecordBatch) -> Result<RecordBatch, Fault> {
        let contract = self.validator()?.contract();
        let names: Vec<String> = contract.columns.iter().map(|c| c.name.clone()).collect();
        let (own, system) = values
            .columns()
            .split_at_checked(names.len())
            .ok_or_else(|| Fault::internal("a change without all columns"))?;
        let rows = self.judged(&names, own, false)?;
        let mut columns = rows.columns().to_vec();
        columns.truncate(columns.len().saturating_sub(system.len()));
        columns.extend(system.iter().cloned());
        RecordBatch::try_new(rows.schema(), columns).map_err(internal)
    }

    fn validator(&self) -> Result<&Validator, Fault> {
        self.validator
            .ok_or_else(|| Fault::internal("a quarantine's rows do not change"))
    }

    fn judged(
        &self,
        names: &[String],
        columns: &[ArrayRef],
        inserted: bool,
    ) -> Result<RecordBatch, Fault> {
        let validator = self.validator()?;
        let columns = names
            .iter()
            .zip(columns)
            .map(|(name, column)| assign(validator.contract(), name, column));
        let columns = columns.collect::<Result<Vec<ArrayRef>, Fault>>()?;
        let fields: Vec<Field> = names
            .iter()
            .zip(&columns)
            .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
            .collect();
        let rows =
            RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(internal)?;
        let origin = Origin {
            ingest_ts: self.now,
            source: &Source::new(SOURCE),
            seq: self.offset,
        };
        // Keys are asked of the whole statement, at its end; a row that is changed is not late.
        let scope = Scope {
            keys: None,
            lateness: inserted,
            bytes_max: self.bytes_max,
        };
        let validated = validator.judge(&rows, &origin, &self.references, scope)?;
        if let Some(first) = validated.verdict().rejected.first() {
            return Err(Fault::invalid(
                "rule_broken",
                format!(
                    "a row breaks a rule of {}, nothing was written; column={}, value={}, rule={}: {}; row={}",
                    validator.contract().table,
                    first.column,
                    first.value,
                    first.rules.join(","),
                    first.reason,
                    validate::row_text(&rows, first.row as usize)
                ),
            ));
        }
        let (applied, ..) = validated.into_parts();
        let (accepted, _) = applied.into_sides();
        accepted.ok_or_else(|| Fault::internal("rows were judged and none is left"))
    }

    /// Reads the rows of some files again, and holds those that stay.
    async fn keep(
        &mut self,
        places_in_view: &[usize],
        cancelled: &CancellationToken,
    ) -> Result<(), Fault> {
        let files: Vec<Arc<ColdFile>> = places_in_view
            .iter()
            .filter_map(|place| self.view.files().get(*place).cloned())
            .collect();
        let mut tables = (*self.snapshot.tables).clone();
        with_rows(
            &mut tables,
            self.name,
            &self.view.with_files(files).in_order(),
        );
        let snapshot = Snapshot {
            read_point: self.snapshot.read_point,
            tables: Arc::new(tables),
            defined: self.snapshot.defined.clone(),
        };
        let sql = format!(
            "SELECT * FROM \"{}\".\"{}\"",
            self.rows_name.schema(),
            self.rows_name.table()
        );
        let schema = self.view.schema();
        let own: Vec<usize> = (0..schema.fields().len()).collect();
        let expected: Option<usize> = places_in_view
            .iter()
            .map(|place| {
                let rows = self.view.files().get(*place)?.rows()?;
                Some(rows.saturating_sub(self.marks.count(*place)))
            })
            .sum();
        let mut kept = 0;
        let mut stream = self.engine.query_over(snapshot, &sql, None).await?;
        while let Some(batch) = stream.batches.recv().await {
            if cancelled.is_cancelled() {
                return Ok(());
            }
            let batch = batch?;
            let stays: BooleanArray = places(&batch, own.len())?
                .map(|place| {
                    let (file, row) = place?;
                    let file = places_in_view.get(file)?;
                    Some(!self.marks.has(*file, row))
                })
                .collect();
            if stays.null_count() > 0 {
                return Err(Fault::internal("a row without a place"));
            }
            let mut rows = batch.project(&own).map_err(internal)?;
            if stays.true_count() < rows.num_rows() {
                rows = filter_record_batch(&rows, &stays).map_err(internal)?;
            }
            kept += rows.num_rows();
            self.hold(rows).await?;
        }
        // Rows that stay must not be lost to anybody's mistake.
        match expected {
            Some(expected) if expected != kept => Err(Fault::internal(format!(
                "files to be written anew gave {kept} rows that stay, and should give {expected}"
            ))),
            _ => Ok(()),
        }
    }

    async fn hold(&mut self, rows: RecordBatch) -> Result<(), Fault> {
        if rows.num_rows() == 0 {
            return Ok(());
        }
        self.held_bytes += rows.get_array_memory_size();
        self.held.push(rows);
        if self.held_bytes >= SLICE_BYTES && !self.many {
            self.stage().await?;
        }
        Ok(())
    }

    async fn stage(&mut self) -> Result<(), Fault> {
        self.held_bytes = 0;
        let rows = std::mem::take(&mut self.held);
        if !rows.is_empty() {
            self.staged.append(self.files.stage(rows).await?);
        }
        Ok(())
    }
}
