//! What drivers are to bind: the parameters of a statement that changes rows, with their types. Runs nothing.

use arrow::datatypes::SchemaRef;

use super::snapshot::pinned;
use super::{Dml, query};
use crate::fault::Fault;
use crate::query::{Engine, QueryContext};

/// One nullable field a parameter, in order: the type of the column that it is assigned to, or of what it is compared with.
///
/// # Errors
/// NOT_FOUND for a table that is not there; what planning the statement meets.
pub async fn parameters(
    engine: &Engine,
    caller: &QueryContext,
    dml: &Dml,
) -> Result<SchemaRef, Fault> {
    let snapshot = engine.snapshot_of(caller);
    let view = snapshot.tables.get(&dml.table.folded());
    let view = view.ok_or_else(|| snapshot.no_table(&dml.table))?;
    let (name, contract, cold) = (view.name.clone(), view.contract.clone(), view.cold.clone());
    let query = query::build(dml, contract.as_deref(), &name.variant("rows"))?;
    let snapshot = pinned(snapshot, &name, &cold);
    let planned = engine
        .plan_over(caller, snapshot, &query.sql, query.types)
        .await?;
    Ok(planned.parameters)
}
