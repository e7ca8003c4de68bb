//! Rows that a transaction holds: judged, in no frame and in no version. What their columns are, the contract that judged them says:
//! under another one the same names may be other columns.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

use super::insert;
use super::named::Named;
use crate::catalog::Shared;
use crate::catalog::alter::{CONTRACT_CHANGED, contract_changed};
use crate::catalog::table::Table;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::validate::Validator;

/// Rows of one table.
#[derive(Clone)]
pub struct StagedRows {
    by: Arc<Validator>,
    rows: Vec<RecordBatch>,
}

/// What a transaction is told whose rows were judged by another contract than the one in force.
pub fn changed_in_transaction(contract: &Contract) -> Fault {
    contract_changed(format!(
        "the table's contract was changed during the transaction, table={}; roll back, and run the transaction again",
        contract.table
    ))
}

impl StagedRows {
    /// `rows`: in the schema of the contract `by` which they were judged.
    pub fn new(by: Arc<Validator>, rows: RecordBatch) -> Self {
        StagedRows {
            by,
            rows: vec![rows],
        }
    }

    pub fn by(&self) -> &Arc<Validator> {
        &self.by
    }

    pub fn rows(&self) -> &[RecordBatch] {
        &self.rows
    }

    /// # Errors
    /// ABORTED `contract_changed`: both were judged by contracts of their own.
    pub fn add(&mut self, more: StagedRows) -> Result<(), Fault> {
        self.refuse_unless(&more.by)?;
        self.rows.extend(more.rows);
        Ok(())
    }

    /// # Errors
    /// ABORTED `contract_changed`: `in_force` is another one.
    pub fn refuse_unless(&self, in_force: &Arc<Validator>) -> Result<(), Fault> {
        match Arc::ptr_eq(&self.by, in_force) {
            true => Ok(()),
            false => Err(changed_in_transaction(self.by.contract())),
        }
    }
}

/// Appends rows that were [`insert::staged`]: as a statement's, all or none.
///
/// # Errors
/// ABORTED `contract_changed`: another contract is in force than the one that judged them. As [`insert::append`].
pub async fn append_staged(
    shared: &Arc<Shared>,
    table: &Arc<Table>,
    staged: StagedRows,
) -> Result<u64, Fault> {
    let StagedRows { by, rows } = staged;
    let Some(first) = rows.first().map(RecordBatch::schema) else {
        return Ok(0);
    };
    // What the server fills is filled again, with the time of the commit.
    let contract = by.contract().clone();
    let own = first.fields().iter().enumerate();
    let own = own.filter(|(_, f)| contract.column(f.name()).is_some());
    let positions: Vec<usize> = own.map(|(at, _)| at).collect();
    let internal = |e: arrow::error::ArrowError| Fault::internal(format!("staged rows: {e}"));
    let whole = concat_batches(&first, &rows).map_err(internal)?;
    let rows = whole.project(&positions).map_err(internal)?;
    drop(whole);
    let taken = insert::take(shared, table, Named { by, rows }).await;
    taken.map_err(|fault| match fault.reason == CONTRACT_CHANGED {
        true => changed_in_transaction(&contract),
        false => fault,
    })
}
