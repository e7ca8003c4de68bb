//! Plans over the rows of a set: those that equal a value, their count, and what is computed of all of them.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ExprSchema, Result, ScalarValue};
use datafusion::functions_aggregate::count::count;
use datafusion::logical_expr::type_coercion::binary::comparison_coercion;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Limit, LogicalPlan, LogicalPlanBuilder, Subquery, cast, lit,
    scalar_subquery,
};

use crate::fault::{Fault, Kind};
use crate::query::errors::external;
use crate::query::rules::common_type_of::compared_type;
use crate::query::rules::kinds::{check_kinds, shown};

/// The column of a set that is compared with. No table's column can have the name.
const VALUE: &str = "deltaplane.value";

/// What is computed of all rows of a set.
const OF_ALL: &str = "deltaplane.of_all";

/// Nodes of a set's plan up to which it may stand in a statement several times: sets within sets multiply.
const NODES_MAX: usize = 2000;

pub(super) fn check_size(set: &Subquery) -> Result<()> {
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

/// The rows of a set whose value equals an expression of the rows around it. The value has a name of its own: decorrelation tells
/// the columns of both by their names, and both may be of one table.
pub(super) fn equal(
    set: &Subquery,
    value: &Expr,
    to: &Expr,
    schema: &DFSchema,
) -> Result<LogicalPlan> {
    let outer = to.clone().transform_up(|expr| match expr {
        Expr::Column(column) => {
            let field = schema.field_from_column(&column)?.clone();
            let outer = Expr::OuterReferenceColumn(field, column);
            Ok(Transformed::yes(outer))
        }
        other => Ok(Transformed::no(other)),
    })?;
    let types = [value.get_type(set.subquery.schema())?, to.get_type(schema)?];
    let sides = [value, to];
    check_kinds(&types, |n| shown(sides.get(n).copied()))?;
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
pub(super) fn counted(plan: &LogicalPlan) -> Result<Expr> {
    of_all_rows(without_limit(plan).clone(), count(lit(1_i64)))
}

/// `(SELECT aggregate FROM plan)`. The rows around may have the same aggregate of their own, so it has another name.
pub(super) fn of_all_rows(plan: LogicalPlan, aggregate: Expr) -> Result<Expr> {
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
