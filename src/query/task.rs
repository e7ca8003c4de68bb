//! What the operators of a plan are given when they run.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::execution::{SessionState, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::streaming::StreamingTableExec;

/// DataFusion's own copies the names of all functions for each plan. Operators have their functions in their expressions; only
/// `information_schema.routines` and `.parameters` list those that there are.
pub(super) fn task_context(
    state: &SessionState,
    plan: &Arc<dyn ExecutionPlan>,
) -> Arc<TaskContext> {
    let may_list =
        |node: &Arc<dyn ExecutionPlan>| Ok(node.downcast_ref::<StreamingTableExec>().is_some());
    if plan.exists(may_list).unwrap_or(true) {
        return state.task_ctx();
    }
    Arc::new(TaskContext::new(
        None,
        state.session_id().to_owned(),
        state.config().clone(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        HashMap::new(),
        state.runtime_env().clone(),
    ))
}
