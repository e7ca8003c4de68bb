//! The Flight edge: decodes, dispatches, encodes. It knows the wire and nothing of contracts or files.

mod actions;
pub mod blackhole;
mod command;
pub mod decode;
mod encode;
pub mod ingest;
mod metadata;
mod prepared;
pub mod put;
mod service;
pub mod session;
mod sql_info;
mod statements;
pub mod status;
mod ticket;

pub use service::{FlightSqlServer, Parts, PutHandler, PutInput};
pub use session::Sessions;
