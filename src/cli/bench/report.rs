//! The figures as text, and as a JSON document that can be compared with that of another commit.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use deltaplane_client::protocol::AckLevel;
use serde::Serialize;

use super::machine::Machine;
use super::options::{Length, Options, Pace, Table};
use super::percentiles::Percentiles;
use super::raw::{Append, DoPut};
use super::rows;

/// What was measured, in the units in which it was.
pub(super) struct Figures {
    pub window: Option<usize>,
    pub rows: u64,
    pub batches: u64,
    /// From the start to the last ack.
    pub acked: Duration,
    /// From the start until every row was in a Delta version.
    pub committed: Duration,
    /// From the start until the views had seen that version.
    pub in_views: Option<Duration>,
    pub latency: Option<Percentiles>,
    pub late: Option<Percentiles>,
    pub server_cpu: Option<Duration>,
    pub client_cpu: Option<Duration>,
    pub server_resident_bytes: Option<u64>,
    pub server_resident_bytes_max: Option<u64>,
    pub client_resident_bytes_max: Option<u64>,
    pub log_bytes: u64,
    pub log_groups: u64,
    pub commits: u64,
    pub parquet_bytes: u64,
    pub delta_log_bytes: u64,
    pub view_bytes: u64,
    pub reconnects: u64,
    pub raw_put: DoPut,
    pub append: Append,
    pub append_groups: Append,
}

/// The JSON document. Names end with their unit; `null` where a figure is not known, or does not apply.
#[derive(Serialize)]
pub(super) struct Report {
    benchmark: &'static str,
    version: &'static str,
    commit: Option<String>,
    profile: &'static str,
    machine: Machine,
    options: Chosen,
    rows: u64,
    batches: u64,
    acked_seconds: f64,
    committed_seconds: f64,
    in_views_seconds: Option<f64>,
    acked_rows_per_second: f64,
    acked_batches_per_second: f64,
    committed_rows_per_second: f64,
    ack_latency_from: &'static str,
    ack_latency_ns: Option<Percentiles>,
    send_late_ns: Option<Percentiles>,
    server: Process,
    client: Process,
    bytes_per_row: BytesPerRow,
    log_groups: u64,
    log_group_bytes: f64,
    commits: u64,
    reconnects: u64,
    raw: Raw,
    /// Acked rows a second beside the least of raw DoPut and raw append; in the closed loop.
    acked_to_raw: Option<f64>,
}

