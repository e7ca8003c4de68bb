//! A statement for whose parameters no types were found with which it can be planned. Its values may have some: it is prepared, and what is
//! wrong with it is said when they are bound.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::sql::sqlparser::ast::{Expr, Query, SelectItem, SetExpr, Statement};

use super::guessed::without_types;
use super::parameters::field;
use super::planner::Planner;

/// What all parameters are at once.
fn tried() -> [Option<DataType>; 6] {
    [
        None,
        Some(DataType::Utf8),
        Some(DataType::Float64),
        Some(DataType::Int64),
        Some(DataType::Timestamp(
            TimeUnit::Microsecond,
            Some("UTC".into()),
        )),
        Some(DataType::Boolean),
    ]
}

/// What is wrong with a statement whatever the types of its parameters are. None: what is wrong depends on them. `told`: as to
/// `guessed`.
pub(super) fn wrong_with_any_types(
    planner: &Planner<'_>,
    told: &[Option<FieldRef>],
) -> Option<DataFusionError> {
    let mut first: Option<(String, DataFusionError)> = None;
    let mut differs = false;
    for type_ in tried() {
        let fields = told.iter().zip(1..).map(|(known, n)| {
            let tried = || type_.clone().map(|type_| field(n, type_));
            known.clone().or_else(tried)
        });
        let error = planner.plan(fields.collect()).err()?;
        if is_of_names(&error) {
            return Some(error);
        }
        let said = without_types(&error.to_string());
        match &first {
            Some((before, _)) => differs |= *before != said,
            None => first = Some((said, error)),
        }
    }
    first.map(|(_, error)| error).filter(|_| !differs)
}

/// A table or a column that is not there, or is there twice.
fn is_of_names(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => matches!(
            **error,
            SchemaError::FieldNotFound { .. } | SchemaError::AmbiguousReference { .. }
        ),
        other => other.to_string().contains("not found"),
    }
}

/// The columns of a query's result as its text names them. Their types are those of the values; a driver that was told of no columns would
/// take the query for a statement without a result.
pub(super) fn results(statement: &Statement) -> SchemaRef {
    let mut names = match statement {
        Statement::Query(query) => names_of(query),
        _ => Vec::new(),
    };
    if names.is_empty() {
        names.push("result".to_owned());
    }
    let fields = names.into_iter();
    let fields = fields.map(|name| Field::new(name, DataType::Utf8, true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn names_of(query: &Query) -> Vec<String> {
    let mut body = &*query.body;
    loop {
        body = match body {
            SetExpr::SetOperation { left, .. } => left,
            SetExpr::Query(query) => return names_of(query),
            SetExpr::Select(select) => {
                let items = select.projection.iter();
                return items.filter_map(name_of).collect();
            }
            _ => return Vec::new(),
        }
    }
}

fn name_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
            names.last().map(|name| name.value.clone())
        }
        SelectItem::UnnamedExpr(other) => Some(other.to_string()),
        _ => None,
    }
}
