//! Tables of the schema `system` that show the catalogue: each table's state, its producers and open streams, and how its rows were
//! judged.

use std::sync::Arc;

use super::parked::ParkedState;
use super::streams::OpenStream;
use super::{CommitQuality, Shared, lifecycle};
use crate::clock::Micros;
use crate::records::{Day, DurablePoint, Left, Totals};
use crate::system_table::{Columns, SystemTable};
use crate::types::{Lsn, TableName};

/// All of them.
pub fn all(shared: &Arc<Shared>) -> [SystemTable; 6] {
    [
        of_streams(shared.clone()),
        of_tables(shared.clone()),
        of_producers(shared.clone()),
        of_quality(shared.clone()),
        of_quality_commits(shared.clone()),
        of_rules(shared.clone()),
    ]
}

/// One table on the console and in `system.tables`.
#[derive(Clone, Debug)]
pub struct TableStatus {
    pub name: TableName,
    pub version: i64,
    pub rows_cold: Option<usize>,
    pub rows_hot: usize,
    pub rows_quarantined: usize,
    pub files: usize,
    pub bytes: u64,
    /// When the newest data file was written, in microseconds since 1970; none: the table has no file.
    pub newest_file: Option<Micros>,
    pub hot_bytes: usize,
    pub committed: u64,
    /// The oldest frame that the log keeps for the table, and how many frames there are from it on, of all tables.
    pub held_from: Option<Lsn>,
    pub held_frames: u64,
    pub producers: usize,
    pub incarnation: u64,
    /// Why nobody can read or write it.
    pub parked: Option<Arc<ParkedState>>,
}

/// Each table as it is now.
pub fn tables(shared: &Shared) -> Vec<TableStatus> {
    let snapshot = shared.visible.snapshot();
    let tables = shared.tables();
    let durable = shared.log.durable().get();
    let status = tables.iter().filter_map(|table| {
        let view = snapshot.tables.get(&table.name().folded())?;
        let hot = shared.visible.hot_status(table);
        let quarantine = snapshot.tables.get(&table.name().quarantine().folded());
        let quarantined = quarantine.and_then(|q| q.cold.rows()).unwrap_or(0);
        let files = view.cold.files();
        Some(TableStatus {
            name: table.name(),
            version: view.cold.version(),
            rows_cold: view.cold.rows(),
            rows_hot: hot.rows,
            rows_quarantined: hot.quarantine_rows + quarantined,
            files: files.len(),
            bytes: files.iter().map(|f| f.size()).sum(),
            newest_file: files.iter().map(|f| f.modified().timestamp_micros()).max(),
            hot_bytes: hot.bytes,
            committed: table.committed().offset.get(),
            held_from: hot.held_from,
            held_frames: hot
                .held_from
                .map_or(0, |from| durable.saturating_sub(from.get()) + 1),
            producers: table.in_log_order(|producers| producers.len()),
            incarnation: table.incarnation.get(),
            parked: table.parked(),
        })
    });
    status.collect()
}

/// A row of `system.tables`, with the way out of a parked table in words.
struct TableRow {
    status: TableStatus,
    way_out: Option<String>,
}

impl TableRow {
    fn parked(&self) -> Option<&ParkedState> {
        self.status.parked.as_deref()
    }
}

fn of_tables(shared: Arc<Shared>) -> SystemTable {
    let columns = Columns::<TableRow>::default()
        .text("table_schema", |t| t.status.name.schema())
        .text("table_name", |t| t.status.name.table())
        .long("incarnation", |t| t.status.incarnation)
        .signed("version", |t| t.status.version)
        .maybe_signed("rows_committed", |t| {
            t.status.rows_cold.and_then(|r| i64::try_from(r).ok())
        })
        .long("rows_hot", |t| t.status.rows_hot as u64)
        .long("hot_bytes", |t| t.status.hot_bytes as u64)
        .long("committed_offset", |t| t.status.committed)
        .maybe_signed("log_held_from", |t| {
            let from = t.status.held_from;
            from.and_then(|at| i64::try_from(at.get()).ok())
        })
        .long("producers", |t| t.status.producers as u64)
        .long("rows_quarantined", |t| t.status.rows_quarantined as u64)
        .long("files", |t| t.status.files as u64)
        .long("bytes", |t| t.status.bytes)
        .maybe_instant("newest_file", |t| t.status.newest_file)
        .text("state", |t| match t.parked() {
            Some(_) => "parked",
            None => "served",
        })
        .maybe_text("parked_stage", |t| t.parked().map(|p| p.stage.word()))
        .maybe_text("parked_reason", |t| t.parked().map(|p| &*p.reason))
        .maybe_text("parked_problem", |t| t.parked().map(|p| &*p.problem))
        .maybe_text("way_out", |t| t.way_out.as_deref())
        .maybe_instant("parked_since", |t| t.parked().map(|p| p.since));
    SystemTable::new("tables", columns, move || {
        let rows = tables(&shared).into_iter().map(|status| TableRow {
            way_out: status.parked.as_ref().map(|p| p.way_out(&status.name)),
            status,
        });
        rows.collect()
    })
}

/// A producer of a table, and its newest durable batch.
#[derive(Clone, Debug)]
pub struct ProducerStatus {
    pub table: String,
    pub name: String,
    pub epoch: u64,
    pub durable: DurablePoint,
}

