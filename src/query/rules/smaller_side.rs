//! `abs(x) = x` in a condition, written as `x = abs(x)`: a column stands before what is computed.
//!
//! Where a filter says that two expressions are equal, DataFusion takes the first for both when it looks for orders. If that one holds the
//! other, it finds `abs(abs(x))` in place of `abs(x)`, and no order: rows that are sorted by `x` are not taken for sorted.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

#[derive(Debug)]
pub(in crate::query) struct SmallerSideFirst;

impl OptimizerRule for SmallerSideFirst {
    fn name(&self) -> &str {
        "smaller_side_first"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        match plan {
            LogicalPlan::Filter(_) | LogicalPlan::TableScan(_) | LogicalPlan::Join(_) => {
                plan.map_expressions(|expr| expr.transform_up(smaller_first))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

fn smaller_first(expr: Expr) -> Result<Transformed<Expr>> {
    let Expr::BinaryExpr(BinaryExpr {
        left,
        op: Operator::Eq,
        right,
    }) = expr
    else {
        return Ok(Transformed::no(expr));
    };
    let is_column = |side: &Expr| matches!(side, Expr::Column(_));
    let swapped = match (is_column(&left), is_column(&right)) {
        (false, true) => !matches!(*left, Expr::Literal(..)),
        (false, false) => !matches!(*right, Expr::Literal(..)) && holds(&left, &right)?,
        _ => false,
    };
    let (left, right) = if swapped {
        (right, left)
    } else {
        (left, right)
    };
    let equal = Expr::BinaryExpr(BinaryExpr::new(left, Operator::Eq, right));
    Ok(Transformed::new_transformed(equal, swapped))
}

/// Whether the other is a part of the one.
fn holds(one: &Expr, other: &Expr) -> Result<bool> {
    if one == other {
        return Ok(false);
    }
    let mut found = false;
    one.apply(|part| {
        found |= part == other;
        Ok(if found {
            TreeNodeRecursion::Stop
        } else {
            TreeNodeRecursion::Continue
        })
    })?;
    Ok(found)
}
