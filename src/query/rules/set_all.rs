//! `EXCEPT` and `INTERSECT` have the type in which both sides meet, as UNION has: DataFusion leaves them the left side's.
//!
//! `EXCEPT ALL` and `INTERSECT ALL` count how often a row occurs (SQL:2023, 7.17). DataFusion plans them as anti and semi joins, which do not: of two
//! equal rows, one on the other side takes both or keeps both. With the number of each row among its equals as one more key, they do.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::type_coercion::binary::type_union_coercion;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, LogicalPlan, LogicalPlanBuilder, cast, col,
};
use datafusion::optimizer::AnalyzerRule;

use super::common_type_of::common_type;
use super::kinds::check_keys;

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
            LogicalPlan::Join(join) if is_set_operation(&join) => {
                let join = of_one_type(join)?;
                if is_all(&join) {
                    counted(join)
                } else {
                    Ok(Transformed::yes(LogicalPlan::Join(join)))
                }
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }
}

/// Only a set operation takes nulls for equal here: a join that is written so becomes one later, in the optimizer.
fn is_set_operation(join: &Join) -> bool {
    matches!(join.join_type, JoinType::LeftAnti | JoinType::LeftSemi)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !join.on.iter().any(|(left, _)| is_occurrence(left))
}

/// Without ALL the left side is distinct, and there is nothing to count.
fn is_all(join: &Join) -> bool {
    !matches!(*join.left, LogicalPlan::Distinct(_))
}

/// Both sides with the types in which their columns meet, if these differ.
fn of_one_type(mut join: Join) -> Result<Join> {
    let types = |plan: &LogicalPlan| -> Vec<DataType> {
        let fields = plan.schema().fields().iter();
        fields.map(|f| f.data_type().clone()).collect()
    };
    let (left, right) = (types(&join.left), types(&join.right));
    if left == right || left.len() != right.len() {
        return Ok(join);
    }
    check_keys(&join)?;
    let meet = |l: &DataType, r: &DataType| {
        common_type(&[l.clone(), r.clone()]).or_else(|| type_union_coercion(l, r))
    };
    let met: Option<Vec<DataType>> = left.iter().zip(&right).map(|(l, r)| meet(l, r)).collect();
    // Without a type in common the engine says so, with its own words.
    let Some(met) = met else {
        return Ok(join);
    };
    let distinct = !is_all(&join);
    join.left = Arc::new(cast_to(join.left, &met)?);
    if distinct {
        // Two numbers may be one in the other type.
        join.left = Arc::new(LogicalPlan::Distinct(Distinct::All(join.left)));
    }
    join.right = Arc::new(cast_to(join.right, &met)?);
    Join::try_new(
        join.left,
        join.right,
        join.on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
}

fn cast_to(plan: Arc<LogicalPlan>, types: &[DataType]) -> Result<LogicalPlan> {
    let columns = plan
        .schema()
        .iter()
        .zip(types)
        .map(|((relation, field), to)| {
            let column = Expr::Column(Column::new(relation.cloned(), field.name()));
            if field.data_type() == to {
                column
            } else {
                cast(column, to.clone()).alias_qualified(relation.cloned(), field.name())
            }
        });
    let columns: Vec<Expr> = columns.collect();
    LogicalPlanBuilder::new_from_arc(plan)
        .project(columns)?
        .build()
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
