//! Numbers as PostgreSQL and DuckDB count them, where DataFusion and the processor do otherwise.
//!
//! - A result that does not fit its type is an error (`overflow`), and never another number: `checked` for operators, `sum` for
//!   sums.
//! - A floating-point number has one form: -0.0 becomes 0.0, and every NaN becomes the one that is above all numbers
//!   (`floats`). Arrow compares floats by their bits, so that this form alone makes `=`, `>`, sorting, grouping, joining and
//!   `DISTINCT` agree. Floats are brought to it where they enter a plan: behind a scan, an aggregate and a window function, and
//!   where an expression makes one.
//! - `extremes` compares floats in the same order when it groups them.
//! - A window's frame has the sum of the floats that are in it, whatever has left it (`exact`), and their variance
//!   (`spread_in_frame`). Both, and the correlations of groups (`pairs_of_floats`), keep their digits (`moments`).
//! - The results of a window are in no order that DataFusion could tell from the aggregate (`as_inner`, `count_in_frame`).
//! - Quotients and means of decimals are rounded (`quotient`).
//! - `percentiles` knows infinities, and `first_in_order` batches without rows.
//!
//! `rule` puts the operators into a plan once its types are known.

#[cfg(test)]
mod aggregates_tests;
mod as_inner;
mod checked;
mod count_in_frame;
mod exact;
mod extremes;
mod first_in_order;
mod floats;
mod floats_in_frame;
mod moments;
mod overflow;
mod pairs_of_floats;
mod percentiles;
mod quotient;
mod rule;
mod scanned_floats;
mod spread_in_frame;
mod sum;
#[cfg(test)]
mod tests;
mod xor;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::{FunctionRegistry, SessionState};

pub(super) use checked::bare;
pub(super) use extremes::{max, min};
pub(super) use first_in_order::first_of;
pub(super) use floats::{canonical_floats, in_one_form, scalar_in_one_form};
pub(super) use overflow::OVERFLOW;
pub(super) use rule::CheckArithmetic;
pub(super) use scanned_floats::AboveScans;

/// Puts the aggregates here in the place of DataFusion's.
///
/// # Errors
/// None: names that are known stay known.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let known = state.aggregate_functions().clone();
    if let Some(inner) = known.get("sum") {
        state.register_udaf(Arc::new(sum::checked(inner)))?;
    }
    if let Some(inner) = known.get("count") {
        state.register_udaf(Arc::new(count_in_frame::count(inner)))?;
    }
    if let Some(inner) = known.get("avg") {
        state.register_udaf(Arc::new(floats_in_frame::mean(inner)))?;
    }
    for name in spread_in_frame::NAMES {
        if let Some(inner) = known.get(name) {
            state.register_udaf(Arc::new(spread_in_frame::spread(inner)))?;
        }
    }
    let mut of_floats = Vec::new();
    for name in ["min", "max"] {
        if let Some(inner) = known.get(name) {
            let own = Arc::new(extremes::ordered(inner));
            state.register_udaf(own.clone())?;
            of_floats.push(own);
        }
    }
    for name in percentiles::NAMES {
        if let Some(inner) = known.get(name) {
            state.register_udaf(Arc::new(percentiles::interpolated(inner, &of_floats)))?;
        }
    }
    for name in pairs_of_floats::NAMES {
        if let Some(inner) = known.get(name) {
            state.register_udaf(Arc::new(pairs_of_floats::paired(inner)))?;
        }
    }
    if let (Some(first), Some(last)) = (known.get("first_value"), known.get("last_value")) {
        state.register_udaf(Arc::new(first_in_order::in_order(first, last)))?;
        state.register_udaf(Arc::new(first_in_order::in_order(last, first)))?;
    }
    Ok(())
}
