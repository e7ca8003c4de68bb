//! The parameters of a plan: the types that drivers are to bind, and the values that were bound, in the places where they
//! stand. A value keeps its own type, and the plan follows from it: nothing is narrowed to what stands beside it.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::arithmetic::scalar_in_one_form;
use super::errors::external;
use super::times::cast_as_read;
use crate::fault::Fault;
use crate::sql::parameter;

/// Letters of a value that an error shows.
const SHOWN: usize = 60;

/// # Errors
/// INVALID_ARGUMENT `parameters`: fewer or more were bound than the statement has.
pub fn check_count(parameters: usize, bound: usize) -> std::result::Result<(), Fault> {
    let which = match bound.cmp(&parameters) {
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less => format!("parameter {} has no value", bound + 1),
        std::cmp::Ordering::Greater => format!("there is no parameter {}", parameters + 1),
    };
    Err(Fault::invalid(
        "parameters",
        format!("the statement has {parameters} parameters, {bound} were bound: {which}"),
    ))
}

/// The form in which drivers are to bind a type. The JDBC driver writes times in milliseconds whatever is declared, and cuts
/// a number down to what is declared: so whole numbers are declared as the largest, and floats as doubles.
pub fn driver_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Millisecond, zone.clone()),
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time32(TimeUnit::Millisecond),
        whole if whole.is_integer() => DataType::Int64,
        float if float.is_floating() => DataType::Float64,
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => driver_type(value),
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            let item = driver_type(item.data_type());
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        }
        // No driver binds them, and nothing tells what it is to be: any driver binds a text.
        DataType::Null | DataType::Interval(_) | DataType::Duration(_) => DataType::Utf8,
        other => other.clone(),
    }
}

/// A nullable field a parameter, as the planner takes its type.
pub(super) fn field(n: usize, data_type: DataType) -> FieldRef {
    Arc::new(Field::new(format!("${n}"), data_type, true))
}

pub(super) fn shown(value: &ScalarValue) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}..", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A parameter's value in a LIMIT or OFFSET.
///
/// # Errors
/// INVALID_ARGUMENT `parameters`: it counts nothing.
pub(super) fn count(n: usize, value: &ScalarValue) -> std::result::Result<ScalarValue, Fault> {
    if value.is_null() {
        return Ok(ScalarValue::Int64(None));
    }
    let text = value.to_string();
    let whole = text.parse::<i64>().ok().or_else(|| {
        // 3.0 counts, 2.5 does not.
        let (whole, rest) = text.split_once('.')?;
        let zeros = rest.bytes().all(|b| b == b'0');
        whole.parse().ok().filter(|_| zeros)
    });
    match whole {
        Some(whole) if whole >= 0 => Ok(ScalarValue::Int64(Some(whole))),
        _ => Err(Fault::invalid(
            "parameters",
            format!(
                "parameter {n} counts rows, value={}, type={}; bind a whole number from 0 on",
                shown(value),
                value.data_type()
            ),
        )),
    }
}

/// Gives each parameter its type, also where the planner has told another one or none.
///
/// # Errors
/// What the types do not allow.
pub(super) fn typed(plan: LogicalPlan, fields: &[Option<FieldRef>]) -> Result<LogicalPlan> {
    let field_of = |id: &str| {
        let n = parameter(id)?;
        fields.get(n.checked_sub(1)?)?.clone()
    };
    let done = plan.transform_up_with_subqueries(|node| {
        let changed = node.map_expressions(|expr| {
            expr.transform_up(|expr| match expr {
                Expr::Placeholder(Placeholder { id, field }) => {
                    let known = field_of(&id);
                    let changes = known.is_some() && known != field;
                    let field = if changes { known } else { field };
                    let expr = Expr::Placeholder(Placeholder { id, field });
                    Ok(if changes {
                        Transformed::yes(expr)
                    } else {
                        Transformed::no(expr)
                    })
                }
                other => Ok(Transformed::no(other)),
            })
        })?;
        if changed.transformed {
            return changed.map_data(LogicalPlan::recompute_schema);
        }
        Ok(changed)
    });
    done.map(|done| done.data)
}

