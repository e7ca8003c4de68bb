//! What an engine reads from: the server's catalog, as far as queries know it.

use tokio_util::sync::CancellationToken;

use super::running::Queries;
use crate::catalog::view::Snapshot;
use crate::system_table::SystemTable;

/// Where an engine gets what it reads.
pub trait SnapshotSource: Send + Sync {
    /// One read point for all tables, newest acked rows included.
    fn snapshot(&self) -> Snapshot;
    /// Tables of the schema `system`, asked for once. Their columns are the same for as long as the server runs.
    fn system_tables(&self) -> Vec<SystemTable> {
        Vec::new()
    }
    /// Cancelled when results that do not end by themselves have to.
    fn stopping(&self) -> CancellationToken {
        CancellationToken::new()
    }
    /// Where queries are noted while they run.
    fn queries(&self) -> Queries {
        Queries::default()
    }
}
