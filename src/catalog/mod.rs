//! Each table's life on this server: create, commit, drop; who may write to it; what queries see of it.
//!
//! [`Shared`] is what the doors (ingest, flush, statements, console) hold in common. The catalogue knows no Flight and
//! no SQL.

pub mod alter;
pub mod background;
pub mod checkpoint;
pub mod control;
pub mod ddl_lock;
pub mod defined;
pub mod expected;
pub mod in_flight;
pub mod lifecycle;
pub mod locks;
pub mod lookup;
pub mod parked;
pub mod parking;
pub mod producer;
pub mod recover;
mod registry;
pub mod rename;
pub mod replayed;
pub mod running;
pub mod streams;
pub mod system_tables;
pub mod table;
pub mod temporary;
pub mod view;
pub mod visible;
pub mod write;

use std::sync::Arc;
use std::time::Duration;

use crate::sync::RwLock;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::cold::Lake;
use crate::config::Config;
use crate::fault::{Fault, Kind};
use crate::records::{Left, Totals};
use crate::types::{Incarnation, Lsn, TableName};
use crate::wal::{self, Aside, Durable, Log};
use table::Table;
use visible::{Effects, Visible};

pub use registry::Registry;

/// What one commit of a table took out of the stream: a row of `system.quality_commits`. The sum over all of them and what is
/// not committed yet is the sum over the days, replays included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitQuality {
    /// Versions of the table and of its quarantine after it.
    pub version: i64,
    pub quarantine_version: i64,
    /// The log's position up to which rows are in them.
    pub offset: Lsn,
    /// Microseconds since 1970.
    pub at: i64,
    pub counts: Totals,
    /// Rows that left the quarantine with it; they are in none of the counts, which tell of arrivals.
    pub left: Left,
}

/// What every part of a running server holds.
pub struct Shared {
    pub config: Arc<Config>,
    pub clock: SharedClock,
    pub log: Log,
    /// Rows of tables whose store is down.
    pub aside: Aside,
    pub lake: Lake,
    pub registry: Arc<RwLock<Registry>>,
    pub visible: Arc<Visible>,
    pub effects: Arc<Effects>,
    /// Ingest streams that are open.
    pub streams: streams::Streams,
    /// What could end the process, noted while it runs.
    pub running: running::Running,
    /// What rules ask of other rows.
    pub lookups: lookup::Lookups,
    /// Rings when a commit or a batch has freed memory.
    pub hot_space: Arc<tokio::sync::Notify>,
    /// Memory of batches that are judged and not visible yet.
    pub in_flight: in_flight::InFlight,
    /// Statements that create, alter or drop: one at a time for each name.
    pub ddl: ddl_lock::DdlLocks,
    /// Views that are stored queries, and schemas.
    pub definitions: Arc<defined::Definitions>,
    /// Set at SIGTERM: streams end after their acks.
    pub draining: CancellationToken,
}

impl Shared {
    /// Finds a table without regard to case.
    ///
    /// # Errors
    /// NOT_FOUND with the nearest name.
    pub fn table(&self, name: &TableName) -> Result<Arc<Table>, Fault> {
        if let Some(view) = self.definitions.now().view(name)
            && self.registered(name).is_none()
        {
            return Err(view.no_table());
        }
        let registry = self.registry.read();
        registry.tables.get(&name.folded()).cloned().ok_or_else(|| {
            let known: Vec<String> = registry.tables.values().map(|t| t.name().to_string()).collect();
            let list = if known.is_empty() { "there are no tables yet".to_owned() } else { format!("tables: {}", known.join(", ")) };
            Fault::new(
                Kind::NotFound,
                "table_not_found",
                format!("no such table, table={name}; {list}; create it with `deltaplane apply` or CREATE TABLE"),
            )
        })
    }

    /// A table or materialized view, if there is one.
    pub fn registered(&self, name: &TableName) -> Option<Arc<Table>> {
        self.registry.read().tables.get(&name.folded()).cloned()
    }

    /// What a query reads: one read point for all tables, and what is defined.
    pub fn snapshot(&self) -> view::Snapshot {
        view::Snapshot {
            defined: self.definitions.now(),
            ..self.visible.snapshot()
        }
    }

    /// A table whose rows clients may write.
    ///
    /// # Errors
    /// NOT_FOUND; FAILED_PRECONDITION for a materialized view; UNAVAILABLE `table_parked`.
    pub fn writable(&self, name: &TableName) -> Result<Arc<Table>, Fault> {
        let table = self.table(name)?;
        table.served()?;
        match &table.contract().view {
            None => Ok(table),
            Some(view) => Err(Fault::new(
                Kind::Precondition,
                "is_a_view",
                format!(
                    "{name} is a materialized view, its rows follow those of {}; write to that",
                    view.source
                ),
            )),
        }
    }

    /// Waits for a sync of the log, not much longer than `log.admission_timeout`: a disk that does not answer holds nobody up for longer.
    ///
    /// # Errors
    /// The log's. UNAVAILABLE `log_stalled`: the frame has its place in the log and may still become durable.
    pub async fn synced(
        &self,
        sync: impl Future<Output = Result<Durable, wal::Error>>,
    ) -> Result<Durable, Fault> {
        // The log itself says of a full disk, after the admission time-out: its word goes first.
        let waited = self.config.log.admission_timeout + Duration::from_millis(500);
        match tokio::time::timeout(waited, sync).await {
            Ok(synced) => Ok(synced?),
            Err(_) => Err(Fault::new(
                Kind::Unavailable,
                "log_stalled",
                format!(
                    "the log's disk has not confirmed the write, waited={waited:?}; whether it is kept is not known yet: look at the disk of {}, then open again and resend, or look whether the statement took effect",
                    self.config.log_dir().display()
                ),
            )),
        }
    }

    /// The materialized views that read a table or view.
    pub fn readers(&self, name: &TableName) -> Vec<TableName> {
        let tables = self.tables();
        let readers = tables.iter().filter(|t| {
            let contract = t.contract();
            contract.view.as_ref().is_some_and(|v| v.reads(name))
        });
        readers.map(|t| t.name()).collect()
    }

    pub fn tables(&self) -> Vec<Arc<Table>> {
        self.registry.read().tables.values().cloned().collect()
    }

    /// The `txn` under which a table's commits record the log's offset.
    pub fn app_id(&self, incarnation: Incarnation) -> String {
        format!("{}/{incarnation}", self.log.uuid())
    }
}