#[derive(Serialize)]
struct Chosen {
    table: &'static str,
    columns: usize,
    doubles: Option<usize>,
    /// Without the unique key; `null`: the table's own.
    rules: Option<usize>,
    unique: bool,
    views: usize,
    r#loop: &'static str,
    rate_rows_per_second: Option<f64>,
    window_batches: Option<usize>,
    streams: usize,
    connections: usize,
    batch_rows: usize,
    ack: AckLevel,
    rows: Option<u64>,
    duration_seconds: Option<f64>,
    warm_up_seconds: f64,
    settings: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Process {
    cpu_ns_per_row: Option<f64>,
    cpu_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_bytes: Option<u64>,
    resident_bytes_max: Option<u64>,
}

#[derive(Serialize)]
struct BytesPerRow {
    log: f64,
    parquet: f64,
    delta_log: f64,
    views: f64,
}

#[derive(Serialize)]
struct Raw {
    do_put: DoPut,
    /// In groups of 4 MiB, and how many rows of this run that makes.
    append: Append,
    append_rows_per_second: f64,
    /// In groups as large as the log's were in this run.
    append_groups: Append,
}

impl Report {
    pub(super) fn new(options: Options, f: Figures) -> Self {
        let rows = f.rows as f64;
        let a_row = |bytes: u64| bytes as f64 / rows;
        let process = |cpu: Option<Duration>, now, max| Process {
            cpu_ns_per_row: cpu.map(|cpu| cpu.as_nanos() as f64 / rows),
            cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
            resident_bytes: now,
            resident_bytes_max: max,
        };
        let acked = rows / f.acked.as_secs_f64();
        let append_rows = f.append.bytes_per_second / a_row(f.log_bytes + f.parquet_bytes);
        let bound = f.raw_put.rows_per_second.min(append_rows);
        let is_closed = matches!(options.pace, Pace::Closed { .. });
        Report {
            benchmark: "ingest",
            version: env!("CARGO_PKG_VERSION"),
            commit: options.commit.clone(),
            profile: if cfg!(debug_assertions) {
                "debug"
            } else {
                "release"
            },
            machine: Machine::this(),
            rows: f.rows,
            batches: f.batches,
            acked_seconds: f.acked.as_secs_f64(),
            committed_seconds: f.committed.as_secs_f64(),
            in_views_seconds: f.in_views.map(|time| time.as_secs_f64()),
            acked_rows_per_second: acked,
            acked_batches_per_second: f.batches as f64 / f.acked.as_secs_f64(),
            committed_rows_per_second: rows / f.committed.as_secs_f64(),
            ack_latency_from: if is_closed { "sent" } else { "scheduled" },
            ack_latency_ns: f.latency,
            send_late_ns: f.late,
            server: process(
                f.server_cpu,
                f.server_resident_bytes,
                f.server_resident_bytes_max,
            ),
            client: process(f.client_cpu, None, f.client_resident_bytes_max),
            bytes_per_row: BytesPerRow {
                log: a_row(f.log_bytes),
                parquet: a_row(f.parquet_bytes),
                delta_log: a_row(f.delta_log_bytes),
                views: a_row(f.view_bytes),
            },
            log_groups: f.log_groups,
            log_group_bytes: f.log_bytes as f64 / f.log_groups.max(1) as f64,
            commits: f.commits,
            reconnects: f.reconnects,
            raw: Raw {
                do_put: f.raw_put,
                append: f.append,
                append_rows_per_second: append_rows,
                append_groups: f.append_groups,
            },
            acked_to_raw: is_closed.then(|| acked / bound),
            options: Chosen::new(options, f.window),
        }
    }

    /// As it is printed.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        let options = &self.options;
        let mut line = |text: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(out, "{text}");
        };
        line(format!(
            "{} rows of {}, batches of {}, {}, {} cores",
            self.rows,
            options.table,
            options.batch_rows,
            options.rules_text(),
            self.machine.cores
        ));
        line(options.loop_text());
        let figure = |name: &str, value: String| format!("{name:<38} {value:>12}");
        let rows = |name: &str, rows: f64| figure(name, format!("{rows:.0}")) + " rows/s";
        let (log, parquet) = (self.bytes_per_row.log, self.bytes_per_row.parquet);
        line(rows(
            "raw DoPut, nothing done with it",
            self.raw.do_put.rows_per_second,
        ));
        line(format!(
            "{}  ({:.0} MB/s, {log:.1} log + {parquet:.1} Parquet bytes a row)",
            rows(
                "raw append + fdatasync, the same bytes",
                self.raw.append_rows_per_second
            ),
            self.raw.append.bytes_per_second / 1e6
        ));
        let level = options.level();
        line(rows(
            &format!("deltaplane, acked {level}"),
            self.acked_rows_per_second,
        ));
        line(rows(
            "deltaplane, all of it in Delta",
            self.committed_rows_per_second,
        ));
        if let Some(ratio) = self.acked_to_raw {
            let name = format!("{level} / min(raw DoPut, raw disk)");
            line(figure(&name, format!("{ratio:.2}")));
        }
        let from = format!("ack latency, from {} to ack", self.latency_text());
        line(times(&from, self.ack_latency_ns.as_ref()));
        if options.r#loop == "open" {
            let late = "sent behind its scheduled time";
            line(times(late, self.send_late_ns.as_ref()));
        }
        line(
            figure(
                "acked batches",
                format!("{:.1}", self.acked_batches_per_second),
            ) + " batches/s",
        );
        let unknown = || "not known on this system".to_owned();
        for (name, process) in [("server", &self.server), ("client", &self.client)] {
            line(match process.cpu_ns_per_row {
                Some(nanos) => {
                    let name = format!("CPU of the {name}");
                    figure(&name, format!("{nanos:.0}")) + " ns a row"
                }
                None => figure(&format!("CPU of the {name}"), unknown()),
            });
        }
        line(match self.server.resident_bytes_max {
            Some(bytes) => {
                figure("memory of the server, at most", mib(bytes))
                    + &format!(
                        " MiB, {} at the end; of the client {}",
                        self.server.resident_bytes.map_or_else(unknown, mib),
                        self.client.resident_bytes_max.map_or_else(unknown, mib)
                    )
            }
            None => figure("memory of the server, at most", unknown()),
        });
        if let Some(seconds) = self.in_views_seconds {
            line(figure("all of it in the views", format!("{seconds:.2}")) + " s after the start");
        }
        let groups = &self.raw.append_groups;
        let group = figure(
            "a group of the log",
            format!("{:.1}", self.log_group_bytes / 1e3),
        );
        let (groups_synced, commits) = (self.log_groups, self.commits);
        line(format!(
            "{group} kB; groups: {groups_synced}; commits of rows: {commits}"
        ));
        let name = format!(
            "raw fdatasync of such groups, {:.0} MB/s",
            groups.bytes_per_second / 1e6
        );
        line(times(&name, groups.fdatasync_ns.as_ref()));
        if self.reconnects > 0 {
            line(figure("streams connected again", self.reconnects.to_string()) + " times");
        }
        out
    }

    fn latency_text(&self) -> &'static str {
        match self.ack_latency_from {
            "scheduled" => "the scheduled time",
            _ => "sending",
        }
    }
}

