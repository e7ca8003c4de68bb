//! What changed, version by version: `table_changes('t', first [, last])` as a table, `SUBSCRIBE t` as a result that does not
//! end. Both read a version's files when somebody asks for them, so that a slow reader holds neither memory nor a commit nor a
//! file.
//!
//! A row's place is its version and its number in it; both are the same however often and by whomever the version is read.
//! Whoever has seen a place goes on behind it, with no row lost and none doubled.

mod follow;
mod function;
mod parse;
mod rows;
#[cfg(test)]
mod tests;

pub(super) use function::{NAME, columns, register};

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::nearest::nearest_table;
use super::wire::wire_schema;
use crate::catalog::view::{Snapshot, TableView};
use crate::cold::{History, PinnedFiles};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::types::TableName;

/// Columns behind the table's own: what happened to the row, and where in the table's past.
pub(super) const CHANGE_TYPE: &str = "_change_type";
pub(super) const COMMIT_VERSION: &str = "_commit_version";
pub(super) const COMMIT_TIMESTAMP: &str = "_commit_timestamp";
pub(super) const COMMIT_ROW: &str = "_commit_row";

pub(super) const COLUMNS: [&str; 4] = [CHANGE_TYPE, COMMIT_VERSION, COMMIT_TIMESTAMP, COMMIT_ROW];

/// A table without its rows: what a follower keeps of it while it waits or sends.
#[derive(Clone, Debug)]
struct Followed {
    name: TableName,
    schema: SchemaRef,
    /// None for a quarantine.
    contract: Option<Arc<Contract>>,
    /// No files, so that who waits keeps none from vacuum; a version's are pinned while its rows are read.
    cold: PinnedFiles,
    history: Arc<History>,
}

impl Followed {
    /// # Errors
    /// NOT_FOUND; INVALID_ARGUMENT for what has no versions, or a column of a feed's name.
    fn find(snapshot: &Snapshot, name: &TableName) -> Result<Self, Fault> {
        let view = snapshot.tables.get(&name.folded()).ok_or_else(|| {
            let names = snapshot.tables.values().map(|v| v.name.to_string());
            let near = nearest_table(&name.to_string(), names);
            Fault::new(
                Kind::NotFound,
                "table_not_found",
                format!("no such table, table={name}{near}"),
            )
        })?;
        Self::of(view)
    }

    fn of(view: &TableView) -> Result<Self, Fault> {
        let history = view.cold.history().cloned().ok_or_else(|| {
            Fault::invalid("no_versions", format!("{} has no versions", view.name))
        })?;
        if let Some(taken) = COLUMNS
            .iter()
            .find(|c| view.schema.field_with_name(c).is_ok())
        {
            return Err(Fault::invalid(
                "ambiguous_name",
                format!(
                    "{} has a column {taken}, which a feed needs for itself; rename it",
                    view.name
                ),
            ));
        }
        Ok(Followed {
            name: view.name.clone(),
            schema: view.schema.clone(),
            contract: view.contract.clone(),
            cold: view.cold.with_files(Vec::new()),
            history,
        })
    }

    /// Are the columns of `before` here what they were? One may have been dropped and another one added under its name.
    fn has_columns_of(&self, before: &Followed) -> bool {
        let same = match (&self.contract, &before.contract) {
            (Some(now), Some(before)) => now.dropped_since(before.version).is_none(),
            _ => true,
        };
        same && wire_schema(&self.told_schema()) == wire_schema(&before.told_schema())
    }

    fn newest(&self) -> i64 {
        self.cold.version()
    }

    /// The table's columns and the feed's.
    fn told_schema(&self) -> SchemaRef {
        let own = self.schema.fields().iter().map(|f| f.as_ref().clone());
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let more = [
            Field::new(CHANGE_TYPE, DataType::Utf8, true),
            Field::new(COMMIT_VERSION, DataType::Int64, true),
            Field::new(COMMIT_TIMESTAMP, time, true),
            Field::new(COMMIT_ROW, DataType::Int64, true),
        ];
        Arc::new(Schema::new(own.chain(more).collect::<Vec<_>>()))
    }

    /// A fault that says of which table it is.
    fn named(&self, fault: impl Into<Fault>) -> Fault {
        super::versions::named(fault.into(), &self.name)
    }
}
