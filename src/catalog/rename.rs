//! A table gets another name: one frame of the log, and nothing in Delta. Its folder keeps the name that it was created with, so
//! that other readers find it where it was.
//!
//! The frame is that of an ALTER whose contract bears the new name. A crash leaves the name before or the one after, as the frame
//! is in the log or not.

use std::sync::Arc;

use super::Shared;
use super::control::{FRAME_BYTES, enqueue};
use super::ddl_lock::Patience;
use super::lifecycle::{
    IfThere, may_be_created, refuse_temporary_schema, refuse_with_readers, to_its_end,
};
use super::visible::FrameEffect;
use crate::dataset::RuleKind;
use crate::fault::{Fault, Kind};
use crate::records::{Record, Stamp};
use crate::types::TableName;

/// Open streams go on into the table that they were opened to.
///
/// # Errors
/// NOT_FOUND; ALREADY_EXISTS; INVALID_ARGUMENT for a name that no table can have; FAILED_PRECONDITION while views read it, or
/// rules of other tables ask it; ABORTED `table_busy`; the log's: it has its name then, unless the log's says that nobody knows.
pub async fn rename(shared: &Arc<Shared>, from: &TableName, to: &TableName) -> Result<(), Fault> {
    let (shared, from, to) = (shared.clone(), from.clone(), to.clone());
    let work = async move {
        refuse_temporary_schema(&to)?;
        let patience = Patience::of_ddl(&shared.config);
        let what = format!("ALTER TABLE {from} RENAME");
        let _names = shared.ddl.lock(&[&from, &to], &what, patience).await?;
        let table = shared.table(&from)?;
        table.served()?;
        refuse_with_readers(&shared, &from)?;
        refuse_with_rules(&shared, &from)?;
        if from.folded() != to.folded() {
            may_be_created(&shared, &to, IfThere::Refuse)?;
        }
        // Nobody alters it: that takes the name, too.
        let mut contract = (*table.contract()).clone();
        contract.table = to.clone();
        contract
            .validate_self()
            .map_err(|e| Fault::invalid("invalid_contract", e.to_string()))?;
        let stamp = Stamp {
            incarnation: table.incarnation,
            contract_version: contract.version,
        };
        let frame = Record::Alter(Box::new(contract)).encode(stamp)?;
        let bytes = frame.payload.len() + FRAME_BYTES;
        let room = shared.log.reserve(bytes).await?;
        // No batch is judged by a contract that goes.
        let _closed = table.close(patience).await?;
        let _hold = table.hold(&what);
        if table.is_dropped() {
            return Err(table.dropped());
        }
        let effect = FrameEffect::Rename {
            table: table.clone(),
            to: to.clone(),
        };
        let ticket = enqueue(&shared, room, frame, effect)?;
        shared.synced(ticket.wait()).await?;
        tracing::info!(%from, %to, "table renamed");
        Ok(())
    };
    to_its_end(work).await
}

/// A rule that asks another table names it.
fn refuse_with_rules(shared: &Shared, name: &TableName) -> Result<(), Fault> {
    let asks = |kind: &RuleKind| matches!(kind, RuleKind::Referential { table, .. } if table.folded() == name.folded());
    let tables = shared.tables();
    let asking = tables.iter().filter(|table| {
        let contract = table.contract();
        contract.rules.iter().any(|rule| asks(&rule.kind))
    });
    let asking: Vec<String> = asking.map(|table| table.name().to_string()).collect();
    if asking.is_empty() {
        return Ok(());
    }
    Err(Fault::new(
        Kind::Precondition,
        "rules_ask_table",
        format!(
            "rules of other tables name it, table={name}, tables={}; drop those rules first",
            asking.join(", ")
        ),
    ))
}
