//! Retention: whole partitions by `event_date` that are older than the contract says go in one commit. Vacuum takes their
//! files when their time has come. A file goes only when every materialized view over the table has stored, for good, the
//! buckets that its rows are in: until then it is kept (`system.views.frozen_until`).

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, NaiveDate};

use super::journal::Outcome;
use super::{STUCK, Upkeep, unless_stuck};
use crate::catalog::ddl_lock::Patience;
use crate::catalog::running::Task;
use crate::catalog::table::Table;
use crate::catalog::view::TableView;
use crate::catalog::visible::Part;
use crate::catalog::write::TableWriter;
use crate::cold::bounds::Times;
use crate::cold::{ColdFile, FileList, Reason, Removal, Staged};
use crate::dataset::EVENT_DATE;
use crate::fault::Fault;

/// Partitions before this day go: their youngest possible row is older than `keep_us` at `reference_us`.
fn cutoff(reference_us: i64, keep_us: i64) -> Option<NaiveDate> {
    let oldest = reference_us.checked_sub(keep_us)?;
    Some(DateTime::from_timestamp_micros(oldest)?.date_naive())
}

const DAY_US: i64 = 86_400_000_000;

/// Statistics are of milliseconds, and rounded up: no row is older than its file's latest by more than this.
const ROUNDED_UP_US: i64 = 1999;

/// A time that an accepted event reaches, as late as the files tell; hot rows come at their commit. `index`: as in [`expired`].
fn newest(view: &FileList, event_time: &str, index: usize) -> Option<i64> {
    let (schema, partition_by) = (view.schema(), view.partition_by());
    let times = view.files().iter();
    times
        .filter_map(|file| {
            let latest = file.latest(&schema, partition_by, event_time);
            // What is ahead of its own arrival was a wrong clock's: nobody has come so far.
            let latest = latest.map(|t| t.saturating_sub(ROUNDED_UP_US).min(view.arrival(file)));
            latest.or_else(|| {
                let midnight = date(file, index)?.and_hms_opt(0, 0, 0)?;
                Some(midnight.and_utc().timestamp_micros())
            })
        })
        .max()
}

fn date(file: &ColdFile, index: usize) -> Option<NaiveDate> {
    file.partition()
        .into_iter()
        .nth(index)
        .flatten()?
        .parse()
        .ok()
}

/// Files of partitions before `day`. `index`: the place of `event_date` among the partition columns.
fn expired(files: &[Arc<ColdFile>], index: usize, day: NaiveDate) -> Vec<Arc<ColdFile>> {
    // A row without an event time is of no day, and stays.
    let old = files
        .iter()
        .filter(|file| date(file, index).is_some_and(|date| date < day));
    old.cloned().collect()
}

/// Between which times of the view's column the file's rows are. `date`: the day of its event times.
fn times_of(
    (reader, source): (&TableView, &FileList),
    (file, date): (&ColdFile, NaiveDate),
    event_time: &str,
) -> Option<(i64, i64)> {
    let midnight = date.and_hms_opt(0, 0, 0)?.and_utc().timestamp_micros();
    let of_day = (midnight, midnight + DAY_US - 1);
    let column = &reader.contract.as_ref()?.view.as_ref()?.time_column;
    if column == event_time {
        return Some(of_day);
    }
    match source.times(file, column) {
        Times::Between(first, last) => Some((first, last)),
        Times::None => None,
        // Written by others: no more is known of its times than the day.
        Times::Unknown => Some(of_day),
    }
}

/// Has the view stored the windows of these times for good?
fn stored(reader: &TableView, (first, last): (i64, i64)) -> bool {
    let spec = reader.contract.as_ref().and_then(|c| c.view.as_ref());
    let frozen = reader.progress.as_ref().map_or(i64::MIN, |p| p.frozen);
    spec.is_some_and(|spec| spec.bucket.touched(first, last).1 <= frozen)
}

impl Upkeep {
    /// The materialized views over the table.
    fn readers(&self, table: &Table) -> Vec<TableView> {
        let snapshot = self.shared.visible.snapshot();
        let reads = |v: &&TableView| {
            let spec = v.contract.as_ref().and_then(|c| c.view.as_ref());
            spec.is_some_and(|s| s.source.folded() == table.name().folded())
        };
        snapshot.tables.values().filter(reads).cloned().collect()
    }

    /// Takes out the partitions of the table that are past its retention, if it has one. With the turn held.
    pub(super) async fn expire(&self, table: &Arc<Table>) {
        let contract = table.contract();
        let (Some(keep), Some(event_time)) = (contract.retention_micros(), &contract.event_time)
        else {
            return;
        };
        let run = self.journal.begin("retention", &table.name());
        let ended = self.expire_now(table, keep, event_time).await;
        self.journal.end(run, ended);
    }

