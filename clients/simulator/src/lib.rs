//! Simulated devices. Profiles are this crate's code; the way to the server is `deltaplane-client`'s producer.

pub mod faults;
pub mod reactor;
pub mod run;

pub use run::{Options, Progress, Summary, run};
