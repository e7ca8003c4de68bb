//! Subqueries in the ON of a join: DataFusion plans them in some inner joins, with other rows where a null is met, and in no outer one.
//!
//! - Of an inner join such a condition stands below it, if it is about one side, and else above it. So does one that names columns of the
//!   query around it.
//! - Of an outer join it stands below, if it is about the side that is filled with nulls alone. Else its subqueries are columns of
//!   the side whose columns they name. A condition whose subquery names both sides is computed of pairs of rows.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue};
use datafusion::functions_window::row_number::row_number;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, Filter, Join, LogicalPlan, LogicalPlanBuilder, Subquery, SubqueryAlias,
    lit, when,
};

use super::columns::Columns;
use super::expressions::{contains, is_of_the_rows};
use super::projections::{all_columns, with_columns, with_more};
use super::values::{computed_below, condition};
use crate::fault::{Fault, Kind};
use crate::query::errors::external;

// No table's column can have these names.
const LEFT_ROW: &str = "deltaplane.left_row";
const THERE: &str = "deltaplane.there";
const HOLDS: &str = "deltaplane.holds";
const NUMBER: &str = "deltaplane.number";

/// Whether what has it has to leave an inner join.
pub(super) fn goes_out(expr: &Expr) -> bool {
    is_of_the_rows(expr) || matches!(expr, Expr::OuterReferenceColumn(..))
}

pub(super) fn conditions_out(join: Join) -> Result<Transformed<LogicalPlan>> {
    let which = match join.join_type {
        JoinType::Inner => goes_out,
        _ => is_of_the_rows,
    };
    let conditions = join.filter.clone().map(split_conjunction_owned);
    let (asking, plain): (Vec<Expr>, Vec<Expr>) = conditions
        .unwrap_or_default()
        .into_iter()
        .partition(|each| contains(each, which));
    if asking.is_empty() {
        return Ok(Transformed::no(LogicalPlan::Join(join)));
    }
    let made = match join.join_type {
        JoinType::Inner => inner(join, asking, plain)?,
        JoinType::Left | JoinType::Right | JoinType::Full => outer(join, asking, plain)?,
        // Nobody writes one of the others.
        _ => return Ok(Transformed::no(LogicalPlan::Join(join))),
    };
    Ok(Transformed::yes(made))
}

/// What is done to a side of a join. A LATERAL one stays what it is: it is done within.
fn within(
    side: Arc<LogicalPlan>,
    done: impl FnOnce(Arc<LogicalPlan>) -> Result<Arc<LogicalPlan>>,
) -> Result<Arc<LogicalPlan>> {
    match side.as_ref() {
        LogicalPlan::Subquery(subquery) => {
            let plan = done(subquery.subquery.clone())?;
            Ok(Arc::new(LogicalPlan::Subquery(subquery.with_plan(plan))))
        }
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, alias, .. }) => {
            let LogicalPlan::Subquery(subquery) = input.as_ref() else {
                return done(side);
            };
            let named = |plan| -> Result<Arc<LogicalPlan>> {
                let named = SubqueryAlias::try_new(plan, alias.clone())?;
                Ok(Arc::new(LogicalPlan::SubqueryAlias(named)))
            };
            let plan = done(named(subquery.subquery.clone())?)?;
            named(Arc::new(LogicalPlan::Subquery(subquery.with_plan(plan))))
        }
        _ => done(side),
    }
}

fn inner(mut join: Join, asking: Vec<Expr>, plain: Vec<Expr>) -> Result<LogicalPlan> {
    let (mut of_left, mut of_right, mut above) = (Vec::new(), Vec::new(), Vec::new());
    for each in asking {
        let reads = Reads::of(&each, &join)?;
        match (reads.left, reads.right, each.contains_outer()) {
            (true, false, false) => of_left.push(each),
            (false, true, false) => of_right.push(each),
            _ => above.push(each),
        }
    }
    join.left = only(join.left, of_left)?;
    join.right = only(join.right, of_right)?;
    let join = Arc::new(LogicalPlan::Join(with_filter(join, plain)?));
    Ok(Arc::unwrap_or_clone(only(join, above)?))
}

