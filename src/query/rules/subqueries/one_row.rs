//! Sets of one row: an aggregate without GROUP BY has one also where it has no rows to count, which a join with groups does not give.
//! So `EXISTS (SELECT count(*) ..)` is true, and `x IN (SELECT count(*) ..)` and `x > ALL (SELECT count(*) ..)` compare with a scalar subquery.
//! A HAVING decides whether the row is there.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, LogicalPlan, Operator, Projection, Subquery, lit, scalar_subquery,
};

use super::expressions::contains;
use super::set_rows::leaves_a_row;

/// A column that says whether a row is there. No table's column can have the name.
const KEPT: &str = "deltaplane.kept";

/// `kept`: the condition under which the row is there; none if it always is.
pub(super) fn is_in(within: &InSubquery, row: LogicalPlan, kept: Option<Expr>) -> Expr {
    let same = (*within.expr).clone().eq(value_of(row));
    let found = match kept {
        Some(kept) => kept.and(same),
        None => same,
    };
    negated_if(within.negated, found)
}

/// The value of a row. A constant is that value also where a join finds no row of the group.
fn value_of(row: LogicalPlan) -> Expr {
    let constant = match &row {
        LogicalPlan::Projection(projection) => match projection.expr.as_slice() {
            [value] => Some(value.clone().unalias_nested().data),
            _ => None,
        },
        _ => None,
    };
    match constant {
        Some(constant @ Expr::Literal(..)) => constant,
        _ => scalar_subquery(Arc::new(row)),
    }
}

/// `kept`: as in [`is_in`].
pub(super) fn exists(found: &Exists, kept: Option<Expr>) -> Expr {
    let kept = kept.unwrap_or_else(|| lit(true));
    negated_if(found.negated, kept)
}

/// `kept`: as in [`is_in`].
pub(super) fn compared(
    x: &Expr,
    op: Operator,
    row: LogicalPlan,
    any: bool,
    kept: Option<Expr>,
) -> Expr {
    let value = Box::new(value_of(row));
    let holds = Expr::BinaryExpr(BinaryExpr::new(Box::new(x.clone()), op, value));
    match kept {
        None => holds,
        Some(kept) if any => kept.and(holds),
        Some(kept) => (!kept).or(holds),
    }
}

pub(super) fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated { !expr } else { expr }
}

/// The one row of a set.
pub(super) struct Row {
    pub(super) plan: LogicalPlan,
    /// Each has one value, which says whether the row is there: a condition of the set as it stood there.
    pub(super) conditions: Vec<Projection>,
}

impl Row {
    /// None: the set may have any number of rows.
    pub(super) fn of(set: &Subquery) -> Result<Option<Row>> {
        let mut conditions = Vec::new();
        let plan = without_conditions(&set.subquery, &mut conditions)?;
        Ok(plan.map(|plan| Row { plan, conditions }))
    }
}

/// The plan without the filters above its one row.
fn without_conditions(
    plan: &LogicalPlan,
    conditions: &mut Vec<Projection>,
) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            Ok(Some(plan.clone()))
        }
        LogicalPlan::Filter(filter) => {
            let Some(row) = without_conditions(&filter.input, conditions)? else {
                return Ok(None);
            };
            let asked = vec![filter.predicate.clone().alias(KEPT)];
            conditions.push(Projection::try_new(asked, Arc::new(row.clone()))?);
            Ok(Some(row))
        }
        // What unnests an array makes rows of the one.
        LogicalPlan::Projection(projection)
            if !projection.expr.iter().any(|e| contains(e, makes_rows)) =>
        {
            let row = without_conditions(&projection.input, conditions)?;
            let above = |row| plan.with_new_exprs(plan.expressions(), vec![row]);
            row.map(above).transpose()
        }
        // One row has no order, no equals, and is the first.
        LogicalPlan::Sort(sort) => without_conditions(&sort.input, conditions),
        LogicalPlan::Distinct(Distinct::All(input)) => without_conditions(input, conditions),
        LogicalPlan::Limit(limit) if leaves_a_row(limit) => {
            without_conditions(&limit.input, conditions)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let row = without_conditions(&alias.input, conditions)?;
            let above = |row| plan.with_new_exprs(plan.expressions(), vec![row]);
            row.map(above).transpose()
        }
        _ => Ok(None),
    }
}

fn makes_rows(expr: &Expr) -> bool {
    matches!(expr, Expr::Unnest(_))
}
