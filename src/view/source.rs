//! What a view needs to know of its source: which windows the changes since a version touch, and how far its producers are.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;

use super::watermark::AHEAD_MAX;
use super::{Views, Watch};
use crate::catalog::view::{Snapshot, TableView};
use crate::clock::Micros;
use crate::cold::bounds::{Difference, Times};
use crate::cold::{ColdFile, FileList, PinnedFiles, Silent, silent_files};
use crate::dataset::{Spans, ViewSpec};
use crate::fault::Fault;
use crate::types::{TableName, quote_name};

/// A file that may touch more closed windows than this is looked into.
const WINDOWS_UNREAD: i64 = 4;

/// A snapshot in which a table is these files and nothing else.
pub(super) fn only(view: &TableView, cold: Arc<PinnedFiles>, snapshot: &Snapshot) -> Snapshot {
    let mut tables = (*snapshot.tables).clone();
    let plain = TableView {
        cold,
        hot: Arc::default(),
        progress: None,
        ..view.clone()
    };
    tables.insert(view.name.folded(), plain);
    Snapshot {
        tables: Arc::new(tables),
        ..snapshot.clone()
    }
}

fn micros(batch: &RecordBatch, column: usize) -> Vec<Option<i64>> {
    let times = batch
        .columns()
        .get(column)
        .and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
    times.map_or_else(Vec::new, |times| times.iter().collect())
}

impl Views {
    /// Windows that start in `[frozen, open_from)` and hold a row that came or went between two versions of the source.
    ///
    /// # Errors
    /// The store's, a query's.
    pub(super) async fn touched(
        &self,
        spec: &ViewSpec,
        source: &TableView,
        folder: &str,
        seen: &FileList,
        snapshot: &Snapshot,
        (frozen, open_from): (i64, i64),
    ) -> Result<Spans, Fault> {
        let now = &source.cold;
        let mut changed = now.since(seen);
        let silent = self.silent(&source.name, folder, &changed, seen, now).await;
        changed.added.retain(|f| !silent.paths.contains(f.path()));
        changed.removed.retain(|f| !silent.paths.contains(f.path()));
        let clip = |times: Times| {
            let (min, max) = times.range()?;
            let (first, end) = spec.bucket.touched(min, max);
            let (first, end) = (first.max(frozen), end.min(open_from));
            (first < end).then_some((first, end))
        };
        let mut spans = Vec::new();
        let mut looked_into = Vec::new();
        for file in &changed.added {
            let Some((first, end)) = clip(now.times(file, &spec.time_column)) else {
                continue;
            };
            if changed.removed.is_empty()
                && end.saturating_sub(first) / spec.bucket.step > WINDOWS_UNREAD
            {
                looked_into.push(file.clone());
            } else {
                spans.push((first, end));
            }
        }
        for file in &silent.passed {
            spans.extend(clip(now.times(file, &spec.time_column)));
        }
        for file in &changed.removed {
            spans.extend(clip(seen.times(file, &spec.time_column)));
        }
        if !looked_into.is_empty() {
            let time = quote_name(&spec.time_column);
            let sql = format!(
                "SELECT DISTINCT time_bucket('{} microseconds', {time}) FROM {} WHERE {time} IS NOT NULL",
                spec.bucket.step,
                source.name.sql()
            );
            let files = only(source, Arc::new(now.with_files(looked_into)), snapshot);
            for batch in self.engine.rows_of(&sql, files).await? {
                let starts = micros(&batch, 0).into_iter().flatten();
                spans.extend(starts.map(|at| spec.bucket.touched(at, at)));
            }
        }
        Ok(Spans::of(spans).clip(frozen, open_from))
    }

    /// What compaction did to the source between two versions. Files only came: nothing.
    async fn silent(
        &self,
        name: &TableName,
        folder: &str,
        changed: &Difference,
        seen: &FileList,
        now: &FileList,
    ) -> Silent {
        if changed.removed.is_empty() {
            return Silent::default();
        }
        let found = silent_files(&self.shared.lake, folder, seen.version(), now).await;
        found.unwrap_or_else(|error| {
            // Then compaction looks like change: more is computed, and nothing is missed.
            tracing::debug!(table = %name, %error, "the log does not tell compaction from change");
            Silent::default()
        })
    }

