//! The names of the catalogue and of its schemas that every server has.

/// The catalogue that every table stands in.
pub const CATALOG: &str = "deltaplane";
pub use crate::types::PUBLIC;
/// The schema of the server's own tables.
pub const SYSTEM: &str = "system";
