//! `system.commits` and `system.upkeep`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::error::ArrowError;

use super::journal::Journal;
use crate::catalog::Shared;

fn text<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn long(values: impl IntoIterator<Item = u64>) -> ArrayRef {
    let values = values.into_iter();
    Arc::new(Int64Array::from_iter_values(
        values.map(|v| i64::try_from(v).unwrap_or(i64::MAX)),
    ))
}

fn time(micros: impl IntoIterator<Item = i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
}

/// The last versions of each table that this server wrote, quarantines included.
pub fn commits(shared: &Shared) -> Result<RecordBatch, ArrowError> {
    let mut c = Vec::new();
    for table in shared.tables() {
        let name = table.name();
        let names = [name.clone(), name.quarantine()];
        for (name, recent) in names.iter().zip(&table.recent) {
            c.extend(
                recent
                    .notes()
                    .into_iter()
                    .map(|note| (name.to_string(), note)),
            );
        }
    }
    RecordBatch::try_from_iter([
        ("table", text(c.iter().map(|c| &c.0))),
        (
            "version",
            Arc::new(Int64Array::from_iter_values(c.iter().map(|c| c.1.version))) as ArrayRef,
        ),
        (
            "time",
            time(c.iter().map(|c| c.1.at_ms.saturating_mul(1000))),
        ),
        ("kind", text(c.iter().map(|c| &c.1.kind))),
        ("rows", long(c.iter().map(|c| c.1.rows))),
        ("files", long(c.iter().map(|c| c.1.files as u64))),
        (
            "files_removed",
            long(c.iter().map(|c| c.1.files_removed as u64)),
        ),
        ("bytes", long(c.iter().map(|c| c.1.bytes))),
        (
            "ms",
            long(
                c.iter()
                    .map(|c| u64::try_from(c.1.took.as_millis()).unwrap_or(u64::MAX)),
            ),
        ),
    ])
}

/// What upkeep did last, and what it does now (`state` is `running`).
pub fn runs(journal: &Journal) -> Result<RecordBatch, ArrowError> {
    let e = journal.entries();
    let state = |ms: Option<u64>, error: bool| match (ms, error) {
        (None, _) => "running",
        (Some(_), true) => "failed",
        (Some(_), false) => "done",
    };
    let optional = |values: Vec<Option<i64>>| Arc::new(Int64Array::from(values)) as ArrayRef;
    let ms = e.iter().map(|e| e.ms.and_then(|ms| i64::try_from(ms).ok()));
    RecordBatch::try_from_iter_with_nullable([
        ("task", text(e.iter().map(|e| e.task)), false),
        ("table", text(e.iter().map(|e| e.table.to_string())), false),
        (
            "state",
            text(e.iter().map(|e| state(e.ms, e.error.is_some()))),
            false,
        ),
        ("started", time(e.iter().map(|e| e.started)), false),
        ("ms", optional(ms.collect()), true),
        (
            "files_removed",
            long(e.iter().map(|e| e.outcome.files_removed)),
            false,
        ),
        (
            "bytes_removed",
            long(e.iter().map(|e| e.outcome.bytes_removed)),
            false,
        ),
        (
            "files_added",
            long(e.iter().map(|e| e.outcome.files_added)),
            false,
        ),
        (
            "bytes_added",
            long(e.iter().map(|e| e.outcome.bytes_added)),
            false,
        ),
        ("rows", long(e.iter().map(|e| e.outcome.rows)), false),
        (
            "detail",
            text(
                e.iter()
                    .map(|e| e.error.as_ref().unwrap_or(&e.outcome.detail)),
            ),
            false,
        ),
    ])
}
