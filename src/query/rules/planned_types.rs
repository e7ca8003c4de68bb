//! `round(x, n)` of a DECIMAL has the type that it was planned with.
//!
//! DataFusion's `round` has n digits behind the point if n is a constant, and as many as x otherwise. A constant becomes one on the way: `1`
//! is cast for the function, and a parameter is bound. Behind that the call has another type than the plan around it was made for.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::optimizer::AnalyzerRule;

/// Behind the coercion of types.
#[derive(Debug)]
pub(super) struct PlannedTypes;

impl AnalyzerRule for PlannedTypes {
    fn name(&self) -> &str {
        "planned_types"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rounded)?.data)
    }
}

fn rounded(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut schema = merge_schema(&plan.inputs());
    if let LogicalPlan::TableScan(scan) = &plan {
        schema =
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
    }
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| {
            if !is_round(&expr) {
                return Ok(Transformed::no(expr));
            }
            // A column of the query around this one is not among the inputs'; its call is then left as it is.
            match expr.get_type(&schema) {
                Ok(planned) if planned.is_decimal() => Ok(Transformed::yes(cast(expr, planned))),
                _ => Ok(Transformed::no(expr)),
            }
        })?;
        Ok(match expr.transformed {
            true => expr.update_data(|expr| name.restore(expr)),
            false => expr,
        })
    })
}

fn is_round(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == "round" && call.args.len() > 1)
}
