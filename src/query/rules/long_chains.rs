//! Long chains of operators, `a + b + c + ..`, are planned in a time that goes with their length.
//!
//! A chain is as deep as it is long, and DataFusion's coercion asks at each of its levels for the type of what is below, which it
//! finds by going down to the end. A cast knows its type without a look at what it casts: so each [`LEVELS`]th level is cast to the
//! type that it has, before the coercion, and these casts are taken away behind it.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator, cast};
use datafusion::optimizer::AnalyzerRule;

/// Levels of a chain between two casts.
const LEVELS: usize = 16;

fn is_chained(op: Operator) -> bool {
    matches!(
        op,
        Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo
            | Operator::And
            | Operator::Or
    )
}

/// The left side of an operator whose types are known; cast if it is long.
pub(super) fn shortened(left: Expr, schema: &DFSchema) -> Result<Expr> {
    let mut levels = 0;
    let mut below = &left;
    while let Expr::BinaryExpr(BinaryExpr { left, op, .. }) = below
        && is_chained(*op)
    {
        levels += 1;
        below = left;
    }
    if levels < LEVELS {
        return Ok(left);
    }
    let data_type = left.get_type(schema)?;
    Ok(match is_kept(&data_type) {
        true => cast(left, data_type),
        false => left,
    })
}

/// Types that an operation over them has whatever the coercion makes of its sides.
fn is_kept(data_type: &DataType) -> bool {
    data_type.is_numeric() || data_type == &DataType::Boolean
}

/// Takes the casts away.
#[derive(Debug)]
pub(super) struct Unshortened;

impl AnalyzerRule for Unshortened {
    fn name(&self) -> &str {
        "long_chains"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                // From above, so that what a cast is around is still short.
                let expr = expr.transform_down(|expr| uncast(expr, &schema))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })
        });
        Ok(plan?.data)
    }
}

fn uncast(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::Cast(cast) = expr else {
        return Ok(Transformed::no(expr));
    };
    let chained = matches!(&*cast.expr, Expr::BinaryExpr(BinaryExpr { op, .. }) if is_chained(*op));
    let same = chained
        && is_kept(cast.field.data_type())
        && cast.expr.get_type(schema).ok().as_ref() == Some(cast.field.data_type());
    Ok(match same {
        true => Transformed::yes(*cast.expr),
        false => Transformed::no(Expr::Cast(cast)),
    })
}
