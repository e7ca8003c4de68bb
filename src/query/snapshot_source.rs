//! What an engine reads from: the server's catalog, as far as queries know it.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use tokio_util::sync::CancellationToken;

use super::running::Queries;
use super::schemas::SYSTEM;
use crate::catalog::view::Snapshot;
use crate::fault::{Fault, Kind};

/// Where an engine gets what it reads.
pub trait SnapshotSource: Send + Sync {
    /// One read point for all tables, newest acked rows included.
    fn snapshot(&self) -> Snapshot;
    /// Tables of the schema `system` with their columns, the same for as long as the server runs.
    fn system_tables(&self) -> Vec<(&'static str, SchemaRef)>;
    /// Cancelled when results that do not end by themselves have to.
    fn stopping(&self) -> CancellationToken {
        CancellationToken::new()
    }
    /// Where queries are noted while they run.
    fn queries(&self) -> Queries {
        Queries::default()
    }
    /// One of them as it is now, for a query that reads it.
    ///
    /// # Errors
    /// NOT_FOUND; INTERNAL if its rows cannot be made.
    fn system_table(&self, name: &str) -> Result<RecordBatch, Fault> {
        let text = format!("no such table, table={SYSTEM}.{name}");
        Err(Fault::new(Kind::NotFound, "table_not_found", text))
    }
}
