//! Joins the rows of a subquery to the rows around it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality, Result};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, Filter, Join, JoinConstraint, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, lit,
};

use super::carried::Carried;
use super::carry::renamed;
use super::names::Names;
use super::shape::{self, Shape, read_for_each_row};
use crate::fault::{Fault, Kind};
use crate::query::errors::external;

/// `FROM l, LATERAL (SELECT ..)`.
pub(super) fn lateral(join: Join, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let subquery = match read_for_each_row(&join.right) {
        Some(subquery) if matches!(join.join_type, JoinType::Inner | JoinType::Left) => subquery,
        _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
    };
    let shape = shape::of_lateral(&subquery.subquery);
    if shape == Shape::Right {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let Some(carried) = Carried::of(&subquery.subquery, &join.left, names)? else {
        refuse_wrong(shape)?;
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    };
    let columns = join.schema.columns();
    let mut all = renamed(&carried.plan, &join.right);
    all.extend(carried.keys);
    let right = Projection::try_new(all, Arc::new(carried.plan))?;
    let on = join.on.into_iter().map(|(left, right)| left.eq(right));
    let joined = Join::try_new(
        join.left,
        Arc::new(LogicalPlan::Projection(right)),
        carried.pairs,
        conjunction(on.chain(join.filter)),
        join.join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    let columns = columns.into_iter().map(Expr::Column);
    let plan = LogicalPlanBuilder::from(LogicalPlan::Join(joined)).project(columns)?;
    Ok(Transformed::yes(plan.build()?))
}

/// What DataFusion would answer wrongly is not left to it.
fn refuse_wrong(shape: Shape) -> Result<()> {
    if shape < Shape::Wrong {
        return Ok(());
    }
    Err(external(Fault::new(
        Kind::Unimplemented,
        "correlated_subquery",
        "a subquery with a window, a LIMIT, an OFFSET, a HAVING or several aggregates in it reads columns of the query around it that are not the same each time they are computed (of a LIMIT, a window or a sum), or are those of a query further out; write it as a JOIN",
    )))
}

/// The values and conditions of a projection or a filter.
pub(super) fn values(plan: LogicalPlan, names: &mut Names) -> Result<Transformed<LogicalPlan>> {
    let asks = plan.apply_expressions(|expr| {
        let asks = expr.exists(|expr| Ok(shape::of_value(expr) > Shape::Right))?;
        Ok(match asks {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    if asks != TreeNodeRecursion::Stop {
        return Ok(Transformed::no(plan));
    }
    let exprs = plan.expressions();
    let [around] = plan.inputs()[..] else {
        return Ok(Transformed::no(plan));
    };
    let around = Arc::new(around.clone());
    let mut attached = Attached {
        rows: around.clone(),
        around,
        known: Vec::new(),
        names,
    };
    let preserver = NamePreserver::new(&plan);
    let exprs = exprs.into_iter().map(|expr| {
        let name = preserver.save(&expr);
        let done = expr.transform_down(|expr| attached.instead(expr))?;
        Ok(name.restore(done.data))
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    if attached.known.is_empty() {
        return Ok(Transformed::no(plan));
    }
    let rows = attached.rows;
    let done = match plan {
        LogicalPlan::Filter(filter) => {
            let columns = filter.input.schema().columns();
            let kept = conjunction(exprs).unwrap_or_else(|| lit(true));
            let kept = LogicalPlan::Filter(Filter::try_new(kept, rows)?);
            LogicalPlanBuilder::from(kept)
                .project(columns.into_iter().map(Expr::Column))?
                .build()?
        }
        _ => LogicalPlan::Projection(Projection::try_new(exprs, rows)?),
    };
    Ok(Transformed::yes(done))
}

struct Attached<'a> {
    around: Arc<LogicalPlan>,
    /// Those around, with columns of what they ask.
    rows: Arc<LogicalPlan>,
    /// What stands in place of what was asked.
    known: Vec<(Expr, Expr)>,
    names: &'a mut Names,
}

impl Attached<'_> {
    fn instead(&mut self, expr: Expr) -> Result<Transformed<Expr>> {
        let shape = shape::of_value(&expr);
        if shape == Shape::Right {
            return Ok(Transformed::no(expr));
        }
        let known = self.known.iter().find(|(asked, _)| *asked == expr);
        if let Some((_, value)) = known {
            let value = value.clone();
            return Ok(Transformed::new(value, true, TreeNodeRecursion::Jump));
        }
        let value = match &expr {
            Expr::ScalarSubquery(subquery) => self.value(subquery)?,
            Expr::Exists(found) => self.exists(found)?,
            Expr::InSubquery(within) => self.is_in(within)?,
            _ => None,
        };
        let Some(value) = value else {
            refuse_wrong(shape)?;
            return Ok(Transformed::no(expr));
        };
        self.known.push((expr, value.clone()));
        Ok(Transformed::new(value, true, TreeNodeRecursion::Jump))
    }

    fn carried(&mut self, subquery: &Subquery) -> Result<Option<Carried>> {
        Carried::of(&subquery.subquery, &self.around, self.names)
    }

    fn value(&mut self, subquery: &Subquery) -> Result<Option<Expr>> {
        // Of one that may have several rows DataFusion says so.
        if subquery.subquery.max_rows().is_none_or(|rows| rows > 1) {
            return Ok(None);
        }
        let Some(carried) = self.carried(subquery)? else {
            return Ok(None);
        };
        let mut columns = carried.plan.schema().columns().into_iter();
        let Some(value) = columns.next() else {
            return Ok(None);
        };
        let name = self.names.next("value");
        let value = Expr::Column(value).alias(&name);
        let all = [value].into_iter().chain(columns.map(Expr::Column));
        let right = Projection::try_new(all.collect(), Arc::new(carried.plan))?;
        let right = LogicalPlan::Projection(right);
        self.join(right, carried.pairs, None)?;
        Ok(Some(Expr::Column(Column::from_name(name))))
    }

    fn exists(&mut self, found: &Exists) -> Result<Option<Expr>> {
        let Some(carried) = self.carried(&found.subquery)? else {
            return Ok(None);
        };
        let keys = carried.keys.clone();
        let there = self.there(carried, keys, None)?;
        Ok(Some(match found.negated {
            true => there.is_null(),
            false => there.is_not_null(),
        }))
    }

    /// In a condition: what is unknown is told apart before, or is false.
    fn is_in(&mut self, within: &InSubquery) -> Result<Option<Expr>> {
        let asks = within.expr.exists(|expr| {
            Ok(matches!(
                expr,
                Expr::ScalarSubquery(_)
                    | Expr::Exists(_)
                    | Expr::InSubquery(_)
                    | Expr::SetComparison(_)
            ))
        })?;
        if within.negated || asks {
            return Ok(None);
        }
        let Some(carried) = self.carried(&within.subquery)? else {
            return Ok(None);
        };
        let Some(value) = carried.plan.schema().columns().into_iter().next() else {
            return Ok(None);
        };
        let name = self.names.next("value");
        let keys = carried.keys.iter().cloned();
        let columns = [Expr::Column(value).alias(&name)].into_iter().chain(keys);
        let columns = columns.collect();
        let same = within.expr.as_ref().clone();
        let same = same.eq(Expr::Column(Column::from_name(name)));
        let there = self.there(carried, columns, Some(same))?;
        Ok(Some(there.is_not_null()))
    }

    /// A column that is null where no row is there.
    fn there(
        &mut self,
        carried: Carried,
        columns: Vec<Expr>,
        condition: Option<Expr>,
    ) -> Result<Expr> {
        let name = self.names.next("there");
        let distinct = LogicalPlanBuilder::from(carried.plan)
            .project(columns)?
            .distinct()?
            .build()?;
        let all = distinct.schema().columns().into_iter().map(Expr::Column);
        let all = all.chain([lit(true).alias(&name)]).collect();
        let right = LogicalPlan::Projection(Projection::try_new(all, Arc::new(distinct))?);
        self.join(right, carried.pairs, condition)?;
        Ok(Expr::Column(Column::from_name(name)))
    }

    fn join(
        &mut self,
        right: LogicalPlan,
        pairs: Vec<(Expr, Expr)>,
        condition: Option<Expr>,
    ) -> Result<()> {
        let joined = Join::try_new(
            self.rows.clone(),
            Arc::new(right),
            pairs,
            condition,
            JoinType::Left,
            JoinConstraint::On,
            NullEquality::NullEqualsNothing,
            false,
        )?;
        self.rows = Arc::new(LogicalPlan::Join(joined));
        Ok(())
    }
}
