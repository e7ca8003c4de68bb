//! Subqueries that read columns of the rows around them, in shapes that DataFusion's decorrelation answers wrongly or refuses.
//!
//! DataFusion moves the conditions that name columns of the rows around (`WHERE s.id = l.id`) up to a join. That is right across projections,
//! inner joins and one aggregate. It is wrong across a window function, which then numbers the rows of all l together, across an aggregate
//! of an aggregate, a HAVING or an OFFSET; and it gives up at a LIMIT, an ORDER BY and a UNION.
//!
//! Such a subquery (`shape` says which) is computed once for all rows around it. Each of its rows carries, in columns of its own, the values
//! that it is there for (`carried`, `carry`), and a join by these columns attaches it to the rows around (`attach`). This is the method of
//! Neumann and Kemper, "Unnesting Arbitrary Queries", BTW 2015.
//!
//! The rule runs when types are known. All other subqueries stay for DataFusion.

mod attach;
mod carried;
mod carry;
mod names;
mod null_equality;
mod shape;
#[cfg(test)]
mod tests;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::AnalyzerRule;

use self::names::Names;

#[derive(Debug)]
pub(super) struct Decorrelated;

impl AnalyzerRule for Decorrelated {
    fn name(&self) -> &str {
        "decorrelated"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let mut names = Names::default();
        let plan = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) => attach::lateral(join, &mut names),
            LogicalPlan::Filter(_) | LogicalPlan::Projection(_) => attach::values(plan, &mut names),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(plan.data)
    }
}
