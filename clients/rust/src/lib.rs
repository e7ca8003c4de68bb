//! Clients of deltaplane: the wire protocol of ingest, an exactly-once producer and a SQL client.
//! Knows no server code; the server uses [`protocol`] and, for its own verbs, the clients.

pub mod csv;
pub mod producer;
pub mod protocol;
pub mod sql;

pub use producer::{Producer, ProducerOptions, Totals};
pub use sql::SqlClient;