/// The plan with the values in it. It is a plan whose types are known: where a value was to be cast, it is cast here, so that
/// an error names the parameter.
///
/// # Errors
/// INVALID_ARGUMENT `parameters`: a value cannot be what it has to be.
pub(super) fn bound(plan: LogicalPlan, values: &[ScalarValue]) -> Result<LogicalPlan> {
    let value_of = |expr: &Expr| match expr {
        Expr::Placeholder(Placeholder { id, .. }) => {
            let n = parameter(id)?;
            Some((n, values.get(n.checked_sub(1)?)?))
        }
        _ => None,
    };
    let done = plan.transform_up_with_subqueries(|node| {
        let preserver = NamePreserver::new(&node);
        let changed = node.map_expressions(|expr| {
            if !expr.exists(is_parameter)? {
                return Ok(Transformed::no(expr));
            }
            let name = preserver.save(&expr);
            let expr = expr.transform_down(|expr| {
                if let Expr::Cast(cast) = &expr
                    && let Some((n, value)) = value_of(&cast.expr)
                {
                    let value = cast_to(n, value, cast.field.data_type())?;
                    let literal = Expr::Literal(scalar_in_one_form(value), None);
                    return Ok(Transformed::new(literal, true, TreeNodeRecursion::Jump));
                }
                Ok(match value_of(&expr) {
                    Some((_, value)) => {
                        let value = scalar_in_one_form(value.clone());
                        Transformed::yes(Expr::Literal(value, None))
                    }
                    None => Transformed::no(expr),
                })
            })?;
            Ok(expr.update_data(|expr| name.restore(expr)))
        })?;
        if changed.transformed && !matches!(changed.data, LogicalPlan::Values(_)) {
            return changed.map_data(LogicalPlan::recompute_schema);
        }
        Ok(changed)
    });
    done.map(|done| done.data)
}

fn is_parameter(expr: &Expr) -> Result<bool> {
    Ok(matches!(expr, Expr::Placeholder(_)))
}

fn cast_to(n: usize, value: &ScalarValue, data_type: &DataType) -> Result<ScalarValue> {
    cast_as_read(value, data_type).map_err(|_| {
        external(Fault::invalid(
            "parameters",
            format!(
                "parameter {n} is not of the type that it stands for, value={}, type={}, expected={data_type}",
                shown(value),
                value.data_type()
            ),
        ))
    })
}

/// What the bound types are, for an error of a statement that does not take them.
pub(super) fn told(values: &[ScalarValue]) -> String {
    let types = values.iter().zip(1..).take(10);
    let types = types.map(|(value, n)| format!("parameter {n} is {}", value.data_type()));
    types.collect::<Vec<_>>().join(", ")
}

/// The types that the planner tells of parameters.
///
/// # Errors
/// None of its own.
pub(super) fn told_types(plan: &LogicalPlan) -> Result<BTreeMap<usize, DataType>> {
    collected(plan, |expr| match expr {
        Expr::Placeholder(Placeholder {
            id,
            field: Some(field),
        }) => Some((parameter(id)?, field.data_type().clone())),
        _ => None,
    })
}

/// The types that parameters of unknown type are brought to, in a plan whose types are known.
///
/// # Errors
/// None of its own.
pub(super) fn wanted_types(plan: &LogicalPlan) -> Result<BTreeMap<usize, DataType>> {
    collected(plan, |expr| match expr {
        Expr::Cast(cast) => match &*cast.expr {
            Expr::Placeholder(Placeholder { id, .. }) => {
                Some((parameter(id)?, cast.field.data_type().clone()))
            }
            _ => None,
        },
        _ => None,
    })
}

/// The first that is told of each parameter.
fn collected(
    plan: &LogicalPlan,
    told: impl Fn(&Expr) -> Option<(usize, DataType)>,
) -> Result<BTreeMap<usize, DataType>> {
    let mut types = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Some((n, data_type)) = told(expr).filter(|(_, t)| !t.is_null()) {
                    types.entry(n).or_insert(data_type);
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}
