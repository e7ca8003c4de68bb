//! Sets of one row: an aggregate without GROUP BY has one also where it has no rows to count, which a join with groups does not give.
//! So `EXISTS (SELECT count(*) ..)` is true, and `x IN (SELECT count(*) ..)` and `x > ALL (SELECT count(*) ..)` compare with a scalar subquery.
//! A HAVING decides whether the row is there.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, LogicalPlan, Operator, Projection, Subquery, lit, scalar_subquery,
};

use super::{contains, is_predicate, sets, values};

/// A column that says whether a row is there. No table's column can have the name.
const KEPT: &str = "deltaplane.kept";

/// None: the set may have any number of rows.
pub(super) fn is_in(within: &InSubquery) -> Result<Option<Expr>> {
    let Some(row) = Row::of(&within.subquery)? else {
        return Ok(None);
    };
    let same = (*within.expr)
        .clone()
        .eq(scalar_subquery(Arc::new(row.plan)));
    let found = row.kept.into_iter().fold(None, and);
    let found = match found {
        Some(kept) => kept.and(same),
        None => same,
    };
    Ok(Some(negated_if(within.negated, found)))
}

/// None: the set may have any number of rows.
pub(super) fn exists(found: &Exists) -> Result<Option<Expr>> {
    let Some(row) = Row::of(&found.subquery)? else {
        return Ok(None);
    };
    let kept = row.kept.into_iter().fold(None, and);
    let kept = kept.unwrap_or_else(|| lit(true));
    Ok(Some(negated_if(found.negated, kept)))
}

/// None: the set may have any number of rows.
pub(super) fn compared(x: &Expr, op: Operator, set: &Subquery, any: bool) -> Result<Option<Expr>> {
    let Some(row) = Row::of(set)? else {
        return Ok(None);
    };
    let value = Box::new(scalar_subquery(Arc::new(row.plan)));
    let holds = Expr::BinaryExpr(BinaryExpr::new(Box::new(x.clone()), op, value));
    let kept = row.kept.into_iter().fold(None, and);
    Ok(Some(match kept {
        None => holds,
        Some(kept) if any => kept.and(holds),
        Some(kept) => (!kept).or(holds),
    }))
}

fn and(all: Option<Expr>, one: Expr) -> Option<Expr> {
    Some(all.map_or(one.clone(), |all| all.and(one)))
}

pub(super) fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated { !expr } else { expr }
}

/// The one row of a set, and the conditions under which it is there.
struct Row {
    plan: LogicalPlan,
    kept: Vec<Expr>,
}

impl Row {
    fn of(set: &Subquery) -> Result<Option<Row>> {
        let mut kept = Vec::new();
        let plan = without_conditions(&set.subquery, &mut kept)?;
        Ok(plan.map(|plan| Row { plan, kept }))
    }
}

/// The plan without the filters above its one row.
fn without_conditions(plan: &LogicalPlan, kept: &mut Vec<Expr>) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => {
            Ok(Some(plan.clone()))
        }
        LogicalPlan::Filter(filter) => {
            let Some(row) = without_conditions(&filter.input, kept)? else {
                return Ok(None);
            };
            let asked = vec![filter.predicate.clone().alias(KEPT)];
            let asked = Projection::try_new(asked, Arc::new(row.clone()))?;
            // A value of a projection is not what a condition was.
            let asked = match contains(&filter.predicate, is_predicate) {
                true => values(asked)?,
                false => LogicalPlan::Projection(asked),
            };
            kept.push(scalar_subquery(Arc::new(asked)).is_true());
            Ok(Some(row))
        }
        // What unnests an array makes rows of the one.
        LogicalPlan::Projection(projection)
            if !projection.expr.iter().any(|e| contains(e, makes_rows)) =>
        {
            let row = without_conditions(&projection.input, kept)?;
            let above = |row| plan.with_new_exprs(plan.expressions(), vec![row]);
            row.map(above).transpose()
        }
        // One row has no order, no equals, and is the first.
        LogicalPlan::Sort(sort) => without_conditions(&sort.input, kept),
        LogicalPlan::Distinct(Distinct::All(input)) => without_conditions(input, kept),
        LogicalPlan::Limit(limit) if sets::leaves_a_row(limit) => {
            without_conditions(&limit.input, kept)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            let row = without_conditions(&alias.input, kept)?;
            let above = |row| plan.with_new_exprs(plan.expressions(), vec![row]);
            row.map(above).transpose()
        }
        _ => Ok(None),
    }
}

fn makes_rows(expr: &Expr) -> bool {
    matches!(expr, Expr::Unnest(_))
}
