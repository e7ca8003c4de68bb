//! One refresh of one view, from the source's newest version to the commits that make the view's rows those of that version.

mod pieces;

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::source::only;
use super::{FROZEN_TXN, LIFE_TXN, OPEN_TXN, SOURCE_TXN, UNSETTLED_END_TXN, UNSETTLED_TXN};
use super::{Views, Watch, gone, life_i64};
use crate::catalog::running::Work;
use crate::catalog::table::Table;
use crate::catalog::view::{Snapshot, TableView, ViewProgress};
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::{Reason, Removal, Staged};
use crate::dataset::{Contract, Spans, ViewSpec};
use crate::fault::{Fault, Kind};
use crate::query::view::{SPANS_MAX, frozen_before};
use crate::query::{Scanned, conform_to_wire};
use crate::types::{TableName, quote_name};
use pieces::pieces;

/// A view's `txn` lags at most so many versions of its source behind what is known in memory.
const UNRECORDED_MAX: i64 = 50;

/// Times of the rows whose buckets someone wants stored now, end exclusive.
pub(super) type Asked = (i64, i64);

/// What a refresh did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Windows' worth of time that was computed.
    pub buckets: u64,
    pub commits: u64,
    /// Of the source, for what was computed.
    pub scanned: Scanned,
}

/// One view, its source and what is stored, at the read point of a refresh.
struct Job<'a> {
    table: &'a Arc<Table>,
    contract: Arc<Contract>,
    spec: ViewSpec,
    source: TableView,
    /// The source's files at the read point, and dimensions with their hot rows.
    rows: Snapshot,
    progress: Arc<ViewProgress>,
}

impl Views {
    /// Brings the view's stored rows to the source's newest version.
    ///
    /// # Errors
    /// The store's, a query's: what was committed before stands, and the rest is done by the next refresh.
    pub async fn refresh(&self, table: &Arc<Table>) -> Result<Outcome, Fault> {
        self.refresh_for(table, None).await
    }

    /// [`Views::refresh`]; with `asked`, the buckets of rows of these times are computed again whether or not something has
    /// changed, and they and those before them close whatever the watermark says. A bucket that closes early is corrected as
    /// by late rows.
    ///
    /// # Errors
    /// As [`Views::refresh`]; ABORTED `table_busy`; FAILED_PRECONDITION for times whose buckets are frozen.
    pub(super) async fn refresh_for(
        &self,
        table: &Arc<Table>,
        asked: Option<Asked>,
    ) -> Result<Outcome, Fault> {
        let mut watch = self.alone(table).await?;
        let Some(job) = self.job(table)? else {
            return Ok(Outcome::default());
        };
        let started = std::time::Instant::now();
        let work = Work::Refresh(table.incarnation.get());
        let slot = self.shared.running.enter(&work).await;
        let outcome = self.run(&mut watch, job, asked).await;
        drop(slot);
        let outcome = outcome?;
        if outcome.commits > 0 {
            let took = started.elapsed();
            metrics::histogram!("deltaplane_view_refresh_seconds").record(took.as_secs_f64());
            self.note(&table.name(), |s| {
                s.refreshes += 1;
                s.buckets += outcome.buckets;
                s.last_refresh = Some(took);
                s.last_scanned = outcome.scanned;
                s.last_error = None;
            });
        }
        Ok(outcome)
    }