    /// Tells the watermark what came since it last looked.
    ///
    /// # Errors
    /// A query's.
    pub(super) async fn observe(
        &self,
        watch: &mut Watch,
        spec: &ViewSpec,
        source: &TableView,
        folder: &str,
        snapshot: &Snapshot,
        now: Micros,
    ) -> Result<(), Fault> {
        let at = self.started.elapsed();
        let bound = now.saturating_add(spec.settings.future);
        if !watch.watermark.reach(bound) {
            watch.seen = None;
        }
        let cold = &source.cold;
        let files = match &watch.seen {
            Some(seen) => {
                let mut changed = cold.since(seen);
                let silent = self
                    .silent(&source.name, folder, &changed, seen, cold)
                    .await;
                // Rows that were only put together are no word from anyone. Those that came and were put together between two
                // looks are in no file of their own: then all are taken as new, which can close a window late, and none early.
                if silent.passed.is_empty() {
                    changed.added.retain(|f| !silent.paths.contains(f.path()));
                }
                changed.added
            }
            None => cold.files().to_vec(),
        };
        let first_look = watch.seen.is_none();
        let idle_ms = spec.settings.idle / 1_000;
        let has_source = source.schema.index_of("_source").is_ok();
        let mut looked_into = Vec::new();
        for file in files {
            let Times::Between(_, max) = cold.times(&file, &spec.time_column) else {
                continue;
            };
            // After a start only those that may still be sending hold the watermark.
            let old = first_look && file.modified_ms() < now / 1_000 - idle_ms;
            let producer = if has_source {
                cold.only_text(&file, "_source")
            } else {
                Some(String::new())
            };
            // The upper bound of a file is up to a millisecond above its newest time: no bucket closes by it.
            let newest = max - 999;
            match producer {
                _ if max > bound => looked_into.push(file),
                _ if old => watch.watermark.observe_old(newest),
                Some(producer) => watch.watermark.observe(&producer, newest, at),
                None => looked_into.push(file),
            }
        }
        if !looked_into.is_empty() {
            self.look_into(
                watch,
                spec,
                source,
                snapshot,
                looked_into,
                (bound, at, has_source),
            )
            .await?;
        }
        let known = watch.seen.as_ref().map(|seen| seen.version());
        if known != Some(cold.version()) {
            watch.seen = Some(Arc::new(cold.to_list()));
        }
        Ok(())
    }

    async fn look_into(
        &self,
        watch: &mut Watch,
        spec: &ViewSpec,
        source: &TableView,
        snapshot: &Snapshot,
        files: Vec<Arc<ColdFile>>,
        (bound, at, has_source): (i64, Duration, bool),
    ) -> Result<(), Fault> {
        let time = quote_name(&spec.time_column);
        let zone = match source.schema.field_with_name(&spec.time_column) {
            Ok(f)
                if matches!(
                    f.data_type(),
                    arrow::datatypes::DataType::Timestamp(_, None)
                ) =>
            {
                "None"
            }
            _ => "Some(\"UTC\")",
        };
        let producer = if has_source { "\"_source\"" } else { "''" };
        let sql = format!(
            "SELECT {producer} AS p, max({time}) AS t FROM {} WHERE {time} <= arrow_cast({bound}, 'Timestamp(Microsecond, {zone})') GROUP BY 1",
            source.name.sql()
        );
        let files = Arc::new(source.cold.with_files(files));
        let files = only(source, files, snapshot);
        // Rows ahead of the clock, a bucket at a time: one in 2099 hides none of those that are due in a minute.
        let ahead = format!(
            "SELECT max({time}) AS t FROM {} WHERE {time} > arrow_cast({bound}, 'Timestamp(Microsecond, {zone})') \
             GROUP BY time_bucket('{} microseconds', {time}) ORDER BY 1 LIMIT {AHEAD_MAX}",
            source.name.sql(),
            spec.bucket.step
        );
        let mut found: Vec<i64> = Vec::new();
        for batch in self.engine.rows_of(&ahead, files.clone()).await? {
            found.extend(micros(&batch, 0).into_iter().flatten());
        }
        found
            .iter()
            .for_each(|at| watch.watermark.observe_ahead(*at));
        if let Some(last) = found.last().filter(|_| found.len() >= AHEAD_MAX) {
            watch.watermark.forget_ahead(last.saturating_add(1));
        }
        for batch in self.engine.rows_of(&sql, files).await? {
            let names = batch.column(0).as_string_opt::<i32>();
            for (row, newest) in micros(&batch, 1).into_iter().enumerate() {
                let Some(newest) = newest else { continue };
                let name = names
                    .filter(|n| n.is_valid(row))
                    .map_or("", |n| n.value(row));
                watch.watermark.observe(name, newest, at);
            }
        }
        Ok(())
    }
}
