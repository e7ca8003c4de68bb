//! The tables of the schema `system`: the parts of the server make them, each its own.

use std::sync::Weak;

use super::status::Status;
use crate::catalog::system_tables;
use crate::catalog::view::Snapshot;
use crate::query::{Queries, SnapshotSource};
use crate::system_table::SystemTable;
use crate::{alert, upkeep, view};

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

    fn system_tables(&self) -> Vec<SystemTable> {
        // They come later than the engine that reads their tables.
        let (views, alerts) = (self.views.clone(), self.alerts.clone());
        let mut all = vec![self.queries.table(), self.sessions.table()];
        all.extend(system_tables::all(&self.shared));
        all.extend([
            upkeep::state::commits(self.shared.clone()),
            upkeep::state::runs(self.journal.clone()),
            view::table(self.shared.clone(), move || {
                views.get().and_then(Weak::upgrade)
            }),
            alert::table(move || alerts.get().and_then(Weak::upgrade)),
        ]);
        all
    }
}
