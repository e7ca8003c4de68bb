//! Nodes whose subqueries a projection below them computes.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Distinct, DistinctOn, Expr, LogicalPlan, LogicalPlanBuilder, SortExpr,
};

use super::columns::Columns;
use super::projections::with_columns;
use super::values::computed_below;

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
            sort.input = computed_below(columns, sort.input)?;
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
            let below = Arc::unwrap_or_clone(computed_below(columns, input)?);
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
    let node = DistinctOn::try_new(on, select, sort, computed_below(columns, node.input)?)?;
    Ok(LogicalPlan::Distinct(Distinct::On(node)))
}
