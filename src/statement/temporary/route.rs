//! Tells statements about temporary tables from those about stored ones, and refuses what a temporary table cannot have.

use super::{Temporary, is_in_schema};
use crate::dataset::TEMPORARY_SCHEMA;
use crate::fault::{Fault, Kind};
use crate::query::QueryContext;
use crate::statement::alter::Altering;
use crate::statement::change::Change;
use crate::statement::create::{Creation, Origin};
use crate::types::TableName;

fn refused<T>(text: String) -> Result<T, Fault> {
    Err(Fault::new(Kind::Unimplemented, "not_implemented", text))
}

/// `CREATE TEMP TABLE`: what a temporary table cannot have is refused, not left out.
///
/// # Errors
/// INVALID_ARGUMENT, UNIMPLEMENTED.
pub(in crate::statement) fn creation(creation: Creation, using: bool) -> Result<Change, Fault> {
    let name = &creation.name;
    if !is_in_schema(name) {
        return Err(Fault::invalid(
            "invalid_name",
            format!(
                "a temporary table belongs to the session and to no schema, name={name}; write CREATE TEMP TABLE {}",
                name.table()
            ),
        ));
    }
    let declared = &creation.declared;
    let clauses = [
        (declared.partition_by.is_some(), "PARTITIONED BY"),
        (!declared.properties.is_empty(), "TBLPROPERTIES"),
        (!declared.key.is_empty(), "PRIMARY KEY"),
        (!declared.unique.is_empty(), "UNIQUE"),
        (using, "USING"),
    ];
    if let Some((_, clause)) = clauses.iter().find(|(said, _)| *said) {
        return refused(format!(
            "{clause} is not supported for a temporary table, table={name}; leave it out, or create a table that is not temporary"
        ));
    }
    if creation.origin == Origin::Columns {
        // What is wrong with the columns is said before anything is run.
        declared.contract(name, None)?;
    }
    Ok(Change::Temporary(Box::new(Temporary::Create(Box::new(
        creation,
    )))))
}

/// The table that a statement is about, if it has to be there already.
fn target(change: &Change) -> Option<&TableName> {
    Some(match change {
        Change::Insert(insert) => &insert.table,
        Change::Rows(dml) => &dml.table,
        Change::Drop { name, .. } | Change::Alter { name, .. } | Change::Rename { name, .. } => {
            name
        }
        Change::Restore(restore) => &restore.table,
        Change::Replay(replay) => &replay.table,
        Change::Upkeep(upkeep) => upkeep.table(),
        Change::Create { .. }
        | Change::CreateFrom(_)
        | Change::View(_)
        | Change::Define(_)
        | Change::Alert(_)
        | Change::Temporary(_) => return None,
    })
}

/// The statement as one about a temporary table, if that is what its names mean to the caller. `read` reads it with another
/// schema for names without one.
///
/// # Errors
/// UNIMPLEMENTED: it is for stored tables alone.
pub(in crate::statement) fn routed(
    caller: &QueryContext,
    change: Change,
    read: impl FnOnce(&str) -> Result<Option<Change>, Fault>,
) -> Result<Change, Fault> {
    if target(&change).is_some_and(is_in_schema) {
        return about(change, caller);
    }
    let Some(own) = caller.session.temporary().filter(|own| !own.is_empty()) else {
        return Ok(change);
    };
    if target(&change).is_none() {
        return Ok(change);
    }
    // As if the temporary tables' schema were the default one: a name that has a schema means what it did.
    let again = read(TEMPORARY_SCHEMA)?;
    let is_about_own = |again: &Change| target(again).is_some_and(|name| own.is_there(name));
    match again.filter(is_about_own) {
        Some(again) => about(again, caller),
        None => Ok(change),
    }
}

fn about(change: Change, caller: &QueryContext) -> Result<Change, Fault> {
    let temporary = match change {
        Change::Insert(insert) if insert.replace.is_none() => Temporary::Insert(insert),
        Change::Insert(insert) => {
            return refused(format!(
                "INSERT .. REPLACE WHERE replaces partitions, and a temporary table has none, table={}; say DELETE and INSERT",
                insert.table
            ));
        }
        Change::Rows(mut dml) => {
            // The other names that it gives are what they were.
            dml.schema = caller.schema.clone();
            Temporary::Rows(dml)
        }
        Change::Drop {
            name, if_exists, ..
        } => Temporary::Drop { name, if_exists },
        other => {
            let verb = match &other {
                Change::Alter {
                    altering: Altering::Comment { .. },
                    ..
                } => "COMMENT",
                other => other.verb(),
            };
            let name = target(&other).map(ToString::to_string).unwrap_or_default();
            return refused(format!(
                "{verb} is for stored tables, table={name} is a temporary one; it knows CREATE, INSERT, UPDATE, DELETE, MERGE, TRUNCATE and DROP, and CREATE OR REPLACE TEMP TABLE .. AS SELECT gives it other columns"
            ));
        }
    };
    Ok(Change::Temporary(Box::new(temporary)))
}
