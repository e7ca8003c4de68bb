//! `round(x, n)` of a DECIMAL has the type that it was planned with.
//!
//! DataFusion's `round` has n digits behind the point if n is a constant, and as many as x otherwise. A constant becomes one on the way: `1`
//! is cast for the function, and a parameter is bound. Behind that the call has another type than the plan around it was made for. Here a
//! written n has the function's own type from the start, and a call with another n is cast to its type.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast, lit};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};

use crate::query::node::{has, input_of};

const ROUND: &str = "round";

/// Before the coercion of types.
#[derive(Debug)]
pub(super) struct WrittenDigits;

/// Behind it.
#[derive(Debug)]
pub(super) struct PlannedTypes;

impl AnalyzerRule for WrittenDigits {
    fn name(&self) -> &str {
        "written_digits"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            if !has(&plan, is_round)? {
                return Ok(Transformed::no(plan));
            }
            rewritten(plan, &mut |mut call| {
                let digits = call.args.get_mut(1).and_then(|n| Some((written(n)?, n)));
                if let Some((digits, n)) = digits {
                    *n = lit(digits);
                    return Ok(Transformed::yes(Expr::ScalarFunction(call)));
                }
                Ok(Transformed::no(Expr::ScalarFunction(call)))
            })
        });
        Ok(plan?.data)
    }
}

impl AnalyzerRule for PlannedTypes {
    fn name(&self) -> &str {
        "planned_types"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(kept)?.data)
    }
}

fn kept(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if !has(&plan, is_round)? {
        return Ok(Transformed::no(plan));
    }
    let schema = input_of(&plan)?;
    rewritten(plan, &mut |call| {
        let is_written = call.args.get(1).is_none_or(|n| written(n).is_some());
        let call = Expr::ScalarFunction(call);
        if is_written {
            return Ok(Transformed::no(call));
        }
        // A column of the query around this one is not among the inputs'; its call is then left as it is.
        match call.get_type(&schema) {
            Ok(planned) if planned.is_decimal() => Ok(Transformed::yes(cast(call, planned))),
            _ => Ok(Transformed::no(call)),
        }
    })
}

fn is_round(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call) if call.func.name() == ROUND)
}

/// A number of digits that stands in the text, as `2` or `1 + 1`.
fn written(n: &Expr) -> Option<i32> {
    let digits = |n: &Expr| match n {
        Expr::Literal(ScalarValue::Int64(Some(n)), _) => i32::try_from(*n).ok(),
        Expr::Literal(ScalarValue::Int32(Some(n)), _) => Some(*n),
        _ => None,
    };
    if digits(n).is_some() || n.any_column_refs() {
        return digits(n);
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    let n = simplifier.coerce(n.clone(), &DFSchema::empty()).ok()?;
    digits(&simplifier.simplify(n).ok()?)
}

/// The plan with its calls of `round` changed; its columns keep their names.
fn rewritten(
    plan: LogicalPlan,
    change: &mut impl FnMut(ScalarFunction) -> Result<Transformed<Expr>>,
) -> Result<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_up(|expr| match expr {
            Expr::ScalarFunction(call) if call.func.name() == ROUND => change(call),
            other => Ok(Transformed::no(other)),
        })?;
        Ok(match expr.transformed {
            true => expr.update_data(|expr| name.restore(expr)),
            false => expr,
        })
    })
}
