//! The rows that an INSERT writes. Bound to many rows, `VALUES (?, ?)` is planned once and not once a row: its parameters'
//! columns are the table's columns as they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::memory_pool::MemoryReservation;
use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, SelectItem, SetExpr, Statement, Value, Visitor,
};

use super::bound::Bound;
use super::insert::Insert;
use crate::dataset::{Column, ColumnType, Contract};
use crate::fault::{Fault, Kind};
use crate::hot::Memory;
use crate::query::{Engine, QueryContext, driver_type, fault_of};
use crate::sql::{first_word, parse_numbered, parse_own_expr, placeholder, printed, visit};
use crate::types::SameName;

/// How one column of an INSERT's rows comes about.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    /// The parameter itself, counted from 0.
    Parameter(usize),
    /// The same for each execution.
    Fixed(Box<Expr>),
}

/// The columns of a query that gives one row an execution, out of parameters and fixed values: `VALUES (?, 1, now())`.
/// None: the query is another one.
fn cells(statement: &Statement) -> Option<Vec<Option<Cell>>> {
    let Statement::Query(query) = statement else {
        return None;
    };
    let Query {
        body,
        with: None,
        limit_clause: None,
        fetch: None,
        ..
    } = &**query
    else {
        return None;
    };
    let expressions: Vec<&Expr> = match &**body {
        SetExpr::Values(values) => match values.rows.as_slice() {
            [row] => row.iter().collect(),
            _ => return None,
        },
        SetExpr::Select(select) => match &**select {
            Select {
                from,
                projection,
                selection: None,
                ..
            } if from.is_empty() => projection
                .iter()
                .map(|item| match item {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                        Some(expr)
                    }
                    _ => None,
                })
                .collect::<Option<_>>()?,
            _ => return None,
        },
        _ => return None,
    };
    Some(expressions.into_iter().map(cell).collect())
}

fn cell(expr: &Expr) -> Option<Cell> {
    if let Some(n) = placeholder(expr) {
        return Some(Cell::Parameter(n.checked_sub(1)?));
    }
    struct Finder;
    impl Visitor for Finder {
        type Break = ();
        fn pre_visit_expr(&mut self, expr: &Expr) -> std::ops::ControlFlow<()> {
            match placeholder(expr) {
                Some(_) => std::ops::ControlFlow::Break(()),
                None => std::ops::ControlFlow::Continue(()),
            }
        }
    }
    let mixed = visit(expr, &mut Finder).is_break();
    (!mixed).then(|| Cell::Fixed(Box::new(expr.clone())))
}

/// The columns that parameters stand for, from 0, in each SELECT and each row of VALUES.
fn positions(body: &SetExpr, told: &mut BTreeMap<usize, usize>) {
    let mut row = |expressions: &mut dyn Iterator<Item = &Expr>| {
        for (position, expr) in expressions.enumerate() {
            if let Some(n) = placeholder(expr) {
                told.entry(n).or_insert(position);
            }
        }
    };
    match body {
        SetExpr::Values(values) => values.rows.iter().for_each(|r| row(&mut r.content.iter())),
        SetExpr::Select(select) => {
            let items = select.projection.iter();
            let stars = |item: &&SelectItem| {
                matches!(
                    item,
                    SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
                )
            };
            // Behind a star nobody knows the place.
            let mut plain = items
                .take_while(|item| !stars(item))
                .filter_map(|i| match i {
                    SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
                        Some(expr)
                    }
                    _ => None,
                });
            row(&mut plain);
        }
        SetExpr::Query(query) => positions(&query.body, told),
        SetExpr::SetOperation { left, right, .. } => {
            positions(left, told);
            positions(right, told);
        }
        _ => {}
    }
}

fn target<'a>(
    contract: &'a Contract,
    insert: &'a Insert,
    position: usize,
) -> Option<&'a ColumnType> {
    let column = match insert.columns.get(position) {
        Some(name) => contract.columns.iter().find(|c| c.name.is_same_name(name)),
        None if insert.columns.is_empty() => contract.columns.get(position),
        None => None,
    };
    column.map(|c| &c.data_type)
}

