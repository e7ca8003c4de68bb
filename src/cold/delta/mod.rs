//! Delta Lake, through deltalake: the only place that knows it. Another table format would be a neighbour of this folder.

mod alter;
mod encode;
pub mod history;
mod note;
mod restore;
pub mod rewrite;
pub mod synced_store;
pub mod table;
