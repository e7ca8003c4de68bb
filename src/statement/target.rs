//! Which table, and which part of it, a statement means that changes rows: the table itself, or its quarantine.

use std::sync::Arc;

use crate::catalog::Shared;
use crate::catalog::table::Table;
use crate::catalog::visible::Part;
use crate::fault::Fault;
use crate::query::SYSTEM;
use crate::types::TableName;

/// The table that is meant, or the one whose quarantine is.
///
/// # Errors
/// INVALID_ARGUMENT `read_only`: the server keeps it; NOT_FOUND.
pub(super) fn target(shared: &Shared, name: &TableName) -> Result<(Arc<Table>, Part), Fault> {
    if name.schema().eq_ignore_ascii_case(SYSTEM)
        || name.schema().eq_ignore_ascii_case("information_schema")
    {
        return Err(Fault::invalid(
            "read_only",
            format!("{name} is kept by the server and cannot be written"),
        ));
    }
    match name.quarantined() {
        Some(base) => {
            let base = TableName::new(name.schema(), base)
                .map_err(|e| Fault::invalid("invalid_name", e.to_string()))?;
            Ok((shared.table(&base)?, Part::Quarantine))
        }
        None => Ok((shared.writable(name)?, Part::Main)),
    }
}
