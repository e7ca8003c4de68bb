//! What a result's columns are called and where they come from, as its plan says it. Clients read the table of a column, its
//! type's name, precision and scale from the metadata of its field (Flight SQL, "ARROW:FLIGHT:SQL:").
//!
//! Two columns of one name are one of two things: the columns of two relations, which a plan tells apart by their qualifiers,
//! or expressions of one name, which it refuses. `same_names` gives the latter marked names, and the mark is taken off here.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::TableReference;
use datafusion::logical_expr::{Cast, Distinct, Expr, Join, JoinType, LogicalPlan, TryCast};

use super::CATALOG;
use super::arithmetic::bare;
use super::functions::given_a_name;
use super::sql_types::{fraction_digits, numeric, type_name};
use super::wire::wire_schema;
use crate::fault::Fault;
use crate::types::without_mark;

/// Begins the mark of a name that has another column's name before it, or none. No name that a user writes has it.
pub(super) const MARK: char = '\0';

/// What keys of Flight SQL's metadata begin with.
const FLIGHT_SQL: &str = "ARROW:FLIGHT:SQL:";
/// Of a text, whose length has no limit of its own.
const UNBOUNDED: &str = "2147483647";

/// The schema of the rows that the plan gives, as clients get them.
pub(super) fn wire_of(plan: &LogicalPlan) -> SchemaRef {
    let wire = wire_schema(plan.schema().as_arrow());
    let fields = wire.fields().iter().enumerate().map(|(at, field)| {
        let mut metadata = described(field.data_type());
        if let Some((table, _)) = origin(plan, at) {
            metadata.extend(of_table(table.schema().unwrap_or_default(), table.table()));
        }
        metadata.extend(field.metadata().clone());
        let name = shown(plan, at).unwrap_or_else(|| field.name().clone());
        Field::new(name, field.data_type().clone(), field.is_nullable()).with_metadata(metadata)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// What the columns of the plan's rows are called, as clients get them.
pub(super) fn names(plan: &LogicalPlan) -> Vec<String> {
    let fields = plan.schema().fields().iter().enumerate();
    fields
        .map(|(at, field)| shown(plan, at).unwrap_or_else(|| field.name().clone()))
        .collect()
}

/// # Errors
/// INVALID_ARGUMENT `duplicate_column`: two columns of one name, of a query whose columns are stored.
pub(super) fn each_once(plan: &LogicalPlan) -> Result<(), Fault> {
    let fields = plan.schema().fields().iter();
    if !fields.clone().any(|field| field.name().contains(MARK)) {
        return Ok(());
    }
    let names = names(plan);
    // One that is marked may stand beside the two.
    let mut again = names.iter().enumerate();
    let again = again.find(|(at, name)| names.iter().take(*at).any(|before| before == *name));
    let marked = fields.zip(&names).find(|(f, _)| f.name().contains(MARK));
    let name = again.map(|(_, name)| name).or(marked.map(|(_, name)| name));
    let name = name.map_or("", String::as_str);
    Err(Fault::invalid(
        "duplicate_column",
        format!("two columns have one name, column={name}; give one of them another with AS"),
    ))
}

fn entry(key: &str, value: impl Into<String>) -> (String, String) {
    (format!("{FLIGHT_SQL}{key}"), value.into())
}

/// A column's table. JDBC reads SCHEMA_NAME, the specification says DB_SCHEMA_NAME.
pub fn of_table(schema: &str, table: &str) -> [(String, String); 4] {
    [
        entry("CATALOG_NAME", CATALOG),
        entry("DB_SCHEMA_NAME", schema),
        entry("SCHEMA_NAME", schema),
        entry("TABLE_NAME", table),
    ]
}

/// What is said of every column of a type: its name in SQL, its precision in decimal digits, characters or bytes, its scale.
pub fn described(data_type: &DataType) -> HashMap<String, String> {
    let flag = |yes: bool| if yes { "1" } else { "0" };
    let mut metadata = HashMap::from([
        entry("TYPE_NAME", type_name(data_type)),
        entry("IS_AUTO_INCREMENT", flag(false)),
        entry("IS_CASE_SENSITIVE", flag(data_type == &DataType::Utf8)),
        entry("IS_READ_ONLY", flag(false)),
        entry("IS_SEARCHABLE", flag(true)),
    ]);
    if let Some((precision, scale)) = precision(data_type) {
        metadata.extend([entry("PRECISION", precision)]);
        metadata.extend(scale.map(|scale| entry("SCALE", scale)));
    }
    metadata
}

/// Precision and scale.
fn precision(data_type: &DataType) -> Option<(String, Option<String>)> {
    if let Some((digits, scale)) = numeric(data_type) {
        return Some((digits.to_string(), scale.map(|scale| scale.to_string())));
    }
    match data_type {
        DataType::Boolean => Some(("1".to_owned(), None)),
        DataType::Utf8 | DataType::Binary => Some((UNBOUNDED.to_owned(), None)),
        DataType::Date32 => Some(("10".to_owned(), None)),
        // `2026-11-29 12:00:00` and the digits behind the point.
        DataType::Timestamp(unit, _) => Some(with_fraction(19, *unit)),
        DataType::Time32(unit) | DataType::Time64(unit) => Some(with_fraction(8, *unit)),
        _ => None,
    }
}

fn with_fraction(length: u8, unit: TimeUnit) -> (String, Option<String>) {
    let digits = fraction_digits(unit);
    let point = u8::from(digits > 0);
    (
        (length + point + digits).to_string(),
        Some(digits.to_string()),
    )
}

/// One step down: the input that gives the column as it is, and its place there.
fn below(plan: &LogicalPlan, at: usize) -> Option<(&LogicalPlan, usize)> {
    let here = |input| Some((input, at));
    match plan {
        LogicalPlan::Filter(node) => here(&*node.input),
        LogicalPlan::Sort(node) => here(&*node.input),
        LogicalPlan::Limit(node) => here(&*node.input),
        LogicalPlan::Repartition(node) => here(&*node.input),
        LogicalPlan::Subquery(node) => here(&*node.subquery),
        LogicalPlan::SubqueryAlias(node) => here(&*node.input),
        LogicalPlan::Distinct(Distinct::All(input)) => here(&**input),
        LogicalPlan::Window(node) => {
            let own = at < node.input.schema().fields().len();
            own.then_some((&*node.input, at))
        }
        LogicalPlan::Join(Join {
            left,
            right,
            join_type,
            ..
        }) => {
            let lefts = left.schema().fields().len();
            match join_type {
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                    let own = at < right.schema().fields().len();
                    own.then_some((&**right, at))
                }
                _ if at < lefts => Some((&**left, at)),
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    Some((&**right, at - lefts))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The expression that makes a column, and what it is made over.
fn made(plan: &LogicalPlan, at: usize) -> Option<(&Expr, &LogicalPlan)> {
    let (expr, input) = match plan {
        LogicalPlan::Projection(node) => (node.expr.get(at)?, &*node.input),
        LogicalPlan::Aggregate(node) => (node.group_expr.get(at)?, &*node.input),
        LogicalPlan::Distinct(Distinct::On(node)) => (node.select_expr.get(at)?, &*node.input),
        _ => return None,
    };
    Some((bare(expr), input))
}

/// The table and column that a column of the result is, if it is one as it stands there.
fn origin(plan: &LogicalPlan, at: usize) -> Option<(&TableReference, &str)> {
    let (mut plan, mut at) = (plan, at);
    loop {
        match plan {
            LogicalPlan::TableScan(scan) => {
                let field = scan.projected_schema.fields().get(at)?;
                return is_table(&scan.table_name).then_some((&scan.table_name, field.name()));
            }
            // A view, in whose place its query stands.
            LogicalPlan::SubqueryAlias(node)
                if matches!(node.alias, TableReference::Full { .. }) =>
            {
                let field = node.schema.fields().get(at)?;
                return is_table(&node.alias).then_some((&node.alias, field.name()));
            }
            _ => {}
        }
        (plan, at) = match made(plan, at) {
            Some((expr, input)) => (input, column_in(expr, input)?),
            None => below(plan, at)?,
        };
    }
}

/// Tables of one statement alone, and older versions, have names that no table has.
fn is_table(name: &TableReference) -> bool {
    name.schema().is_some() && without_mark(name.table()).is_none()
}

/// The column that an expression is, but for its name.
fn column_in(expr: &Expr, input: &LogicalPlan) -> Option<usize> {
    match expr {
        Expr::Alias(alias) => column_in(&alias.expr, input),
        Expr::Column(column) => input.schema().maybe_index_of_column(column),
        _ => None,
    }
}

/// The name of a column where the plan's own is not to be shown: a marked one, and that of a cast, which is the column's with
/// all of its qualifiers.
fn shown(plan: &LogicalPlan, at: usize) -> Option<String> {
    let marked = plan.schema().fields().get(at)?.name();
    if let Some((before, _)) = marked.split_once(MARK)
        && !before.is_empty()
    {
        return Some(before.to_owned());
    }
    let marked = marked.contains(MARK);
    let (mut plan, mut at) = (plan, at);
    loop {
        (plan, at) = match made(plan, at) {
            Some((Expr::Alias(alias), input)) if alias.name.starts_with(MARK) => {
                // A group that is a cast.
                let group = column_in(&alias.expr, input).and_then(|at| shown(input, at));
                return group.or_else(|| Some(name_of(&alias.expr)));
            }
            Some((Expr::Column(column), input)) => {
                (input, input.schema().maybe_index_of_column(column)?)
            }
            Some((cast, input)) if is_cast(cast) => match uncast(cast) {
                // What brings the parts of a union to one type.
                Expr::Column(column) if column.name.contains(MARK) => {
                    (input, input.schema().maybe_index_of_column(column)?)
                }
                Expr::Column(column) if !marked => return Some(column.name.clone()),
                _ => return None,
            },
            Some(_) => return None,
            None => match plan {
                LogicalPlan::Union(node) => (&**node.inputs.first()?, at),
                plan => below(plan, at)?,
            },
        };
    }
}

fn is_cast(expr: &Expr) -> bool {
    let expr = given_a_name(expr).unwrap_or(expr);
    matches!(expr, Expr::Cast(_) | Expr::TryCast(_))
}

fn uncast(expr: &Expr) -> &Expr {
    match bare(expr) {
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => uncast(expr),
        other => given_a_name(other).map_or(other, uncast),
    }
}

/// What an expression is called that has no name of its own.
fn name_of(expr: &Expr) -> String {
    match uncast(expr) {
        Expr::Column(column) => column.name.clone(),
        Expr::Alias(alias) => alias.name.clone(),
        _ => expr.schema_name().to_string(),
    }
}
