//! Statements that change tables. It decides what a text is (a query, or one of these), turns DDL into contracts and hands
//! them to whoever runs the tables' lives.

mod ddl;
#[cfg(test)]
mod tests;

use async_trait::async_trait;

use crate::dataset::Contract;
use crate::fault::Fault;
use crate::types::TableName;

/// Who creates and drops tables.
#[async_trait]
pub trait TableAdmin: Send + Sync {
    /// True if it was created, false if it was there and may be.
    async fn create(&self, contract: Contract, if_not_exists: bool) -> Result<bool, Fault>;
    async fn drop(&self, name: &TableName, if_exists: bool) -> Result<bool, Fault>;
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
}

impl Change {
    /// What the text changes; none if it is a query, or nothing that is known here.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for DDL that does not parse or a contract that contradicts itself.
    pub fn parse(sql: &str) -> Result<Option<Change>, Fault> {
        ddl::parse(sql)
    }

    pub async fn run(self, admin: &dyn TableAdmin) -> Result<(), Fault> {
        match self {
            Change::Create {
                contract,
                if_not_exists,
            } => admin.create(*contract, if_not_exists).await.map(drop),
            Change::Drop { name, if_exists } => admin.drop(&name, if_exists).await.map(drop),
        }
    }
}
