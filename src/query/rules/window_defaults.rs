//! `lag(v, 1, default)` and `lead`: DataFusion casts the default to the type of `v`, so that 0.5 beside whole numbers was 0. Both meet in
//! a type that holds them, as the branches of a CASE do.

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{Expr, ExprSchemable};

use super::common_type_of::{as_decimal, chosen_type};
use super::kinds::{check_kinds, shown};

pub(super) fn widened(
    mut function: Box<WindowFunction>,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let shifts = matches!(function.fun.name(), "lag" | "lead");
    if shifts && let [value, _, default] = function.params.args.as_mut_slice() {
        let of_value = value.get_type(schema)?;
        let sides = [value.clone(), default.clone()];
        let types = [of_value.clone(), default.get_type(schema)?];
        check_kinds(&types, |n| shown(sides.get(n)))?;
        if let Some(common) = meeting(&of_value, default, schema)? {
            for side in [value, default] {
                let whole = std::mem::replace(side, Expr::Literal(ScalarValue::Null, None));
                *side = whole.cast_to(&common, schema)?;
            }
            return Ok(Transformed::yes(Expr::WindowFunction(function)));
        }
    }
    Ok(Transformed::no(Expr::WindowFunction(function)))
}

/// The type in which a value and its default meet; none where the default can be had in the value's own type.
fn meeting(value: &DataType, default: &Expr, schema: &DFSchema) -> Result<Option<DataType>> {
    let given = default.get_type(schema)?;
    let written = constant(default);
    let fits = |constant: &ScalarValue| {
        let there = constant.cast_to(value);
        let back = there.and_then(|there| there.cast_to(&constant.data_type()));
        back.is_ok_and(|back| back == *constant)
    };
    if given == *value || given.is_null() || value.is_null() || written.as_ref().is_some_and(fits) {
        return Ok(None);
    }
    if given.is_string() && !value.is_string() {
        // A text is read as the value's type; a day has no room for the time behind it.
        return Ok(Some(match value {
            DataType::Date32 | DataType::Date64 => chosen_type(&[
                value.clone(),
                DataType::Timestamp(TimeUnit::Microsecond, None),
            ])
            .unwrap_or_else(|| value.clone()),
            _ => value.clone(),
        }));
    }
    let given = match value {
        // As it is written, and not as the double beside it.
        DataType::Decimal128(precision, scale) => match as_decimal(default, *precision, *scale) {
            Some(exact) => exact.get_type(schema)?,
            None => given,
        },
        _ => given,
    };
    let both = [value.clone(), given.clone()];
    Ok(chosen_type(&both).or_else(|| type_union_coercion(value, &given)))
}

fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Negative(inner) => constant(inner)?.arithmetic_negate().ok(),
        Expr::Cast(cast) => constant(&cast.expr)?.cast_to(cast.field.data_type()).ok(),
        _ => None,
    }
}
