//! What a rule of the analyzer asks of one node of a plan before it looks into the node's expressions.

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, LogicalPlan};

/// Is there such an expression in this node of a plan?
pub(in crate::query) fn has(plan: &LogicalPlan, is: impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found = found || expr.exists(|e| Ok(is(e)))?;
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found)
}

/// The columns that the expressions of a node are made of.
pub(in crate::query) fn input_of(plan: &LogicalPlan) -> Result<DFSchema> {
    match plan {
        LogicalPlan::TableScan(scan) => {
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())
        }
        other => Ok(merge_schema(&other.inputs())),
    }
}
