//! deltaplane: a stream arrives, is held to its contract, made durable, acknowledged, committed exactly once to Delta
//! Lake, and read by any Flight SQL tool at every step of that way.
//!
//! ```text
//! write   flight/put > flight/decode > ingest > validate > wal > hot > flush > cold/delta
//! query   flight/service > query/engine > query/provider > cold/files/scan + hot > flight/stream
//! ```
//!
//! Modules stand in layer order, lowest first; each uses only what stands above it here. `tests/layering` checks that,
//! and lists the uses that do not keep to it yet.

// words
pub mod clock;
pub mod fault;
pub mod floats;
pub mod folder_name;
pub mod ids;
pub mod memory;
pub mod nested;
pub mod partition_folder;
#[cfg(test)]
mod stored_form;
pub mod sync;
pub mod system_table;
pub mod threads;
pub mod types;
// settings
pub mod config;
// what a dataset is
pub mod dataset;
// stores
pub mod cold;
pub mod hot;
pub mod wal;
// what a row must be
pub mod validate;
// what the log keeps
pub mod records;
// each table's life
pub mod catalog;
// write
pub mod flush;
pub mod ingest;
// what a statement is
pub mod sql;
// read
pub mod query;
pub mod view;
// what changes tables
pub mod statement;
// what looks after them
pub mod upkeep;
// what watches them, and tells
pub mod alert;
// edges
pub mod auth;
pub mod flight;
// what the server shows of itself
pub mod server_state;
pub mod web;
// whole
pub mod server;
// its commands
pub mod cli;
// what readers of foreign bytes are tested with
#[cfg(test)]
mod fuzz_tests;
