//! The names of the catalogue and of its schemas that every server has.

/// The catalogue that every table stands in.
pub const CATALOG: &str = "deltaplane";
/// The schema of users' own tables.
pub const PUBLIC: &str = "public";
/// The schema of the server's own tables.
pub const SYSTEM: &str = "system";
