//! Table functions that read the table which their first argument names: `latest`, `last_seen`, and `table_changes` of the feed. The list
//! of them is here; the planner, the resolution of names and those who keep queries ask it.

mod argument;
mod last_seen;
mod latest;

use std::sync::Arc;

use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{FunctionArg, ObjectName};

use super::feed;
use crate::catalog::view::Snapshot;

pub(super) use argument::{named_table, table_of};
pub use last_seen::columns_of as last_seen_columns;
pub(super) use latest::Newest;

/// Makes the functions known to a session over this snapshot.
pub(super) fn register(state: &mut SessionState, snapshot: &Snapshot, newest: &Arc<Newest>) {
    feed::register(state, snapshot);
    latest::register(state, snapshot, newest);
    last_seen::register(state, snapshot, newest);
}

/// The columns of a call of one of the functions as it stands in a statement; none if it is another's.
pub(super) fn columns(
    snapshot: &Snapshot,
    name: &ObjectName,
    args: &[FunctionArg],
) -> Option<Vec<String>> {
    latest::columns(snapshot, name, args)
        .or_else(|| last_seen::columns(snapshot, name, args))
        .or_else(|| feed::columns(snapshot, name, args))
}

/// Does the function read the table that its first argument names?
pub(super) fn is_over_table(function: &str) -> bool {
    let all = [latest::NAME, last_seen::NAME, feed::NAME];
    all.into_iter()
        .any(|own| own.eq_ignore_ascii_case(function))
}
