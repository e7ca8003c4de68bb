//! Delta Lake, through deltalake: the only place that knows it. Another table format would be a neighbour of this folder.

mod encode;
pub mod synced_store;
pub mod table;
