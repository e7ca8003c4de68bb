//! `/metrics`, in Prometheus' text form: what parts count as they work (the `metrics` crate), and what is read off the server's
//! state when it is asked for. Labels are bounded: tables by name up to a limit, the rest together; never producers or SQL.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::OnceLock;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

use crate::flight::wire::Wire;
use crate::server_state::Status;

/// Tables that have lines of their own; what lies beyond is summed under [`OTHERS`].
const TABLES_MAX: usize = 500;
const OTHERS: &str = "_other";

/// Seconds, from a local commit to a store that hardly answers.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0,
];

static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Takes what is counted from now on. One recorder a process: the servers of a test share it.
pub(super) fn install() {
    RECORDER.get_or_init(|| {
        let builder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &BUCKETS)
            .ok()?;
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).ok()?;
        metrics::describe_counter!("deltaplane_commits_total", "Delta commits of streamed rows");
        metrics::describe_histogram!("deltaplane_commit_seconds", "time of such a commit");
        metrics::describe_counter!("deltaplane_bulk_ingests_total", "bulk ingests committed");
        metrics::describe_counter!("deltaplane_queries_total", "queries that ended, by outcome");
        metrics::describe_histogram!("deltaplane_query_seconds", "time of a query");
        metrics::describe_counter!(
            "deltaplane_wire_limits_met_total",
            "times that a client met a limit on what it sends, by setting"
        );
        metrics::describe_counter!(
            "deltaplane_alert_evaluations_total",
            "looks at alerts, by outcome"
        );
        metrics::describe_histogram!("deltaplane_alert_evaluation_seconds", "time of a look");
        metrics::describe_counter!(
            "deltaplane_alert_notifications_total",
            "news of alerts, by webhook and outcome"
        );
        Some(handle)
    });
}

/// Has to be called now and then, or histograms keep every sample.
pub(super) fn upkeep() {
    if let Some(Some(handle)) = RECORDER.get() {
        handle.run_upkeep();
    }
}

/// One metric with a value a table.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    values: Vec<(String, f64)>,
}

pub(super) fn render(status: &Status, wire: &Wire) -> String {
    upkeep();
    let mut out = match RECORDER.get() {
        Some(Some(handle)) => handle.render(),
        _ => String::new(),
    };
    for family in families(status).into_iter().chain(connections(wire)) {
        write_family(&mut out, family);
    }
    out
}

fn families(status: &Status) -> Vec<Family> {
    let one = |value: f64| vec![(String::new(), value)];
    let gauge = |name, help, values| Family {
        name,
        kind: "gauge",
        help,
        values,
    };
    let tables = status.tables();
    let a_table = |value: fn(&crate::catalog::system_tables::TableStatus) -> f64| {
        tables
            .iter()
            .map(|t| (t.name.to_string(), value(t)))
            .collect::<Vec<_>>()
    };
    let mut out = vec![
        gauge(
            "deltaplane_hot_rows",
            "rows that are durable and not yet in Delta",
            a_table(|t| t.rows_hot as f64),
        ),
        gauge(
            "deltaplane_hot_bytes",
            "memory of such rows",
            a_table(|t| t.hot_bytes as f64),
        ),
        gauge(
            "deltaplane_cold_rows",
            "rows in the newest Delta version",
            a_table(|t| t.rows_cold.unwrap_or(0) as f64),
        ),
        gauge(
            "deltaplane_files",
            "data files in the newest Delta version",
            a_table(|t| t.files as f64),
        ),
        gauge(
            "deltaplane_table_version",
            "newest Delta version",
            a_table(|t| t.version as f64),
        ),
        gauge(
            "deltaplane_table_parked",
            "1: nobody can read or write the table, see system.tables",
            a_table(|t| f64::from(u8::from(t.parked.is_some()))),
        ),
        gauge(
            "deltaplane_table_log_held_frames",
            "frames of the log, of all tables, from the oldest one on that it keeps for this table",
            a_table(|t| t.held_frames as f64),
        ),
        gauge(
            "deltaplane_producers",
            "named producers that are remembered",
            a_table(|t| t.producers as f64),
        ),
    ];
    out.extend(arrivals(status));
    let log = status.log();
    let server = [
        ("deltaplane_log_bytes", "log on disk", log.bytes as f64),
        (
            "deltaplane_log_bytes_max",
            "what it may hold before producers are pushed back",
            log.bytes_max as f64,
        ),
        (
            "deltaplane_log_durable_offset",
            "newest position that is on disk",
            log.durable as f64,
        ),
        (
            "deltaplane_log_poisoned",
            "1 after a failed sync: restart the server",
            f64::from(u8::from(log.poisoned)),
        ),
        (
            "deltaplane_parked_files_unread",
            "files in the folder of parked rows that are damaged, missing or of no table",
            log.parked_files_unread as f64,
        ),
        (
            "deltaplane_streams",
            "ingest streams that are open",
            status.streams() as f64,
        ),
        (
            "deltaplane_stream_inflight",
            "batches of all streams that were taken and are not durable yet",
            status.inflight() as f64,
        ),
        (
            "deltaplane_queries_running",
            "queries that run",
            status.running() as f64,
        ),
        (
            "deltaplane_query_memory_bytes",
            "memory that running queries hold, held to memory.query_bytes_max",
            status.query_bytes() as f64,
        ),
        (
            "deltaplane_sessions",
            "sessions that are remembered",
            status.session_count() as f64,
        ),
    ];
    let alerts = status.alert_totals();
    let alerts = [
        (
            "deltaplane_alerts",
            "alerts that are defined",
            alerts.alerts,
        ),
        (
            "deltaplane_alerts_pending",
            "instances in condition for less than FOR",
            alerts.pending,
        ),
        (
            "deltaplane_alerts_firing",
            "instances that fire",
            alerts.firing,
        ),
        (
            "deltaplane_alerts_failing",
            "alerts whose last evaluation failed, or that cannot be kept or read",
            alerts.failing,
        ),
        (
            "deltaplane_alert_notifications_pending",
            "news that a webhook has not got yet",
            alerts.owed,
        ),
    ];
    out.extend(alerts.map(|(name, help, value)| gauge(name, help, one(value as f64))));
    out.extend(server.map(|(name, help, value)| gauge(name, help, one(value))));
    out.push(Family {
        name: "deltaplane_log_written_bytes_total",
        kind: "counter",
        help: "bytes written to the log since the start",
        values: one(log.written as f64),
    });
    out.push(Family {
        name: "deltaplane_log_groups_total",
        kind: "counter",
        help: "groups of frames written to the log and synced since the start",
        values: one(log.groups as f64),
    });
    out
}

