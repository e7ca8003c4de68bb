//! `x IN (SELECT ..)` is true, false or unknown: unknown where no value equals x and x or a value is null, and false of no values at all
//! (SQL:2023, 8.4). DataFusion plans it as a join, which tells whether a row was found and no more. That is enough where unknown and
//! false do the same, as in a condition; elsewhere the three are told apart here (but in the ON of a join). A join also needs rows to leave out: as a value of
//! a result, `IN` and `EXISTS` count the rows that they find.
//!
//! The rule leaves behind what DataFusion's decorrelation knows: `EXISTS` in conditions, and scalar subqueries in conditions and
//! projections.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::utils::{conjunction, merge_schema, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Case, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
    Subquery, cast, exists, lit, scalar_subquery,
};
use datafusion::optimizer::AnalyzerRule;

use super::common_type_of::compared_type;
use crate::fault::{Fault, Kind};
use crate::query::limits::external;

/// Prefix of the columns that a node's subqueries are computed in, below it. No table's column can have such a name.
const COMPUTED: &str = "deltaplane.subquery.";

/// The column of a set that is compared with. No table's column can have this name either.
const VALUE: &str = "deltaplane.value";

#[derive(Debug)]
pub(super) struct SubqueryValues;

impl AnalyzerRule for SubqueryValues {
    fn name(&self) -> &str {
        "subquery_values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            if !plan.expressions().iter().any(has_predicate) {
                return Ok(Transformed::no(plan));
            }
            match plan {
                LogicalPlan::Filter(filter) => condition(filter),
                LogicalPlan::Projection(_) => values(plan),
                LogicalPlan::Aggregate(_) | LogicalPlan::Window(_) | LogicalPlan::Sort(_) => {
                    computed_below(plan)
                }
                other => Ok(Transformed::no(other)),
            }
        })?;
        Ok(plan.data)
    }
}

fn has_predicate(expr: &Expr) -> bool {
    let is = |expr: &Expr| Ok(matches!(expr, Expr::InSubquery(_) | Expr::Exists(_)));
    expr.exists(is).unwrap_or(false)
}

/// Each of the conditions that all have to hold.
fn condition(filter: Filter) -> Result<Transformed<LogicalPlan>> {
    let schema = filter.input.schema().clone();
    let mut changed = false;
    let mut conditions = Vec::new();
    for each in split_conjunction_owned(filter.predicate) {
        let told = match &each {
            Expr::InSubquery(within) if is_anti_join(within, within.negated) => {
                Transformed::no(each)
            }
            Expr::Not(inner) => match &**inner {
                Expr::InSubquery(within) if is_anti_join(within, !within.negated) => {
                    Transformed::no(each)
                }
                _ => told_apart(each, &schema, false)?,
            },
            _ => told_apart(each, &schema, false)?,
        };
        changed |= told.transformed;
        conditions.push(told.data);
    }
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?);
    Ok(Transformed::new_transformed(filter, changed))
}

/// What stands alone is a join that knows of nulls: on one key, which has to be a column of the rows that are asked.
fn is_anti_join(within: &InSubquery, negated: bool) -> bool {
    !negated
        || (within.subquery.outer_ref_columns.is_empty() && !within.expr.column_refs().is_empty())
}

/// A condition, or what it is made of.
fn told_apart(expr: Expr, schema: &DFSchema, as_value: bool) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if !as_value && matches!(op, Operator::And | Operator::Or) =>
        {
            let left = told_apart(*left, schema, false)?;
            let right = told_apart(*right, schema, false)?;
            let changed = left.transformed || right.transformed;
            let both = BinaryExpr::new(Box::new(left.data), op, Box::new(right.data));
            Ok(Transformed::new_transformed(
                Expr::BinaryExpr(both),
                changed,
            ))
        }
        // Unknown and false do the same.
        Expr::InSubquery(within) if !as_value && !within.negated => {
            Ok(Transformed::no(Expr::InSubquery(within)))
        }
        other => other.transform_up(|expr| match expr {
            Expr::InSubquery(within) => is_in(within, schema, as_value),
            Expr::Exists(found) if as_value => {
                let some = counted(&found.subquery.subquery)?.gt(lit(0_i64));
                Ok(Transformed::yes(negated_if(found.negated, some)))
            }
            other => Ok(Transformed::no(other)),
        }),
    }
}

fn negated_if(negated: bool, expr: Expr) -> Expr {
    if negated { !expr } else { expr }
}

/// Nodes of a set's plan up to which it may stand in a statement several times: sets within sets multiply.
const NODES_MAX: usize = 2000;

