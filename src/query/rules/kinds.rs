//! Times and numbers do not meet, as in PostgreSQL and DuckDB. DataFusion takes a number beside a DATE for days since 1970, so that
//! `day < 20260101` is true for every day. That a number is meant is said by a cast, and a day is moved by `day + 1`.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{Expr, ExprSchemable, Join};

use crate::fault::Fault;
use crate::query::errors::external;
use crate::query::sql_types::type_name;

/// Letters of an expression that an error shows.
const SHOWN: usize = 60;

/// Of values that are about to be brought to one type. `shown`: the value of each type, for the error.
///
/// # Errors
/// INVALID_ARGUMENT: one of them is a time and another one a number, also within lists and structs.
pub(super) fn check_kinds(types: &[DataType], shown: impl Fn(usize) -> String) -> Result<()> {
    let mut seen: Vec<(usize, &DataType)> = Vec::new();
    for (n, data_type) in types.iter().enumerate() {
        if seen.iter().any(|(_, known)| *known == data_type) {
            continue;
        }
        for (earlier, known) in &seen {
            if let Some((time, number)) = time_and_number(known, data_type) {
                let sides = format!("{} and {}", shown(*earlier), shown(n));
                return Err(refused(time, number, &sides));
            }
        }
        seen.push((n, data_type));
    }
    Ok(())
}

/// # Errors
/// As [`check_kinds`], of the two sides of a join's equalities.
pub(super) fn check_keys(join: &Join) -> Result<()> {
    for (left, right) in &join.on {
        let types = (
            left.get_type(join.left.schema()),
            right.get_type(join.right.schema()),
        );
        if let (Ok(of_left), Ok(of_right)) = types {
            let sides = [left.clone(), right.clone()];
            check_kinds(&[of_left, of_right], |n| shown(sides.get(n)))?;
        }
    }
    Ok(())
}

/// # Errors
/// As [`check_kinds`], of arguments that the engine would bring to another kind than they are, as the item that is looked for in a list.
pub(super) fn check_arguments(call: &ScalarFunction, schema: &DFSchema) -> Result<()> {
    let types = call.args.iter().map(|argument| argument.get_type(schema));
    let Ok(types) = types.collect::<Result<Vec<DataType>>>() else {
        return Ok(());
    };
    if !types.iter().any(|t| holds(t, is_time))
        || !types.iter().any(|t| holds(t, DataType::is_numeric))
    {
        return Ok(());
    }
    let fields: Vec<_> = types
        .iter()
        .map(|t| Arc::new(Field::new("argument", t.clone(), true)))
        .collect();
    // What the function does not take, the engine says.
    let Ok(taken) = fields_with_udf(&fields, call.func.as_ref()) else {
        return Ok(());
    };
    for (n, (given, taken)) in types.iter().zip(&taken).enumerate() {
        if let Some((time, number)) = time_and_number(given, taken.data_type()) {
            let sides = format!("{} in {}", shown(call.args.get(n)), call.name());
            return Err(refused(time, number, &sides));
        }
    }
    Ok(())
}

/// An expression, as an error shows it.
pub(super) fn shown(expr: Option<&Expr>) -> String {
    let text = expr.map(|e| e.human_display().to_string());
    let text = text.unwrap_or_default();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

fn refused(time: &DataType, number: &DataType, sides: &str) -> DataFusionError {
    let way = match time {
        DataType::Date32 | DataType::Date64 => {
            "write a day with quotes, DATE '2026-01-01'; of a number of days since 1970 make a day with CAST(.. AS DATE), and move a day with + and -"
        }
        DataType::Timestamp(..) => {
            "write a time with quotes, TIMESTAMP '2026-01-01 12:00:00'; of a number of seconds since 1970 make a time with to_timestamp(..)"
        }
        _ => "write a time of day with quotes, TIME '12:00:00'",
    };
    let (time, number) = (type_name(time), type_name(number));
    external(Fault::invalid(
        "invalid_query",
        format!("{time} and {number} have no type in common: {sides}; {way}"),
    ))
}

fn is_time(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Date32
            | DataType::Date64
            | DataType::Timestamp(..)
            | DataType::Time32(_)
            | DataType::Time64(_)
    )
}

/// The time and the number that stand in one place of two types.
fn time_and_number<'t>(
    one: &'t DataType,
    other: &'t DataType,
) -> Option<(&'t DataType, &'t DataType)> {
    match (one, other) {
        (DataType::Dictionary(_, one), other) => time_and_number(one, other),
        (one, DataType::Dictionary(_, other)) => time_and_number(one, other),
        (one, other) if is_time(one) && other.is_numeric() => Some((one, other)),
        (one, other) if one.is_numeric() && is_time(other) => Some((other, one)),
        (DataType::Struct(one), DataType::Struct(other)) => in_structs(one, other),
        (DataType::Map(one, _), DataType::Map(other, _)) => {
            time_and_number(one.data_type(), other.data_type())
        }
        (one, other) => time_and_number(item(one)?, item(other)?),
    }
}

/// Parts meet by their names, or in their order where the names differ.
fn in_structs<'t>(one: &'t Fields, other: &'t Fields) -> Option<(&'t DataType, &'t DataType)> {
    let by_name = one.iter().all(|part| other.find(part.name()).is_some());
    one.iter().enumerate().find_map(|(n, part)| {
        let beside = match by_name {
            true => other.find(part.name()).map(|(_, beside)| beside),
            false => other.get(n),
        };
        time_and_number(part.data_type(), beside?.data_type())
    })
}

fn item(list: &DataType) -> Option<&DataType> {
    match list {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item.data_type()),
        _ => None,
    }
}

fn holds(data_type: &DataType, is: fn(&DataType) -> bool) -> bool {
    match data_type {
        DataType::Dictionary(_, value) => holds(value, is),
        DataType::Struct(parts) => parts.iter().any(|part| holds(part.data_type(), is)),
        DataType::Map(entries, _) => holds(entries.data_type(), is),
        other => is(other) || item(other).is_some_and(|item| holds(item, is)),
    }
}
