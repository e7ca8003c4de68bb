//! The Flight edge: decodes, dispatches, encodes. It knows the wire and nothing of contracts or files.

mod actions;
pub mod blackhole;
mod body;
mod bound;
mod command;
pub mod decode;
mod door;
mod encode;
#[cfg(test)]
mod fuzz_tests;
mod guarded;
mod http2;
pub mod ingest;
mod metadata;
mod prepared;
pub mod put;
mod put_input;
mod server;
mod service;
pub mod session;
mod sql_info;
mod statements;
pub mod status;
mod ticket;
mod timestamps;
pub mod transport;
pub mod wire;

pub use put_input::PutInput;
pub use server::{FlightSqlServer, Parts, PutHandler};
pub use session::Sessions;
