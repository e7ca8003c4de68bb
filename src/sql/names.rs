//! Which table a name means: the one place that says so for every kind of statement.

use datafusion::sql::sqlparser::ast::{ObjectName, ObjectNamePart};

use super::syntax_error::syntax;
use crate::fault::Fault;
use crate::types::TableName;

/// The parts of a name, without quotes.
pub fn parts(name: &ObjectName) -> Vec<&str> {
    let parts = name.0.iter().filter_map(ObjectNamePart::as_ident);
    parts.map(|ident| ident.value.as_str()).collect()
}

/// Schema and table of `table`, `schema.table` or `catalog.schema.table`; none: there are more parts. `schema`: that of a
/// name without one.
pub fn placed<'a>(parts: &[&'a str], schema: &'a str) -> Option<(&'a str, &'a str)> {
    match parts {
        [table] => Some((schema, table)),
        [schema, table] | [_, schema, table] => Some((schema, table)),
        _ => None,
    }
}

/// The table that a statement names.
///
/// # Errors
/// INVALID_ARGUMENT `syntax_error`: too many parts; `invalid_name`.
pub fn resolve(parts: &[&str], schema: &str) -> Result<TableName, Fault> {
    let Some((schema, table)) = placed(parts, schema) else {
        return Err(syntax(format!(
            "a name is schema.name, found {}",
            parts.join(".")
        )));
    };
    TableName::new(schema, table).map_err(|e| Fault::invalid("invalid_name", e.to_string()))
}