    fn job<'a>(&self, table: &'a Arc<Table>) -> Result<Option<Job<'a>>, Fault> {
        if table.is_dropped() {
            return Ok(None);
        }
        let contract = table.contract();
        let snapshot = self.engine.snapshot();
        let (Some(spec), Some(view)) = (
            contract.view.clone(),
            snapshot.tables.get(&table.name().folded()),
        ) else {
            return Err(gone(&table.name()));
        };
        let (Some(progress), Some(source)) = (
            view.progress.clone(),
            snapshot.tables.get(&spec.source.folded()),
        ) else {
            return Err(gone(&table.name()));
        };
        Ok(Some(Job {
            table,
            rows: only(source, source.cold.clone(), &snapshot),
            progress: progress.over(&source.cold),
            source: source.clone(),
            contract,
            spec,
        }))
    }

    async fn run(
        &self,
        watch: &mut Watch,
        job: Job<'_>,
        asked: Option<Asked>,
    ) -> Result<Outcome, Fault> {
        let now = self.shared.clock.now();
        let Job {
            spec,
            source,
            progress,
            ..
        } = &job;
        let bucket = spec.bucket;
        let before = progress.open_from;
        // How far the source is complete.
        let target = match &source.progress {
            // A view below: up to its first open window, which no later row of its own can come before.
            Some(below) => {
                let inner = source.contract.as_ref().and_then(|c| c.view.as_ref());
                let inner = inner.map_or(0, |v| v.bucket.step);
                Some(self.above(watch, spec, below.open_from, inner))
            }
            None => {
                let folder = &self.shared.table(&spec.source)?.folder;
                let bound = now.saturating_add(spec.settings.future);
                self.observe(watch, spec, source, folder, &job.rows, now)
                    .await?;
                watch
                    .watermark
                    .at(self.started.elapsed(), &spec.settings, bucket.size, bound)
            }
        };
        let target = target.filter(|at| *at > i64::MIN / 8);
        let mut open_from = target.map_or(before, |at| bucket.open_from(at).max(before));
        let frozen = progress.frozen;
        let wanted = match asked {
            None => Spans::default(),
            Some((first, end)) => {
                let (first, end) = bucket.touched(first, end - 1);
                if end <= frozen {
                    return Err(frozen_already(&job.table.name(), &spec.source));
                }
                // Further than the source has rows nothing is complete.
                if let Some(newest) = newest(source, &spec.time_column) {
                    let held = bucket.last_start(newest).saturating_add(bucket.step);
                    open_from = open_from.max(end.min(held));
                }
                Spans::of([(first.max(frozen), end.min(before))])
            }
        };
        let shown = if open_from > i64::MIN {
            Some(open_from)
        } else {
            None
        };
        self.note(&job.table.name(), |s| s.watermark = target.or(shown));
        // What this refresh stores of them is their last word: frozen after it, and not before.
        let freezes = frozen_before(source, spec, now).min(open_from).max(frozen);
        // What has changed under the closed windows.
        let changed = match &progress.source {
            Some(seen) if seen.version() == source.cold.version() => Spans::default(),
            Some(seen) => {
                let folder = self.shared.table(&spec.source)?.folder.clone();
                let closed = (frozen, before);
                self.touched(spec, source, &folder, seen, &job.rows, closed)
                    .await?
            }
            None => Spans::of([(i64::MIN / 4, before)]).clip(frozen, before),
        };
        let changed = changed.union(&progress.unsettled.clip(frozen, before));
        let dirty = changed.union(&wanted);
        let same_version =
            progress.source.as_ref().map(|s| s.version()) == Some(source.cold.version());
        if dirty.is_empty() && open_from == before && freezes == frozen && same_version {
            return Ok(Outcome::default());
        }
        let mut outcome = Outcome::default();
        // Vacuum need not wait for what a view has seen.
        let seen = Arc::new(source.cold.to_list());
        let rows = self.plain(&job)?.cold;
        let changed = pieces(&dirty.coarse(SPANS_MAX), &job, &rows);
        let closing = Spans::of([(before.max(frozen), open_from)]);
        let closing = pieces(&closing, &job, &rows);
        let steps = changed.iter().map(|p| (p, false));
        let steps: Vec<_> = steps.chain(closing.iter().map(|p| (p, true))).collect();
        let last = steps.len();
        let done = ViewProgress {
            source: Some(seen.clone()),
            unsettled: Spans::default(),
            open_from,
            frozen: freezes,
        };
        let mut halfway = (**progress).clone();
        for (index, (part, closes)) in steps.into_iter().enumerate() {
            // Until the last piece stands, the view is one of the old version with some buckets of the new.
            let reached = if index + 1 == last {
                done.clone()
            } else {
                if closes && let Some((_, end)) = part.iter().last() {
                    halfway.open_from = end.min(open_from);
                }
                halfway.unsettled = halfway.unsettled.union(part).coarse(SPANS_MAX);
                halfway.clone()
            };
            self.replace(&job, watch, part, reached, &mut outcome)
                .await?;
        }
        self.finish(&job, watch, done, &mut outcome).await?;
        Ok(outcome)
    }

    /// The watermark over a view whose first open window starts at `open_from`. When that has not moved for a while, the last
    /// windows close here too.
    fn above(&self, watch: &mut Watch, spec: &ViewSpec, open_from: i64, inner_step: i64) -> i64 {
        let now = self.started.elapsed();
        let moved = match watch.below {
            Some((at, since)) if at == open_from => since,
            _ => now,
        };
        watch.below = Some((open_from, moved));
        // It moves by whole windows: less than two of them are no silence.
        let idle = spec.settings.idle.max(inner_step.saturating_mul(2));
        let silent = now.saturating_sub(moved).as_micros() >= u128::try_from(idle).unwrap_or(0);
        if silent {
            open_from.saturating_sub(1).saturating_add(spec.bucket.size)
        } else {
            open_from.saturating_sub(spec.settings.delay)
        }
    }

    /// Computes the windows and puts them in the place of what is stored of them, in one commit.
    async fn replace(
        &self,
        job: &Job<'_>,
        watch: &mut Watch,
        spans: &Spans,
        reached: ViewProgress,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let view = self.plain(job)?;
        let computed = self.engine.compute_view(&view, job.rows.clone(), spans);
        let (mut rows, scanned) = computed.await?;
        outcome.scanned.add(scanned);
        let mut writer = self.writer(job).await?;
        // Files of the view that hold one of the windows; their other rows stay as they are.
        let stored = writer.files(Part::Main).view();
        let start = &job.spec.start_column;
        let taken: Vec<_> = stored
            .files()
            .iter()
            .filter(|f| {
                let range = stored.times(f, start).range();
                range.is_some_and(|(min, max)| spans.meets(min, max))
            })
            .cloned()
            .collect();
        if taken.is_empty() && rows.iter().all(|b| b.num_rows() == 0) {
            // Nothing is frozen that Delta does not say is.
            let reached = ViewProgress {
                frozen: job.progress.frozen,
                ..reached
            };
            writer.reach(reached);
            return Ok(());
        }
        let paths: BTreeSet<String> = taken.iter().map(|f| f.path().to_owned()).collect();
        if !taken.is_empty() {
            let start = quote_name(start);
            let outside: Vec<String> = spans
                .iter()
                .map(|(first, end)| {
                    let at = |t: i64| {
                        format!("arrow_cast({t}, 'Timestamp(Microsecond, Some(\"UTC\"))')")
                    };
                    format!("({start} < {} OR {start} >= {})", at(first), at(end))
                })
                .collect();
            let sql = format!(
                "SELECT * FROM {} WHERE {}",
                view.name.sql(),
                outside.join(" AND ")
            );
            let files = only(&view, Arc::new(stored.with_files(taken)), &job.rows);
            rows.extend(self.engine.rows_of(&sql, files).await?);
        }
        let schema = writer.files(Part::Main).schema();
        let rows: Vec<RecordBatch> = rows
            .iter()
            .filter(|b| b.num_rows() > 0)
            .map(|b| conform_to_wire(b, &schema))
            .collect::<Result<_, _>>()?;
        let staged = writer.files(Part::Main).stage(rows).await?;
        // Also of windows that nothing is stored of: that is so in these files, and no more is promised.
        let predicate = format!("{start} in {} spans of windows", spans.iter().count());
        let (removal, reason) = (Removal::Files(paths), Reason::Replace { predicate });
        let txns = txns(&reached);
        writer
            .rewrite(Part::Main, &removal, staged, &reason, &txns)
            .await?;
        if let Some(seen) = &reached.source {
            watch.recorded = seen.version();
        }
        watch.frozen = Some(reached.frozen);
        writer.reach(reached);
        outcome.commits += 1;
        let windows = spans
            .iter()
            .map(|(a, b)| b.saturating_sub(a) / job.spec.bucket.step);
        outcome.buckets += windows.filter_map(|n| u64::try_from(n).ok()).sum::<u64>();
        Ok(())
    }

    /// Every change up to the source's version is in the view now.
    async fn finish(
        &self,
        job: &Job<'_>,
        watch: &mut Watch,
        done: ViewProgress,
        outcome: &mut Outcome,
    ) -> Result<(), Fault> {
        let mut writer = self.writer(job).await?;
        let version = done.source.as_ref().map_or(-1, |s| s.version());
        let frozen = match watch.frozen {
            Some(frozen) => frozen,
            None => writer
                .files(Part::Main)
                .read_txn(FROZEN_TXN)
                .await?
                .unwrap_or(i64::MIN),
        };
        watch.frozen = Some(frozen);
        // A commit without rows for each version of the source would be a log of nothing; what is not recorded is looked at
        // again after a crash, and changes nothing then. What is frozen is recorded: retention goes by it.
        let unrecorded = version < watch.recorded || version - watch.recorded >= UNRECORDED_MAX;
        if unrecorded || done.frozen > frozen {
            let txns = txns(&done);
            writer
                .rewrite(
                    Part::Main,
                    &Removal::Nothing,
                    Staged::empty(),
                    &Reason::Append,
                    &txns,
                )
                .await?;
            watch.recorded = version;
            watch.frozen = Some(done.frozen);
            outcome.commits += 1;
        }
        writer.reach(done);
        Ok(())
    }

    fn plain(&self, job: &Job<'_>) -> Result<TableView, Fault> {
        let snapshot = self.engine.snapshot();
        let view = snapshot.tables.get(&job.table.name().folded());
        let view = view.ok_or_else(|| gone(&job.table.name()))?;
        Ok(TableView {
            contract: Some(job.contract.clone()),
            progress: None,
            ..view.clone()
        })
    }

    async fn writer<'a>(&'a self, job: &Job<'a>) -> Result<TableWriter<'a>, Fault> {
        let writer = TableWriter::refresh_of(&self.shared, job.table).await;
        writer.map_err(|fault| {
            if job.table.is_dropped() {
                gone(&job.table.name())
            } else {
                fault
            }
        })
    }
}

