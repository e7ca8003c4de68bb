//! Where DataFusion's rules that move filters and projections towards the scans may not move them.

mod aggregates;
mod names;
mod projections;
#[cfg(test)]
mod tests;
mod unread;

pub(super) use aggregates::AboveAggregates;
pub(super) use names::{ByName, Unmark};
pub(super) use projections::EachOnce;
pub(super) use unread::AllRead;