fn with_filter(join: Join, conditions: Vec<Expr>) -> Result<Join> {
    Join::try_new(
        join.left,
        join.right,
        join.on,
        conjunction(conditions),
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )
}

/// Whose columns an expression reads.
#[derive(Clone, Copy, Default)]
struct Reads {
    left: bool,
    right: bool,
}

impl Reads {
    /// Those that its subqueries name included.
    fn of(expr: &Expr, join: &Join) -> Result<Reads> {
        let mut reads = Reads::default();
        expr.apply(|expr| {
            match expr {
                Expr::Column(column) => reads.add(column, join),
                Expr::ScalarSubquery(set) => reads.add_subquery(set, join)?,
                Expr::InSubquery(within) => reads.add_subquery(&within.subquery, join)?,
                Expr::Exists(found) => reads.add_subquery(&found.subquery, join)?,
                Expr::SetComparison(compared) => reads.add_subquery(&compared.subquery, join)?,
                _ => {}
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(reads)
    }

    fn add(&mut self, column: &Column, join: &Join) {
        let has = |schema: &DFSchema| schema.has_column(column);
        self.left |= has(join.left.schema());
        self.right |= has(join.right.schema());
    }

    fn add_subquery(&mut self, subquery: &Subquery, join: &Join) -> Result<()> {
        subquery.subquery.apply_with_subqueries(|node| {
            node.apply_expressions(|expr| {
                expr.apply(|expr| {
                    if let Expr::OuterReferenceColumn(_, column) = expr {
                        self.add(column, join);
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
        })?;
        Ok(())
    }

    fn both(self) -> bool {
        self.left && self.right
    }
}

fn outer(mut join: Join, asking: Vec<Expr>, mut plain: Vec<Expr>) -> Result<LogicalPlan> {
    let columns = join.schema.columns();
    let (fills_left, fills_right) = match join.join_type {
        JoinType::Left => (false, true),
        JoinType::Right => (true, false),
        _ => (false, false),
    };
    let (mut of_left, mut of_right, mut of_pairs) = (Vec::new(), Vec::new(), Vec::new());
    let mut values = Vec::new();
    for each in asking {
        let reads = Reads::of(&each, &join)?;
        if fills_right && !reads.left {
            of_right.push(each);
        } else if fills_left && !reads.right {
            of_left.push(each);
        } else if any_of_both(&each, &join)? {
            of_pairs.push(each);
        } else {
            values.push(each);
        }
    }
    join.left = only(join.left, of_left)?;
    join.right = only(join.right, of_right)?;
    if !of_pairs.is_empty() {
        plain.extend(values);
        return of_each_pair(join, of_pairs, plain);
    }
    let (mut left, mut right) = (Columns::of("left."), Columns::of("right."));
    for each in values {
        let done = each.transform_down(|expr| {
            if !is_of_the_rows(&expr) {
                return Ok(Transformed::no(expr));
            }
            let side = match Reads::of(&expr, &join)?.right {
                true => &mut right,
                false => &mut left,
            };
            let column = side.column(expr);
            Ok(Transformed::new(column, true, TreeNodeRecursion::Jump))
        })?;
        plain.push(done.data);
    }
    join.left = computed_below(left, join.left)?;
    join.right = within(join.right, |side| computed_below(right, side))?;
    with_columns(LogicalPlan::Join(with_filter(join, plain)?), columns)
}

/// The rows that meet the conditions.
fn only(side: Arc<LogicalPlan>, conditions: Vec<Expr>) -> Result<Arc<LogicalPlan>> {
    match conjunction(conditions) {
        Some(all) => within(side, |side| {
            Ok(Arc::new(condition(Filter::try_new(all, side)?)?))
        }),
        None => Ok(side),
    }
}

/// Does one of its subqueries read both sides?
fn any_of_both(expr: &Expr, join: &Join) -> Result<bool> {
    let mut any = false;
    expr.apply(|expr| {
        if !is_of_the_rows(expr) {
            return Ok(TreeNodeRecursion::Continue);
        }
        any |= Reads::of(expr, join)?.both();
        Ok(TreeNodeRecursion::Jump)
    })?;
    Ok(any)
}

/// Pairs that meet the plain conditions, and of these the ones that meet the others. A row of the side that is kept stands once with nulls
/// if none of its pairs does.
fn of_each_pair(join: Join, asking: Vec<Expr>, plain: Vec<Expr>) -> Result<LogicalPlan> {
    let schema = join.schema.clone();
    let left_is_kept = match join.join_type {
        JoinType::Left => true,
        JoinType::Right => false,
        _ => {
            return Err(external(Fault::new(
                Kind::Unimplemented,
                "not_implemented",
                "a subquery in the ON of a FULL JOIN names columns of both sides, which is not supported; write it as a LEFT JOIN, and UNION ALL the rows of the right side for which NOT EXISTS finds none on the left",
            )));
        }
    };
    let named = |name: &str| Expr::Column(Column::from_name(name));
    let numbered = |side: Arc<LogicalPlan>| {
        let columns = all_columns(&side);
        let number = row_number();
        let name = number.schema_name().to_string();
        let number = Expr::Column(Column::from_name(name)).alias(LEFT_ROW);
        let columns: Vec<Expr> = columns.into_iter().chain([number]).collect();
        LogicalPlanBuilder::new_from_arc(side)
            .window([row_number()])?
            .project(columns)?
            .build()
    };
    let there = |side| {
        let with_there = |side| with_more(side, vec![lit(true).alias(THERE)]).map(Arc::new);
        within(side, with_there).map(Arc::unwrap_or_clone)
    };
    let kept = if left_is_kept {
        &join.left
    } else {
        &join.right
    };
    let kept_schema = kept.schema().clone();
    let (left, right) = match left_is_kept {
        true => (numbered(join.left.clone())?, there(join.right.clone())?),
        false => (there(join.left.clone())?, numbered(join.right.clone())?),
    };
    let pairs = Join {
        left: Arc::new(left),
        right: Arc::new(right),
        ..join
    };
    // A plain condition may ask a subquery of one side.
    let pairs = conditions_out(with_filter(pairs, plain)?)?.data;
    let all = conjunction(asking).unwrap_or_else(|| lit(true));
    let holds = named(THERE).is_true().and(all.is_true());
    let mut value = Columns::default();
    let holds = value.instead(holds)?;
    let pairs = with_more(
        computed_below(value, Arc::new(pairs))?,
        vec![holds.alias(HOLDS)],
    )?;
    let number = row_number()
        .partition_by(vec![named(LEFT_ROW)])
        .order_by(vec![named(HOLDS).sort(false, false)])
        .build()?;
    let name = number.schema_name().to_string();
    let columns = all_columns(&pairs)
        .into_iter()
        .chain([named(&name).alias(NUMBER)]);
    let columns: Vec<Expr> = columns.collect();
    let results = schema.iter().map(|(relation, field)| {
        let column = Column::new(relation.cloned(), field.name());
        if kept_schema.has_column(&column) {
            return Ok(Expr::Column(column));
        }
        let none = lit(ScalarValue::try_from(field.data_type())?);
        let value = when(named(HOLDS), Expr::Column(column)).otherwise(none)?;
        Ok(value.alias_qualified(relation.cloned(), field.name()))
    });
    let results = results.collect::<Result<Vec<_>>>()?;
    LogicalPlanBuilder::from(pairs)
        .window([number])?
        .project(columns)?
        .filter(named(HOLDS).or(named(NUMBER).eq(lit(1_u64))))?
        .project(results)?
        .build()
}
