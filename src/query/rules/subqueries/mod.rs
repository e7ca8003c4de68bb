//! Subqueries that DataFusion answers otherwise than the standard does, or not at all, written as plans that it decorrelates.
//!
//! `x IN (SELECT ..)` is true, false or unknown: unknown where no value equals x and x or a value is null, and false of no values at all
//! (SQL:2023, 8.4). DataFusion plans it as a join, which tells whether a row was found and no more. That is enough where unknown and
//! false do the same, as in a condition; elsewhere the three are told apart here (`values`). A join also needs rows to leave out: as a
//! value of a result, `IN` and `EXISTS` count the rows that they find.
//!
//! What is left behind is what DataFusion's decorrelation knows: `EXISTS` in conditions, and scalar subqueries in conditions and
//! projections. In any other node a subquery becomes a column of a projection below it (`below`), and in the ON of a join
//! one of either side, or a condition above the join (`joins`). `keys` looks at what correlated subqueries compare once types are known.

mod below;
mod columns;
mod expressions;
mod joins;
mod keys;
mod one_row;
mod projections;
mod set_rows;
#[cfg(test)]
mod shapes_tests;
#[cfg(test)]
mod tests;
mod values;

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    Case, Distinct, Expr, LogicalPlan, LogicalPlanBuilder, Projection, Values, lit,
};
use datafusion::optimizer::AnalyzerRule;

use self::expressions::{contains, is_of_the_rows, is_predicate, is_subquery};
use self::projections::all_columns;
use self::values::{condition, values};

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

/// What cannot be planned in VALUES.
fn is_of_a_row(expr: &Expr) -> bool {
    is_subquery(expr) || matches!(expr, Expr::OuterReferenceColumn(..))
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
