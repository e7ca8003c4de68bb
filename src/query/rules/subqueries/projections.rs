//! Plans with more or fewer columns.

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Projection};

/// The plan with these of its columns.
pub(super) fn with_columns(plan: LogicalPlan, columns: Vec<Column>) -> Result<LogicalPlan> {
    if plan.schema().fields().len() == columns.len() {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan)
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// The columns of a plan, as expressions over it.
pub(super) fn all_columns(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns();
    columns.into_iter().map(Expr::Column).collect()
}

/// A plan with more columns behind its own.
pub(super) fn with_more(plan: Arc<LogicalPlan>, more: Vec<Expr>) -> Result<LogicalPlan> {
    let all = all_columns(&plan).into_iter().chain(more).collect();
    Projection::try_new(all, plan).map(LogicalPlan::Projection)
}
