//! Small files become files of a good size, sorted by key and event time. Same rows, other files: readers of changes see
//! nothing, queries that run meanwhile keep the files they began with.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::UInt32Array;

use super::journal::Outcome;
use super::plan::{self, Job, Rules};
use super::{STUCK, Upkeep, part_name, unless_stuck};
use crate::catalog::ddl_lock::Patience;
use crate::catalog::running::Task;
use crate::catalog::table::{Cold, Table};
use crate::catalog::view::TableView;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::{
    self, Effort, FileList, OTHER_COLUMNS, PinnedFiles, Reason, Removal, Staged, Stager,
};
use crate::fault::{Fault, Kind};
use crate::query::zorder::{COLUMNS_MAX, Curve, ZORDER};
use crate::types::{SameName, TableName, quote_name};

/// Of one query: the step that runs it has a limit of its own.
const NO_LIMIT: Duration = Duration::from_secs(365 * 86_400);
/// A statement that finds files gone plans again this often before it says so.
const ATTEMPTS: usize = 5;

/// Rows that a curve is made from.
const SAMPLE_ROWS: usize = 20_000;

/// What one job did.
#[derive(Clone, Debug, Default)]
pub struct Compacted {
    pub partitions: u64,
    pub files_removed: u64,
    pub bytes_removed: u64,
    pub files_added: u64,
    pub bytes_added: u64,
    pub rows: u64,
    pub version: Option<i64>,
}

impl Compacted {
    fn add(&mut self, other: &Compacted) {
        self.partitions += other.partitions;
        self.files_removed += other.files_removed;
        self.bytes_removed += other.bytes_removed;
        self.files_added += other.files_added;
        self.bytes_added += other.bytes_added;
        self.rows += other.rows;
        self.version = other.version.or(self.version);
    }

    fn outcome(&self, detail: String) -> Outcome {
        Outcome {
            files_removed: self.files_removed,
            bytes_removed: self.bytes_removed,
            files_added: self.files_added,
            bytes_added: self.bytes_added,
            rows: self.rows,
            detail,
        }
    }
}

impl Upkeep {
    fn rules(&self, all: bool) -> Rules {
        let settings = &self.shared.config.upkeep;
        Rules {
            target_bytes: settings.target_file_bytes.as_usize(),
            min_files: settings.min_files,
            settle: settings.settle,
            now_ms: self.shared.clock.now() / 1000,
            all,
        }
    }

    /// Every job of the part that is worth its while now. With the turn held.
    pub(super) async fn compact_when_worth(&self, table: &Arc<Table>, part: Part) {
        let Ok((_, view)) = self.pin(table, part).await else {
            // Somebody holds it: at the next round.
            return;
        };
        for job in plan::jobs(view.files(), &self.rules(false)) {
            if self.shared.draining.is_cancelled() || table.is_dropped() {
                return;
            }
            let key = (
                table.incarnation.get(),
                part == Part::Quarantine,
                job.partition.clone(),
            );
            let paths: Vec<String> = job.files.iter().map(|f| f.path().to_owned()).collect();
            if self.settled.lock().get(&key) == Some(&paths) {
                continue;
            }
            let run = self.journal.begin("compact", &part_name(table, part));
            let ended = self.compact(table, part, &job, &[]).await;
            let hopeless = |fault: &Fault| fault.reason == OTHER_COLUMNS;
            if matches!(&ended, Ok(None)) || ended.as_ref().is_err_and(hopeless) {
                self.settled.lock().insert(key, paths);
            }
            let detail = format!("partition {}", job.partition);
            let ended = ended.map(|done| done.unwrap_or_default().outcome(detail));
            self.journal.end(run, ended);
        }
    }

    /// `OPTIMIZE`: all small files now; with `order`, all files, sorted along a curve through these columns.
    ///
    /// # Errors
    /// NOT_FOUND; ABORTED when other writers keep taking the same files out; the store's.
    pub async fn optimize(
        &self,
        name: &TableName,
        order: &[String],
    ) -> Result<(Compacted, TableName), Fault> {
        let (table, part) = self.find(name)?;
        let _turn = self.turn_for(&table).await?;
        for task in Task::ALL {
            self.shared.running.resume(&Self::work(&table, task));
        }
        let shown = part_name(&table, part);
        let run = self.journal.begin("optimize", &shown);
        let ended = self.optimize_part(&table, part, order).await;
        let noted = ended.as_ref().map(|done| done.outcome(String::new()));
        self.journal.end(run, noted.map_err(Clone::clone));
        ended.map(|done| (done, shown))
    }

