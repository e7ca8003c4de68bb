//! The tables of schema `system`. Each is made when it is read.

use std::sync::{Arc, Weak};

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::columns::{instants, long, maybe, maybe_instants, text};
use super::status::Status;
use crate::alert;
use crate::catalog::parked::ParkedState;
use crate::catalog::view::Snapshot;
use crate::catalog::{CommitQuality, lifecycle};
use crate::dataset::show_span;
use crate::fault::{Fault, Kind};
use crate::query::{Queries, SnapshotSource};
use crate::records::{Left, Totals};
use crate::types::TableName;
use crate::view::ViewStatus;

/// Columns of one table come from one list, so they have one length.
type Made = Result<RecordBatch, ArrowError>;

/// A table's name, and how it is made.
type SystemTable = (&'static str, fn(&Status) -> Made);

const TABLES: [SystemTable; 12] = [
    ("queries", queries),
    ("sessions", sessions),
    ("streams", streams),
    ("tables", tables),
    ("producers", producers),
    ("quality", quality),
    ("quality_commits", quality_commits),
    ("rules", rules),
    ("commits", |status| {
        crate::upkeep::state::commits(&status.shared)
    }),
    ("upkeep", |status| {
        crate::upkeep::state::runs(&status.journal)
    }),
    ("views", views),
    ("alerts", alerts),
];

impl SnapshotSource for Status {
    fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    fn queries(&self) -> Queries {
        self.queries.clone()
    }

    fn stopping(&self) -> tokio_util::sync::CancellationToken {
        self.shared.draining.clone()
    }

    fn system_tables(&self) -> Vec<(&'static str, SchemaRef)> {
        let made = TABLES
            .iter()
            .map(|(name, make)| Some((*name, make(self).ok()?.schema())));
        made.flatten().collect()
    }

    fn system_table(&self, name: &str) -> Result<RecordBatch, Fault> {
        let known = TABLES.iter().find(|(known, _)| *known == name);
        let Some((_, make)) = known else {
            let text = format!("no such table, table=system.{name}");
            return Err(Fault::new(Kind::NotFound, "table_not_found", text));
        };
        make(self).map_err(|e| Fault::internal(format!("system.{name}: {e}")))
    }
}

/// Those that are defined; none before alerts are looked at.
fn alerts(status: &Status) -> Made {
    match status.alerts() {
        Some(alerts) => alerts.table(),
        None => alert::empty_table(),
    }
}

fn day(since_1970: i32) -> String {
    chrono::DateTime::from_timestamp(i64::from(since_1970) * 86_400, 0)
        .map_or_else(String::new, |t| t.date_naive().to_string())
}

fn tables(status: &Status) -> Made {
    let t = status.tables();
    let parked = |of: &dyn Fn(&ParkedState, &TableName) -> String| -> ArrayRef {
        let told = t
            .iter()
            .map(|t| t.parked.as_ref().map(|state| of(state, &t.name)));
        Arc::new(told.collect::<StringArray>())
    };
    RecordBatch::try_from_iter_with_nullable(nullable([
        ("table_schema", text(t.iter().map(|t| t.name.schema()))),
        ("table_name", text(t.iter().map(|t| t.name.table()))),
        ("incarnation", long(t.iter().map(|t| t.incarnation))),
        ("version", maybe(t.iter().map(|t| Some(t.version)))),
        (
            "rows_committed",
            maybe(
                t.iter()
                    .map(|t| t.rows_cold.and_then(|r| i64::try_from(r).ok())),
            ),
        ),
        ("rows_hot", long(t.iter().map(|t| t.rows_hot as u64))),
        ("hot_bytes", long(t.iter().map(|t| t.hot_bytes as u64))),
        ("committed_offset", long(t.iter().map(|t| t.committed))),
        (
            "log_held_from",
            maybe(
                t.iter()
                    .map(|t| t.held_from.and_then(|at| i64::try_from(at.get()).ok())),
            ),
        ),
        ("producers", long(t.iter().map(|t| t.producers as u64))),
        (
            "rows_quarantined",
            long(t.iter().map(|t| t.rows_quarantined as u64)),
        ),
        ("files", long(t.iter().map(|t| t.files as u64))),
        ("bytes", long(t.iter().map(|t| t.bytes))),
        (
            "newest_file",
            maybe_instants(t.iter().map(|t| t.newest_file)),
        ),
        (
            "state",
            text(t.iter().map(|t| {
                if t.parked.is_some() {
                    "parked"
                } else {
                    "served"
                }
            })),
        ),
        ("parked_stage", parked(&|p, _| p.stage.word().to_owned())),
        ("parked_reason", parked(&|p, _| p.reason.clone())),
        ("parked_problem", parked(&|p, _| p.problem.clone())),
        ("way_out", parked(&|p, name| p.way_out(name))),
        (
            "parked_since",
            maybe_instants(t.iter().map(|t| t.parked.as_ref().map(|p| p.since))),
        ),
    ]))
}

/// Columns of a system table, of which these may be null.
fn nullable<const N: usize>(
    columns: [(&'static str, ArrayRef); N],
) -> [(&'static str, ArrayRef, bool); N] {
    const NULLABLE: [&str; 8] = [
        "rows_committed",
        "log_held_from",
        "newest_file",
        "parked_stage",
        "parked_reason",
        "parked_problem",
        "way_out",
        "parked_since",
    ];
    columns.map(|(name, values)| (name, values, NULLABLE.contains(&name)))
}

fn producers(status: &Status) -> Made {
    let p = status.producers();
    RecordBatch::try_from_iter([
        ("table", text(p.iter().map(|p| &p.0))),
        ("producer", text(p.iter().map(|p| &p.1))),
        ("epoch", long(p.iter().map(|p| p.2))),
        ("seq", long(p.iter().map(|p| p.3.seq))),
        ("offset", long(p.iter().map(|p| p.3.offset.get()))),
        ("accepted", long(p.iter().map(|p| p.3.totals.accepted))),
        (
            "quarantined",
            long(p.iter().map(|p| p.3.totals.quarantined)),
        ),
        ("duplicates", long(p.iter().map(|p| p.3.totals.duplicates))),
    ])
}

fn quality(status: &Status) -> Made {
    let d = status.shared.visible.days();
    RecordBatch::try_from_iter([
        ("table", text(d.iter().map(|d| d.0.to_string()))),
        ("ingest_date", text(d.iter().map(|d| day(d.1)))),
        ("received", long(d.iter().map(|d| d.2.received))),
        ("accepted", long(d.iter().map(|d| d.2.accepted))),
        ("quarantined", long(d.iter().map(|d| d.2.quarantined))),
        ("duplicates", long(d.iter().map(|d| d.2.duplicates))),
        ("replayed", long(d.iter().map(|d| d.2.replayed))),
    ])
}

fn quality_commits(status: &Status) -> Made {
    // A commit a row; the last row of a table, without a version, is what no commit has taken yet.
    let mut q = Vec::new();
    for (table, commits, open) in status.shared.visible.quality() {
        let table = table.to_string();
        q.extend(
            commits
                .into_iter()
                .map(|c| (table.clone(), Some(c), c.counts, c.left)),
        );
        q.push((table, None, open, Left::default()));
    }
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let commit = |of: fn(&CommitQuality) -> i64| -> ArrayRef {
        maybe(q.iter().map(|q| q.1.as_ref().map(of)))
    };
    let count = |of: &dyn Fn(&Totals, &Left) -> i64| -> ArrayRef {
        maybe(q.iter().map(|q| Some(of(&q.2, &q.3))))
    };
    RecordBatch::try_from_iter_with_nullable([
        ("table", text(q.iter().map(|q| &q.0)), false),
        ("version", commit(|c| c.version), true),
        ("quarantine_version", commit(|c| c.quarantine_version), true),
        ("offset", commit(|c| lifecycle::offset_i64(c.offset)), true),
        (
            "committed_at",
            maybe_instants(q.iter().map(|q| q.1.map(|c| c.at))),
            true,
        ),
        (
            "received",
            count(&|c, _| signed(c.accepted + c.quarantined + c.duplicates)),
            false,
        ),
        (
            "accepted",
            count(&|c, l| signed(c.accepted + l.accepted)),
            false,
        ),
        (
            "quarantined",
            count(&|c, l| signed(c.quarantined) - signed(l.accepted + l.duplicates)),
            false,
        ),
        (
            "duplicates",
            count(&|c, l| signed(c.duplicates + l.duplicates)),
            false,
        ),
        (
            "replayed",
            count(&|_, l| signed(l.accepted + l.duplicates)),
            false,
        ),
    ])
}

fn rules(status: &Status) -> Made {
    let d = status.shared.visible.days();
    let r: Vec<(String, String, &String, u64)> = d
        .iter()
        .flat_map(|(t, n, c)| c.rules.iter().map(|(r, k)| (t.to_string(), day(*n), r, *k)))
        .collect();
    RecordBatch::try_from_iter([
        ("table", text(r.iter().map(|r| &r.0))),
        ("ingest_date", text(r.iter().map(|r| &r.1))),
        ("rule", text(r.iter().map(|r| r.2))),
        ("violations", long(r.iter().map(|r| r.3))),
    ])
}

fn queries(status: &Status) -> Made {
    let q = status.queries.list();
    RecordBatch::try_from_iter([
        ("id", text(q.iter().map(|q| &q.id))),
        ("principal", text(q.iter().map(|q| &q.principal))),
        ("state", text(q.iter().map(|q| q.state.word()))),
        ("started", instants(q.iter().map(|q| q.started))),
        ("ms", long(q.iter().map(|q| q.ms))),
        ("rows", long(q.iter().map(|q| q.rows))),
        ("memory_bytes", long(q.iter().map(|q| q.bytes))),
        ("sql", text(q.iter().map(|q| &q.sql))),
    ])
}

fn streams(status: &Status) -> Made {
    let o = status.shared.streams.list();
    RecordBatch::try_from_iter([
        ("table", text(o.iter().map(|o| o.table.to_string()))),
        (
            "producer",
            Arc::new(o.iter().map(|o| o.producer()).collect::<StringArray>()) as ArrayRef,
        ),
        ("seq", long(o.iter().map(|o| o.seq()))),
        ("inflight", long(o.iter().map(|o| o.inflight()))),
        ("since", instants(o.iter().map(|o| o.since))),
    ])
}

fn sessions(status: &Status) -> Made {
    let s = status.sessions.list();
    RecordBatch::try_from_iter([
        ("id", text(s.iter().map(|s| &s.id))),
        ("principal", text(s.iter().map(|s| &s.principal))),
        ("schema", text(s.iter().map(|s| &s.schema))),
        ("began", instants(s.iter().map(|s| s.began))),
        ("idle_ms", long(s.iter().map(|s| s.idle_ms))),
        (
            "temporary_tables",
            long(s.iter().map(|s| s.temporary_tables as u64)),
        ),
        (
            "temporary_bytes",
            long(s.iter().map(|s| s.temporary_bytes as u64)),
        ),
    ])
}

fn views(status: &Status) -> Made {
    let known = status.views.get().and_then(Weak::upgrade);
    let notes = known.map(|v| v.status()).unwrap_or_default();
    let snapshot = status.shared.visible.snapshot();
    let rows: Vec<_> = snapshot
        .tables
        .values()
        .filter_map(|v| {
            let spec = v.contract.as_ref()?.view.clone()?;
            let source = snapshot.tables.get(&spec.source.folded())?;
            let note = notes.iter().find(|(n, _)| n.folded() == v.name.folded());
            let note = note.map(|(_, s)| s.clone()).unwrap_or_default();
            let progress = v.progress.as_ref()?.over(&source.cold);
            let read = progress.source.as_ref().map_or(-1, |s| s.version());
            let time = |at: i64| (at > i64::MIN / 8).then_some(at);
            Some((
                v,
                spec,
                note,
                read,
                source.cold.version(),
                time(progress.open_from),
                time(progress.frozen),
            ))
        })
        .collect();
    let each = |f: &dyn Fn(&ViewStatus) -> Option<i64>| maybe(rows.iter().map(|r| f(&r.2)));
    let now = status.shared.clock.now();
    let whole = |n: u64| i64::try_from(n).ok();
    let stored =
        |r: &crate::catalog::view::TableView| r.cold.rows().and_then(|n| i64::try_from(n).ok());
    RecordBatch::try_from_iter_with_nullable([
        (
            "table_schema",
            text(rows.iter().map(|r| r.0.name.schema())),
            true,
        ),
        (
            "table_name",
            text(rows.iter().map(|r| r.0.name.table())),
            true,
        ),
        (
            "source",
            text(rows.iter().map(|r| r.1.source.to_string())),
            true,
        ),
        (
            "bucket",
            text(rows.iter().map(|r| {
                let bucket = r.1.bucket;
                let size = show_span(bucket.size);
                if bucket.step == bucket.size {
                    size
                } else {
                    format!("{size} every {}", show_span(bucket.step))
                }
            })),
            true,
        ),
        (
            "watermark",
            maybe_instants(rows.iter().map(|r| r.2.watermark)),
            true,
        ),
        (
            // How long ago the watermark was; zero where what is known goes up to now.
            "lag_us",
            each(&|s| s.watermark.map(|at| now.saturating_sub(at).max(0))),
            true,
        ),
        (
            "stored_until",
            maybe_instants(rows.iter().map(|r| r.5)),
            true,
        ),
        (
            // Before it nothing is computed again, and retention may take the source's rows.
            "frozen_until",
            maybe_instants(rows.iter().map(|r| r.6)),
            true,
        ),
        (
            "version",
            maybe(rows.iter().map(|r| Some(r.0.cold.version()))),
            true,
        ),
        ("rows_stored", maybe(rows.iter().map(|r| stored(r.0))), true),
        (
            "source_version",
            maybe(rows.iter().map(|r| Some(r.3))),
            true,
        ),
        (
            "lag_versions",
            maybe(rows.iter().map(|r| Some(r.4 - r.3.min(r.4)))),
            true,
        ),
        ("buckets_computed", each(&|s| whole(s.buckets)), true),
        ("refreshes", each(&|s| whole(s.refreshes)), true),
        (
            "last_refresh_ms",
            each(&|s| {
                s.last_refresh
                    .and_then(|d| i64::try_from(d.as_millis()).ok())
            }),
            true,
        ),
        (
            "last_files_read",
            each(&|s| whole(s.last_scanned.files)),
            true,
        ),
        (
            "last_bytes_read",
            each(&|s| whole(s.last_scanned.bytes)),
            true,
        ),
        (
            "last_error",
            Arc::new(StringArray::from_iter(
                rows.iter().map(|r| r.2.last_error.clone()),
            )),
            true,
        ),
    ])
}
