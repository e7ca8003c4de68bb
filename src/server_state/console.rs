//! The server's state in figures: what the console's page and `/metrics` show beside the tables' own.

use serde_json::{Value, json};

use super::Status;
use crate::records::Day;
use crate::types::TableName;

/// Producers and queries that the console lists.
const CONSOLE_ROWS: usize = 100;

/// The log as console and metrics show it.
pub struct LogStatus {
    pub bytes: u64,
    pub bytes_max: u64,
    pub written: u64,
    pub groups: u64,
    pub durable: u64,
    pub poisoned: bool,
    /// Files of parked rows whose rows cannot be had.
    pub parked_files_unread: usize,
}

impl Status {
    pub fn log(&self) -> LogStatus {
        let log = &self.shared.log;
        LogStatus {
            bytes: log.usage(),
            bytes_max: self.shared.config.log.bytes_max.get(),
            written: log.written(),
            groups: log.groups(),
            durable: log.durable().get(),
            poisoned: log.is_poisoned(),
            parked_files_unread: self.shared.aside.unread(),
        }
    }

    /// Rows of each table and day of arrival.
    pub fn days(&self) -> Vec<(TableName, i32, Day)> {
        self.shared.visible.days()
    }

    pub fn streams(&self) -> usize {
        self.shared.streams.list().len()
    }

    /// Batches of all streams that were taken and are not durable yet.
    pub fn inflight(&self) -> u64 {
        let open = self.shared.streams.list();
        open.iter().map(|o| o.inflight()).sum()
    }

    /// Memory that running queries hold.
    pub fn query_bytes(&self) -> u64 {
        self.queries.list().iter().map(|q| q.bytes).sum()
    }

    pub fn running(&self) -> usize {
        self.queries.running()
    }

    pub fn session_count(&self) -> usize {
        self.sessions.list().len()
    }

    /// What the console's page shows.
    pub fn console(&self, flight: std::net::SocketAddr, problem: Option<&str>) -> Value {
        let days = self.days();
        let tables: Vec<Value> = self
            .tables()
            .iter()
            .map(|t| {
                let own = days.iter().filter(|(name, ..)| *name == t.name);
                let (accepted, duplicates) = own.fold((0, 0), |(a, d), (_, _, day)| {
                    (a + day.accepted, d + day.duplicates)
                });
                json!({
                    "name": t.name.to_string(), "version": t.version, "rows_cold": t.rows_cold, "rows_hot": t.rows_hot,
                    "quarantined": t.rows_quarantined, "accepted": accepted, "duplicates": duplicates, "files": t.files,
                    "bytes": t.bytes, "newest_file": t.newest_file, "producers": t.producers,
                })
            })
            .collect();
        let open = self.shared.streams.list();
        let streams: Vec<Value> = open
            .iter()
            .take(CONSOLE_ROWS)
            .map(|o| {
                json!({
                    "table": o.table.to_string(), "producer": o.producer().as_deref(), "seq": o.seq(),
                    "inflight": o.inflight(), "since": o.since,
                })
            })
            .collect();
        let all = self.producers();
        let producers: Vec<Value> = all
            .iter()
            .take(CONSOLE_ROWS)
            .map(|p| {
                let totals = p.durable.totals;
                json!({
                    "table": p.table, "producer": p.name, "epoch": p.epoch, "seq": p.durable.seq,
                    "accepted": totals.accepted, "quarantined": totals.quarantined,
                    "duplicates": totals.duplicates,
                })
            })
            .collect();
        let queries: Vec<Value> = self
            .queries
            .list()
            .into_iter()
            .filter(|q| &*q.principal != "server")
            .take(CONSOLE_ROWS / 4)
            .map(|q| {
                json!({
                    "id": &*q.id, "principal": &*q.principal, "state": q.state.word(), "rows": q.rows, "ms": q.ms,
                    "sql": q.sql,
                })
            })
            .collect();
        let log = self.log();
        let hot: usize = self.tables().iter().map(|t| t.hot_bytes).sum();
        json!({
            "version": env!("CARGO_PKG_VERSION"), "flight": flight.to_string(), "problem": problem,
            "now": self.shared.clock.now(), "started": self.started,
            "log": { "bytes": log.bytes, "bytes_max": log.bytes_max, "durable": log.durable },
            "hot_bytes": hot, "hot_bytes_max": self.shared.config.memory.hot_bytes_max.get(),
            "streams_open": open.len(), "running": self.running(), "producers_all": all.len(),
            "tables": tables, "streams": streams, "producers": producers, "queries": queries,
        })
    }
}