    async fn optimize_part(
        &self,
        table: &Arc<Table>,
        part: Part,
        order: &[String],
    ) -> Result<Compacted, Fault> {
        // Hot rows first, as every statement does.
        let patience = Patience::of_statement(&self.shared.config);
        {
            let mut cold = table.commit_lock_within(patience).await?;
            crate::flush::commit_locked(&self.shared, table, &mut cold).await?;
        }
        let mut total = Compacted::default();
        let mut failed = 0;
        let mut curved = std::collections::BTreeSet::new();
        loop {
            let (_, view) = self.pin(table, part).await?;
            let order = columns(&view, order)?;
            let mut jobs = if order.is_empty() {
                plan::jobs(view.files(), &self.rules(true))
            } else {
                plan::whole(view.files())
            };
            // A curve goes through each partition once.
            jobs.retain(|job| !curved.contains(&job.partition));
            drop(view);
            let mut again = false;
            for job in jobs {
                match self.compact(table, part, &job, &order).await {
                    Ok(done) => {
                        if order.is_empty() {
                            // More small files than one job takes: look again.
                            again |= done.is_some();
                        } else {
                            curved.insert(job.partition);
                        }
                        total.add(&done.unwrap_or_default());
                    }
                    Err(fault) if fault.kind == Kind::Conflict && failed < ATTEMPTS => {
                        failed += 1;
                        again = true;
                    }
                    Err(fault) => return Err(fault),
                }
            }
            if !again {
                return Ok(total);
            }
        }
    }

    async fn pin(&self, table: &Table, part: Part) -> Result<(Stager, Arc<PinnedFiles>), Fault> {
        let patience = Patience::of_statement(&self.shared.config);
        let stager_and_view = |cold: &Cold| (cold.part(part).stager(), cold.part(part).view());
        table.files_within(patience, stager_and_view).await
    }

    /// Reads, sorts and writes the job's files without the commit lock, then swaps them in one version. None: the new files
    /// would be no fewer, and nothing was committed.
    async fn compact(
        &self,
        table: &Arc<Table>,
        part: Part,
        job: &Job,
        order: &[String],
    ) -> Result<Option<Compacted>, Fault> {
        // Before they are read for nothing.
        let patience = Patience::of_statement(&self.shared.config);
        let known = table.files_within(patience, |cold| cold.part(part).all_columns_known());
        known.await??;
        let work = Self::work(table, Task::Compaction);
        let _running = self.shared.running.enter(&work).await;
        let (stager, view) = self.pin(table, part).await?;
        // As the table lists them now: its columns may have changed since the job was planned.
        let planned: BTreeSet<&str> = job.files.iter().map(|f| f.path()).collect();
        let files = view.files().iter();
        let files: Vec<_> = files
            .filter(|f| planned.contains(f.path()))
            .cloned()
            .collect();
        if files.len() < planned.len() {
            let paths = job.files.iter().map(|f| f.path());
            let mut gone = paths.filter(|path| files.iter().all(|f| f.path() != *path));
            let path = gone.next().unwrap_or_default().to_owned();
            return Err(cold::Error::Changed { path }.into());
        }
        let pinned = Arc::new(view.with_files(files));
        drop(view);
        // What its pace takes, twice, and the time for the curve.
        let bytes = pinned.bytes();
        let pace = bytes / self.shared.config.upkeep.bytes_per_second.get().max(1);
        let pace = Duration::from_secs(pace.saturating_mul(2));
        let step = (&**table, "compaction");
        let rewritten = self.rewritten(table, part, &stager, pinned, order);
        let staged = unless_stuck(step, STUCK.saturating_add(pace), rewritten).await?;
        let expected: Option<usize> = job.files.iter().map(|f| f.rows()).sum();
        let got = staged.rows();
        if expected.is_some_and(|rows| u64::try_from(rows).ok() != Some(got)) {
            return Err(Fault::new(
                Kind::Corrupt,
                "compaction_rows",
                format!(
                    "the files' rows are not those that the Delta log tells, read={got}, log={}; nothing was changed, see `deltaplane table check`",
                    expected.unwrap_or(0)
                ),
            ));
        }
        if order.is_empty() && staged.files() >= job.files.len() {
            return Ok(None);
        }
        let mut done = Compacted {
            partitions: 1,
            files_removed: u64::try_from(job.files.len()).unwrap_or(0),
            bytes_removed: job.files.iter().map(|f| f.size()).sum(),
            files_added: u64::try_from(staged.files()).unwrap_or(0),
            bytes_added: staged.bytes(),
            rows: got,
            version: None,
        };
        let paths = job.files.iter().map(|f| f.path().to_owned()).collect();
        let target = self.shared.config.upkeep.target_file_bytes.get();
        let reason = Reason::Optimize {
            target_bytes: i64::try_from(target).unwrap_or(i64::MAX),
        };
        let begun = TableWriter::same_rows(&self.shared, table);
        let mut writer = unless_stuck(step, STUCK, begun).await?;
        let removal = Removal::Files(paths);
        let commit = writer.rewrite(part, &removal, staged, &reason, &[]);
        done.version = Some(unless_stuck(step, STUCK, commit).await?);
        Ok(Some(done))
    }

