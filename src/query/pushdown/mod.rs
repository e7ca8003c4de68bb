//! Where DataFusion's rules that move filters towards the scans may not move them.

mod aggregates;
mod names;
#[cfg(test)]
mod tests;

pub(super) use aggregates::AboveAggregates;
pub(super) use names::{ByName, Unmark};
