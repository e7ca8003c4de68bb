//! The rows of one try of a statement: its query finds and makes them, those that are made are judged, those of touched files
//! that stay are read again, and all of them are held until they are staged in slices.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, Int64Type, Schema};
use datafusion::common::ScalarValue;
use tokio_util::sync::CancellationToken;

use super::faults::{gone, internal};
use super::many;
use super::marks::{Bits, Marks};
use super::places::places;
use super::query::{Made, Query};
use super::snapshot::with_rows;
use super::unique::ChangedKeys;
use crate::catalog::view::Snapshot;
use crate::clock::Micros;
use crate::cold::{ColdFile, ColdTable, PinnedFiles, Staged};
use crate::fault::Fault;
use crate::ingest::insert::assign;
use crate::query::{Engine, QueryContext};
use crate::types::TableName;
use crate::validate::{self, Origin, References, Scope, Source, Validator};

/// Rows are staged in slices of about so many bytes in memory.
const SLICE_BYTES: usize = 64 << 20;
/// Files that one query reads again.
const FILES_A_QUERY: usize = 64;
/// The `_source` of inserted rows.
const SOURCE: &str = "merge";

/// The rows of one try.
pub(super) struct Run<'a> {
    pub engine: &'a Engine,
    pub caller: &'a QueryContext,
    /// None: the table is a quarantine.
    pub validator: Option<&'a Validator>,
    /// None: the rows of a temporary table are never staged.
    pub files: Option<&'a ColdTable>,
    pub view: Arc<PinnedFiles>,
    pub snapshot: Snapshot,
    pub name: &'a TableName,
    pub rows_name: &'a TableName,
    pub references: References,
    pub bytes_max: usize,
    pub now: Micros,
    pub offset: i64,
    pub keys: Option<ChangedKeys>,
    pub marks: Marks,
    /// Of the executions before the present one.
    pub earlier: Marks,
    /// There are several executions, which find each other's rows in `held`.
    pub many: bool,
    /// Rows changed, deleted and inserted.
    pub touched: u64,
    pub held: Vec<RecordBatch>,
    pub held_bytes: usize,
    pub staged: Staged,
}

impl Run<'_> {
    pub(super) async fn make(
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
                (self.engine, self.caller),
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
        for places in partly.chunks(FILES_A_QUERY) {
            self.keep(places, cancelled).await?;
        }
        if cancelled.is_cancelled() {
            return Err(gone());
        }
        self.stage().await
    }

    /// One execution, on what those before it have left.
    pub(super) async fn execute(
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
            .query_over(self.caller, snapshot, &query.sql, parameters)
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
            tables: Arc::new(tables),
            ..self.snapshot.clone()
        };
        let sql = format!("SELECT * FROM {}", self.rows_name.sql());
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
        let (engine, caller) = (self.engine, self.caller);
        let mut stream = engine.query_over(caller, snapshot, &sql, None).await?;
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
            let files = self
                .files
                .ok_or_else(|| internal("a table without files"))?;
            self.staged.append(files.stage(rows).await?);
        }
        Ok(())
    }
}
