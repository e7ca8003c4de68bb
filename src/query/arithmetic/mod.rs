//! Numbers as PostgreSQL and DuckDB count them, where DataFusion and the processor do otherwise.
//!
//! - A result that does not fit its type is an error, and never another number: `checked` for operators, `sum` for sums.
//! - A floating-point number has one form: -0.0 becomes 0.0, and every NaN becomes the one that is above all numbers
//!   (`floats`). Arrow compares floats by their bits, so that this form alone makes `=`, `>`, sorting, grouping, joining and
//!   `DISTINCT` agree. Floats are brought to it where they enter a plan: behind a scan, an aggregate and a window function, and
//!   where an expression makes one.
//! - `extremes` compares floats in the same order when it groups them.
//! - A window's frame has the sum of the floats that are in it, whatever has left it (`exact`), and their variance
//!   (`spread_in_frame`). Both, and the correlations of groups (`pairs_of_floats`), keep their digits (`moments`).
//! - `percentiles` knows infinities, and `first_in_order` batches without rows.
//!
//! `rule` puts the operators into a plan once its types are known.

#[cfg(test)]
mod aggregates_tests;
mod as_inner;
mod checked;
mod exact;
mod extremes;
mod first_in_order;
mod floats;
mod floats_in_frame;
mod moments;
mod pairs_of_floats;
mod percentiles;
mod rule;
mod scanned_floats;
mod spread_in_frame;
mod sum;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::execution::{FunctionRegistry, SessionState};

use crate::fault::Fault;

pub(super) use checked::bare;
pub(super) use extremes::{max, min};
pub(super) use floats::{canonical_floats, in_one_form, scalar_in_one_form};
pub(super) use rule::CheckArithmetic;
pub(super) use scanned_floats::AboveScans;

/// The reason of an error about a number that does not fit its type.
pub(super) const OVERFLOW: &str = "numeric_overflow";

/// Puts the aggregates here in the place of DataFusion's.
///
/// # Errors
/// None: names that are known stay known.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    let known = state.aggregate_functions().clone();
    if let Some(inner) = known.get("sum") {
        state.register_udaf(Arc::new(sum::checked(inner)))?;
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

/// A result that does not fit its type.
fn out_of_range(type_: &DataType, operation: &str) -> Fault {
    let way_out = match type_ {
        whole if whole.is_integer() => "; cast a value to DECIMAL(38, 0) or DOUBLE",
        decimal if decimal.is_decimal() => "; cast a value to DOUBLE",
        _ => "",
    };
    let name = type_name(type_);
    Fault::invalid(
        OVERFLOW,
        format!("{name} out of range, operation={operation}{way_out}"),
    )
}

/// SQL's name of a type.
fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
            "unsigned integer"
        }
        DataType::Interval(_) => "INTERVAL",
        DataType::Duration(_) => "duration",
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Timestamp(..) => "TIMESTAMP",
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => return format!("DECIMAL({p}, {s})"),
        other => return other.to_string(),
    };
    name.to_owned()
}
