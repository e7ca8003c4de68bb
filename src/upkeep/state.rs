//! `system.commits` and `system.upkeep`.

use std::sync::Arc;

use super::journal::{Entry, Journal};
use crate::catalog::Shared;
use crate::cold::CommitNote;
use crate::system_table::{Columns, SystemTable};

/// A version that this server wrote.
struct CommitRow {
    table: String,
    note: CommitNote,
}

/// The last versions of each table that this server wrote, quarantines included.
pub fn commits(shared: Arc<Shared>) -> SystemTable {
    let columns = Columns::<CommitRow>::default()
        .text("table", |c| &c.table)
        .signed("version", |c| c.note.version)
        .instant("time", |c| c.note.at_ms.saturating_mul(1000))
        .text("kind", |c| &c.note.kind)
        .long("rows", |c| c.note.rows)
        .long("files", |c| c.note.files as u64)
        .long("files_removed", |c| c.note.files_removed as u64)
        .long("bytes", |c| c.note.bytes)
        .long("ms", |c| {
            u64::try_from(c.note.took.as_millis()).unwrap_or(u64::MAX)
        });
    SystemTable::new("commits", columns, move || {
        let mut rows = Vec::new();
        for table in shared.tables() {
            let name = table.name();
            let names = [name.clone(), name.quarantine()];
            for (name, recent) in names.iter().zip(&table.recent) {
                rows.extend(recent.notes().into_iter().map(|note| CommitRow {
                    table: name.to_string(),
                    note,
                }));
            }
        }
        rows
    })
}

/// A run, with its table's name in words.
struct RunRow {
    table: String,
    run: Entry,
}

/// What upkeep did last, and what it does now (`state` is `running`).
pub fn runs(journal: Arc<Journal>) -> SystemTable {
    let columns = Columns::<RunRow>::default()
        .text("task", |r| r.run.task)
        .text("table", |r| &r.table)
        .text("state", |r| match (r.run.ms, &r.run.error) {
            (None, _) => "running",
            (Some(_), Some(_)) => "failed",
            (Some(_), None) => "done",
        })
        .instant("started", |r| r.run.started)
        .maybe_signed("ms", |r| r.run.ms.and_then(|ms| i64::try_from(ms).ok()))
        .long("files_removed", |r| r.run.outcome.files_removed)
        .long("bytes_removed", |r| r.run.outcome.bytes_removed)
        .long("files_added", |r| r.run.outcome.files_added)
        .long("bytes_added", |r| r.run.outcome.bytes_added)
        .long("rows", |r| r.run.outcome.rows)
        .text("detail", |r| {
            r.run.error.as_ref().unwrap_or(&r.run.outcome.detail)
        });
    SystemTable::new("upkeep", columns, move || {
        let rows = journal.entries().into_iter().map(|run| RunRow {
            table: run.table.to_string(),
            run,
        });
        rows.collect()
    })
}
