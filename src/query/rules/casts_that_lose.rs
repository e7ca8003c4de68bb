//! Casts that DataFusion must not look through.
//!
//! It takes a cast off a column that is compared with a constant and puts it on the constant (`unwrap_cast_in_comparison`), and it holds a
//! cast of a file's bounds for the bounds of the cast values (`PruningPredicate`). The first is wrong where the cast loses
//! something: `CAST(2.5 AS INT) = 2` is no `2.5 = 2.0`, and what TRY_CAST makes NULL is not unequal to a number. The second is wrong where
//! the cast keeps no order, as that of a moment to its time of day does. Such a cast is given to a function that the engine does not know.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use crate::query::functions::{another, hidden_by_another};
use crate::query::node::{has, input_of};

/// Behind the coercion of types.
#[derive(Debug)]
pub(super) struct CastsThatLose;

impl AnalyzerRule for CastsThatLose {
    fn name(&self) -> &str {
        "casts_that_lose"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(hidden)?.data)
    }
}

fn hidden(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let is_cast = |expr: &Expr| matches!(expr, Expr::Cast(_) | Expr::TryCast(_));
    if !has(&plan, is_cast)? {
        return Ok(Transformed::no(plan));
    }
    let schema = input_of(&plan)?;
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        let name = names.save(&expr);
        let expr = expr.transform_down(|expr| {
            if hidden_by_another(&expr).is_some() {
                // A plan may be analyzed more than once.
                return Ok(Transformed::new(expr, false, TreeNodeRecursion::Jump));
            }
            if !loses(&expr, &schema) {
                return Ok(Transformed::no(expr));
            }
            let expr = expr.map_children(|inner| below(inner, &schema))?.data;
            let call = another().call(vec![expr]);
            Ok(Transformed::new(call, true, TreeNodeRecursion::Jump))
        })?;
        Ok(match expr.transformed {
            true => expr.update_data(|expr| name.restore(expr)),
            false => expr,
        })
    })
}

/// The casts within a cast.
fn below(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    expr.transform_up(|expr| {
        Ok(match loses(&expr, schema) {
            true => Transformed::yes(another().call(vec![expr])),
            false => Transformed::no(expr),
        })
    })
}

fn loses(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::TryCast(_) => true,
        Expr::Cast(cast) => {
            let to = cast.field.data_type();
            // A column of the query around this one is not among the inputs'.
            let from = cast.expr.get_type(schema);
            from.is_ok_and(|from| loses_a_part(&from, to) || keeps_no_order(&from, to))
        }
        _ => false,
    }
}

fn loses_a_part(from: &DataType, to: &DataType) -> bool {
    match (scale(from), scale(to)) {
        (Some(from), Some(to)) => to < from,
        (Some(from), None) => from > 0 && to.is_integer(),
        _ => false,
    }
}

fn scale(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        _ => None,
    }
}

fn keeps_no_order(from: &DataType, to: &DataType) -> bool {
    match to {
        DataType::Time32(_) | DataType::Time64(_) => from.is_temporal(),
        DataType::Boolean => from.is_numeric(),
        _ => false,
    }
}
