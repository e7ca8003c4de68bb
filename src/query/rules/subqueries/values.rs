//! Values and conditions of rows that ask subqueries, and what `IN`, `ANY`, `ALL` and `EXISTS` come to in them: true, false or unknown.
//!
//! `x > ALL (SELECT ..)` and `x > ANY (SELECT ..)`: the extremes of the values decide, with their count and that of the nulls.
//!
//! A value is made of others: the left side of an `IN` may ask a subquery too, and so may the HAVING of a set of one row.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    BinaryExpr, Case, Distinct, Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder,
    Operator, Projection, Subquery, exists, lit, scalar_subquery,
};

use super::columns::{COMPUTED, Columns};
use super::expressions::{contains, is_predicate, is_subquery};
use super::keys::with_named_casts;
use super::one_row::{self, Row};
use super::projections::{all_columns, with_columns};
use super::set_rows::{check_size, counted, equal, of_all_rows};
use crate::fault::Fault;
use crate::query::arithmetic::{max, min};
use crate::query::errors::external;

/// What the rows of VALUES are called.
const VALUES: &str = "deltaplane.values";

/// Each of the conditions that all have to hold.
pub(super) fn condition(filter: Filter) -> Result<LogicalPlan> {
    let columns = filter.input.schema().columns();
    let conditions = split_conjunction_owned(filter.predicate);
    let (conditions, input) = left_sides(conditions, filter.input)?;
    let mut keys = Columns::of("key.");
    let conditions = conditions
        .into_iter()
        .map(|each| Ok(with_key(plain(each)?, &mut keys)));
    let conditions = conditions.collect::<Result<Vec<_>>>()?;
    let input = computed_below(keys, input)?;
    let schema = input.schema();
    let conditions = conditions
        .into_iter()
        .map(|each| as_condition(each, schema));
    let conditions = conditions.collect::<Result<Vec<_>>>()?;
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, input)?);
    with_columns(filter, columns)
}

