//! A table that takes its columns, or its columns and first rows, from elsewhere: `CREATE TABLE .. AS`, `CREATE TABLE .. LIKE`,
//! and `CREATE OR REPLACE TABLE`.
//!
//! The rows of `AS` are judged and stand in files before there is a name for them: the table appears with all of them, and a
//! query that fails leaves no table behind (`catalog/lifecycle`).

use std::sync::Arc;

use arrow::datatypes::Schema;
use futures::StreamExt;

use super::Bound;
use super::declared::{Declared, query_column, refuse_reserved};
use crate::catalog::Shared;
use crate::catalog::lifecycle::{self, Founding, IfThere};
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::ingest::found::FirstRows;
use crate::query::{Engine, QueryContext, tables_of};
use crate::sql::names_it;
use crate::types::{TableName, is_word};

/// Where the columns come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// They are declared.
    Columns,
    /// Another table has them, with the whole contract.
    Like(TableName),
    /// This query gives them, and the rows.
    Query(String),
}

/// `CREATE [OR REPLACE] TABLE [IF NOT EXISTS] name [(columns)] .. [AS query | LIKE table]`
#[derive(Clone, Debug, PartialEq)]
pub struct Creation {
    pub name: TableName,
    pub there: IfThere,
    pub origin: Origin,
    pub(super) declared: Declared,
}

/// Has the query called this column so, or a table or view that it may read? What an expression is called that nobody has
/// given a name is no column's name.
pub(super) fn is_named(name: &str, sql: &str, snapshot: &Snapshot) -> bool {
    let has = |schema: &Schema| schema.index_of(name).is_ok();
    is_word(name)
        || names_it(sql, name)
        || snapshot.tables.values().any(|view| has(&view.schema))
        || (snapshot.defined.views.values()).any(|view| view.columns.iter().any(|c| c.name == name))
}

/// The contract of a table like another: all of its contract, and of a view or a quarantine the columns.
fn alike(view: &TableView) -> Result<Contract, Fault> {
    if let Some(contract) = &view.contract
        && contract.view.is_none()
    {
        let mut contract = (**contract).clone();
        contract.version = 1;
        return Ok(contract);
    }
    columns_of(&view.name, &view.schema)
}

fn columns_of(name: &TableName, schema: &Schema) -> Result<Contract, Fault> {
    let fields = schema.fields().iter().enumerate();
    let columns = fields.map(|(at, field)| query_column(at, field.name(), field, true));
    let columns = columns.collect::<Result<Vec<_>, Fault>>()?;
    refuse_reserved(&columns)?;
    Ok(Contract::plain(name.clone(), columns))
}

/// What a table is that is to be like `source`, a table or a view.
///
/// # Errors
/// NOT_FOUND; what planning the view meets.
pub(super) async fn like(
    engine: &Engine,
    caller: &QueryContext,
    source: &TableName,
) -> Result<Contract, Fault> {
    let snapshot = engine.snapshot_of(caller);
    match snapshot.tables.get(&source.folded()) {
        Some(view) => alike(view),
        None if snapshot.defined.view(source).is_some() => {
            let sql = format!("SELECT * FROM {}", source.sql());
            columns_of(source, &engine.plan(caller, &sql).await?.wire)
        }
        None => Err(Fault::new(
            Kind::NotFound,
            "table_not_found",
            format!("no such table to be like, table={source}"),
        )),
    }
}

/// # Errors
/// INVALID_ARGUMENT `parameters`: many rows are bound to a statement that makes one table.
pub(super) fn one_execution(bound: &Bound) -> Result<(), Fault> {
    if bound.executions() == 1 {
        return Ok(());
    }
    Err(Fault::invalid(
        "parameters",
        format!(
            "CREATE TABLE .. AS takes one row of parameters, bound={}",
            bound.executions()
        ),
    ))
}

/// Creates the table. Returns how many rows it has from the start.
///
/// # Errors
/// ALREADY_EXISTS; INVALID_ARGUMENT for columns that no table can have; NOT_FOUND for a table to be like; what the query meets,
/// and what an INSERT of its rows would: there is no table then, or still the one before.
pub async fn run(
    shared: &Arc<Shared>,
    engine: &Engine,
    caller: &QueryContext,
    creation: Creation,
    bound: &Bound,
) -> Result<u64, Fault> {
    let Creation {
        name,
        there,
        origin,
        declared,
    } = creation;
    // The query of a table that cannot be is not run.
    if !lifecycle::may_be_created(shared, &name, there)? {
        return Ok(0);
    }
    let (contract, rows) = match origin {
        Origin::Columns => (declared.contract(&name, None)?, None),
        Origin::Like(source) => {
            let from = like(engine, caller, &source).await?;
            (declared.contract(&name, Some(from))?, None)
        }
        Origin::Query(sql) => {
            if there == IfThere::Replace {
                refuse_itself(&engine.snapshot_of(caller), &name, &sql)?;
            }
            one_execution(bound)?;
            let result = engine.query(caller, &sql, bound.row(0)?).await?;
            let snapshot = engine.snapshot_of(caller);
            let is_named = |column: &str| is_named(column, &sql, &snapshot);
            let contract = declared.over(&name, &result.wire, is_named)?;
            let rows = result.batches.into_stream().boxed();
            let rows: Box<dyn Founding> = Box::new(FirstRows::new(rows));
            (contract, Some(rows))
        }
    };
    let created = lifecycle::create_with(shared, contract, there, rows).await?;
    Ok(created.unwrap_or(0))
}

/// A batch that comes in between the query and the new table's birth would be in neither.
fn refuse_itself(snapshot: &Snapshot, name: &TableName, sql: &str) -> Result<(), Fault> {
    let read = tables_of(sql, snapshot)?;
    let gone = [name.folded(), name.quarantine().folded()];
    if read.iter().any(|table| gone.contains(&table.folded())) {
        return Err(Fault::new(
            Kind::Precondition,
            "replaces_what_it_reads",
            format!(
                "the query reads the table that it would replace, table={name}: rows that come in meanwhile would be lost; say INSERT INTO .. REPLACE WHERE, UPDATE or DELETE, or create another table"
            ),
        ));
    }
    Ok(())
}