fn mib(bytes: u64) -> String {
    format!("{:.0}", bytes as f64 / 1_048_576.0)
}

fn times(name: &str, times: Option<&Percentiles>) -> String {
    let ms = |nanos: u64| nanos as f64 / 1e6;
    match times {
        Some(t) => format!(
            "{name:<38} p50 {:.2}, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2} ms",
            ms(t.p50),
            ms(t.p90),
            ms(t.p99),
            ms(t.p99_9),
            ms(t.max)
        ),
        None => format!("{name:<38} none"),
    }
}

impl Chosen {
    fn new(options: Options, window: Option<usize>) -> Self {
        let [_, name] = rows::table(&options);
        Chosen {
            table: match name {
                "raw" => "reactor.raw",
                _ => "bench.readings",
            },
            columns: options.columns(),
            doubles: match options.table {
                Table::Reactor => None,
                Table::Doubles(doubles) => Some(doubles),
            },
            rules: options.rules,
            unique: options.unique,
            views: options.views,
            r#loop: match options.pace {
                Pace::Closed { .. } => "closed",
                Pace::Open { .. } => "open",
            },
            rate_rows_per_second: match options.pace {
                Pace::Closed { .. } => None,
                Pace::Open { rate } => Some(rate),
            },
            window_batches: window,
            streams: options.streams,
            connections: options.streams,
            batch_rows: options.batch_rows,
            ack: options.ack,
            rows: match options.length {
                Length::Rows(rows) => Some(rows),
                Length::Time(_) => None,
            },
            duration_seconds: match options.length {
                Length::Rows(_) => None,
                Length::Time(time) => Some(time.as_secs_f64()),
            },
            warm_up_seconds: options.warm_up.as_secs_f64(),
            settings: options.settings.into_iter().collect(),
        }
    }

    fn level(&self) -> &'static str {
        match self.ack {
            AckLevel::Durable => "durable",
            AckLevel::Committed => "committed",
        }
    }

    fn rules_text(&self) -> String {
        match self.rules {
            None => "rules on".to_owned(),
            Some(0) => "rules off".to_owned(),
            Some(1) => "1 rule".to_owned(),
            Some(rules) => format!("{rules} rules"),
        }
    }

    fn loop_text(&self) -> String {
        let pace = match (self.window_batches, self.rate_rows_per_second) {
            (Some(window), _) => {
                format!("closed loop, {window} batches of a stream unacked at most")
            }
            (None, Some(rate)) => format!("open loop, {rate:.0} rows/s"),
            (None, None) => "closed loop".to_owned(),
        };
        format!(
            "{pace}; streams: {}, columns: {}, unique keys: {}, views: {}, warm-up: {} s",
            self.streams,
            self.columns,
            if self.unique { "on" } else { "off" },
            self.views,
            self.warm_up_seconds
        )
    }
}
