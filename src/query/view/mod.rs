//! Materialized views as queries meet them: the query of a definition restricted to some of its buckets ([`Definition`]),
//! which stored buckets an instant has left behind ([`Stale`]), and the plan that unites the stored with those computed now.
//! It stores nothing; who refreshes views asks the same three.

mod columns;
mod definition;
mod plan;
mod shape;
mod stale;

pub use definition::Definition;
pub(super) use plan::{computed, provider};
pub use stale::{Stale, frozen_before};

/// The columns under which a definition's rewritten query knows its bucket.
pub(super) const START: &str = "__window_start";

/// A plan has at most so many spans of buckets; more are joined over the smallest gaps between them.
pub const SPANS_MAX: usize = 48;