/// Each producer of each table, by their names.
pub fn producers(shared: &Shared) -> Vec<ProducerStatus> {
    let mut all = Vec::new();
    for table in shared.tables() {
        table.in_log_order(|producers| {
            for (name, entry) in producers.iter() {
                all.push(ProducerStatus {
                    table: table.name().to_string(),
                    name: name.to_string(),
                    epoch: entry.state.epoch(),
                    durable: entry.state.durable(),
                });
            }
        });
    }
    all.sort_by(|a, b| (&a.table, &a.name).cmp(&(&b.table, &b.name)));
    all
}

fn of_producers(shared: Arc<Shared>) -> SystemTable {
    let columns = Columns::<ProducerStatus>::default()
        .text("table", |p| &p.table)
        .text("producer", |p| &p.name)
        .long("epoch", |p| p.epoch)
        .long("seq", |p| p.durable.seq)
        .long("offset", |p| p.durable.offset.get())
        .long("accepted", |p| p.durable.totals.accepted)
        .long("quarantined", |p| p.durable.totals.quarantined)
        .long("duplicates", |p| p.durable.totals.duplicates);
    SystemTable::new("producers", columns, move || producers(&shared))
}

/// An open stream at one moment.
struct StreamRow {
    stream: Arc<OpenStream>,
    table: String,
    producer: Option<Arc<str>>,
}

fn of_streams(shared: Arc<Shared>) -> SystemTable {
    let columns = Columns::<StreamRow>::default()
        .text("table", |s| &s.table)
        .maybe_text("producer", |s| s.producer.as_deref())
        .long("seq", |s| s.stream.seq())
        .long("inflight", |s| s.stream.inflight())
        .instant("since", |s| s.stream.since);
    SystemTable::new("streams", columns, move || {
        let open = shared.streams.list().into_iter();
        let rows = open.map(|stream| StreamRow {
            table: stream.table.to_string(),
            producer: stream.producer(),
            stream,
        });
        rows.collect()
    })
}

fn day(since_1970: i32) -> String {
    chrono::DateTime::from_timestamp(i64::from(since_1970) * 86_400, 0)
        .map_or_else(String::new, |t| t.date_naive().to_string())
}

/// What arrived for a table on a day.
struct DayRow {
    table: String,
    date: String,
    counts: Day,
}

fn days(shared: &Shared) -> impl Iterator<Item = DayRow> {
    let days = shared.visible.days().into_iter();
    days.map(|(table, date, counts)| DayRow {
        table: table.to_string(),
        date: day(date),
        counts,
    })
}

fn of_quality(shared: Arc<Shared>) -> SystemTable {
    let columns = Columns::<DayRow>::default()
        .text("table", |d| &d.table)
        .text("ingest_date", |d| &d.date)
        .long("received", |d| d.counts.received)
        .long("accepted", |d| d.counts.accepted)
        .long("quarantined", |d| d.counts.quarantined)
        .long("duplicates", |d| d.counts.duplicates)
        .long("replayed", |d| d.counts.replayed);
    SystemTable::new("quality", columns, move || days(&shared).collect())
}

/// How often rows broke a rule on a day.
struct RuleRow {
    table: String,
    date: String,
    rule: String,
    violations: u64,
}

fn of_rules(shared: Arc<Shared>) -> SystemTable {
    let columns = Columns::<RuleRow>::default()
        .text("table", |r| &r.table)
        .text("ingest_date", |r| &r.date)
        .text("rule", |r| &r.rule)
        .long("violations", |r| r.violations);
    SystemTable::new("rules", columns, move || {
        let rows = days(&shared).flat_map(|d| {
            let (table, date) = (d.table, d.date);
            let rules = d.counts.rules.into_iter();
            rules.map(move |(rule, violations)| RuleRow {
                table: table.clone(),
                date: date.clone(),
                rule,
                violations,
            })
        });
        rows.collect()
    })
}

/// What a commit took; without a commit, what none has taken yet.
struct QualityRow {
    table: String,
    commit: Option<CommitQuality>,
    counts: Totals,
    left: Left,
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn of_quality_commits(shared: Arc<Shared>) -> SystemTable {
    let columns = Columns::<QualityRow>::default()
        .text("table", |q| &q.table)
        .maybe_signed("version", |q| q.commit.map(|c| c.version))
        .maybe_signed("quarantine_version", |q| {
            q.commit.map(|c| c.quarantine_version)
        })
        .maybe_signed("offset", |q| {
            q.commit.map(|c| lifecycle::offset_i64(c.offset))
        })
        .maybe_instant("committed_at", |q| q.commit.map(|c| c.at))
        .signed("received", |q| {
            signed(q.counts.accepted + q.counts.quarantined + q.counts.duplicates)
        })
        .signed("accepted", |q| signed(q.counts.accepted + q.left.accepted))
        .signed("quarantined", |q| {
            signed(q.counts.quarantined) - signed(q.left.accepted + q.left.duplicates)
        })
        .signed("duplicates", |q| {
            signed(q.counts.duplicates + q.left.duplicates)
        })
        .signed("replayed", |q| signed(q.left.accepted + q.left.duplicates));
    SystemTable::new("quality_commits", columns, move || {
        let mut rows = Vec::new();
        for (table, commits, open) in shared.visible.quality() {
            let table = table.to_string();
            rows.extend(commits.into_iter().map(|c| QualityRow {
                table: table.clone(),
                commit: Some(c),
                counts: c.counts,
                left: c.left,
            }));
            rows.push(QualityRow {
                table,
                commit: None,
                counts: open,
                left: Left::default(),
            });
        }
        rows
    })
}
