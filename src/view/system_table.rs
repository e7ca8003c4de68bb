//! `system.views`.

use std::sync::Arc;

use super::{ViewStatus, Views};
use crate::catalog::Shared;
use crate::clock::Micros;
use crate::dataset::show_span;
use crate::system_table::{Columns, SystemTable};
use crate::types::TableName;

/// A materialized view, what is stored of it, and how far that is behind its source.
struct ViewRow {
    name: TableName,
    source: String,
    bucket: String,
    /// How long ago the watermark was, in microseconds; zero where what is known goes up to now.
    lag_us: Option<i64>,
    stored_until: Option<Micros>,
    /// Before it nothing is computed again, and retention may take the source's rows.
    frozen_until: Option<Micros>,
    version: i64,
    rows_stored: Option<i64>,
    source_version: i64,
    lag_versions: i64,
    status: ViewStatus,
}

/// `views`: what refreshes them; none before that has begun.
pub fn table(
    shared: Arc<Shared>,
    views: impl Fn() -> Option<Arc<Views>> + Send + Sync + 'static,
) -> SystemTable {
    let columns = Columns::<ViewRow>::default()
        .maybe_text("table_schema", |v| Some(v.name.schema()))
        .maybe_text("table_name", |v| Some(v.name.table()))
        .maybe_text("source", |v| Some(&v.source))
        .maybe_text("bucket", |v| Some(&v.bucket))
        .maybe_instant("watermark", |v| v.status.watermark)
        .maybe_signed("lag_us", |v| v.lag_us)
        .maybe_instant("stored_until", |v| v.stored_until)
        .maybe_instant("frozen_until", |v| v.frozen_until)
        .maybe_signed("version", |v| Some(v.version))
        .maybe_signed("rows_stored", |v| v.rows_stored)
        .maybe_signed("source_version", |v| Some(v.source_version))
        .maybe_signed("lag_versions", |v| Some(v.lag_versions))
        .maybe_signed("buckets_computed", |v| whole(v.status.buckets))
        .maybe_signed("refreshes", |v| whole(v.status.refreshes))
        .maybe_signed("last_refresh_ms", |v| {
            let took = v.status.last_refresh;
            took.and_then(|d| i64::try_from(d.as_millis()).ok())
        })
        .maybe_signed("last_files_read", |v| whole(v.status.last_scanned.files))
        .maybe_signed("last_bytes_read", |v| whole(v.status.last_scanned.bytes))
        .maybe_text("last_error", |v| v.status.last_error.as_deref());
    SystemTable::new("views", columns, move || {
        let notes = views().map(|v| v.status()).unwrap_or_default();
        rows(&shared, &notes)
    })
}

fn whole(n: u64) -> Option<i64> {
    i64::try_from(n).ok()
}

fn rows(shared: &Shared, notes: &[(TableName, ViewStatus)]) -> Vec<ViewRow> {
    let snapshot = shared.visible.snapshot();
    let now = shared.clock.now();
    let time = |at: i64| (at > i64::MIN / 8).then_some(at);
    let rows = snapshot.tables.values().filter_map(|v| {
        let spec = v.contract.as_ref()?.view.as_ref()?;
        let source = snapshot.tables.get(&spec.source.folded())?;
        let note = notes.iter().find(|(n, _)| n.folded() == v.name.folded());
        let status = note.map(|(_, s)| s.clone()).unwrap_or_default();
        let progress = v.progress.as_ref()?.over(&source.cold);
        let read = progress.source.as_ref().map_or(-1, |s| s.version());
        let newest = source.cold.version();
        let (size, step) = (show_span(spec.bucket.size), spec.bucket.step);
        Some(ViewRow {
            name: v.name.clone(),
            source: spec.source.to_string(),
            bucket: match step == spec.bucket.size {
                true => size,
                false => format!("{size} every {}", show_span(step)),
            },
            lag_us: status.watermark.map(|at| now.saturating_sub(at).max(0)),
            stored_until: time(progress.open_from),
            frozen_until: time(progress.frozen),
            version: v.cold.version(),
            rows_stored: v.cold.rows().and_then(|n| i64::try_from(n).ok()),
            source_version: read,
            lag_versions: newest - read.min(newest),
            status,
        })
    });
    rows.collect()
}
