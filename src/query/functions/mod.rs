//! SQL's words for time series beyond DataFusion's own. Functions are registered with the engine; what DataFusion cannot plan
//! is written out in what it can, before names are resolved.

mod asof;
mod bucket;
mod first_last;
mod gapfill;
mod series;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::sql::sqlparser::ast::Statement;

use crate::catalog::view::Snapshot;
use crate::fault::Fault;

pub use first_last::rewrite as rewrite_first_last;

pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    let mut all = bucket::all();
    all.push(series::function());
    all
}

/// Writes out `first`, `last`, `approx_percentile`, `time_bucket_gapfill` and `ASOF JOIN`.
///
/// # Errors
/// INVALID_ARGUMENT with the place of what is used wrongly.
pub fn write_out(statement: &mut Statement, snapshot: &Snapshot) -> Result<(), Fault> {
    first_last::rewrite(statement, snapshot)?;
    gapfill::rewrite(statement)?;
    asof::rewrite(statement, snapshot)
}
