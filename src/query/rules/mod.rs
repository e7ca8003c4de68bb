//! Rules on plans that make answers right, before and behind DataFusion's own coercion of types.

mod casts_that_lose;
mod common_type;
mod common_type_of;
mod constants;
mod decorrelate;
mod distinct_sums;
mod equal_nulls;
#[cfg(test)]
mod equal_nulls_tests;
mod interval_order;
mod kinds;
#[cfg(test)]
mod kinds_tests;
mod list_items;
mod list_pairs;
mod long_chains;
mod named_keys;
mod open_types;
mod planned_types;
mod same_moment;
mod set_all;
mod signed;
mod smaller_side;
mod subqueries;
#[cfg(test)]
mod tests;
mod true_keys;
#[cfg(test)]
mod true_keys_tests;
mod type_names;
mod unions;
mod window_defaults;

use std::sync::Arc;

use datafusion::optimizer::{Analyzer, AnalyzerRule};

use super::arithmetic::CheckArithmetic;
use super::functions::{OwnListExtremes, UnnestedFields};
use super::times::{ShortTimes, ZonedCasts};
use super::window_frames::FramesOfEquals;

pub(super) use common_type_of::chosen_type;
pub(super) use constants::LargeConstants;
pub(super) use distinct_sums::SumsOfOneType;
pub(super) use equal_nulls::{ComparedInJoins, OrderOfJoins};
pub(super) use list_items::ComputedItems;
pub(super) use named_keys::NamedKeys;
pub(super) use open_types::OpenTypes;
pub(super) use same_moment::EachMoment;
pub(super) use signed::SignedCounts;
pub(super) use smaller_side::SmallerSideFirst;
pub(super) use true_keys::{KeysOfRelations, TrueKeys};
pub(super) use type_names::engine_types;

/// What the analyzer does, in its order.
pub(super) fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(UnnestedFields),
        Arc::new(OwnListExtremes::default()),
        Arc::new(set_all::CountOccurrences),
        Arc::new(subqueries::SubqueryValues),
        Arc::new(SignedCounts),
        Arc::new(planned_types::WrittenDigits),
        Arc::new(common_type::CommonType),
        Arc::new(interval_order::IntervalOrder),
        Arc::new(FramesOfEquals),
    ];
    rules.extend(Analyzer::new().rules);
    rules.push(Arc::new(planned_types::PlannedTypes));
    rules.push(Arc::new(casts_that_lose::CastsThatLose));
    rules.push(Arc::new(ComputedItems));
    rules.push(Arc::new(long_chains::Unshortened));
    rules.push(Arc::new(list_pairs::ListPairs));
    rules.push(Arc::new(subqueries::CorrelatedKeys));
    rules.push(Arc::new(decorrelate::Decorrelated));
    // Types are known: arithmetic can be checked by them.
    rules.push(Arc::new(ShortTimes::default()));
    rules.push(Arc::new(ZonedCasts::default()));
    rules.push(Arc::new(CheckArithmetic::default()));
    rules
}
