//! Views that need a column of a table: a view keeps its query as text, which would name a column that is not there any more.

use crate::catalog::Shared;
use crate::catalog::alter::column_needed;
use crate::fault::Fault;
use crate::query::named_in;
use crate::sql::needs_column;
use crate::types::{ColumnMoves, TableName};

/// # Errors
/// FAILED_PRECONDITION `column_needed`: a view or materialized view reads the table and names a column that is renamed or
/// dropped, or takes all its columns.
pub fn refuse_with_views(
    shared: &Shared,
    table: &TableName,
    moves: &ColumnMoves,
) -> Result<(), Fault> {
    let needed = |sql: &str| moves.touched().find(|column| needs_column(sql, column));
    let refused = |kind: &str, drop: &str, view: &TableName, column: &str| {
        Err(column_needed(format!(
            "a {kind} that reads the table names the column, or takes all columns, table={table}, column={column}, view={view}; drop the view first ({drop} {view}), and create it again afterwards with the columns that there are"
        )))
    };
    let (defined, snapshot) = (shared.definitions.now(), shared.snapshot());
    for view in defined.views.values() {
        let Some(column) = needed(&view.sql) else {
            continue;
        };
        // As its text says now: older servers did not note every table that a view reads.
        let then = snapshot.clone().in_schema(&view.schema.as_str().into());
        let named = named_in(&view.sql, &then);
        let is = |read: &TableName| read.folded() == table.folded();
        if named.is_ok_and(|named| !named.iter().chain(&view.reads).any(is)) {
            continue;
        }
        return refused("view", "DROP VIEW", &view.name, column);
    }
    for view in shared.tables() {
        let contract = view.contract();
        if let Some(spec) = contract.view.as_ref().filter(|spec| spec.reads(table))
            && let Some(column) = needed(&spec.sql)
        {
            let kind = "materialized view";
            return refused(kind, "DROP MATERIALIZED VIEW", &contract.table, column);
        }
    }
    Ok(())
}
