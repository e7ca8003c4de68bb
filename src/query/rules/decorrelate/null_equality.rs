//! Equality of which null equals null, by equalities of which it does not.

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, lit, when};

/// Equalities of two values, of which null equals null. A join that takes nulls for equal does so for every equality that the optimizer
/// finds in its conditions later.
pub(super) fn same(
    one: Expr,
    other: Expr,
    in_place_of_null: Option<&ScalarValue>,
) -> Result<Vec<(Expr, Expr)>> {
    let Some(value) = in_place_of_null else {
        return Ok(vec![(one, other)]);
    };
    let filled =
        |expr: &Expr| when(expr.clone().is_null(), lit(value.clone())).otherwise(expr.clone());
    let filled = (filled(&one)?, filled(&other)?);
    Ok(vec![filled, (one.is_null(), other.is_null())])
}
