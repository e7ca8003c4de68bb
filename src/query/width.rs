//! How many rows a batch has: fewer where rows are wide, so that a batch takes about the same memory whatever a table holds.
//! A join makes whole batches before anything can count them.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::slices::{long_constants, long_rows};

/// What a batch of a join's rows is aimed at.
const BATCH_BYTES: usize = 8 << 20;
const ROWS_MIN: usize = 128;
const ROWS_MAX: usize = 8192;
/// With long constants in them. Fewer would make a batch of each of the elements that `unnest` makes of a constant.
const CONSTANT_ROWS_MIN: usize = 16;

/// Rows a batch, by what the tables of the plan say of their rows' size, by its long constants (what comes of one stands
/// in every row, and operators gather whole batches of such rows), and by what may be as long and is known only when it runs.
pub(super) fn batch_rows(plan: &Arc<dyn ExecutionPlan>) -> usize {
    let known = StatisticsContext::new();
    let mut width = 0usize;
    let _ = plan.apply(|node| {
        if node.children().is_empty()
            && let Ok(statistics) = known.compute(node.as_ref(), &StatisticsArgs::new())
            && let (Some(bytes), Some(rows)) = (
                statistics.total_byte_size.get_value(),
                statistics.num_rows.get_value(),
            )
        {
            width = width.saturating_add(bytes / (*rows).max(1));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    let most = match long_rows(plan) {
        Ok(false) => ROWS_MAX,
        Ok(true) | Err(_) => ROWS_MIN,
    };
    let rows = (BATCH_BYTES / width.max(1)).clamp(ROWS_MIN, most);
    let longest = long_constants(plan).unwrap_or(0);
    rows.min((8 * BATCH_BYTES / longest.max(1)).max(CONSTANT_ROWS_MIN))
}
