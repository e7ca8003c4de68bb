//! The names of a statement's columns: those that it writes, or the table's own by their places. A contract may change while the
//! statement runs, and columns may be called otherwise then. So rows that were named say by which contract, and nobody judges
//! them by another one.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Field, Schema};

use super::insert::assign;
use crate::catalog::alter::contract_changed;
use crate::catalog::table::Table;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::validate::{self, Validator};

/// A result's columns under the names of the table's, by position. `columns` empty: all of them in the table's order.
pub(super) fn named(
    contract: &Contract,
    columns: &[String],
    rows: Vec<RecordBatch>,
) -> Result<Option<RecordBatch>, Fault> {
    let Some(whole) = in_one(rows)? else {
        return Ok(None);
    };
    let all: Vec<String> = contract.columns.iter().map(|c| c.name.clone()).collect();
    let names = if columns.is_empty() { &all } else { columns };
    refuse_other_count(contract, names, &whole)?;
    under(contract, names, &whole).map(Some)
}

fn internal(error: arrow::error::ArrowError) -> Fault {
    Fault::internal(format!("rows to insert: {error}"))
}

fn in_one(rows: Vec<RecordBatch>) -> Result<Option<RecordBatch>, Fault> {
    let Some(first) = rows.first() else {
        return Ok(None);
    };
    let whole = concat_batches(&first.schema(), &rows);
    whole.map(Some).map_err(internal)
}

fn refuse_other_count(
    contract: &Contract,
    names: &[String],
    rows: &RecordBatch,
) -> Result<(), Fault> {
    if names.len() == rows.num_columns() {
        return Ok(());
    }
    Err(Fault::invalid(
        "column_count",
        format!(
            "{} columns are due, the query gives {}; {} takes {}",
            names.len(),
            rows.num_columns(),
            contract.table,
            names.join(", ")
        ),
    ))
}

/// The rows under these names, each column as it is assigned to the one of its name.
fn under(contract: &Contract, names: &[String], rows: &RecordBatch) -> Result<RecordBatch, Fault> {
    let columns = names
        .iter()
        .zip(rows.columns())
        .map(|(name, column)| assign(contract, name, column));
    let columns = columns.collect::<Result<Vec<ArrayRef>, Fault>>()?;
    let fields: Vec<Field> = names
        .iter()
        .zip(&columns)
        .map(|(name, column)| Field::new(name, column.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(internal)
}

/// The rows of a statement.
pub struct Rows<'a> {
    /// The contract that was in force when the statement began: its columns are meant as they were called then.
    pub since: Arc<Contract>,
    /// Empty: all columns, in the table's order.
    pub columns: &'a [String],
    pub batches: Vec<RecordBatch>,
}

impl<'a> Rows<'a> {
    /// Of a statement that begins now.
    pub fn of(table: &Table, columns: &'a [String], batches: Vec<RecordBatch>) -> Self {
        Rows {
            since: table.contract(),
            columns,
            batches,
        }
    }
}

/// [`Rows`] that are named as often as the contract changes before they are taken.
pub(super) struct Unnamed<'a> {
    since: Arc<Contract>,
    columns: &'a [String],
    whole: RecordBatch,
}

/// Rows under the names that a contract gives their columns. No other one may judge them.
pub(super) struct Named {
    pub(super) by: Arc<Validator>,
    pub(super) rows: RecordBatch,
}

impl<'a> Unnamed<'a> {
    /// # Errors
    /// `column_count`.
    pub(super) fn of(rows: Rows<'a>) -> Result<Option<Self>, Fault> {
        let Rows {
            since,
            columns,
            batches,
        } = rows;
        let Some(whole) = in_one(batches)? else {
            return Ok(None);
        };
        let rows = Unnamed {
            since,
            columns,
            whole,
        };
        refuse_other_count(&rows.since, &rows.names_of(&rows.since), &rows.whole)?;
        Ok(Some(rows))
    }

    /// The statement's own names, or those of a contract's columns in their order.
    fn names_of(&self, contract: &Contract) -> Vec<String> {
        match self.columns {
            [] => contract.columns.iter().map(|c| c.name.clone()).collect(),
            own => own.to_vec(),
        }
    }

    /// By the contract that is in force now. A column that the statement meant may be called otherwise by then, and stands where it
    /// stood; one that it names may be gone.
    ///
    /// # Errors
    /// ABORTED `contract_changed`: a column that it means is not there any more.
    pub(super) fn named(&self, by: Arc<Validator>) -> Result<Named, Fault> {
        let (since, now) = (&self.since, by.contract().clone());
        let mut names = self.names_of(&now);
        if !Arc::ptr_eq(since, &now) {
            // Columns that were added stand behind those that were there.
            names.truncate(self.whole.num_columns());
            let lost = match self.columns {
                // Each column is filled by its place, and behind a dropped one the places have moved.
                [] => now.dropped_since(since.version),
                own => validate::lost_column(since, &now, own.iter().map(String::as_str)),
            };
            if let Some(lost) = lost {
                return Err(contract_changed(format!(
                    "a column that the statement fills was dropped or renamed while it ran, table={}, column={lost}; nothing was written, run it again with the columns that there are: {}",
                    now.table,
                    self.names_of(&now).join(", ")
                )));
            }
        }
        let rows = under(&now, &names, &self.whole)?;
        Ok(Named { by, rows })
    }
}
