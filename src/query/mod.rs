//! Reads: SQL text to a stream of batches over one snapshot. It knows no ingest and no Flight; it never changes anything.

mod access;
mod aggregate_statistics;
mod arithmetic;
mod boolean_texts;
mod broken_view;
mod cast_names;
#[cfg(test)]
mod clauses_tests;
mod columns;
mod context;
mod describe;
mod engine;
mod errors;
mod extreme_filter;
mod feed;
mod filter;
mod forgotten_orders;
pub mod functions;
mod given;
mod guessed;
mod history;
mod information_schema;
mod kept;
#[cfg(test)]
mod kept_tests;
mod lateral;
mod limits;
mod limits_given;
#[cfg(test)]
mod limits_tests;
mod long_numbers;
mod longest_row;
mod merged;
#[cfg(test)]
mod merged_tests;
mod meter;
mod metered;
mod names;
#[cfg(test)]
mod names_tests;
mod nearest;
mod node;
mod null_fields;
#[cfg(test)]
mod numbers_tests;
mod open_types;
mod optimizer_rules;
mod padded_sides;
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
mod recursive;
mod result;
mod rules;
mod running;
#[cfg(test)]
mod same_columns_tests;
mod same_names;
mod scan;
mod scanned;
mod schemas;
mod scope;
mod set_names;
mod shared;
mod slices;
mod snapshot_source;
mod spelled;
mod spellings;
mod sql_types;
mod stored;
#[cfg(test)]
mod subqueries_tests;
mod system_scan;
#[cfg(test)]
mod system_scan_tests;
mod table_functions;
mod table_lookup;
mod task;
#[cfg(test)]
mod tests;
mod times;
mod top_rows;
mod union_columns;
mod using;
mod versions;
pub mod view;
mod width;
mod window_frames;
mod wire;
mod world;
pub mod zorder;

pub use columns::{described, of_table};
pub use context::{OfSession, OwnFiles, OwnRows, QueryContext, SessionLife, same_columns};
pub use engine::{Engine, EngineConfig};
pub use errors::fault_of;
pub use parameters::{check_count, driver_type};
pub use planning::STACK_BYTES;
pub use prepare::Planned;
pub use reads::{named_in, refuse_temporary, tables_of};
pub use result::{ResultStream, bytes_of};
pub use running::{CancelOutcome, Queries, QueryStatus};
pub use scanned::Scanned;
pub use schemas::{CATALOG, PUBLIC, SYSTEM};
pub use snapshot_source::SnapshotSource;
pub use table_functions::last_seen_columns;
pub use wire::{conform_to_wire, wire_schema};
