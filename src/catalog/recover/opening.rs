//! A table as its two Delta logs tell it, and its owner.

use super::super::expected::Holdings;
use super::super::lifecycle::{OWNER_TXN, quarantine_folder};
use super::super::table::Cold;
use crate::cold::{ColdTable, Lake};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::types::Lsn;

/// The contract as the Delta table tells it: what others have changed there is in force. The log's own stands in for a table
/// that tells none.
fn described(table: &ColdTable, logged: Contract) -> Contract {
    let told = Contract::from_properties(
        logged.table.clone(),
        table.partition_by().to_vec(),
        &table.properties(),
    );
    match told.and_then(|c| c.validate_self().map(|()| c)) {
        Ok(contract) => {
            if contract != logged {
                tracing::info!(table = %logged.table, "the contract was changed in the Delta table, that one is in force");
            }
            contract
        }
        Err(error) => {
            tracing::warn!(table = %logged.table, %error, "the Delta table tells no contract, the log's is in force");
            logged
        }
    }
}

/// What a table's Delta logs say of it.
pub struct OpenedTable {
    pub main: ColdTable,
    pub quarantine: ColdTable,
    pub contract: Contract,
    /// The log's positions up to which rows are in them.
    pub committed: Lsn,
    pub quarantined: Lsn,
}

impl OpenedTable {
    pub fn holdings(&self) -> Holdings {
        Holdings {
            versions: [self.main.version(), self.quarantine.version()],
            committed: [self.committed, self.quarantined],
        }
    }
}

/// Reads both Delta tables. `known`: handles whose followers and staged files go on.
///
/// # Errors
/// DATA_LOSS `table_missing`, `table_damaged`; FAILED_PRECONDITION `schema_mismatch`; the store's.
pub async fn open_table(
    lake: &Lake,
    app: &str,
    folder: &str,
    logged: Contract,
    known: Option<&Cold>,
) -> Result<OpenedTable, Fault> {
    let name = logged.table.clone();
    let folders = [folder.to_owned(), quarantine_folder(folder)];
    let (main, quarantine) = match known {
        Some(known) => (
            known.main.reopened().await?,
            known.quarantine.reopened().await?,
        ),
        None => (
            ColdTable::open(lake, &folders[0]).await?,
            ColdTable::open(lake, &folders[1]).await?,
        ),
    };
    let missing = |folder: &str| {
        Fault::new(
            Kind::Corrupt,
            "table_missing",
            format!(
                "the log speaks of a table that is not in the store, table={name}, folder={folder}"
            ),
        )
    };
    let mut main = main.ok_or_else(|| missing(&folders[0]))?;
    let quarantine = quarantine.ok_or_else(|| missing(&folders[1]))?;
    let contract = described(&main, logged);
    main.conform_to(contract.table_schema())?;
    let position = |v: Option<i64>| Lsn::new(v.and_then(|v| u64::try_from(v).ok()).unwrap_or(0));
    let committed = position(main.read_txn(app).await?);
    let quarantined = position(quarantine.read_txn(app).await?);
    Ok(OpenedTable {
        main,
        quarantine,
        contract,
        committed,
        quarantined,
    })
}

/// Makes this server the owner of both tables: a commit with the next owner epoch (DESIGN, "Ownership").
///
/// # Errors
/// The store's; UNAVAILABLE `owned_elsewhere` when another server claims at the same moment.
pub async fn claim(main: &mut ColdTable, quarantine: &mut ColdTable) -> Result<(), Fault> {
    let ours = main.read_txn(OWNER_TXN).await?;
    let theirs = quarantine.read_txn(OWNER_TXN).await?;
    let epoch = ours.max(theirs).unwrap_or(0) + 1;
    quarantine.claim(OWNER_TXN, epoch).await?;
    main.claim(OWNER_TXN, epoch).await?;
    Ok(())
}
