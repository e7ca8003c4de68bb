//! The table or view that a name in FROM means.

use datafusion::sql::sqlparser::ast::ObjectName;

use crate::catalog::defined::StoredView;
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::TEMPORARY_SCHEMA;
use crate::sql::{parts, placed};
use crate::types::TableName;

/// Schema and table of a name in FROM. One without a schema is a temporary table's before it is one of the snapshot's schema.
fn meant<'a>(snapshot: &'a Snapshot, parts: &[&'a str]) -> Option<(&'a str, &'a str)> {
    match parts {
        [table] if snapshot.temporary(table).is_some() => Some((TEMPORARY_SCHEMA, table)),
        _ => placed(parts, &snapshot.schema),
    }
}

/// The table that a name in FROM means, if it is one of the snapshot's.
pub(super) fn find<'a>(snapshot: &'a Snapshot, name: &ObjectName) -> Option<&'a TableView> {
    let (schema, table) = meant(snapshot, &parts(name))?;
    snapshot
        .tables
        .get(&TableName::in_query(schema, table).ok()?.folded())
}

/// The stored view that a name in FROM means, if it is one.
pub(super) fn find_view<'a>(snapshot: &'a Snapshot, name: &ObjectName) -> Option<&'a StoredView> {
    let (schema, table) = meant(snapshot, &parts(name))?;
    let name = TableName::new(schema, table).ok()?;
    snapshot.defined.view(&name).map(|view| &**view)
}

/// A table of `system` or `information_schema` that is named without its schema, which is the asker's: its whole name.
pub(super) fn server_table(
    snapshot: &Snapshot,
    name: &ObjectName,
    others: &[(String, Vec<String>)],
) -> Option<String> {
    let parts = parts(name);
    let [table] = parts.as_slice() else {
        return None;
    };
    let full = format!("{}.{table}", snapshot.schema).to_ascii_lowercase();
    others
        .iter()
        .any(|(other, _)| *other == full)
        .then_some(full)
}
