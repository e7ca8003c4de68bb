//! Intervals, and differences of times, in one order: a day is 24 hours and a month 30 days, as in PostgreSQL and DuckDB.
//!
//! Arrow orders intervals by their months, then days, then nanoseconds, so that 48 hours are below one day. A difference of times, which is
//! a duration, is brought to an interval by DataFusion before it meets one: all of it nanoseconds, and an error above 292 years. Here, before
//! that coercion, each of them is compared by its length in nanoseconds. Durations among themselves stay as they are.

mod functions;
mod keys;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result, ScalarValue, Spans};
use datafusion::logical_expr::expr::{InList, InSubquery, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Between, BinaryExpr, Case, Expr, ExprSchemable, Join, JoinConstraint, LogicalPlan, Operator,
    Projection, Subquery, cast, lit, when,
};
use datafusion::optimizer::AnalyzerRule;

use self::functions::{INTERVAL, extreme, length};

const COMPARISONS: [Operator; 8] = [
    Operator::Eq,
    Operator::NotEq,
    Operator::Lt,
    Operator::LtEq,
    Operator::Gt,
    Operator::GtEq,
    Operator::IsDistinctFrom,
    Operator::IsNotDistinctFrom,
];

#[derive(Debug)]
pub(super) struct IntervalOrder;

impl AnalyzerRule for IntervalOrder {
    fn name(&self) -> &str {
        "interval_order"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(node)?;
        Ok(plan.data)
    }
}

fn node(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = merge_schema(&plan.inputs());
    let by_length = ByLength { schema: &schema };
    let names = NamePreserver::new(&plan);
    let done = plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| by_length.rewritten(expr))?;
        Ok(match expr.transformed {
            true => expr.update_data(|expr| name.restore(expr)),
            false => expr,
        })
    })?;
    let mut changed = done.transformed;
    // Also when nothing changed in it: what is below may have other types now.
    let plan = done.data.recompute_schema()?;
    let (plan, keyed) = match plan {
        LogicalPlan::Sort(mut sort) => {
            let keyed = keys::all_by_length(&mut sort.expr, &schema);
            (LogicalPlan::Sort(sort), keyed)
        }
        LogicalPlan::Join(join) => joined(join),
        LogicalPlan::Aggregate(aggregate) => keys::grouped(aggregate)?,
        LogicalPlan::Distinct(distinct) => keys::distinct(distinct)?,
        other => (other, false),
    };
    changed |= keyed;
    Ok(Transformed::new_transformed(plan, changed))
}

/// The keys of `USING`, `INTERSECT` and `EXCEPT`.
fn joined(mut join: Join) -> (LogicalPlan, bool) {
    let mut changed = false;
    for (left, right) in &mut join.on {
        let types = (
            left.get_type(join.left.schema()),
            right.get_type(join.right.schema()),
        );
        if let (Ok(of_left), Ok(of_right)) = types
            && differ_from_arrow([&of_left, &of_right])
        {
            *left = length(left.clone(), &of_left);
            *right = length(right.clone(), &of_right);
            changed = true;
        }
    }
    // The keys of a USING are columns.
    if changed {
        join.join_constraint = JoinConstraint::On;
    }
    (LogicalPlan::Join(join), changed)
}

/// Intervals, durations of several units, or both, and nothing but these and nulls.
fn differ_from_arrow<'t>(types: impl IntoIterator<Item = &'t DataType>) -> bool {
    let mut found = false;
    let mut unit = None;
    for type_ in types {
        match type_ {
            DataType::Interval(_) => found = true,
            DataType::Duration(of) => found |= unit.replace(of).is_some_and(|other| other != of),
            DataType::Null => {}
            _ => return false,
        }
    }
    found
}

struct ByLength<'a> {
    schema: &'a DFSchema,
}

