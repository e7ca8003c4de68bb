//! Delta Lake, through deltalake: the only place that knows it. Another table format would be a neighbour of this folder.

mod alter;
pub mod changes;
pub mod checkpoint;
pub mod checkpoint_checksum;
pub mod checksummed_store;
mod commit;
mod commit_time;
mod create;
pub mod encode;
pub mod entry_checksum;
mod error;
pub mod foreign;
pub mod history;
mod note;
mod page_checksums;
pub mod past;
mod protocol;
pub mod recent;
mod restore;
pub mod rewrite;
mod schema;
pub mod stage;
pub mod synced_store;
pub mod table;
mod take_back;
pub mod vacuum;