    async fn expire_now(
        &self,
        table: &Arc<Table>,
        keep: i64,
        event_time: &str,
    ) -> Result<Outcome, Fault> {
        // Mostly there is nothing to do, and then nobody is in anyone's way.
        let patience = Patience::of_statement(&self.shared.config);
        let view = table
            .files_within(patience, |cold| cold.main.view())
            .await?;
        match self.due(table, &view, keep, event_time) {
            None => return Ok(Outcome::default()),
            Some(due) if due.files.is_empty() => return Ok(due.waiting(table)),
            Some(_) => {}
        }
        let work = Self::work(table, Task::Retention);
        let _running = self.shared.running.enter(&work).await;
        let step = (&**table, "retention");
        let begun = TableWriter::begin(&self.shared, table, "retention");
        let mut writer = unless_stuck(step, STUCK, begun).await?;
        let view = writer.files(Part::Main).view();
        let Some(due) = self.due(table, &view, keep, event_time) else {
            return Ok(Outcome::default());
        };
        if due.files.is_empty() {
            return Ok(due.waiting(table));
        }
        let detail = due.detail(table);
        let (day, old) = (due.day, due.files);
        let outcome = Outcome {
            files_removed: u64::try_from(old.len()).unwrap_or(0),
            bytes_removed: old.iter().map(|f| f.size()).sum(),
            rows: old
                .iter()
                .filter_map(|f| f.rows())
                .map(|n| u64::try_from(n).unwrap_or(0))
                .sum(),
            detail,
            ..Outcome::default()
        };
        drop(view);
        let paths: BTreeSet<String> = old.iter().map(|f| f.path().to_owned()).collect();
        let reason = Reason::Delete {
            predicate: Some(format!("{EVENT_DATE} < '{day}'")),
        };
        let removal = Removal::Files(paths);
        let commit = writer.rewrite(Part::Main, &removal, Staged::empty(), &reason, &[]);
        unless_stuck(step, STUCK, commit).await?;
        Ok(outcome)
    }

    /// What is past its retention now; none if nothing is.
    fn due(&self, table: &Table, view: &FileList, keep: i64, event_time: &str) -> Option<Due> {
        if table.is_dropped() {
            return None;
        }
        let index = view.partition_by().iter().position(|c| c == EVENT_DATE)?;
        // One device from the future must not take the present away.
        let clock = self.shared.clock.now();
        let reference = newest(view, event_time, index)?.min(clock);
        let day = cutoff(reference, keep)?;
        let mut files = expired(view.files(), index, day);
        if files.is_empty() {
            return None;
        }
        let readers = self.readers(table);
        let mut awaited = BTreeSet::new();
        files.retain(|file| {
            let Some(date) = date(file, index) else {
                return false;
            };
            let waits = readers.iter().find(|reader| {
                let times = times_of((reader, view), (file, date), event_time);
                times.is_some_and(|times| !stored(reader, times))
            });
            awaited.extend(waits.map(|reader| reader.name.to_string()));
            waits.is_none()
        });
        Some(Due {
            day,
            files,
            awaited,
        })
    }
}

/// What is past its retention.
struct Due {
    /// The first day that stays.
    day: NaiveDate,
    /// Files of older days that no view waits for.
    files: Vec<Arc<ColdFile>>,
    /// Views that have not stored yet what the other files of older days hold.
    awaited: BTreeSet<String>,
}

impl Due {
    fn detail(&self, table: &Table) -> String {
        let detail = format!("{EVENT_DATE} before {}", self.day);
        if self.awaited.is_empty() {
            return detail;
        }
        let names: Vec<&str> = self.awaited.iter().map(String::as_str).collect();
        let names = names.join(", ");
        tracing::info!(table = %table.name(), views = names, "retention waits for views to store what they have open");
        format!("{detail}; what these views have not stored yet is kept: {names}")
    }

    /// Nothing can go yet.
    fn waiting(&self, table: &Table) -> Outcome {
        Outcome {
            detail: self.detail(table),
            ..Outcome::default()
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000_000;

    #[test]
    fn a_partition_goes_when_its_last_row_could_be_no_younger() {
        let noon = DateTime::parse_from_rfc3339("2026-01-10T12:00:00Z")
            .unwrap()
            .timestamp_micros();
        let day = |d| NaiveDate::from_ymd_opt(2026, 1, d).unwrap();
        // At noon of the 10th three days back is noon of the 7th: the 7th still has younger rows, the 6th has not.
        assert_eq!(cutoff(noon, 3 * DAY), Some(day(7)));
        let midnight = noon - DAY / 2;
        assert_eq!(cutoff(midnight, 3 * DAY), Some(day(7)));
        assert_eq!(cutoff(midnight - 1, 3 * DAY), Some(day(6)));
        assert_eq!(cutoff(i64::MIN, DAY), None);
    }

    proptest! {
        /// No row that is younger than the retention is ever in a partition that goes, and every older day goes.
        #[test]
        fn nothing_young_goes_and_whole_old_days_do(reference in 0i64..4_000_000_000_000_000, keep in 1i64..400 * DAY, age in 0i64..500 * DAY) {
            let day = cutoff(reference, keep).unwrap();
            let row = reference - age;
            let date = DateTime::from_timestamp_micros(row).unwrap().date_naive();
            if age <= keep {
                prop_assert!(date >= day);
            }
            if age >= keep + DAY {
                prop_assert!(date < day);
            }
        }
    }
}
