//! Reads: SQL text to a stream of batches over one snapshot. It knows no ingest and no Flight; it never changes anything.

mod access;
mod aggregate_statistics;
mod arithmetic;
mod caller;
mod cast_names;
#[cfg(test)]
mod clauses_tests;
mod columns;
mod describe;
mod engine;
mod errors;
mod extreme_filter;
mod feed;
mod filter;
pub mod functions;
mod guessed;
mod history;
mod information_schema;
mod kept;
#[cfg(test)]
mod kept_tests;
mod last_seen;
mod lateral;
mod latest;
mod limits;
#[cfg(test)]
mod limits_tests;
mod long_numbers;
mod longest_row;
mod meter;
mod metered;
pub(crate) mod names;
#[cfg(test)]
mod names_tests;
mod nearest;
mod null_fields;
#[cfg(test)]
mod numbers_tests;
mod optimizer_rules;
mod parameters;
#[cfg(test)]
mod parameters_tests;
mod pass_through;
pub mod place;
mod planner;
mod planning;
mod prepare;
mod provider;
mod pushdown;
mod reads;
mod result;
mod rules;
mod running;
#[cfg(test)]
mod same_columns_tests;
mod same_names;
mod scan;
mod scanned;
mod scope;
mod set_names;
mod slices;
mod spelled;
mod sql_types;
mod stored;
#[cfg(test)]
mod subqueries_tests;
mod table_function;
#[cfg(test)]
mod tests;
mod times;
mod union_columns;
mod using;
mod versions;
pub mod view;
mod width;
mod window_frames;
mod wire;
mod world;
pub mod zorder;

pub use caller::{Caller, OfSession, OwnFiles, OwnRows, SessionLife, default_schema, same_columns};
pub use columns::{described, of_table};
pub use engine::{Engine, EngineConfig};
pub use errors::fault_of;
pub use last_seen::columns_of as last_seen_columns;
pub use parameters::{check_count, driver_type};
pub use planning::STACK_BYTES;
pub use prepare::Planned;
pub use reads::{named_in, refuse_temporary, tables_of};
pub use result::{ResultStream, bytes_of};
pub use running::{CancelOutcome, Queries, QueryStatus};
pub use scanned::Scanned;
pub use wire::{conform_to_wire, wire_schema};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use tokio_util::sync::CancellationToken;

use crate::catalog::view::Snapshot;
use crate::fault::{Fault, Kind};

/// The catalogue that every table stands in.
pub const CATALOG: &str = "deltaplane";
/// The schema of users' own tables.
pub const PUBLIC: &str = "public";
pub const SYSTEM: &str = "system";

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