/// One nullable field a parameter: of its target column's type where it stands for a column's value.
///
/// # Errors
/// NOT_FOUND for a table that is not there; what planning the query can meet.
pub async fn parameters(
    engine: &Engine,
    caller: &QueryContext,
    insert: &Insert,
) -> Result<SchemaRef, Fault> {
    let snapshot = engine.snapshot_of(caller);
    let view = snapshot.tables.get(&insert.table.folded());
    let contract = view.and_then(|v| v.contract.clone());
    let contract = contract.ok_or_else(|| snapshot.no_table(&insert.table))?;
    let (statement, count) = parse_numbered(&insert.query)?;
    if count == 0 {
        return Ok(Arc::new(Schema::empty()));
    }
    let mut told = BTreeMap::new();
    if let Statement::Query(query) = &statement {
        positions(&query.body, &mut told);
    }
    let known: BTreeMap<usize, DataType> = told
        .into_iter()
        .filter_map(|(n, position)| Some((n, target(&contract, insert, position)?.to_arrow())))
        .collect();
    if known.len() < count {
        let planned = engine.plan_known(caller, &insert.query, known).await?;
        return Ok(planned.parameters);
    }
    let fields = known
        .iter()
        .map(|(n, data_type)| Field::new(format!("${n}"), driver_type(data_type), true));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// Rows to write, counted in the memory of queries until they are dropped: twice, because they are cast and judged as copies.
pub struct Gathered {
    pub batches: Vec<RecordBatch>,
    /// What they are charged; given back when it is dropped.
    pub bytes: MemoryReservation,
}

/// All rows to write, of all executions.
///
/// # Errors
/// What the query can meet; RESOURCE_EXHAUSTED past `bytes_max`; INVALID_ARGUMENT for parameters that do not fit.
pub async fn rows(
    engine: &Engine,
    caller: &QueryContext,
    insert: &Insert,
    bound: &Bound,
    bytes_max: usize,
) -> Result<Gathered, Fault> {
    let reserved = engine.reserve("rows to insert");
    let typed = with_column_types(engine, caller, insert)?;
    let query = typed.as_deref().unwrap_or(&insert.query);
    if let Some(batch) = bound.batch() {
        let (statement, count) = parse_numbered(&insert.query)?;
        bound.check_count(count)?;
        if let Some(cells) = cells(&statement)
            && let Some(cells) = cells.into_iter().collect::<Option<Vec<Cell>>>()
        {
            let rows = direct(engine, caller, &cells, batch).await?;
            return Ok(Gathered {
                batches: rows.into_iter().collect(),
                bytes: reserved,
            });
        }
        bound.check_executions()?;
    }
    // Batches may be parts of one allocation, which is held once.
    let (mut all, mut held) = (Vec::new(), Memory::default());
    for row in 0..bound.executions() {
        let asked = engine.query(caller, query, bound.row(row)?);
        let mut result = asked.await?;
        while let Some(batch) = result.batches.recv().await {
            let batch = batch?;
            held.add(&batch);
            reserved.try_resize(held.bytes() * 2).map_err(fault_of)?;
            if held.bytes() > bytes_max {
                return Err(Fault::new(
                    Kind::Exhausted,
                    "insert_too_large",
                    format!(
                        "the rows to insert take more than {bytes_max} bytes; insert less at a time, or raise memory.query_bytes_max"
                    ),
                ));
            }
            all.push(batch);
        }
    }
    Ok(Gathered {
        batches: one_type(all)?,
        bytes: reserved,
    })
}

/// VALUES in which a column of times has texts beside other expressions, `('a', now()), ('b', '2026-01-01')`: a text is the column's then, as in
/// PostgreSQL. None: it is another query.
///
/// # Errors
/// What reading the text can meet.
fn with_column_types(
    engine: &Engine,
    caller: &QueryContext,
    insert: &Insert,
) -> Result<Option<String>, Fault> {
    if first_word(&insert.query) != "values" {
        return Ok(None);
    }
    let snapshot = engine.snapshot_of(caller);
    let view = snapshot.tables.get(&insert.table.folded());
    let Some(contract) = view.and_then(|view| view.contract.clone()) else {
        return Ok(None);
    };
    let of_times = |column: &Column| column_cast(&column.data_type).is_some();
    if !contract.columns.iter().any(of_times) {
        return Ok(None);
    }
    let (mut statement, _) = parse_numbered(&insert.query)?;
    let Statement::Query(query) = &mut statement else {
        return Ok(None);
    };
    let SetExpr::Values(values) = &mut *query.body else {
        return Ok(None);
    };
    let width = values.rows.iter().map(|row| row.content.len()).min();
    let mut changed = false;
    for position in 0..width.unwrap_or(0) {
        let Some(name) = target(&contract, insert, position).and_then(column_cast) else {
            continue;
        };
        let mut cells: Vec<&mut Expr> = values
            .rows
            .iter_mut()
            .filter_map(|row| row.content.get_mut(position))
            .collect();
        let is = |cell: &&mut Expr, text: bool| match &**cell {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(_) => text,
                _ => false,
            },
            _ => !text,
        };
        if !cells.iter().any(|cell| is(cell, true)) || !cells.iter().any(|cell| is(cell, false)) {
            continue;
        }
        for cell in &mut cells {
            **cell = parse_own_expr(&format!("CAST({} AS {name})", printed(&**cell)))?;
        }
        changed = true;
    }
    Ok(changed.then(|| printed(&statement)))
}

