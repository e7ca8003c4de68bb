//! UPDATE and DELETE that are bound to many rows of parameters: they are executed one after the other, each on what those
//! before it have left, and committed as one. What an execution has changed stands in memory until the end, where the next
//! one finds it beside the files.

use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Int32Array, Int64Array, RecordBatch};
use arrow::compute::filter_record_batch;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::{Expr, ObjectName, Visitor};

use super::faults::internal;
use super::marks::Marks;
use super::places::places;
use super::{Dml, Work};
use crate::catalog::view::Snapshot;
use crate::dataset::TEMPORARY_SCHEMA;
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::sql::{parts, resolve, visit};
use crate::statement::Bound;
use crate::types::TableName;

/// The parameters of each execution of the statement.
///
/// # Errors
/// INVALID_ARGUMENT: it takes more or fewer; RESOURCE_EXHAUSTED: too many rows; UNIMPLEMENTED: it cannot be executed so.
pub(in super::super) fn executions(
    dml: &Dml,
    bound: &Bound,
) -> Result<Vec<Option<Vec<ScalarValue>>>, Fault> {
    bound.check_count(dml.parameters)?;
    bound.check_executions()?;
    check(dml, bound.executions())?;
    (0..bound.executions()).map(|row| bound.row(row)).collect()
}

/// What a statement reads beside the row at hand is as it was before the first execution.
///
/// # Errors
/// UNIMPLEMENTED: it would have to read rows that an earlier execution has changed.
fn check(dml: &Dml, executions: usize) -> Result<(), Fault> {
    let reads = match &dml.work {
        Work::Merge(_) => true,
        Work::Delete { selection } => reads_itself(dml, selection.iter()),
        Work::Update { set, selection } => {
            let values = set.iter().map(|(_, value)| value);
            reads_itself(dml, values.chain(selection))
        }
    };
    if !reads || executions < 2 {
        return Ok(());
    }
    Err(Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!(
            "a MERGE, and a statement with a subquery over the table that it changes, takes one row of parameters at a time, table={}, bound={executions}; execute it once a row",
            dml.table
        ),
    ))
}

fn reads_itself<'a>(dml: &Dml, mut exprs: impl Iterator<Item = &'a Expr>) -> bool {
    struct Reads<'a> {
        table: &'a TableName,
        schema: &'a str,
    }
    impl Visitor for Reads<'_> {
        type Break = ();
        fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
            match resolve(&parts(name), self.schema) {
                Ok(read) if read.folded() == self.table.folded() => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }
    }
    let table = &dml.table;
    // A name without a schema means a temporary table before a stored one.
    let schema = match table.schema() {
        TEMPORARY_SCHEMA => TEMPORARY_SCHEMA,
        _ => &dml.schema,
    };
    exprs.any(|expr| visit(expr, &mut Reads { table, schema }).is_break())
}

/// The snapshot in which the rows that earlier executions have made stand beside the table's own under `name`. They are in
/// files behind the last one, a batch each.
///
/// # Errors
/// INTERNAL: they are not of the table's schema.
pub(super) fn with_held(
    snapshot: &Snapshot,
    name: &TableName,
    files: usize,
    held: &[RecordBatch],
) -> Result<Snapshot, Fault> {
    if held.is_empty() {
        return Ok(snapshot.clone());
    }
    let mut tables = (*snapshot.tables).clone();
    let view = tables
        .get_mut(&name.folded())
        .ok_or_else(|| Fault::internal("a statement without its rows"))?;
    let hot = held.iter().zip(files..).map(|(rows, file)| {
        let file = i32::try_from(file).map_err(internal)?;
        let count = i64::try_from(rows.num_rows()).map_err(internal)?;
        let mut columns: Vec<ArrayRef> = rows.columns().to_vec();
        columns.push(Arc::new(Int32Array::from_value(file, rows.num_rows())));
        columns.push(Arc::new(Int64Array::from_iter_values(0..count)));
        Ok(Chunk {
            first: snapshot.read_point,
            last: snapshot.read_point,
            batch: RecordBatch::try_new(view.schema.clone(), columns).map_err(internal)?,
        })
    });
    view.hot = Arc::new(hot.collect::<Result<Vec<_>, Fault>>()?);
    Ok(Snapshot {
        tables: Arc::new(tables),
        ..snapshot.clone()
    })
}

/// A result without the rows that earlier executions have changed or taken out.
///
/// # Errors
/// INTERNAL: a result without places.
pub(super) fn untouched(batch: &RecordBatch, earlier: &Marks) -> Result<RecordBatch, Fault> {
    if earlier.is_empty() {
        return Ok(batch.clone());
    }
    let stays: BooleanArray = places(batch, 0)?
        .map(|place| Some(place.is_none_or(|(file, row)| !earlier.has(file, row))))
        .collect();
    filter_record_batch(batch, &stays).map_err(internal)
}

/// The rows of one held batch that no later execution has changed or taken out.
///
/// # Errors
/// INTERNAL.
pub(super) fn left(rows: &RecordBatch, file: usize, marks: &Marks) -> Result<RecordBatch, Fault> {
    let stays: BooleanArray = (0..rows.num_rows())
        .map(|row| Some(!marks.has(file, row)))
        .collect();
    filter_record_batch(rows, &stays).map_err(internal)
}