impl ByLength<'_> {
    /// The types of what is compared, if lengths are to be. A text that is written there, or bound, counts as an interval, also beside a
    /// duration.
    fn types<'e>(&self, exprs: impl IntoIterator<Item = &'e Expr>) -> Option<Vec<DataType>> {
        let mut types = Vec::new();
        let mut meant = Vec::new();
        let mut spans = false;
        for expr in exprs {
            let type_ = expr.get_type(self.schema).ok()?;
            spans |= matches!(type_, DataType::Interval(_) | DataType::Duration(_));
            let text =
                type_.is_string() && matches!(expr, Expr::Literal(..) | Expr::Placeholder(_));
            meant.push(if text { INTERVAL } else { type_.clone() });
            types.push(type_);
        }
        (spans && differ_from_arrow(&meant)).then_some(types)
    }

    fn rewritten(&self, expr: Expr) -> Result<Transformed<Expr>> {
        Ok(match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) if COMPARISONS.contains(&op) => {
                let Some(types) = self.types([&*left, &*right]) else {
                    let same = BinaryExpr::new(left, op, right);
                    return Ok(Transformed::no(Expr::BinaryExpr(same)));
                };
                let left = Box::new(length(*left, &types[0]));
                let right = Box::new(length(*right, &types[1]));
                Transformed::yes(Expr::BinaryExpr(BinaryExpr::new(left, op, right)))
            }
            Expr::Between(between) => self.between(between),
            Expr::InList(list) => self.in_list(list),
            Expr::InSubquery(within) => self.in_subquery(within)?,
            Expr::SetComparison(mut comparison) => {
                match self.types_of_rows(&comparison.expr, &comparison.subquery) {
                    Some([of_expr, of_rows]) => {
                        comparison.expr = Box::new(length(*comparison.expr, &of_expr));
                        comparison.subquery = lengths_of(comparison.subquery, &of_rows)?;
                        Transformed::yes(Expr::SetComparison(comparison))
                    }
                    None => Transformed::no(Expr::SetComparison(comparison)),
                }
            }
            Expr::Case(case) => self.case(case),
            Expr::ScalarFunction(call) => self.choosing(call)?,
            Expr::AggregateFunction(call) => {
                let (expr, changed) = keys::aggregate(call, self.schema);
                Transformed::new_transformed(expr, changed)
            }
            Expr::WindowFunction(mut call) => {
                let changed = keys::window(&mut call, self.schema);
                Transformed::new_transformed(Expr::WindowFunction(call), changed)
            }
            other => Transformed::no(other),
        })
    }

    fn between(&self, mut between: Between) -> Transformed<Expr> {
        let types = self.types([&*between.expr, &*between.low, &*between.high]);
        let changed = types.is_some();
        if let Some(types) = types {
            let parts = [&mut between.expr, &mut between.low, &mut between.high];
            for (part, type_) in parts.into_iter().zip(&types) {
                **part = length((**part).clone(), type_);
            }
        }
        Transformed::new_transformed(Expr::Between(between), changed)
    }

    fn in_list(&self, mut list: InList) -> Transformed<Expr> {
        let types = self.types(std::iter::once(&*list.expr).chain(&list.list));
        let changed = types.is_some();
        if let Some(types) = types {
            let parts = std::iter::once(&mut *list.expr).chain(&mut list.list);
            for (part, type_) in parts.zip(&types) {
                *part = length(part.clone(), type_);
            }
        }
        Transformed::new_transformed(Expr::InList(list), changed)
    }

    /// `CASE x WHEN a THEN ..`
    fn case(&self, mut case: Case) -> Transformed<Expr> {
        let Some(base) = &mut case.expr else {
            return Transformed::no(Expr::Case(case));
        };
        let whens = case.when_then_expr.iter().map(|(when, _)| &**when);
        let types = self.types(std::iter::once(&**base).chain(whens));
        let changed = types.is_some();
        if let Some(types) = types {
            let whens = case.when_then_expr.iter_mut().map(|(when, _)| &mut **when);
            for (part, type_) in std::iter::once(&mut **base).chain(whens).zip(&types) {
                *part = length(part.clone(), type_);
            }
        }
        Transformed::new_transformed(Expr::Case(case), changed)
    }

    fn choosing(&self, call: ScalarFunction) -> Result<Transformed<Expr>> {
        let name = call.name();
        if !matches!(name, "greatest" | "least" | "nullif") {
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        }
        let Some(types) = self.types(&call.args) else {
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        };
        if name != "nullif" {
            let longest = name == "greatest";
            let args = call.args.into_iter().zip(&types);
            let args = args.map(|(arg, type_)| match *type_ == INTERVAL {
                true => arg,
                false => cast(arg, INTERVAL),
            });
            return Ok(Transformed::yes(extreme(longest, args.collect())));
        }
        let ([value, other], [type_, of_other]) = (call.args.as_slice(), types.as_slice()) else {
            return Ok(Transformed::no(Expr::ScalarFunction(call)));
        };
        let equal = length(value.clone(), type_).eq(length(other.clone(), of_other));
        let none = lit(ScalarValue::try_from(type_)?);
        let chosen = when(equal, none).otherwise(value.clone())?;
        Ok(Transformed::yes(chosen))
    }

    fn types_of_rows(&self, expr: &Expr, rows: &Subquery) -> Option<[DataType; 2]> {
        let of_rows = rows.subquery.schema().fields().first()?.data_type().clone();
        let of_expr = expr.get_type(self.schema).ok()?;
        differ_from_arrow([&of_expr, &of_rows]).then_some([of_expr, of_rows])
    }

    fn in_subquery(&self, within: InSubquery) -> Result<Transformed<Expr>> {
        let Some([of_expr, of_rows]) = self.types_of_rows(&within.expr, &within.subquery) else {
            return Ok(Transformed::no(Expr::InSubquery(within)));
        };
        let expr = Box::new(length(*within.expr, &of_expr));
        let subquery = lengths_of(within.subquery, &of_rows)?;
        let within = InSubquery::new(expr, subquery, within.negated);
        Ok(Transformed::yes(Expr::InSubquery(within)))
    }
}

/// The lengths of a subquery's one column.
fn lengths_of(rows: Subquery, type_: &DataType) -> Result<Subquery> {
    let (relation, field) = rows.subquery.schema().qualified_field(0);
    let value = Expr::Column(Column::from((relation, field)));
    let value = length(value, type_).alias(field.name());
    let plan = Projection::try_new(vec![value], rows.subquery.clone())?;
    Ok(Subquery {
        subquery: Arc::new(LogicalPlan::Projection(plan)),
        outer_ref_columns: rows.outer_ref_columns,
        spans: Spans::new(),
    })
}
