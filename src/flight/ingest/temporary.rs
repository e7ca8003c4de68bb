//! A bulk ingest into a temporary table of the caller's session: what is new is there with the last batch, or not at all.

use std::sync::Arc;

use super::batches::{Batches, parts};
use super::command::{IfExists, Ingest};
use crate::catalog::Shared;
use crate::catalog::lifecycle::IfThere;
use crate::cold::PinnedFiles;
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::ingest::insert::{Rows, judged_by};
use crate::statement::temporary::no_session;
use crate::validate::Validator;

/// Runs the ingest. Returns how many rows it wrote.
///
/// # Errors
/// FAILED_PRECONDITION `no_session`; ALREADY_EXISTS, NOT_FOUND as the mode says; RESOURCE_EXHAUSTED `temporary_full`; INVALID_ARGUMENT for a
/// row that the table cannot have.
pub(super) async fn run(
    shared: &Arc<Shared>,
    asked: &Ingest,
    mut batches: Batches,
) -> Result<u64, Fault> {
    let tables = asked.session.temporary().ok_or_else(no_session)?;
    let schema = batches.schema().await?;
    let name = &asked.table;
    let there = match tables.get(name) {
        Ok(table) => Some(table),
        Err(_) if asked.create => None,
        Err(fault) => return Err(fault),
    };
    let appended = match (there, asked.if_exists) {
        (Some(_), IfExists::Fail) => {
            return Err(Fault::new(
                Kind::AlreadyExists,
                "table_exists",
                format!(
                    "the session has this temporary table already, table={name}; ingest with mode append or replace, or drop it first"
                ),
            ));
        }
        (Some(table), IfExists::Append) => Some(table.by),
        (_, _) => None,
    };
    let by = match &appended {
        Some(by) => by.clone(),
        None => {
            let contract = Contract::from_arrow(name.clone(), &schema)
                .map_err(|e| Fault::invalid("invalid_contract", e.to_string()))?;
            Arc::new(Validator::new(Arc::new(contract)))
        }
    };
    let columns: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let mut rows = tables.rows();
    while let Some(batch) = batches.next().await? {
        for part in parts(shared, by.contract(), &batch) {
            let part = part?;
            let more = part.bytes.saturating_sub(batches.message_bytes);
            let _room = batches.input.connection().charge(more).await?;
            let given = Rows {
                since: by.contract().clone(),
                columns: &columns,
                batches: vec![part.rows],
            };
            let judged = judged_by(shared, by.clone(), given).await?;
            for judged in judged.iter().flat_map(|judged| judged.rows()) {
                rows.push(judged.clone())?;
            }
        }
    }
    // Not before: a client that is slow holds up no other statement of its session.
    let _writing = tables.begin(shared.config.query.timeout).await?;
    if appended.is_some() {
        return tables.append(name, &by, rows);
    }
    let there = match asked.if_exists {
        IfExists::Replace => IfThere::Replace,
        IfExists::Fail | IfExists::Append => IfThere::Refuse,
    };
    let cold = PinnedFiles::empty(&shared.lake, by.contract().table_schema(), Vec::new());
    tables.create(by, Arc::new(cold), there, rows)
}