    /// The view's rows in order, staged.
    async fn rewritten(
        &self,
        table: &Table,
        part: Part,
        stager: &Stager,
        view: Arc<PinnedFiles>,
        order: &[String],
    ) -> Result<Staged, Fault> {
        let settings = &self.shared.config.upkeep;
        let name = part_name(table, part);
        let schema = view.schema();
        let from = name.sql();
        let bytes = view.bytes();
        let rows = view.rows().unwrap_or(0).max(1);
        let table_view = TableView {
            name,
            contract: None,
            schema: schema.clone(),
            cold: view,
            hot: Arc::default(),
            comment: None,
            progress: None,
        };
        let list = |names: &mut dyn Iterator<Item = &String>| -> String {
            names.map(|n| quote_name(n)).collect::<Vec<_>>().join(", ")
        };
        let (curve, by) = if order.is_empty() {
            let natural = natural_order(table, part);
            let known = |column: &&String| schema.field_with_name(column).is_ok();
            (None, list(&mut natural.iter().filter(known)))
        } else {
            let by = list(&mut order.iter());
            let curve = self.curve(&table_view, &from, &by, rows).await?;
            (Some(curve), format!("{ZORDER}({by})"))
        };
        let mut sql = format!(
            "SELECT {} FROM {from}",
            list(&mut schema.fields().iter().map(|f| f.name()))
        );
        if !by.is_empty() {
            sql.push_str(&format!(" ORDER BY {by}"));
        }
        let mut result = self
            .engine
            .read_view(table_view, &sql, curve, NO_LIMIT)
            .await?;
        let mut slicer = stager.slicer(Effort::Thorough, settings.target_file_bytes.as_usize())?;
        let started = Instant::now();
        let mut read = 0usize;
        while let Some(batch) = result.batches.recv().await {
            let batch = batch?;
            read += batch.num_rows();
            slicer.push(batch).await?;
            // Rows stand for their share of the bytes: ahead of the pace, wait.
            let due =
                bytes as f64 * read as f64 / rows as f64 / settings.bytes_per_second.get() as f64;
            let ahead = due - started.elapsed().as_secs_f64();
            if ahead > 0.005 {
                tokio::time::sleep(Duration::from_secs_f64(ahead.min(60.0))).await;
            }
        }
        Ok(slicer.finish().await?)
    }

    /// A curve from a sample of the view's rows.
    async fn curve(
        &self,
        view: &TableView,
        from: &str,
        by: &str,
        rows: usize,
    ) -> Result<Curve, Fault> {
        let sql = format!("SELECT {by} FROM {from}");
        let mut result = self
            .engine
            .read_view(view.clone(), &sql, None, NO_LIMIT)
            .await?;
        let step = u32::try_from((rows / SAMPLE_ROWS).max(1)).unwrap_or(u32::MAX);
        let mut sample = Vec::new();
        while let Some(batch) = result.batches.recv().await {
            let batch = batch?;
            let count = u32::try_from(batch.num_rows()).unwrap_or(u32::MAX);
            let some: UInt32Array = (0..count).step_by(step as usize).collect();
            let taken = arrow::compute::take_record_batch(&batch, &some);
            sample.push(taken.map_err(|e| Fault::internal(format!("sample: {e}")))?);
        }
        Curve::of(&sample).map_err(|e| {
            Fault::invalid(
                "zorder",
                format!("no order along {by}: {}", e.strip_backtrace()),
            )
        })
    }
}

/// By key and time; quarantined rows as they came.
fn natural_order(table: &Table, part: Part) -> Vec<String> {
    let contract = table.contract();
    let columns: Vec<String> = match part {
        Part::Main => {
            let mut columns = contract.key.clone();
            columns.extend(contract.event_time.clone());
            columns
        }
        Part::Quarantine => ["_ingest_ts", "_source", "_seq", "row_index"]
            .map(str::to_owned)
            .into(),
    };
    let mut seen = std::collections::BTreeSet::new();
    columns
        .into_iter()
        .filter(|c| seen.insert(c.clone()))
        .collect()
}

/// The columns of ZORDER BY as the table spells them.
fn columns(view: &FileList, asked: &[String]) -> Result<Vec<String>, Fault> {
    let schema = view.schema();
    let bad = |message: String| Fault::invalid("zorder", message);
    if asked.len() > COLUMNS_MAX {
        return Err(bad(format!(
            "ZORDER BY takes up to {COLUMNS_MAX} columns, given={}",
            asked.len()
        )));
    }
    let known = asked.iter().map(|name| {
        let field = schema.fields().iter().find(|f| f.name().is_same_name(name));
        let field = field.ok_or_else(|| {
            let all: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
            Fault::invalid(
                "column_not_found",
                format!("no such column, column={name}; columns: {}", all.join(", ")),
            )
        })?;
        if view.partition_by().contains(field.name()) {
            return Err(bad(format!(
                "a partition column has one value in each file, column={}; give others",
                field.name()
            )));
        }
        Ok(field.name().clone())
    });
    known.collect()
}
