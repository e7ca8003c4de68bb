//! A correlated scalar subquery has one row for each row around it, whatever is compared in it.
//!
//! DataFusion plans `(SELECT count(*) FROM e WHERE CAST(e.ts AS DATE) = d.day)` as a join with the counts grouped by `e.ts`: a day with two
//! times has two counts, and a row of d becomes two. Here what is compared is a column of its own below the condition, by which the
//! rows are grouped then. The rule runs when types are known, since a coercion is such a cast as well.
//!
//! A cast has the name of what is cast. Of `x IN (SELECT CAST(e.id AS DOUBLE) FROM e WHERE e.id = d.id)` DataFusion's join has the value
//! and `e.id` as columns of one name, and refuses them: the value gets a name of its own.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Operator,
    Projection, Subquery, lit,
};
use datafusion::optimizer::AnalyzerRule;

/// Prefix of the columns. No table's column can have such a name.
const KEY: &str = "deltaplane.key.";
const VALUE: &str = "deltaplane.value.";

#[derive(Debug)]
pub(in crate::query) struct CorrelatedKeys;

impl AnalyzerRule for CorrelatedKeys {
    fn name(&self) -> &str {
        "correlated_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            plan.map_expressions(|expr| {
                expr.transform_up(|expr| match expr {
                    Expr::ScalarSubquery(subquery) if !subquery.outer_ref_columns.is_empty() => {
                        let keyed = keyed(subquery)?;
                        Ok(keyed.update_data(Expr::ScalarSubquery))
                    }
                    Expr::InSubquery(mut asked) if !asked.subquery.outer_ref_columns.is_empty() => {
                        let renamed = name_casts(&mut asked.subquery)?;
                        let expr = Expr::InSubquery(asked);
                        Ok(Transformed::new_transformed(expr, renamed))
                    }
                    Expr::Exists(mut asked) if !asked.subquery.outer_ref_columns.is_empty() => {
                        let renamed = name_casts(&mut asked.subquery)?;
                        let expr = Expr::Exists(asked);
                        Ok(Transformed::new_transformed(expr, renamed))
                    }
                    other => Ok(Transformed::no(other)),
                })
            })
        })?;
        Ok(plan.data)
    }
}

fn keyed(subquery: Subquery) -> Result<Transformed<Subquery>> {
    let plan = Arc::unwrap_or_clone(subquery.subquery).transform_up(|plan| match plan {
        LogicalPlan::Filter(filter) => with_keys(filter),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(plan.update_data(|plan| Subquery {
        subquery: Arc::new(plan),
        outer_ref_columns: subquery.outer_ref_columns,
        spans: subquery.spans,
    }))
}

/// Gives the values of a subquery that are casts names of their own. Nobody asks by name for what `IN` and `EXISTS` find. True: there
/// were some.
fn name_casts(subquery: &mut Subquery) -> Result<bool> {
    let named = with_named_casts(&subquery.subquery)?;
    if let Some(plan) = named {
        subquery.subquery = Arc::new(plan);
        return Ok(true);
    }
    Ok(false)
}

/// The plan with names of their own for its values that are casts; none where there are none.
pub(super) fn with_named_casts(plan: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    match plan {
        LogicalPlan::Projection(projection) => {
            let is_cast = |expr: &Expr| matches!(expr, Expr::Cast(_) | Expr::TryCast(_));
            if !projection.expr.iter().any(is_cast) {
                return Ok(None);
            }
            let values = projection.expr.iter().enumerate();
            let values = values.map(|(at, value)| match is_cast(value) {
                true => value.clone().alias(format!("{VALUE}{at}")),
                false => value.clone(),
            });
            let named = Projection::try_new(values.collect(), projection.input.clone())?;
            Ok(Some(LogicalPlan::Projection(named)))
        }
        // What stands above may name its columns, but for these.
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input = with_named_casts(input)?;
            Ok(input.map(|input| LogicalPlan::Distinct(Distinct::All(Arc::new(input)))))
        }
        LogicalPlan::Limit(limit) => {
            let input = with_named_casts(&limit.input)?;
            Ok(input.map(|input| {
                LogicalPlan::Limit(Limit {
                    input: Arc::new(input),
                    ..limit.clone()
                })
            }))
        }
        _ => Ok(None),
    }
}

fn with_keys(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let columns = filter.input.schema().columns();
    let mut keys: Vec<Expr> = Vec::new();
    let conditions: Vec<Expr> = split_conjunction_owned(filter.predicate)
        .into_iter()
        .map(|condition| match condition {
            Expr::BinaryExpr(BinaryExpr {
                left,
                op: Operator::Eq,
                right,
            }) => {
                let (left, right) = match (is_key(&left), is_key(&right)) {
                    (true, false) if right.contains_outer() => (column(*left, &mut keys), *right),
                    (false, true) if left.contains_outer() => (*left, column(*right, &mut keys)),
                    _ => (*left, *right),
                };
                left.eq(right)
            }
            other => other,
        })
        .collect();
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    if keys.is_empty() {
        let same = Filter::try_new(predicate, filter.input)?;
        return Ok(Transformed::no(LogicalPlan::Filter(same)));
    }
    let all = columns.iter().cloned().map(Expr::Column);
    let below = LogicalPlanBuilder::new_from_arc(filter.input)
        .project(all.chain(keys))?
        .build()?;
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(below))?);
    let plan = LogicalPlanBuilder::from(filter)
        .project(columns.into_iter().map(Expr::Column))?
        .build()?;
    Ok(Transformed::yes(plan))
}

/// An expression of the subquery's own columns that is not one of them as it is.
fn is_key(expr: &Expr) -> bool {
    !matches!(expr, Expr::Column(_)) && !expr.contains_outer() && !expr.column_refs().is_empty()
}

fn column(expr: Expr, keys: &mut Vec<Expr>) -> Expr {
    let name = format!("{KEY}{}", keys.len());
    keys.push(expr.alias(&name));
    Expr::Column(Column::from_name(name))
}
