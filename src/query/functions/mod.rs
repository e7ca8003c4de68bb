//! SQL's words for time series beyond DataFusion's own. Functions are registered with the engine; `first` and `last` are
//! rewritten before planning, into ordered aggregates that DataFusion runs fast.

mod bucket;
mod first_last;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;

pub use first_last::rewrite as rewrite_first_last;

pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    bucket::all()
}
