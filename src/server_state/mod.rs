//! What the server shows of itself (snapshots for queries, `system` tables, the console), and the hands that change tables.

mod admin;
mod console;
mod reader;
mod status;
mod system_tables;

pub use admin::Admin;
pub use reader::EngineReader;
pub use status::Status;
