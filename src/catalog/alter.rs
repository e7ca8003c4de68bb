//! A contract changes: producers wait at the gate, the Delta table is told in one commit, then the log, and from its frame on
//! the new contract judges. A crash in between is decided by the Delta table: what it tells at the next start is in force.
//!
//! Frames and hot rows know columns by name alone. So before a column is renamed or dropped, every row that came under its name
//! is committed: what is left in the log from before the change is never made rows of again.

use std::sync::Arc;

use super::Shared;
use super::control::{FRAME_BYTES, enqueue};
use super::ddl_lock::Patience;
use super::lifecycle::to_its_end;
use super::table::{Cold, Table};
use super::visible::{FrameEffect, Part};
use super::write::TableWriter;
use crate::dataset::{Alteration, Contract, Error, RuleKind, UnknownColumns};
use crate::fault::{Fault, Kind};
use crate::records::{Record, Stamp};
use crate::types::{ColumnMoves, SameName, TableName};

/// Turns a statement into changes, given the contract in force. No change at all is fine.
pub type Plan<'a> = dyn Fn(&Contract) -> Result<Vec<Alteration>, Fault> + Send + Sync + 'a;

/// Refuses a renamed or dropped column of a table because of what this layer does not know: queries that are kept as text.
pub type Readers = dyn Fn(&TableName, &ColumnMoves) -> Result<(), Fault> + Send + Sync;

/// # Errors
/// NOT_FOUND; INVALID_ARGUMENT for a change that cannot be; ABORTED `table_busy`; the store's and the log's: nothing has changed
/// then, unless the log's says that nobody knows.
pub async fn alter(shared: &Arc<Shared>, name: &TableName, plan: &Plan<'_>) -> Result<(), Fault> {
    alter_with_readers(shared, name, plan, Arc::new(|_, _| Ok(()))).await
}

/// [`alter`] for changes that may rename and drop columns.
///
/// # Errors
/// As [`alter`]; FAILED_PRECONDITION `column_needed`.
pub async fn alter_with_readers(
    shared: &Arc<Shared>,
    name: &TableName,
    plan: &Plan<'_>,
    readers: Arc<Readers>,
) -> Result<(), Fault> {
    loop {
        let table = shared.table(name)?;
        let old = table.contract();
        let changes = plan(&old)?;
        if changes.is_empty() {
            return Ok(());
        }
        let next = old.altered(&changes).map_err(|error| match error {
            Error::Needed { .. } => column_needed(error.to_string()),
            other => Fault::invalid("invalid_contract", other.to_string()),
        })?;
        let change = Change {
            moves: old.column_moves(&changes),
            old,
            next: Arc::new(next),
            readers: readers.clone(),
        };
        // Delta and the log are told both or none, whether or not the caller still waits.
        let work = put_in_force(shared.clone(), table, change);
        if to_its_end(work).await? {
            return Ok(());
        }
    }
}

/// What a fault says when a contract was changed under rows that the one before has named or judged: its columns may be called
/// otherwise now.
pub const CONTRACT_CHANGED: &str = "contract_changed";

/// ABORTED.
pub fn contract_changed(text: String) -> Fault {
    Fault::new(Kind::Conflict, CONTRACT_CHANGED, text)
}

/// FAILED_PRECONDITION.
pub fn column_needed(text: String) -> Fault {
    Fault::new(Kind::Precondition, "column_needed", text)
}

/// From one contract to the next.
struct Change {
    old: Arc<Contract>,
    next: Arc<Contract>,
    moves: ColumnMoves,
    readers: Arc<Readers>,
}

/// Rules of other tables that ask a column which is renamed or dropped.
fn refuse_with_rules(shared: &Shared, name: &TableName, moves: &ColumnMoves) -> Result<(), Fault> {
    for table in shared.tables() {
        let contract = table.contract();
        for rule in &contract.rules {
            let RuleKind::Referential { table: of, column } = &rule.kind else {
                continue;
            };
            let asked = moves.touched().find(|own| own.is_same_name(column));
            if let Some(asked) = asked.filter(|_| of.folded() == name.folded()) {
                return Err(column_needed(format!(
                    "a rule of another table asks the column, table={name}, column={asked}, by={}, rule={}; drop that rule first",
                    contract.table, rule.name
                )));
            }
        }
    }
    Ok(())
}

