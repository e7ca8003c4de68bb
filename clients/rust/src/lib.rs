//! Clients of deltaplane: the wire protocol of ingest, an exactly-once producer, a SQL client and a live feed.
//! Knows no server code; the server uses [`protocol`] and, for its own verbs, the clients.

pub mod csv;
pub mod feed;
pub mod producer;
pub mod protocol;
pub mod sql;
pub mod time;

pub use feed::{Position, Start, Subscription};
pub use producer::{AckListener, Producer, ProducerOptions, Totals};
pub use sql::SqlClient;
