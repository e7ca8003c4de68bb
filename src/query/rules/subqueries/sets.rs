//! What `IN`, `ANY`, `ALL` and `EXISTS` come to: true, false or unknown.
//!
//! `x > ALL (SELECT ..)` and `x > ANY (SELECT ..)`: the extremes of the values decide, with their count and that of the nulls.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::expr::{InSubquery, SetComparison, SetQuantifier};
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    BinaryExpr, Case, Distinct, Expr, ExprSchemable, Limit, LogicalPlan, LogicalPlanBuilder,
    Operator, Subquery, cast, exists, lit, scalar_subquery,
};

use super::keys::with_named_casts;
use super::{all_columns, one_row};
use crate::fault::{Fault, Kind};
use crate::query::arithmetic::{max, min};
use crate::query::errors::external;
use crate::query::rules::common_type_of::compared_type;

/// The column of a set that is compared with. No table's column can have the name.
const VALUE: &str = "deltaplane.value";

/// What the rows of VALUES are called.
const VALUES: &str = "deltaplane.values";

/// What is computed of all rows of a set.
const OF_ALL: &str = "deltaplane.of_all";

/// What a row has to meet.
pub(super) fn as_condition(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let each = plain(expr)?;
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
pub(super) fn as_value(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    told_apart(plain(expr)?, schema, true)
}

/// Without `ANY` and `ALL`, and without sets of one row.
fn plain(expr: Expr) -> Result<Expr> {
    let done = expr.transform_up(|expr| match expr {
        Expr::SetComparison(compared) => decided_by_extremes(compared).map(Transformed::yes),
        Expr::InSubquery(within) => is_in_set(within).map(Transformed::yes),
        Expr::Exists(found) => {
            let one = one_row::exists(&found)?;
            Ok(one.map_or_else(|| Transformed::no(Expr::Exists(found)), Transformed::yes))
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
    let one = one_row::is_in(&within)?;
    Ok(one.unwrap_or(Expr::InSubquery(within)))
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
        && let Some(one) = one_row::compared(&x, op, &set, any)?
    {
        return Ok(one);
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
    !negated
        || (within.subquery.outer_ref_columns.is_empty() && !within.expr.column_refs().is_empty())
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
    of_all_rows(without_limit(plan).clone(), count(lit(1_i64)))
}

/// `(SELECT aggregate FROM plan)`. The rows around may have the same aggregate of their own, so it has another name.
fn of_all_rows(plan: LogicalPlan, aggregate: Expr) -> Result<Expr> {
    let name = aggregate.schema_name().to_string();
    let plan = LogicalPlanBuilder::from(plan)
        .aggregate(Vec::<Expr>::new(), [aggregate])?
        .project([Expr::Column(Column::from_name(name)).alias(OF_ALL)])?
        .build()?;
    Ok(scalar_subquery(Arc::new(plan)))
}

/// The plan below the limits that matter to nobody who asks whether there is a row. They keep a subquery from being planned as a join.
fn without_limit(plan: &LogicalPlan) -> &LogicalPlan {
    match plan {
        LogicalPlan::Limit(limit) if leaves_a_row(limit) => without_limit(&limit.input),
        other => other,
    }
}

/// Does a limit leave a row where there is one?
pub(super) fn leaves_a_row(limit: &Limit) -> bool {
    let whole = |expr: &Expr| match expr {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => Some(*n),
        _ => None,
    };
    let skips = limit.skip.as_deref().is_some_and(|n| whole(n) != Some(0));
    let fetches = limit.fetch.as_deref().is_none_or(|n| whole(n) > Some(0));
    !skips && fetches
}