/// What clients hold open, and what they make the server hold before it is admitted.
fn connections(wire: &Wire) -> Vec<Family> {
    let values = [
        (
            "deltaplane_connections",
            "connections to Flight that are open",
            wire.connections() as f64,
        ),
        (
            "deltaplane_connections_max",
            "limits.connections_max",
            wire.limits.connections_max as f64,
        ),
        (
            "deltaplane_calls",
            "calls that are open on them",
            wire.calls() as f64,
        ),
        (
            "deltaplane_wire_bytes",
            "what clients have sent and is not admitted yet, half messages and dictionaries included",
            wire.held_bytes() as f64,
        ),
        (
            "deltaplane_wire_bytes_max",
            "memory.wire_bytes_max",
            wire.limits.bytes_max as f64,
        ),
    ];
    let gauges = values.map(|(name, help, value)| Family {
        name,
        kind: "gauge",
        help,
        values: vec![(String::new(), value)],
    });
    gauges.into()
}

/// Rows of streams by what became of them: received is the sum of the other three.
fn arrivals(status: &Status) -> Vec<Family> {
    let mut totals: BTreeMap<String, [u64; 4]> = BTreeMap::new();
    for (table, _, day) in status.days() {
        let entry = totals.entry(table.to_string()).or_default();
        let counts = [day.received, day.accepted, day.quarantined, day.duplicates];
        entry.iter_mut().zip(counts).for_each(|(a, b)| *a += b);
    }
    let named = [
        (
            "deltaplane_rows_received_total",
            "rows that streams brought",
        ),
        (
            "deltaplane_rows_accepted_total",
            "of them, rows in the table",
        ),
        (
            "deltaplane_rows_quarantined_total",
            "of them, rows in its quarantine",
        ),
        (
            "deltaplane_rows_duplicate_total",
            "of them, rows that the table had",
        ),
    ];
    named
        .into_iter()
        .enumerate()
        .map(|(at, (name, help))| Family {
            name,
            kind: "counter",
            help,
            values: totals
                .iter()
                .map(|(table, counts)| (table.clone(), counts[at] as f64))
                .collect(),
        })
        .collect()
}

fn write_family(out: &mut String, family: Family) {
    let Family {
        name,
        kind,
        help,
        values,
    } = family;
    // Writing to a String cannot fail.
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    let mut others = None;
    for (at, (table, value)) in values.into_iter().enumerate() {
        if table.is_empty() {
            let _ = writeln!(out, "{name} {value}");
        } else if at < TABLES_MAX {
            // Names have no line breaks.
            let table = table.replace('\\', "\\\\").replace('"', "\\\"");
            let _ = writeln!(out, "{name}{{table=\"{table}\"}} {value}");
        } else {
            *others.get_or_insert(0.0) += value;
        }
    }
    if let Some(value) = others {
        let _ = writeln!(out, "{name}{{table=\"{OTHERS}\"}} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_beyond_the_limit_are_one_line() {
        let mut out = String::new();
        write_family(
            &mut out,
            Family {
                name: "x",
                kind: "gauge",
                help: "about x",
                values: (0..TABLES_MAX + 10)
                    .map(|n| (format!("public.t{n}"), 2.0))
                    .collect(),
            },
        );
        assert_eq!(out.lines().count(), 2 + TABLES_MAX + 1);
        assert!(out.ends_with("x{table=\"_other\"} 20\n"), "{out}");
        assert!(out.contains("x{table=\"public.t0\"} 2\n"));
    }
}