/// What becomes of a table's columns and of their names.
struct Moved<'a> {
    next: &'a Contract,
    moves: &'a ColumnMoves,
    /// A name that means another column from now on.
    taken: Option<&'a str>,
}

impl Moved<'_> {
    fn is_any(&self) -> bool {
        !self.moves.is_empty() || self.taken.is_some()
    }

    /// Quarantined rows have the names under which they were sent, and are judged by them when they are replayed.
    fn refuse_with_quarantine(&self, cold: &Cold) -> Result<(), Fault> {
        let ignored = self.next.unknown_columns == UnknownColumns::Ignore;
        let problem = match self.taken {
            Some(name) => {
                format!("the name {name} would mean another column than when they were sent")
            }
            None if ignored && !self.moves.is_empty() => {
                "the table ignores columns that it does not know, and their values would be lost"
                    .to_owned()
            }
            None => return Ok(()),
        };
        let rows = cold.quarantine.view().rows();
        if rows == Some(0) {
            return Ok(());
        }
        let table = &self.next.table;
        Err(Fault::new(
            Kind::Precondition,
            "quarantine_not_empty",
            format!(
                "quarantined rows stand under the names that columns have now, table={table}, rows={}: {problem}; replay them first (REPLAY QUARANTINE {table}), and delete those that are not wanted (DELETE FROM {})",
                rows.map_or_else(|| "some".to_owned(), |rows| rows.to_string()),
                table.quarantine()
            ),
        ))
    }
}

/// False, and nothing done: another change came first, and this one does not know of it.
async fn put_in_force(
    shared: Arc<Shared>,
    table: Arc<Table>,
    change: Change,
) -> Result<bool, Fault> {
    let Change {
        old,
        next,
        moves,
        readers,
    } = change;
    let patience = Patience::of_ddl(&shared.config);
    let what = format!("ALTER {}", table.name());
    let _name = shared.ddl.lock(&[&table.name()], &what, patience).await?;
    if !Arc::ptr_eq(&table.contract(), &old) || table.is_dropped() {
        return Ok(false);
    }
    let taken = old.name_taken_over(&next, &moves).map(str::to_owned);
    let moved = Moved {
        next: &next,
        moves: &moves,
        taken: taken.as_deref(),
    };
    if moved.is_any() {
        // What its rows would be under the new names, only rows that are committed know.
        table.served()?;
    }
    let asked = || {
        if moves.is_empty() {
            return Ok(());
        }
        refuse_with_rules(&shared, &table.name(), &moves)?;
        readers(&table.name(), &moves)
    };
    asked()?;
    let mut properties = next.to_properties();
    properties.insert(
        "deltaplane.incarnation".to_owned(),
        table.incarnation.to_string(),
    );
    let dropped: Vec<String> = old
        .to_properties()
        .into_keys()
        .filter(|key| !properties.contains_key(key))
        .collect();
    let schema = next.table_schema();
    {
        // What cannot be is refused while batches still come.
        let cold = table.commit_lock_within(patience).await?;
        moved.refuse_with_quarantine(&cold)?;
        if cold.main.version() >= 0 {
            cold.main
                .check_alter(&schema, &properties, &dropped, &moves)?;
        }
    }
    let stamp = Stamp {
        incarnation: table.incarnation,
        contract_version: next.version,
    };
    let frame = Record::Alter(Box::new((*next).clone())).encode(stamp)?;
    // Room first: Delta is told only when the log can be told as well.
    let room = shared
        .log
        .reserve(frame.payload.len() + FRAME_BYTES)
        .await?;
    let mut writer = if moved.is_any() {
        TableWriter::closed_without_hot_rows(&shared, &table, &what, patience).await?
    } else {
        TableWriter::closed(&shared, &table, &what, patience).await?
    };
    // Again: it may have waited long, and a view may have been created, or a row been quarantined.
    asked()?;
    moved.refuse_with_quarantine(writer.cold())?;
    writer.alter(schema, properties, &dropped, &moves).await?;
    let effect = FrameEffect::Alter {
        table: table.clone(),
        contract: next,
        main: writer.files(Part::Main).view(),
    };
    let ticket = enqueue(&shared, room, frame, effect)?;
    shared.synced(ticket.wait()).await?;
    tracing::info!(table = %table.name(), version = table.contract().version, "contract changed");
    Ok(true)
}
