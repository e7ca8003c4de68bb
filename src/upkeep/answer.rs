//! Statements to the tables' keeper, and its answers as rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;

use super::Upkeep;
use super::check::Checked;
use super::compact::Compacted;
use super::vacuum::Vacuumed;
use crate::fault::Fault;
use crate::statement::Upkeep as Statement;

/// Files that a dry run lists.
const LISTED: usize = 1000;

fn long(value: u64) -> ArrayRef {
    Arc::new(Int64Array::from(vec![
        i64::try_from(value).unwrap_or(i64::MAX),
    ]))
}

fn text(value: &str) -> ArrayRef {
    Arc::new(StringArray::from(vec![value]))
}

impl Upkeep {
    /// # Errors
    /// As [`Upkeep::optimize`] and [`Upkeep::vacuum`].
    pub async fn answer(&self, statement: Statement) -> Result<RecordBatch, Fault> {
        let schema = statement.schema();
        let columns = match statement {
            Statement::Optimize { table, order } => {
                let (done, table) = self.optimize(&table, &order).await?;
                optimized(&table.to_string(), &done)
            }
            Statement::Repair { table, accept_loss } => {
                let done = self.repair(&table, accept_loss).await?;
                let state = if done.problem.is_some() {
                    "parked"
                } else {
                    "served"
                };
                let detail = match done.problem {
                    Some(state) => Some(state.fault(&done.table).message),
                    None if done.lost.is_empty() => None,
                    None => Some(format!("the loss was accepted: {}", done.lost.join("; "))),
                };
                vec![
                    text(&done.table.to_string()),
                    text(state),
                    Arc::new(StringArray::from(vec![detail])),
                ]
            }
            Statement::Check { table } => checked(&self.check(&table).await?),
            Statement::Vacuum {
                table,
                retain,
                dry_run,
            } => {
                let (done, table) = self.vacuum(&table, retain, dry_run).await?;
                if dry_run {
                    listed(&done)
                } else {
                    vec![
                        text(&table.to_string()),
                        long(done.deleted),
                        long(done.bytes),
                    ]
                }
            }
        };
        rows(schema, columns)
    }
}

fn optimized(table: &str, done: &Compacted) -> Vec<ArrayRef> {
    vec![
        text(table),
        Arc::new(Int64Array::from(vec![done.version])),
        long(done.partitions),
        long(done.files_removed),
        long(done.bytes_removed),
        long(done.files_added),
        long(done.bytes_added),
        long(done.rows),
    ]
}

fn checked(done: &Checked) -> Vec<ArrayRef> {
    let long = |n: usize| long(u64::try_from(n).unwrap_or(u64::MAX));
    let rows = done.rows.and_then(|n| i64::try_from(n).ok());
    vec![
        text(&done.table.to_string()),
        Arc::new(Int64Array::from(vec![done.version])),
        long(done.files),
        Arc::new(Int64Array::from(vec![rows])),
        long(usize::try_from(done.bytes).unwrap_or(usize::MAX)),
        long(done.problems.len()),
        Arc::new(StringArray::from(vec![done.detail()])),
    ]
}

fn listed(done: &Vacuumed) -> Vec<ArrayRef> {
    let files = || done.files.iter().take(LISTED);
    let modified = files().map(|f| f.modified_ms.saturating_mul(1000));
    vec![
        Arc::new(StringArray::from_iter_values(files().map(|f| &f.path))),
        Arc::new(Int64Array::from_iter_values(
            files().map(|f| i64::try_from(f.bytes).unwrap_or(i64::MAX)),
        )),
        Arc::new(TimestampMicrosecondArray::from_iter_values(modified).with_timezone("UTC")),
    ]
}

fn rows(schema: SchemaRef, columns: Vec<ArrayRef>) -> Result<RecordBatch, Fault> {
    RecordBatch::try_new(schema, columns).map_err(|e| Fault::internal(format!("answer: {e}")))
}
