//! What is known of the server now.

use std::sync::{Arc, OnceLock, Weak};

use crate::alert::{self, Alerts};
use crate::catalog::Shared;
use crate::catalog::system_tables::{self, ProducerStatus, TableStatus};
use crate::clock::Micros;
use crate::flight::Sessions;
use crate::query::Queries;
use crate::upkeep::journal::Journal;
use crate::view::Views;

pub struct Status {
    pub(super) shared: Arc<Shared>,
    pub(super) queries: Queries,
    pub(super) sessions: Arc<Sessions>,
    pub(super) started: Micros,
    pub(super) journal: Arc<Journal>,
    pub(super) views: Arc<OnceLock<Weak<Views>>>,
    pub(super) alerts: Arc<OnceLock<Weak<Alerts>>>,
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
            views: Arc::default(),
            alerts: Arc::default(),
        }
    }

    /// Each producer of each table, by their names.
    pub(super) fn producers(&self) -> Vec<ProducerStatus> {
        system_tables::producers(&self.shared)
    }

    /// Set once, when views are refreshed.
    pub fn set_views(&self, views: &Arc<Views>) {
        let _ = self.views.set(Arc::downgrade(views));
    }

    /// Set once, when alerts are looked at.
    pub fn set_alerts(&self, alerts: &Arc<Alerts>) {
        let _ = self.alerts.set(Arc::downgrade(alerts));
    }

    fn alerts(&self) -> Option<Arc<Alerts>> {
        self.alerts.get().and_then(Weak::upgrade)
    }

    pub fn alert_totals(&self) -> alert::Totals {
        self.alerts().map(|a| a.totals()).unwrap_or_default()
    }

    pub fn tables(&self) -> Vec<TableStatus> {
        system_tables::tables(&self.shared)
    }
}
