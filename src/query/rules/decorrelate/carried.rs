//! A correlated subquery as a plan that reads no row around it: its rows carry the values that they are there for.
//!
//! Where all that it says of the rows around are equalities, `WHERE s.id = l.id`, its own columns tell the values. Else its tables are
//! joined with the distinct values of the rows around, which is also what an aggregate of no rows needs: it has a row for each of them.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ExprSchema, JoinType, Result, ScalarValue};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Operator,
};

use super::carry::{Carrier, Source};
use super::names::Names;
use super::null_equality::same;
use super::shape::{read_for_each_row, reads_around};
use crate::fault::{Fault, Kind};
use crate::query::errors::external;
use crate::query::functions::another;

/// A subquery's rows, and how they belong to those around it.
pub(super) struct Carried {
    /// The subquery's columns, and behind them those that it carries.
    pub(super) plan: LogicalPlan,
    /// Of the rows around, and of the plan: equal where a row is there for a row around.
    pub(super) pairs: Vec<(Expr, Expr)>,
    /// The columns that it carries.
    pub(super) keys: Vec<Expr>,
}

impl Carried {
    /// None: there is a node within that can't be carried through.
    pub(super) fn of(
        subquery: &LogicalPlan,
        around: &Arc<LogicalPlan>,
        names: &mut Names,
    ) -> Result<Option<Carried>> {
        let Some(outer) = columns_around(subquery, around)? else {
            return Ok(None);
        };
        if let Some((of_around, own)) = equalities(subquery) {
            let mut carrier = Carrier {
                keys: own.iter().map(|_| names.next("own")).collect(),
                source: Source::Own(own),
                names,
            };
            if let Some(plan) = carrier.through(subquery)? {
                let keys = carrier.columns();
                return Ok(Some(Carried {
                    plan,
                    pairs: of_around.into_iter().zip(keys.clone()).collect(),
                    keys,
                }));
            }
        }
        let (source, columns) = source_of(around, outer.clone());
        if !is_the_same_again(source)? {
            return Ok(None);
        }
        let keys: Vec<String> = outer.iter().map(|_| names.next("around")).collect();
        let values: Vec<Expr> = outer.iter().cloned().map(Expr::Column).collect();
        let named = columns.into_iter().map(Expr::Column).zip(&keys);
        let named = named.map(|(column, name)| column.alias(name));
        // That each of them is there once is not for the optimizer to know: above a join and a GROUP BY of more columns it would still take
        // them for a key (`aggregate_functional_dependencies`), and leave out columns of the group and a DISTINCT.
        let hidden = keys.iter().map(|key| {
            let column = Expr::Column(Column::from_name(key));
            another().call(vec![column]).alias(key)
        });
        let distinct = LogicalPlanBuilder::from(source.clone())
            .project(named.collect::<Vec<_>>())?
            .distinct()?
            .project(hidden)?
            .build()?;
        let mut nulls = Vec::new();
        for column in &outer {
            let field = around.schema().field_from_column(column)?;
            let Ok(none) = ScalarValue::new_default(field.data_type()) else {
                return Ok(None);
            };
            nulls.push(field.is_nullable().then_some(none));
        }
        let mut carrier = Carrier {
            keys,
            source: Source::Around {
                distinct: Arc::new(distinct),
                columns: outer,
                nulls: nulls.clone(),
            },
            names,
        };
        let plan = carrier.through(subquery)?;
        let keys = carrier.columns();
        let pairs = values.into_iter().zip(keys.clone()).zip(nulls);
        let pairs = pairs.map(|((value, key), null)| same(value, key, null.as_ref()));
        let pairs = pairs.collect::<Result<Vec<_>>>()?;
        Ok(plan.map(|plan| Carried {
            plan,
            pairs: pairs.concat(),
            keys,
        }))
    }
}

