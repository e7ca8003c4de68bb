//! What is known of the server now.

use std::sync::{Arc, OnceLock, Weak};

use crate::alert::{self, Alerts};
use crate::catalog::Shared;
use crate::catalog::parked::ParkedState;
use crate::clock::Micros;
use crate::flight::Sessions;
use crate::query::Queries;
use crate::records::DurablePoint;
use crate::types::{Lsn, TableName};
use crate::upkeep::journal::Journal;
use crate::view::Views;

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

pub struct Status {
    pub(super) shared: Arc<Shared>,
    pub(super) queries: Queries,
    pub(super) sessions: Arc<Sessions>,
    pub(super) started: Micros,
    pub(super) journal: Arc<Journal>,
    pub(super) views: OnceLock<Weak<Views>>,
    alerts: OnceLock<Weak<Alerts>>,
}

impl Status {
    pub fn new(
        shared: Arc<Shared>,
        queries: Queries,
        sessions: Arc<Sessions>,
        journal: Arc<Journal>,
    ) -> Self {
        let started = shared.clock.now();
        Status {
            shared,
            queries,
            sessions,
            started,
            journal,
            views: OnceLock::new(),
            alerts: OnceLock::new(),
        }
    }

    /// Table, name, epoch and newest durable batch of each producer.
    pub(super) fn producers(&self) -> Vec<(String, String, u64, DurablePoint)> {
        let mut out = Vec::new();
        for table in self.shared.tables() {
            table.in_log_order(|producers| {
                for (name, entry) in producers.iter() {
                    out.push((
                        table.name().to_string(),
                        name.to_string(),
                        entry.state.epoch(),
                        entry.state.durable(),
                    ));
                }
            });
        }
        out.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        out
    }

    /// Set once, when views are refreshed.
    pub fn set_views(&self, views: &Arc<Views>) {
        let _ = self.views.set(Arc::downgrade(views));
    }

    /// Set once, when alerts are looked at.
    pub fn set_alerts(&self, alerts: &Arc<Alerts>) {
        let _ = self.alerts.set(Arc::downgrade(alerts));
    }

    pub(super) fn alerts(&self) -> Option<Arc<Alerts>> {
        self.alerts.get().and_then(Weak::upgrade)
    }

    pub fn alert_totals(&self) -> alert::Totals {
        self.alerts().map(|a| a.totals()).unwrap_or_default()
    }

    pub fn tables(&self) -> Vec<TableStatus> {
        let snapshot = self.shared.visible.snapshot();
        let tables = self.shared.tables();
        let durable = self.shared.log.durable().get();
        let status = tables.iter().filter_map(|table| {
            let view = snapshot.tables.get(&table.name().folded())?;
            let hot = self.shared.visible.hot_status(table);
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
}
