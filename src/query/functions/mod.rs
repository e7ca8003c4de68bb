//! SQL's words for time series beyond DataFusion's own. Functions are registered with the engine; what DataFusion cannot plan
//! is written out in what it can, before names are resolved.

mod any_of_list;
mod arguments;
mod asof;
mod bounded;
mod bucket;
mod call;
mod clauses;
mod clock_spans;
mod fields;
mod first_last;
mod gapfill;
mod gives_back;
mod grouping_sets;
mod joined;
mod json;
mod lag_default;
mod list_extremes;
mod of_bytes;
pub(super) mod of_caller;
mod over_rows;
mod patterns;
mod reviewed;
mod rows_in;
mod series;
mod series_of_times;
#[cfg(test)]
mod set_operations_tests;
mod spans;
mod times_between;
mod to_char;
mod tuples;
mod usual;

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::Statement;

use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::query::times::rewrite_at_time_zone;

pub use arguments::CheckArguments;
pub use fields::{FieldPlanner, UnnestedFields};
pub use first_last::rewrite as rewrite_first_last;
pub(in crate::query) use gives_back::{NAMED, another, given_a_name, hidden_by_another};
pub use grouping_sets::each_column_once;
pub use joined::JoinPlanner;
pub use json::JsonPlanner;
pub use list_extremes::OwnListExtremes;
pub use over_rows::computes_over_rows;
pub use spans::SpanPlanner;

pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = bucket::all();
    all.push(series::function());
    all.push(times_between::function());
    all.extend(json::functions());
    all.push(patterns::function());
    all.extend(gives_back::functions());
    all
}

pub use reviewed::{AGGREGATES, TABLES, WINDOWS};

/// The scalar functions that somebody has looked at.
pub fn reviewed_scalars() -> impl Iterator<Item = &'static str> {
    let bounded = reviewed::BOUNDED.iter().map(|(name, _)| *name);
    reviewed::PLAIN.split_whitespace().chain(bounded)
}

/// Puts the bounds of `reviewed` around the functions that need some, and has others take bytes.
///
/// # Errors
/// None: names that are known stay known.
pub fn bound(state: &mut SessionState) -> Result<()> {
    for (name, estimate) in reviewed::BOUNDED {
        if let Some(function) = state.scalar_functions().get(*name).cloned() {
            state.register_udf(bounded::bounded(function, *estimate))?;
        }
    }
    for name in of_bytes::NAMES {
        if let Some(function) = state.scalar_functions().get(name).cloned() {
            state.register_udf(of_bytes::of_bytes(function))?;
        }
    }
    Ok(())
}

/// Writes out `AT TIME ZONE`, `first`, `last` and functions under other engines' names, `FETCH FIRST`, `ORDER BY ALL`,
/// `time_bucket_gapfill` and `ASOF JOIN`.
///
/// # Errors
/// INVALID_ARGUMENT with the place of what is used wrongly.
pub fn write_out(statement: &mut Statement, snapshot: &Snapshot) -> std::result::Result<(), Fault> {
    rewrite_at_time_zone(statement)?;
    clauses::rewrite(statement)?;
    patterns::rewrite(statement)?;
    any_of_list::rewrite(statement)?;
    first_last::rewrite(statement, snapshot)?;
    gapfill::rewrite(statement)?;
    asof::rewrite(statement)
}
