//! Statements that change tables. It decides what a text is (a query, or one of these), turns DDL into contracts and hands
//! them to whoever runs the tables' lives.

mod alter;
mod ddl;
pub mod dml;
mod insert;
pub mod restore;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

use datafusion::sql::sqlparser::ast::AlterTableOperation;

use crate::catalog::alter::Plan;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::types::TableName;

/// Who creates and drops tables.
#[async_trait]
pub trait TableAdmin: Send + Sync {
    /// True if it was created, false if it was there and may be.
    async fn create(&self, contract: Contract, if_not_exists: bool) -> Result<bool, Fault>;
    async fn drop(&self, name: &TableName, if_exists: bool) -> Result<bool, Fault>;
    /// `plan` says what the statement means for the contract in force.
    async fn alter(&self, name: &TableName, plan: &Plan<'_>) -> Result<(), Fault>;
    /// Returns how many rows were written.
    async fn insert(&self, insert: Insert) -> Result<u64, Fault>;
    /// Returns how many rows were changed, deleted and inserted.
    async fn change_rows(&self, dml: dml::Dml) -> Result<u64, Fault>;
    async fn restore(&self, restore: restore::Restore) -> Result<(), Fault>;
}

/// `INSERT INTO table [(columns)] [REPLACE WHERE partition = value [AND ..]] query`
#[derive(Clone, Debug, PartialEq)]
pub struct Insert {
    pub table: TableName,
    /// Empty: all, in the table's order.
    pub columns: Vec<String>,
    /// Partition columns and the values whose rows are replaced, as Delta writes them.
    pub replace: Option<Vec<(String, String)>>,
    /// The query that gives the rows.
    pub query: String,
}

/// A statement that changes something.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Create {
        contract: Box<Contract>,
        if_not_exists: bool,
    },
    Drop {
        name: TableName,
        if_exists: bool,
    },
    Alter {
        name: TableName,
        operations: Vec<AlterTableOperation>,
    },
    Insert(Box<Insert>),
    Rows(Box<dml::Dml>),
    Restore(restore::Restore),
}

impl Change {
    /// What the text changes; none if it is a query, or nothing that is known here.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for DDL that does not parse or a contract that contradicts itself.
    pub fn parse(sql: &str) -> Result<Option<Change>, Fault> {
        if let Some(insert) = insert::parse(sql)? {
            return Ok(Some(Change::Insert(Box::new(insert))));
        }
        if let Some(dml) = dml::parse(sql)? {
            return Ok(Some(Change::Rows(Box::new(dml))));
        }
        if let Some(restore) = restore::parse(sql)? {
            return Ok(Some(Change::Restore(restore)));
        }
        match alter::parse(sql)? {
            Some(change) => Ok(Some(change)),
            None => ddl::parse(sql),
        }
    }

    /// Returns how many rows were written, changed or deleted; DDL says none.
    pub async fn run(self, admin: &dyn TableAdmin) -> Result<u64, Fault> {
        match self {
            Change::Create {
                contract,
                if_not_exists,
            } => admin.create(*contract, if_not_exists).await.map(|_| 0),
            Change::Drop { name, if_exists } => admin.drop(&name, if_exists).await.map(|_| 0),
            Change::Alter { name, operations } => {
                let plan = |contract: &Contract| alter::alterations(contract, &operations);
                admin.alter(&name, &plan).await.map(|()| 0)
            }
            Change::Insert(insert) => admin.insert(*insert).await,
            Change::Rows(dml) => admin.change_rows(*dml).await,
            Change::Restore(restore) => admin.restore(restore).await.map(|()| 0),
        }
    }
}