fn check_size(set: &Subquery) -> Result<()> {
    let mut nodes = 0_usize;
    set.subquery.apply_with_subqueries(|_| {
        nodes += 1;
        Ok(match nodes > NODES_MAX {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    if nodes <= NODES_MAX {
        return Ok(());
    }
    Err(external(Fault::new(
        Kind::Exhausted,
        "statement_too_large",
        "IN (SELECT ..) within IN (SELECT ..) too many times over; use joins, or name parts in a WITH",
    )))
}

/// `x IN (set)` as a CASE that is true, false or null.
fn is_in(within: InSubquery, schema: &DFSchema, as_value: bool) -> Result<Transformed<Expr>> {
    let set = &within.subquery;
    check_size(set)?;
    let columns = set.subquery.schema().columns();
    let [value] = columns.as_slice() else {
        // The engine says what is wrong.
        return Ok(Transformed::no(Expr::InSubquery(within)));
    };
    let value = Expr::Column(value.clone());
    let found = match as_value {
        true => counted(&equal(set, &value, &within.expr, schema)?)?.gt(lit(0_i64)),
        false => exists(Arc::new(equal(set, &value, &within.expr, schema)?)),
    };
    let some = |plan: LogicalPlan| -> Result<Expr> {
        // What does not depend on the row is asked once for all rows.
        Ok(match as_value || set.outer_ref_columns.is_empty() {
            true => counted(&plan)?.gt(lit(0_i64)),
            false => exists(Arc::new(plan)),
        })
    };
    let (holds, fails) = (lit(!within.negated), lit(within.negated));
    let unknown = || Box::new(lit(ScalarValue::Boolean(None)));
    let mut cases = vec![(Box::new(found), Box::new(holds))];
    if within.expr.nullable(schema)? {
        let any = some(set.subquery.as_ref().clone())?;
        let case = (*within.expr).clone().is_null().and(any);
        cases.push((Box::new(case), unknown()));
    }
    if value.nullable(set.subquery.schema())? {
        let nulls = LogicalPlanBuilder::new_from_arc(set.subquery.clone());
        let case = some(nulls.filter(value.is_null())?.build()?)?;
        cases.push((Box::new(case), unknown()));
    }
    let case = Case::new(None, cases, Some(Box::new(fails)));
    Ok(Transformed::yes(Expr::Case(case)))
}

/// The rows of a set whose value equals an expression of the rows around it. The value has a name of its own: decorrelation tells
/// the columns of both by their names, and both may be of one table.
fn equal(set: &Subquery, value: &Expr, to: &Expr, schema: &DFSchema) -> Result<LogicalPlan> {
    let outer = to.clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            let outer = Expr::OuterReferenceColumn(field, column);
            Ok(Transformed::yes(outer))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let types = [value.get_type(set.subquery.schema())?, to.get_type(schema)?];
    let [of_value, of_outer] = &types;
    let common = compared_type(&types).or_else(|| comparison_coercion(of_value, of_outer));
    let value = match common {
        // Cast within the filter it would be a key whose values may be equal: a row for each of them.
        Some(common) if common != *of_value => cast(value.clone(), common),
        _ => value.clone(),
    };
    LogicalPlanBuilder::new_from_arc(set.subquery.clone())
        .project([value.alias(VALUE)])?
        .filter(Expr::Column(Column::from_name(VALUE)).eq(outer.data))?
        .build()
}

/// `(SELECT count(*) FROM plan)`, of which nobody asks more than whether there is a row.
fn counted(plan: &LogicalPlan) -> Result<Expr> {
    let counted = LogicalPlanBuilder::from(without_limit(plan).clone())
        .aggregate(Vec::<Expr>::new(), [count(lit(1_i64))])?
        .build()?;
    Ok(scalar_subquery(Arc::new(counted)))
}

/// A limit of one row and more leaves a row where there is one, and keeps a subquery from being planned as a join.
fn without_limit(plan: &LogicalPlan) -> &LogicalPlan {
    let LogicalPlan::Limit(limit) = plan else {
        return plan;
    };
    let whole = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => Some(*n),
        _ => None,
    };
    let skips = limit.skip.as_deref().is_some_and(|n| whole(n) != Some(0));
    let fetches = limit.fetch.as_deref().is_none_or(|n| whole(n) > Some(0));
    if skips || !fetches {
        return plan;
    }
    without_limit(&limit.input)
}

fn values(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = told_apart(expr, &schema, true)?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?
    .map_data(LogicalPlan::recompute_schema)
}

/// Subqueries are values of a projection below the node, which has the columns of the results.
fn computed_below(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let inputs = plan.inputs();
    let [input] = inputs.as_slice() else {
        return Ok(Transformed::no(plan));
    };
    let input = (*input).clone();
    let columns = plan.schema().columns();
    let adds_to_input = !matches!(plan, LogicalPlan::Aggregate(_));
    let names = NamePreserver::new(&plan);
    let mut computed: Vec<Expr> = Vec::new();
    let plan = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_down(|expr| {
            if !is_of_the_rows(&expr) {
                return Ok(Transformed::no(expr));
            }
            let column = format!("{COMPUTED}{}", computed.len());
            let value = told_apart(expr, input.schema(), true)?.data;
            computed.push(value.alias(&column));
            let column = Expr::Column(Column::from_name(column));
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        Ok(expr.update_data(|expr| name.restore(expr)))
    })?;
    let all = input.schema().columns().into_iter().map(Expr::Column);
    let below = LogicalPlanBuilder::from(input.clone())
        .project(all.chain(computed))?
        .build()?;
    let plan = plan
        .data
        .with_new_exprs(plan.data.expressions(), vec![below])?;
    if !adds_to_input {
        return Ok(Transformed::yes(plan));
    }
    let plan = LogicalPlanBuilder::from(plan)
        .project(columns.into_iter().map(Expr::Column))?
        .build()?;
    Ok(Transformed::yes(plan))
}

/// What cannot be planned but in a condition or a projection.
fn is_of_the_rows(expr: &Expr) -> bool {
    match expr {
        Expr::InSubquery(_) | Expr::Exists(Exists { .. }) => true,
        Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        _ => false,
    }
}
