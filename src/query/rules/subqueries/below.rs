//! Values that a projection below a node computes for it.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::expr::{InSubquery, SetComparison};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, LogicalPlan, LogicalPlanBuilder, SortExpr,
};

use super::{contains, is_of_the_rows, is_predicate, is_subquery, values, with_columns, with_more};

/// Prefix of the columns. No table's column can have such a name.
const COMPUTED: &str = "deltaplane.subquery.";

/// Each value once.
#[derive(Default)]
pub(super) struct Columns {
    values: Vec<Expr>,
    side: &'static str,
}

impl Columns {
    /// Of a side of a join: a column of the other one has another name.
    pub(super) fn of(side: &'static str) -> Self {
        Columns {
            values: Vec::new(),
            side,
        }
    }

    /// The column in which a value stands.
    pub(super) fn column(&mut self, value: Expr) -> Expr {
        let known = self.values.iter().position(|known| *known == value);
        let at = known.unwrap_or_else(|| {
            self.values.push(value);
            self.values.len() - 1
        });
        Expr::Column(Column::from_name(self.name(at)))
    }

    /// In place of every part of an expression that has to be computed below.
    pub(super) fn instead(&mut self, expr: Expr) -> Result<Expr> {
        let done = expr.transform_down(|expr| {
            if !is_of_the_rows(&expr) {
                return Ok(Transformed::no(expr));
            }
            let column = self.column(expr);
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        Ok(done.data)
    }

    fn name(&self, at: usize) -> String {
        format!("{COMPUTED}{}{at}", self.side)
    }

    /// The rows with the columns behind their own.
    pub(super) fn over(self, input: Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>> {
        if self.values.is_empty() {
            return Ok(input);
        }
        let named = self.values.iter().enumerate();
        let named = named.map(|(at, value)| value.clone().alias(self.name(at)));
        let named = named.collect();
        let plan = match with_more(input, named)? {
            LogicalPlan::Projection(projection)
                if projection.expr.iter().any(|e| contains(e, is_predicate)) =>
            {
                values(projection)?
            }
            other => other,
        };
        Ok(Arc::new(plan))
    }
}

/// What may not stand within a set: a subquery, and a column that only its name tells apart, as that of an aggregate, which the set may have too.
fn is_met_again(expr: &Expr) -> bool {
    match expr {
        Expr::Column(column) => column.relation.is_none() && !column.name.starts_with(COMPUTED),
        other => is_subquery(other),
    }
}

/// `x IN (SELECT ..)` compares x with each row of a set: where x asks a subquery, its value is a column below.
pub(super) fn left_sides(
    exprs: Vec<Expr>,
    input: Arc<LogicalPlan>,
) -> Result<(Vec<Expr>, Arc<LogicalPlan>)> {
    let mut columns = Columns::default();
    let exprs = exprs.into_iter().map(|expr| {
        let done = expr.transform_down(|expr| match expr {
            Expr::InSubquery(InSubquery {
                expr,
                subquery,
                negated,
            }) if contains(&expr, is_met_again) => {
                let expr = Box::new(columns.column(*expr));
                let within = InSubquery::new(expr, subquery, negated);
                Ok(Transformed::yes(Expr::InSubquery(within)))
            }
            Expr::SetComparison(SetComparison {
                expr,
                subquery,
                op,
                quantifier,
            }) if contains(&expr, is_met_again) => {
                let expr = Box::new(columns.column(*expr));
                let compared = SetComparison::new(expr, subquery, op, quantifier);
                Ok(Transformed::yes(Expr::SetComparison(compared)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        Ok(done.data)
    });
    let exprs = exprs.collect::<Result<Vec<_>>>()?;
    Ok((exprs, columns.over(input)?))
}

/// A node with one input, its subqueries computed below it. It has the columns that it had.
pub(super) fn computed(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut columns = Columns::default();
    match plan {
        LogicalPlan::Distinct(Distinct::On(node)) => first_rows(node, columns),
        // The columns below pass through a sort and a window, and are left out again.
        LogicalPlan::Sort(mut sort) => {
            let before = sort.input.schema().columns();
            for key in &mut sort.expr {
                key.expr = columns.instead(key.expr.clone())?;
            }
            sort.input = columns.over(sort.input)?;
            with_columns(LogicalPlan::Sort(sort), before)
        }
        other => {
            let inputs = other.inputs();
            let [input] = inputs.as_slice() else {
                return Ok(other);
            };
            let input = Arc::new((*input).clone());
            let before = other.schema().clone();
            let names = NamePreserver::new(&other);
            let exprs = other.expressions().into_iter().map(|expr| {
                let name = names.save(&expr);
                let changed = columns.instead(expr)?;
                Ok(match changed {
                    // Its parts have names, and it has none.
                    Expr::GroupingSet(_) => changed,
                    changed => name.restore(changed),
                })
            });
            let exprs = exprs.collect::<Result<Vec<_>>>()?;
            let below = Arc::unwrap_or_clone(columns.over(input)?);
            let plan = other.with_new_exprs(exprs, vec![below])?;
            if plan.schema().fields().len() != before.fields().len() {
                return with_columns(plan, before.columns());
            }
            let same = plan.schema().iter().eq(before.iter());
            if same {
                return Ok(plan);
            }
            // What a grouping set groups by is called otherwise now.
            let columns = plan.schema().columns().into_iter().zip(before.iter());
            let renamed = columns.map(|(column, (relation, field))| {
                Expr::Column(column).alias_qualified(relation.cloned(), field.name())
            });
            let renamed: Vec<Expr> = renamed.collect();
            LogicalPlanBuilder::from(plan).project(renamed)?.build()
        }
    }
}

/// DISTINCT ON, whose order begins with what its rows are told apart by.
fn first_rows(node: DistinctOn, mut columns: Columns) -> Result<LogicalPlan> {
    let names = NamePreserver::new_for_projection();
    let on = node.on_expr.into_iter().map(|e| columns.instead(e));
    let on = on.collect::<Result<Vec<_>>>()?;
    let select = node.select_expr.into_iter().map(|expr| {
        let name = names.save(&expr);
        Ok(name.restore(columns.instead(expr)?))
    });
    let select = select.collect::<Result<Vec<_>>>()?;
    let sort = node.sort_expr.map(|keys| {
        let keys = keys.into_iter().map(|key| {
            let expr = columns.instead(key.expr)?;
            Ok(SortExpr { expr, ..key })
        });
        keys.collect::<Result<Vec<_>>>()
    });
    let sort = sort.transpose()?;
    let node = DistinctOn::try_new(on, select, sort, columns.over(node.input)?)?;
    Ok(LogicalPlan::Distinct(Distinct::On(node)))
}
