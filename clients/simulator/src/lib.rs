//! Simulated devices. Profiles are this crate's code; the way to the server is `deltaplane-client`'s producer.

pub mod building;
pub mod energy;
pub mod faults;
pub mod files;
mod fleet;
pub mod reactor;
pub mod run;
pub mod satellite;
pub mod source;
pub mod telemetry;
pub mod vehicle;

pub use fleet::run_fleet;
pub use run::{Options, Progress, Summary, dry_run, run};
pub use source::Dataset;
