//! A table that takes its columns, or its columns and first rows, from elsewhere: `CREATE TABLE .. AS`, `CREATE TABLE .. LIKE`,
//! and `CREATE OR REPLACE TABLE`.
//!
//! The rows of `AS` are judged and stand in files before there is a name for them: the table appears with all of them, and a
//! query that fails leaves no table behind (`catalog/lifecycle`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::Expr;
use futures::StreamExt;

use super::columns::{own_spelling, unique};
use super::{Bound, temporary};
use crate::catalog::Shared;
use crate::catalog::lifecycle::{self, Founding, IfThere};
use crate::catalog::view::{Snapshot, TableView};
use crate::dataset::{Column, ColumnType, Contract, RESERVED_COLUMNS, Rule};
use crate::fault::{Fault, Kind};
use crate::ingest::found::FirstRows;
use crate::query::{Engine, tables_of};
use crate::sql::names_it;
use crate::types::{SameName, TableName, check_name, is_word};

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

/// What the statement says of the table. Names of columns are looked up once the columns are known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Declared {
    pub columns: Vec<Column>,
    /// Of a query's columns, in its order.
    pub names: Vec<String>,
    /// That types say.
    pub rules: Vec<Rule>,
    pub checks: Vec<Expr>,
    pub key: Vec<String>,
    pub unique: Vec<Vec<String>>,
    pub partition_by: Option<Vec<String>>,
    pub properties: BTreeMap<String, String>,
}

fn invalid(error: crate::dataset::Error) -> Fault {
    Fault::invalid("invalid_contract", error.to_string())
}

impl Declared {
    /// The table's contract. `from`: one that it begins with, in place of the declared columns.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: it contradicts itself.
    pub(super) fn contract(
        &self,
        name: &TableName,
        from: Option<Contract>,
    ) -> Result<Contract, Fault> {
        let mut contract =
            from.unwrap_or_else(|| Contract::plain(name.clone(), self.columns.clone()));
        contract.table = name.clone();
        if !self.key.is_empty() {
            contract.key.clone_from(&self.key);
        }
        if let Some(partition_by) = &self.partition_by {
            contract.partition_by.clone_from(partition_by);
        }
        contract.set_properties(&self.properties).map_err(invalid)?;
        contract.rules.extend(self.rules.iter().cloned());
        for check in &self.checks {
            super::checks::rules(check, &mut contract)?;
        }
        for columns in &self.unique {
            let rule = unique(columns, &contract);
            contract.rules.extend(rule);
        }
        contract.order_rules(&self.properties);
        own_spelling(&mut contract);
        contract.validate_self().map_err(invalid)?;
        Ok(contract)
    }

    /// The table for a query's rows: its columns are the query's, or the declared ones in its order.
    pub(super) fn over(
        &self,
        name: &TableName,
        given: &Schema,
        is_named: impl Fn(&str) -> bool,
    ) -> Result<Contract, Fault> {
        let (named, found) = (self.names.len() + self.columns.len(), given.fields().len());
        if named > 0 && named != found {
            return Err(Fault::invalid(
                "column_count",
                format!(
                    "{named} columns are named, the query gives {found}; name all of them, or none"
                ),
            ));
        }
        if !self.columns.is_empty() {
            return self.contract(name, None);
        }
        let columns = given.fields().iter().enumerate().map(|(at, field)| {
            let own = self.names.get(at);
            let is_named = own.is_some() || is_named(field.name());
            query_column(at, own.unwrap_or_else(|| field.name()), field, is_named)
        });
        let columns = columns.collect::<Result<Vec<_>, Fault>>()?;
        if !temporary::is_in_schema(name) {
            refuse_reserved(&columns)?;
        }
        self.contract(name, Some(Contract::plain(name.clone(), columns)))
    }
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

/// A nullable column for what a query gives: as in other databases, that no row had a null says nothing of the rows to come.
fn query_column(at: usize, name: &str, field: &Field, is_named: bool) -> Result<Column, Fault> {
    if !is_named || check_name(name).is_err() {
        return Err(Fault::invalid(
            "unnamed_column",
            format!(
                "column {} of the query has no name that a table's column can have, expression={name}; say AS name",
                at + 1
            ),
        ));
    }
    let data_type = ColumnType::from_sent(field.data_type()).ok_or_else(|| {
        Fault::invalid(
            "invalid_contract",
            format!(
                "a table cannot keep this type, column={name}, type={}; CAST it in the query, to STRING for example",
                field.data_type()
            ),
        )
    })?;
    let mut column = Column::new(name, data_type);
    // A column that is selected as it is keeps what is said of it.
    column.unit = field.metadata().get("unit").cloned();
    column.description = field.metadata().get("comment").cloned();
    Ok(column)
}

fn refuse_reserved(columns: &[Column]) -> Result<(), Fault> {
    let is_reserved = |column: &&Column| {
        RESERVED_COLUMNS
            .iter()
            .any(|own| own.is_same_name(&column.name))
    };
    match columns.iter().find(is_reserved) {
        None => Ok(()),
        Some(column) => Err(Fault::invalid(
            "reserved_column",
            format!(
                "the server fills this column, column={}; leave it out with SELECT * EXCLUDE ({}), or say AS another name",
                column.name,
                RESERVED_COLUMNS.join(", ")
            ),
        )),
    }
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
pub(super) async fn like(engine: &Engine, source: &TableName) -> Result<Contract, Fault> {
    let snapshot = engine.own_snapshot();
    match snapshot.tables.get(&source.folded()) {
        Some(view) => alike(view),
        None if snapshot.defined.view(source).is_some() => {
            let sql = format!("SELECT * FROM {}", source.sql());
            columns_of(source, &engine.plan(&sql).await?.wire)
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
            let from = like(engine, &source).await?;
            (declared.contract(&name, Some(from))?, None)
        }
        Origin::Query(sql) => {
            if there == IfThere::Replace {
                refuse_itself(engine, &name, &sql)?;
            }
            one_execution(bound)?;
            let result = engine.query(&sql, bound.row(0)?).await?;
            let snapshot = engine.own_snapshot();
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
fn refuse_itself(engine: &Engine, name: &TableName, sql: &str) -> Result<(), Fault> {
    let read = tables_of(sql, &engine.own_snapshot())?;
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