/// The values of a projection.
pub(super) fn values(projection: Projection) -> Result<LogicalPlan> {
    let names = NamePreserver::new_for_projection();
    let saved: Vec<_> = projection.expr.iter().map(|e| names.save(e)).collect();
    let (values, input) = left_sides(projection.expr, projection.input)?;
    let values = values.into_iter().zip(saved).map(|(value, name)| {
        let value = as_value(value, input.schema())?;
        Ok(name.restore(value))
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    Projection::try_new(values, input).map(LogicalPlan::Projection)
}

/// The rows with the columns behind their own.
pub(super) fn computed_below(
    columns: Columns,
    input: Arc<LogicalPlan>,
) -> Result<Arc<LogicalPlan>> {
    Ok(match columns.beside(&input)? {
        Some(projection) => Arc::new(asked_anew(projection)?),
        None => input,
    })
}

/// A projection that was made of parts of expressions: a value of it is not what a condition was.
fn asked_anew(projection: Projection) -> Result<LogicalPlan> {
    match projection.expr.iter().any(|e| contains(e, is_predicate)) {
        true => values(projection),
        false => Ok(LogicalPlan::Projection(projection)),
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
fn left_sides(exprs: Vec<Expr>, input: Arc<LogicalPlan>) -> Result<(Vec<Expr>, Arc<LogicalPlan>)> {
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
    Ok((exprs, computed_below(columns, input)?))
}

/// `x NOT IN (SELECT ..)` with a column for x, where x is computed from the columns of a row. A join that knows of nulls compares columns:
/// the optimizer makes a constant of `coalesce('a', y)`, which is no key of a join any more, and `nullif(y, 1)` may be null where y may not.
fn with_key(condition: Expr, keys: &mut Columns) -> Expr {
    let mut within = match condition {
        Expr::InSubquery(within) if within.negated => within,
        Expr::Not(inner) => match *inner {
            Expr::InSubquery(within) if !within.negated => InSubquery {
                negated: true,
                ..within
            },
            other => return Expr::Not(Box::new(other)),
        },
        other => return other,
    };
    let is_key = matches!(*within.expr, Expr::Column(_));
    if !is_key
        && within.subquery.outer_ref_columns.is_empty()
        && !within.expr.contains_outer()
        && !within.expr.column_refs().is_empty()
    {
        within.expr = Box::new(keys.column(*within.expr));
    }
    Expr::InSubquery(within)
}

/// What a row has to meet, without `ANY` and `ALL`.
fn as_condition(each: Expr, schema: &DFSchema) -> Result<Expr> {
    match &each {
        Expr::InSubquery(within) if is_anti_join(within, within.negated) => Ok(each),
        Expr::Not(inner) => match &**inner {
            Expr::InSubquery(within) if is_anti_join(within, !within.negated) => Ok(each),
            _ => told_apart(each, schema, false),
        },
        _ => told_apart(each, schema, false),
    }
}

/// A value of a row.
fn as_value(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    told_apart(plain(expr)?, schema, true)
}

/// Without `ANY` and `ALL`, and without sets of one row.
fn plain(expr: Expr) -> Result<Expr> {
    let done = expr.transform_up(|expr| match expr {
        Expr::SetComparison(compared) => decided_by_extremes(compared).map(Transformed::yes),
        Expr::InSubquery(within) => is_in_set(within).map(Transformed::yes),
        Expr::Exists(found) => {
            let Some((_, kept)) = only_row(&found.subquery)? else {
                return Ok(Transformed::no(Expr::Exists(found)));
            };
            Ok(Transformed::yes(one_row::exists(&found, kept)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(done.data)
}

fn is_in_set(mut within: InSubquery) -> Result<Expr> {
    if let LogicalPlan::Values(_) = &*within.subquery.subquery {
        // DataFusion asks for the expression that makes the column, and for its table.
        let rows = LogicalPlanBuilder::new_from_arc(within.subquery.subquery.clone());
        let rows = rows.alias(VALUES)?.build()?;
        let columns = all_columns(&rows);
        let plan = LogicalPlanBuilder::from(rows).project(columns)?;
        within.subquery = within.subquery.with_plan(Arc::new(plan.build()?));
    }
    if !within.subquery.outer_ref_columns.is_empty()
        && let Some(named) = with_named_casts(&within.subquery.subquery)?
    {
        within.subquery = within.subquery.with_plan(Arc::new(named));
    }
    Ok(match only_row(&within.subquery)? {
        Some((row, kept)) => one_row::is_in(&within, row, kept),
        None => Expr::InSubquery(within),
    })
}

/// The row of a set of one row, and the condition under which it is there. None: the set may have any number of rows.
fn only_row(set: &Subquery) -> Result<Option<(LogicalPlan, Option<Expr>)>> {
    let Some(Row { plan, conditions }) = Row::of(set)? else {
        return Ok(None);
    };
    let kept = conditions.into_iter().map(|condition| {
        let condition = Arc::new(asked_anew(condition)?);
        Ok(scalar_subquery(condition).is_true())
    });
    let kept = kept.collect::<Result<Vec<_>>>()?;
    Ok(Some((plan, kept.into_iter().reduce(Expr::and))))
}

/// `x op ANY (set)` and `x op ALL (set)`.
fn decided_by_extremes(compared: SetComparison) -> Result<Expr> {
    let SetComparison {
        expr: x,
        subquery: set,
        op,
        quantifier,
    } = compared;
    let any = matches!(quantifier, SetQuantifier::Any);
    if let (Operator::Eq, true) | (Operator::NotEq, false) = (op, any) {
        return is_in_set(InSubquery::new(x, set, !any));
    }
    if is_comparison(op)
        && let Some((row, kept)) = only_row(&set)?
    {
        return Ok(one_row::compared(&x, op, row, any, kept));
    }
    check_size(&set)?;
    // Neither the extremes nor whether there is a row, or a null, depend on it.
    let rows = match &*set.subquery {
        LogicalPlan::Distinct(Distinct::All(input)) => input.clone(),
        _ => set.subquery.clone(),
    };
    let rows = match with_named_casts(&rows)? {
        Some(named) => Arc::new(named),
        None => rows,
    };
    let columns = rows.schema().columns();
    let [value] = columns.as_slice() else {
        // The engine says what is wrong.
        let compared = SetComparison::new(x, set, op, quantifier);
        return Ok(Expr::SetComparison(compared));
    };
    let value = || Expr::Column(value.clone());
    let of = |aggregate: Expr| of_all_rows(rows.as_ref().clone(), aggregate);
    let compare = |op, with: Expr| Expr::BinaryExpr(BinaryExpr::new(x.clone(), op, Box::new(with)));
    // What decides for all values, or for one: the extreme that is hardest to meet, or easiest.
    let decides = match op {
        Operator::Eq | Operator::NotEq => {
            let (least, most) = (of(min(value()))?, of(max(value()))?);
            compare(Operator::NotEq, least).or(compare(Operator::NotEq, most))
        }
        _ if is_comparison(op) => {
            let greatest = matches!(op, Operator::Gt | Operator::GtEq) != any;
            let extreme = if greatest { max(value()) } else { min(value()) };
            one_row::negated_if(!any, compare(op, of(extreme)?))
        }
        other => {
            let word = if any { "ANY" } else { "ALL" };
            return Err(external(Fault::invalid(
                "invalid_query",
                format!("{word} takes =, <>, <, <=, > or >=, operator={other}"),
            )));
        }
    };
    let count_of_rows = of(count(lit(1_i64)))?;
    let none = count_of_rows.clone().eq(lit(0_i64));
    let unknown = (*x).clone().is_null();
    let unknown = unknown.or(of(count(value()))?.lt(count_of_rows));
    Ok(cases(
        [
            (none, lit(!any)),
            (decides, lit(any)),
            (unknown, lit(ScalarValue::Boolean(None))),
        ],
        lit(!any),
    ))
}

fn is_comparison(op: Operator) -> bool {
    matches!(
        op,
        Operator::Eq
            | Operator::NotEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::Lt
            | Operator::LtEq
    )
}

fn cases(cases: impl IntoIterator<Item = (Expr, Expr)>, otherwise: Expr) -> Expr {
    let cases = cases.into_iter();
    let cases = cases.map(|(when, then)| (Box::new(when), Box::new(then)));
    Expr::Case(Case::new(None, cases.collect(), Some(Box::new(otherwise))))
}

/// What stands alone is a join that knows of nulls: on one key, which has to be a column of the rows that are asked.
fn is_anti_join(within: &InSubquery, negated: bool) -> bool {
    let is_key = matches!(*within.expr, Expr::Column(_));
    !negated || (is_key && within.subquery.outer_ref_columns.is_empty())
}

/// A condition, or what it is made of.
fn told_apart(expr: Expr, schema: &DFSchema, as_value: bool) -> Result<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right })
            if !as_value && matches!(op, Operator::And | Operator::Or) =>
        {
            let left = told_apart(*left, schema, false)?;
            let right = told_apart(*right, schema, false)?;
            let both = BinaryExpr::new(Box::new(left), op, Box::new(right));
            Ok(Expr::BinaryExpr(both))
        }
        // Unknown and false do the same.
        Expr::InSubquery(within) if !as_value && !within.negated => Ok(Expr::InSubquery(within)),
        other => {
            let done = other.transform_up(|expr| match expr {
                Expr::InSubquery(within) => is_in(within, schema, as_value),
                Expr::Exists(found) if as_value => {
                    let some = counted(&found.subquery.subquery)?.gt(lit(0_i64));
                    Ok(Transformed::yes(one_row::negated_if(found.negated, some)))
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(done.data)
        }
    }
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
    let unknown = || lit(ScalarValue::Boolean(None));
    let mut told = vec![(found, lit(!within.negated))];
    if within.expr.nullable(schema)? {
        let any = some(set.subquery.as_ref().clone())?;
        told.push(((*within.expr).clone().is_null().and(any), unknown()));
    }
    if value.nullable(set.subquery.schema())? {
        let nulls = LogicalPlanBuilder::new_from_arc(set.subquery.clone());
        let nulls = nulls.filter(value.is_null())?.build()?;
        told.push((some(nulls)?, unknown()));
    }
    Ok(Transformed::yes(cases(told, lit(within.negated))))
}
