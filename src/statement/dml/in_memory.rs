//! UPDATE, DELETE and MERGE of a table whose rows are all in memory, a temporary one. Its batches stand where those of earlier
//! executions do (`many`): each is a file with rows by number, and what the statement leaves of all of them is the table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use tokio_util::sync::CancellationToken;

use super::marks::Marks;
use super::rows::Run;
use super::snapshot::with_rows;
use super::{Dml, many, query};
use crate::catalog::Shared;
use crate::catalog::lifecycle::offset_i64;
use crate::catalog::temporary::{TemporaryTable, batches};
use crate::cold::Staged;
use crate::fault::Fault;
use crate::query::{Engine, QueryContext};

/// Returns how many rows the statement has changed, deleted and inserted, and all rows that there are then; none: it has
/// touched no row.
///
/// # Errors
/// As [`super::run`].
pub(in super::super) async fn in_memory(
    shared: &Arc<Shared>,
    engine: &Engine,
    caller: &QueryContext,
    dml: &Dml,
    executions: &[Option<Vec<ScalarValue>>],
    table: &TemporaryTable,
) -> Result<Option<(u64, Vec<RecordBatch>)>, Fault> {
    let (view, by) = (&table.view, &table.by);
    let held = batches(&view.hot);
    let rows_name = view.name.variant("rows");
    let query = query::build(dml, Some(by.contract()), &rows_name)?;
    if query.all {
        let touched = held.iter().map(|batch| batch.num_rows() as u64).sum();
        return Ok(Some((touched, Vec::new())));
    }
    let mut snapshot = engine.snapshot_of(caller);
    let mut tables = (*snapshot.tables).clone();
    with_rows(&mut tables, &view.name, &view.cold);
    snapshot.tables = Arc::new(tables);
    let mut run = Run {
        engine,
        caller,
        validator: Some(by),
        files: None,
        keys: None,
        snapshot,
        name: &view.name,
        rows_name: &rows_name,
        view: view.cold.clone(),
        references: shared.lookups.references(shared, by.contract()).await?,
        bytes_max: shared.config.memory.query_bytes_max.as_usize(),
        now: shared.clock.now(),
        offset: offset_i64(shared.log.durable()),
        marks: Marks::default(),
        earlier: Marks::default(),
        many: true,
        touched: 0,
        held,
        held_bytes: 0,
        staged: Staged::empty(),
    };
    // Nobody ends it: it is dropped with the call.
    let cancelled = CancellationToken::new();
    for parameters in executions {
        run.execute(&query, parameters.clone(), &cancelled).await?;
    }
    if run.touched == 0 {
        return Ok(None);
    }
    let marks = std::mem::take(&mut run.earlier);
    let rows = run.held.iter().enumerate().map(|(at, rows)| {
        if marks.count(at) == 0 {
            return Ok(rows.clone());
        }
        many::left(rows, at, &marks)
    });
    let rows = rows.collect::<Result<Vec<_>, Fault>>()?;
    Ok(Some((run.touched, rows)))
}
