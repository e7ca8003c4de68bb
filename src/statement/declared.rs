//! What a CREATE TABLE declares of its table ([`Declared`]), and the contract that follows: alone, over the contract of another
//! table, or over the columns of a query.

use std::collections::BTreeMap;

use arrow::datatypes::{Field, Schema};
use datafusion::sql::sqlparser::ast::Expr;

use crate::dataset::{Action, Column, ColumnType, Contract, RESERVED_COLUMNS, Rule, RuleKind};
use crate::fault::Fault;
use crate::types::{SameName, TableName, check_name};

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
        let contract = Contract::plain(name.clone(), columns);
        if !contract.is_temporary() {
            refuse_reserved(&contract.columns)?;
        }
        self.contract(name, Some(contract))
    }
}

/// A nullable column for what a query gives: as in other databases, that no row had a null says nothing of the rows to come.
pub(super) fn query_column(
    at: usize,
    name: &str,
    field: &Field,
    is_named: bool,
) -> Result<Column, Fault> {
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

pub(super) fn refuse_reserved(columns: &[Column]) -> Result<(), Fault> {
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

/// Key, event time, partitions and unique rules name columns without regard to case.
fn own_spelling(contract: &mut Contract) {
    let names: Vec<String> = contract.columns.iter().map(|c| c.name.clone()).collect();
    let fix = |name: &mut String| {
        if let Some(own) = names.iter().find(|n| n.is_same_name(name)) {
            name.clone_from(own);
        } else if name.is_same_name("event_date") {
            *name = "event_date".to_owned();
        }
    };
    contract.key.iter_mut().for_each(fix);
    contract.partition_by.iter_mut().for_each(fix);
    contract.event_time.iter_mut().for_each(fix);
}

/// The rule that a set of columns is unique.
fn unique(columns: &[String], contract: &Contract) -> Option<Rule> {
    let own = columns.iter().map(|name| {
        let found = contract.columns.iter().find(|c| c.name.is_same_name(name));
        found.map_or_else(|| name.clone(), |c| c.name.clone())
    });
    let columns: Vec<String> = own.collect();
    let first = columns.first()?.clone();
    Some(Rule::new(
        &first,
        RuleKind::Unique { columns },
        Action::Reject,
    ))
}
