//! Subqueries that DataFusion answers otherwise than the standard does, or not at all, written as plans that it decorrelates.
//!
//! `x IN (SELECT ..)` is true, false or unknown: unknown where no value equals x and x or a value is null, and false of no values at all
//! (SQL:2023, 8.4). DataFusion plans it as a join, which tells whether a row was found and no more. That is enough where unknown and
//! false do the same, as in a condition; elsewhere the three are told apart here (`sets`). A join also needs rows to leave out: as a
//! value of a result, `IN` and `EXISTS` count the rows that they find.
//!
//! What is left behind is what DataFusion's decorrelation knows: `EXISTS` in conditions, and scalar subqueries in conditions and
//! projections. In any other node a subquery becomes a column of a projection below it (`below`), and in the ON of a join
//! one of either side, or a condition above the join (`joins`). `keys` looks at what correlated subqueries compare once types are known.

mod below;
mod joins;
mod keys;
mod one_row;
mod sets;
#[cfg(test)]
mod shapes_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Case, Distinct, Expr, Filter, LogicalPlan, LogicalPlanBuilder, Projection, Values, lit,
};
use datafusion::optimizer::AnalyzerRule;

pub(in crate::query) use keys::CorrelatedKeys;

#[derive(Debug)]
pub(super) struct SubqueryValues;

impl AnalyzerRule for SubqueryValues {
    fn name(&self) -> &str {
        "subquery_values"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let expressions = plan.expressions();
            let has = |which: fn(&Expr) -> bool| expressions.iter().any(|e| contains(e, which));
            match plan {
                LogicalPlan::Filter(filter) if has(is_predicate) => {
                    condition(filter).map(Transformed::yes)
                }
                LogicalPlan::Projection(projection) if has(is_predicate) => {
                    values(projection).map(Transformed::yes)
                }
                LogicalPlan::Values(rows) if has(is_of_a_row) => {
                    computed_rows(&rows).map(Transformed::yes)
                }
                LogicalPlan::Join(join) if has(joins::goes_out) => joins::conditions_out(join),
                LogicalPlan::Aggregate(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::Distinct(Distinct::On(_))
                    if has(is_of_the_rows) =>
                {
                    below::computed(plan).map(Transformed::yes)
                }
                other => Ok(Transformed::no(other)),
            }
        })?;
        Ok(plan.data)
    }
}

/// Not within the plans of subqueries.
fn contains(expr: &Expr, which: fn(&Expr) -> bool) -> bool {
    expr.exists(|expr| Ok(which(expr))).unwrap_or(false)
}

fn is_predicate(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_)
    )
}

fn is_subquery(expr: &Expr) -> bool {
    is_predicate(expr) || matches!(expr, Expr::ScalarSubquery(_))
}

/// What cannot be planned in VALUES.
fn is_of_a_row(expr: &Expr) -> bool {
    is_subquery(expr) || matches!(expr, Expr::OuterReferenceColumn(..))
}

/// What cannot be planned but in a condition or a projection.
fn is_of_the_rows(expr: &Expr) -> bool {
    match expr {
        Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
        other => is_predicate(other),
    }
}

/// Each of the conditions that all have to hold.
fn condition(filter: Filter) -> Result<LogicalPlan> {
    let columns = filter.input.schema().columns();
    let conditions = split_conjunction_owned(filter.predicate);
    let (conditions, input) = below::left_sides(conditions, filter.input)?;
    let schema = input.schema();
    let conditions = conditions
        .into_iter()
        .map(|each| sets::as_condition(each, schema));
    let conditions = conditions.collect::<Result<Vec<_>>>()?;
    let predicate = conjunction(conditions).unwrap_or_else(|| lit(true));
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, input)?);
    with_columns(filter, columns)
}

/// Rows of VALUES of which some ask subqueries, or read columns of the rows around: these values are computed by a projection of the
/// numbered rows.
fn computed_rows(rows: &Values) -> Result<LogicalPlan> {
    let fields = rows.schema.fields();
    let mut asked: Vec<Vec<(Expr, Expr)>> = vec![Vec::new(); fields.len()];
    let mut plain = Vec::with_capacity(rows.values.len());
    for (number, row) in (0_u64..).zip(&rows.values) {
        let mut others = Vec::with_capacity(row.len() + 1);
        for ((value, field), asked) in row.iter().zip(fields).zip(&mut asked) {
            if contains(value, is_of_a_row) {
                asked.push((lit(number), value.clone()));
                others.push(lit(ScalarValue::try_from(field.data_type())?));
            } else {
                others.push(value.clone());
            }
        }
        others.push(lit(number));
        plain.push(others);
    }
    let plain = LogicalPlanBuilder::values(plain)?.build()?;
    let mut columns = all_columns(&plain);
    let number = columns.pop().unwrap_or_else(|| lit(0_u64));
    let columns = columns.into_iter().zip(asked).zip(fields);
    let columns = columns.map(|((column, asked), field)| {
        let cases = asked.into_iter();
        let cases = cases.map(|(at, value)| (Box::new(number.clone().eq(at)), Box::new(value)));
        let cases: Vec<_> = cases.collect();
        match cases.is_empty() {
            true => column,
            false => Expr::Case(Case::new(None, cases, Some(Box::new(column)))),
        }
        .alias(field.name())
    });
    let computed = Projection::try_new(columns.collect(), Arc::new(plain))?;
    values(computed)
}

/// The values of a projection.
fn values(projection: Projection) -> Result<LogicalPlan> {
    let names = NamePreserver::new_for_projection();
    let saved: Vec<_> = projection.expr.iter().map(|e| names.save(e)).collect();
    let (values, input) = below::left_sides(projection.expr, projection.input)?;
    let values = values.into_iter().zip(saved).map(|(value, name)| {
        let value = sets::as_value(value, input.schema())?;
        Ok(name.restore(value))
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    Projection::try_new(values, input).map(LogicalPlan::Projection)
}

/// The plan with these of its columns.
fn with_columns(plan: LogicalPlan, columns: Vec<Column>) -> Result<LogicalPlan> {
    if plan.schema().fields().len() == columns.len() {
        return Ok(plan);
    }
    LogicalPlanBuilder::from(plan)
        .project(columns.into_iter().map(Expr::Column))?
        .build()
}

/// The columns of a plan, as expressions over it.
fn all_columns(plan: &LogicalPlan) -> Vec<Expr> {
    let columns = plan.schema().columns();
    columns.into_iter().map(Expr::Column).collect()
}

/// A plan with more columns behind its own.
fn with_more(plan: Arc<LogicalPlan>, more: Vec<Expr>) -> Result<LogicalPlan> {
    let all = all_columns(&plan).into_iter().chain(more).collect();
    Projection::try_new(all, plan).map(LogicalPlan::Projection)
}