/// The columns of the rows around that a subquery reads. None: it reads some of a query further out.
fn columns_around(subquery: &LogicalPlan, around: &LogicalPlan) -> Result<Option<Vec<Column>>> {
    let mut columns = Vec::new();
    for expr in subquery.all_out_ref_exprs() {
        let Expr::OuterReferenceColumn(_, column) = expr else {
            continue;
        };
        if !around.schema().has_column(&column) {
            return Ok(None);
        }
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    // Within the subqueries of the subquery.
    let mut own = true;
    subquery.apply(|node| {
        let inputs = node.inputs();
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                let inner = match expr {
                    Expr::ScalarSubquery(inner) => inner,
                    Expr::Exists(found) => &found.subquery,
                    Expr::InSubquery(within) => &within.subquery,
                    Expr::SetComparison(compared) => &compared.subquery,
                    _ => return Ok(TreeNodeRecursion::Continue),
                };
                for read in inner.subquery.all_out_ref_exprs() {
                    if let Expr::OuterReferenceColumn(_, column) = read {
                        own &= inputs.iter().any(|plan| plan.schema().has_column(&column));
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok((own && !columns.is_empty()).then_some(columns))
}

/// What the rows around are compared with, if that is all that is said of them, at one place: expressions over the rows around, and over the
/// input of the condition.
fn equalities(subquery: &LogicalPlan) -> Option<(Vec<Expr>, Vec<Expr>)> {
    let mut found = None;
    let mut places = 0;
    let walked = subquery.apply(|node| {
        if reads_around(node) {
            places += 1;
            if let LogicalPlan::Filter(filter) = node {
                found = equalities_of(filter);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    walked.ok()?;
    if places == 1 { found } else { None }
}

fn equalities_of(filter: &Filter) -> Option<(Vec<Expr>, Vec<Expr>)> {
    let (mut around, mut own) = (Vec::new(), Vec::new());
    for condition in split_conjunction(&filter.predicate) {
        if !condition.contains_outer() {
            continue;
        }
        let Expr::BinaryExpr(BinaryExpr {
            left,
            op: Operator::Eq,
            right,
        }) = condition
        else {
            return None;
        };
        let (of_around, of_own) = match left.contains_outer() {
            true => (left, right),
            false => (right, left),
        };
        let plain = |expr: &Expr| !expr.is_volatile() && !expr.exists(asks).unwrap_or(true);
        if of_own.contains_outer()
            || of_own.column_refs().is_empty()
            || !of_around.column_refs().is_empty()
            || !plain(of_own)
            || !plain(of_around)
        {
            return None;
        }
        let over_around = of_around.as_ref().clone().transform_up(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => Ok(Transformed::yes(Expr::Column(column))),
            other => Ok(Transformed::no(other)),
        });
        around.push(over_around.ok()?.data);
        own.push(of_own.as_ref().clone());
    }
    Some((around, own))
}

fn asks(expr: &Expr) -> Result<bool> {
    Ok(matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
    ))
}

/// What has all values of some columns of the rows around, and may have more, and the columns in it: without what stands beside them.
fn source_of(around: &LogicalPlan, columns: Vec<Column>) -> (&LogicalPlan, Vec<Column>) {
    let schema = around.schema();
    let places = columns.iter().map(|c| schema.maybe_index_of_column(c));
    let Some(places) = places.collect::<Option<Vec<usize>>>() else {
        return (around, columns);
    };
    let of_input = |input: &LogicalPlan, before: usize| {
        let all = input.schema().columns();
        let places = places.iter().map(|at| at.checked_sub(before));
        let found = places.map(|at| all.get(at?).cloned());
        found.collect::<Option<Vec<Column>>>()
    };
    let below = match around {
        LogicalPlan::Projection(projection) => {
            let found = places.iter().map(|at| match projection.expr.get(*at) {
                Some(Expr::Column(column)) => Some(column.clone()),
                Some(Expr::Alias(alias)) => alias.expr.try_as_col().cloned(),
                _ => None,
            });
            let found = found.collect::<Option<Vec<Column>>>();
            found.map(|found| (&projection.input, found))
        }
        LogicalPlan::SubqueryAlias(alias) => {
            of_input(&alias.input, 0).map(|found| (&alias.input, found))
        }
        LogicalPlan::Window(window) => {
            of_input(&window.input, 0).map(|found| (&window.input, found))
        }
        LogicalPlan::Sort(sort) => Some((&sort.input, columns.clone())),
        LogicalPlan::Limit(limit) => Some((&limit.input, columns.clone())),
        LogicalPlan::Join(join) => {
            let before = join.left.schema().fields().len();
            let left = matches!(join.join_type, JoinType::Inner | JoinType::Left);
            let right = matches!(join.join_type, JoinType::Inner | JoinType::Right);
            let of_left = of_input(&join.left, 0).map(|found| (&join.left, found));
            let of_right = of_input(&join.right, before).map(|found| (&join.right, found));
            let right = right && read_for_each_row(&join.right).is_none();
            of_left.filter(|_| left).or(of_right.filter(|_| right))
        }
        _ => None,
    };
    match below {
        Some((input, found)) => source_of(input, found),
        None => (around, columns),
    }
}

/// Nodes of a plan up to which it may stand in a statement twice: each subquery behind another one would double it.
const NODES_MAX: usize = 1000;

/// Does a plan give the same rows when it is run a second time? A LIMIT may choose others, and a sum of floats may have another last digit.
fn is_the_same_again(plan: &LogicalPlan) -> Result<bool> {
    let mut same = true;
    let mut nodes = 0_usize;
    plan.apply_with_subqueries(|node| {
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(external(Fault::new(
                Kind::Exhausted,
                "statement_too_large",
                "too many subqueries behind each other read columns of the rows around them by conditions that are no equalities; use joins",
            )));
        }
        same &= match node {
            LogicalPlan::Limit(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::RecursiveQuery(_)
            | LogicalPlan::Extension(_)
            | LogicalPlan::Distinct(Distinct::On(_)) => false,
            LogicalPlan::Aggregate(aggregate) => {
                let fields = aggregate.schema.fields().iter().rev();
                let mut values = aggregate.aggr_expr.iter().rev().zip(fields);
                values.all(|(value, field)| is_exact(value, field.data_type()))
            }
            _ => true,
        };
        same &= !node.expressions().iter().any(Expr::is_volatile);
        Ok(match same {
            true => TreeNodeRecursion::Continue,
            false => TreeNodeRecursion::Stop,
        })
    })?;
    Ok(same)
}

fn is_exact(aggregate: &Expr, data_type: &DataType) -> bool {
    match aggregate {
        Expr::Alias(alias) => is_exact(&alias.expr, data_type),
        Expr::AggregateFunction(call) => match call.func.name() {
            "count" | "min" | "max" => true,
            "sum" => !data_type.is_floating(),
            _ => false,
        },
        _ => false,
    }
}