fn txns(reached: &ViewProgress) -> Vec<(String, i64)> {
    let mut txns = vec![(OPEN_TXN.to_owned(), reached.open_from)];
    // From the first of them to the end of the last; an empty time for none, in the place of an earlier one.
    let unsettled: Vec<(i64, i64)> = reached.unsettled.iter().collect();
    let first = unsettled.first().map_or(0, |(first, _)| *first);
    let end = unsettled.last().map_or(0, |(_, end)| *end);
    txns.push((UNSETTLED_TXN.to_owned(), first));
    txns.push((UNSETTLED_END_TXN.to_owned(), end));
    if reached.frozen > i64::MIN {
        txns.push((FROZEN_TXN.to_owned(), reached.frozen));
    }
    // Without a source's version nothing stored counts after a crash, which is what a rebuild half way through is.
    if let Some(seen) = &reached.source {
        txns.push((SOURCE_TXN.to_owned(), seen.version()));
        txns.push((LIFE_TXN.to_owned(), life_i64(seen.folder())));
    }
    txns
}

/// The newest time in the source's files, up to a millisecond above.
fn newest(source: &TableView, time_column: &str) -> Option<i64> {
    let files = source.cold.files().iter();
    files
        .filter_map(|f| source.cold.times(f, time_column).range())
        .map(|(_, max)| max)
        .max()
}

fn frozen_already(view: &TableName, source: &TableName) -> Fault {
    Fault::new(
        Kind::Precondition,
        "bucket_frozen",
        format!(
            "the buckets of this day are older than the retention of what the view reads, and stay as they were stored, view={view}, source={source}"
        ),
    )
}
