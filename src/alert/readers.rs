//! Alerts that need a column of a table.

use super::Alerts;
use crate::catalog::alter::column_needed;
use crate::dataset::Watched;
use crate::fault::Fault;
use crate::sql::needs_column;
use crate::types::{ColumnMoves, SameName, TableName};

impl Alerts {
    /// # Errors
    /// FAILED_PRECONDITION `column_needed`: an alert reads the table and names a column that is renamed or dropped, or takes all
    /// its columns.
    pub fn refuse_with_alerts(&self, table: &TableName, moves: &ColumnMoves) -> Result<(), Fault> {
        for entry in self.all() {
            let kept = entry.inner.lock().kept.clone();
            if kept.dropped {
                continue;
            }
            let alert = &kept.declaration;
            let needs = |column: &&str| match &alert.watched {
                Watched::Query { sql } => {
                    // An alert of an older version of the server says nothing of what it reads.
                    let mut reads = kept.reads.iter();
                    let reads =
                        kept.reads.is_empty() || reads.any(|r| r.folded() == table.folded());
                    reads && needs_column(sql, column)
                }
                Watched::Deadman { table: of, .. } => {
                    let mut by = alert.by.iter();
                    of.folded() == table.folded() && by.any(|c| c.is_same_name(column))
                }
            };
            if let Some(column) = moves.touched().find(needs) {
                return Err(column_needed(format!(
                    "an alert that reads the table names the column, or takes all columns, table={table}, column={column}, alert={name}; drop the alert first (DROP ALERT {name}), and create it again afterwards with the columns that there are",
                    name = alert.name
                )));
            }
        }
        Ok(())
    }
}
