//! The Flight edge: decodes, dispatches, encodes. It knows the wire and nothing of contracts or files.

pub mod blackhole;
mod command;
pub mod decode;
mod metadata;
mod prepared;
pub mod put;
mod service;
mod sql_info;
pub mod status;

pub use service::{FlightSqlServer, PutHandler, PutInput};
