//! `EXCEPT ALL` and `INTERSECT ALL` count how often a row occurs (SQL:2023, 7.17). DataFusion plans them as anti and semi joins, which do not: of two
//! equal rows, one on the other side takes both or keeps both. With the number of each row among its equals as one more key, they do.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::{Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, col};
use datafusion::optimizer::AnalyzerRule;

/// The first, the second, .. of rows that are equal. No table's column can have the name.
const OCCURRENCE: &str = "deltaplane.occurrence";

#[derive(Debug)]
pub(super) struct CountOccurrences;

impl AnalyzerRule for CountOccurrences {
    fn name(&self) -> &str {
        "count_occurrences"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) if is_set_operation(&join) => counted(join),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }
}

/// Only a set operation takes nulls for equal here: a join that is written so becomes one later, in the optimizer. Without ALL
/// its left side is distinct, and there is nothing to count.
fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !matches!(*join.left, LogicalPlan::Distinct(_))
        && !join.on.iter().any(|(left, _)| is_occurrence(left))
}

/// A plan may be analyzed more than once.
fn is_occurrence(key: &Expr) -> bool {
    matches!(key, Expr::Column(column) if column.name == OCCURRENCE)
}

fn counted(join: Join) -> Result<Transformed<LogicalPlan>> {
    let (left, right): (Vec<Expr>, Vec<Expr>) = join.on.into_iter().unzip();
    let columns: Vec<Expr> = join
        .left
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let numbered_left = numbered(join.left, left.clone())?;
    let numbered_right = numbered(join.right, right.clone())?;
    let mut keys: Vec<(Expr, Expr)> = left.into_iter().zip(right).collect();
    let occurrence = || Expr::Column(Column::from_name(OCCURRENCE));
    keys.push((occurrence(), occurrence()));
    let counted = Join::try_new(
        Arc::new(numbered_left),
        Arc::new(numbered_right),
        keys,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    let plan = LogicalPlanBuilder::from(LogicalPlan::Join(counted))
        .project(columns)?
        .build()?;
    Ok(Transformed::yes(plan))
}

fn numbered(plan: Arc<LogicalPlan>, equal_by: Vec<Expr>) -> Result<LogicalPlan> {
    let mut columns: Vec<Expr> = plan
        .schema()
        .columns()
        .into_iter()
        .map(Expr::Column)
        .collect();
    let number = row_number().partition_by(equal_by).build()?;
    let name = number.schema_name().to_string();
    let plan = LogicalPlanBuilder::from(plan).window([number])?;
    columns.push(col(Column::from_name(name)).alias(OCCURRENCE));
    plan.project(columns)?.build()
}