/// The type of a column of times as a cast names it.
fn column_cast(data_type: &ColumnType) -> Option<&'static str> {
    match data_type {
        ColumnType::Timestamp => Some("TIMESTAMPTZ"),
        ColumnType::TimestampNtz => Some("TIMESTAMP"),
        ColumnType::Date => Some("DATE"),
        _ => None,
    }
}

/// Parameters' columns side by side, with fixed values repeated between them.
async fn direct(
    engine: &Engine,
    caller: &QueryContext,
    cells: &[Cell],
    bound: &RecordBatch,
) -> Result<Option<RecordBatch>, Fault> {
    if bound.num_rows() == 0 {
        return Ok(None);
    }
    let fixed: Vec<String> = cells
        .iter()
        .filter_map(|c| match c {
            Cell::Fixed(expr) => Some(printed(expr)),
            Cell::Parameter(_) => None,
        })
        .collect();
    let mut once: Vec<ArrayRef> = Vec::new();
    if !fixed.is_empty() {
        let sql = format!("SELECT {}", fixed.join(", "));
        let batches = engine.query(caller, &sql, None).await?.collect().await?;
        once.extend(
            batches
                .first()
                .map(|b| b.columns().to_vec())
                .unwrap_or_default(),
        );
        once.reverse();
    }
    let internal = |e: arrow::error::ArrowError| Fault::internal(format!("bound rows: {e}"));
    let same = UInt64Array::from_value(0, bound.num_rows());
    let mut columns = Vec::with_capacity(cells.len());
    for cell in cells {
        columns.push(match cell {
            Cell::Parameter(n) => bound.columns().get(*n).cloned(),
            Cell::Fixed(_) => match once.pop() {
                Some(one) => Some(take(&one, &same, None).map_err(internal)?),
                None => None,
            },
        });
    }
    let columns: Vec<ArrayRef> = columns
        .into_iter()
        .collect::<Option<_>>()
        .ok_or_else(|| Fault::invalid("parameters", "a parameter was not bound"))?;
    let fields: Vec<Field> = columns
        .iter()
        .enumerate()
        .map(|(n, c)| Field::new(format!("column{}", n + 1), c.data_type().clone(), true))
        .collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
        .map(Some)
        .map_err(internal)
}

/// Executions may differ in type where a parameter was null: they follow the first that has one.
fn one_type(batches: Vec<RecordBatch>) -> Result<Vec<RecordBatch>, Fault> {
    let Some(first) = batches.first().map(RecordBatch::schema) else {
        return Ok(batches);
    };
    if batches.iter().all(|b| b.schema() == first) {
        return Ok(batches);
    }
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let fields: Vec<Field> = first
        .fields()
        .iter()
        .enumerate()
        .map(|(at, field)| {
            let typed = batches
                .iter()
                .map(|b| b.column(at).data_type())
                .find(|t| !t.is_null());
            Field::new(
                field.name(),
                typed.unwrap_or(field.data_type()).clone(),
                true,
            )
        })
        .collect();
    let schema = Arc::new(Schema::new(fields));
    let cast = batches.iter().map(|batch| {
        let columns = batch
            .columns()
            .iter()
            .zip(schema.fields())
            .map(|(c, f)| cast_with_options(c, f.data_type(), &strict));
        RecordBatch::try_new(schema.clone(), columns.collect::<Result<_, _>>()?)
    });
    cast.collect::<Result<_, arrow::error::ArrowError>>()
        .map_err(|e| Fault::invalid("parameters", e.to_string()))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn kinds(sql: &str) -> Option<String> {
        let (statement, _) = parse_numbered(sql).unwrap();
        let cells = cells(&statement)?;
        let letter = |c: &Option<Cell>| match c {
            Some(Cell::Parameter(n)) => n.to_string(),
            Some(Cell::Fixed(_)) => "f".to_owned(),
            None => "m".to_owned(),
        };
        Some(cells.iter().map(letter).collect())
    }

    #[test]
    fn parameters_are_told_from_fixed_and_mixed_values() {
        for (sql, expected) in [
            ("VALUES (?, 1, ?)", Some("0f1")),
            ("VALUES ($2, ($1))", Some("10")),
            ("VALUES (?, upper(?), now())", Some("0mf")),
            ("SELECT ?, 'x'", Some("0f")),
            ("VALUES (?), (?)", None),
            ("SELECT ? FROM t", None),
            ("SELECT ? LIMIT 1", None),
        ] {
            assert_eq!(kinds(sql).as_deref(), expected, "{sql}");
        }
    }
}
