//! deltaplane: a stream arrives, is held to its contract, made durable, acknowledged, committed exactly once to Delta
//! Lake, and read by any Flight SQL tool at every step of that way.
//!
//! ```text
//! write   flight/put > flight/decode > ingest > validate > wal > hot > flush > cold/delta
//! query   flight/service > query/engine > query/provider > cold/scan + hot > flight/stream
//! ```
//!
//! Modules stand in layer order, lowest first; each uses only what stands above it here.

// words
pub mod clock;
pub mod config;
pub mod fault;
pub mod types;
// what a dataset is
pub mod dataset;
// stores
pub mod cold;
pub mod hot;
pub mod wal;
// each table's life
pub mod catalog;
// write
pub mod flush;
pub mod ingest;
pub mod validate;
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
pub mod web;
// whole
pub mod cli;
pub mod server;
pub mod server_state;
