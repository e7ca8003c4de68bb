//! Rules on plans that make answers right, before DataFusion's own coercion of types.

mod common_type;
mod common_type_of;
mod set_all;
#[cfg(test)]
mod tests;
mod type_names;

use std::sync::Arc;

use datafusion::optimizer::{Analyzer, AnalyzerRule};

pub(super) use type_names::engine_types;

/// What the analyzer does, in its order.
pub(super) fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(set_all::CountOccurrences),
        Arc::new(common_type::CommonType),
    ];
    rules.extend(Analyzer::new().rules);
    rules
}
