//! Puts checked operations in the place of DataFusion's, which wrap around, once coercion has given all operands their types.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Expr, ExprSchemable, LogicalPlan, Operator, ScalarUDF, cast,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};

use super::checked::{
    OPERATORS, canonical, is_canonical, is_own, negative, operation, type_of_operation,
};
use super::floats::is_in_one_form;

/// Functions that give back one of their arguments.
const CHOOSING: [&str; 8] = [
    "coalesce",
    "get_field",
    "greatest",
    "least",
    "nanvl",
    "nullif",
    "nvl",
    "nvl2",
];

#[derive(Debug)]
pub(in crate::query) struct CheckArithmetic {
    negative: Arc<ScalarUDF>,
    canonical: Arc<ScalarUDF>,
}

impl Default for CheckArithmetic {
    fn default() -> Self {
        CheckArithmetic {
            negative: Arc::new(negative()),
            canonical: Arc::new(canonical()),
        }
    }
}

impl AnalyzerRule for CheckArithmetic {
    fn name(&self) -> &str {
        "check_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let schema = merge_schema(&plan.inputs());
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| self.rewritten(expr, &schema))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        });
        Ok(plan?.data)
    }
}

/// Those that Arrow's checked kernels count with. A TIME goes round the clock: DataFusion has operations of its own for it.
fn counts(left: &DataType, right: &DataType) -> bool {
    let known = |t: &DataType| {
        t.is_numeric()
            || matches!(
                t,
                DataType::Interval(_)
                    | DataType::Duration(_)
                    | DataType::Timestamp(..)
                    | DataType::Date32
                    | DataType::Date64
            )
    };
    let date = |t: &DataType| matches!(t, DataType::Date32 | DataType::Date64);
    known(left) && known(right) && !(date(left) && date(right))
}

/// A DATE as the number of its day. A DATE from a DATE gives days; DataFusion, which counts so as well, estimates the bounds of such a
/// difference as a span of time, and compares them with numbers.
fn day_number(date: Expr) -> Box<Expr> {
    Box::new(cast(
        cast(cast(date, DataType::Date32), DataType::Int32),
        DataType::Int64,
    ))
}

fn is_float(type_: &DataType) -> bool {
    matches!(type_, DataType::Float32 | DataType::Float64)
}

/// None where the schema does not tell: then the operation stays DataFusion's.
fn type_of(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    match type_of_operation(expr) {
        Some(known) => Some(known.clone()),
        None => expr.get_type(schema).ok(),
    }
}

impl CheckArithmetic {
    fn rewritten(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr {
                mut left,
                op,
                mut right,
            }) => {
                let is_date = |expr: &Expr| {
                    let found = type_of(expr, schema);
                    matches!(found, Some(DataType::Date32 | DataType::Date64))
                };
                if op == Operator::Minus && is_date(&left) && is_date(&right) {
                    (left, right) = (day_number(*left), day_number(*right));
                }
                if OPERATORS.contains(&op)
                    && let Some(l) = type_of(&left, schema)
                    && let Some(r) = type_of(&right, schema)
                    && counts(&l, &r)
                {
                    let function = operation(op, (&l, &r), (&left, &right))?;
                    return Ok(Transformed::yes(function.call(vec![*left, *right])));
                }
                let same = BinaryExpr { left, op, right };
                Ok(Transformed::no(Expr::BinaryExpr(same)))
            }
            Expr::Negative(value) => Ok(Transformed::yes(self.negative.call(vec![*value]))),
            Expr::Literal(ref value, _) => {
                let wanted = !is_in_one_form(value);
                self.canonical_if(wanted, expr)
            }
            Expr::Cast(ref cast) => {
                let wanted = loses_form(&cast.expr, &expr, schema);
                self.canonical_if(wanted, expr)
            }
            Expr::TryCast(ref cast) => {
                let wanted = loses_form(&cast.expr, &expr, schema);
                self.canonical_if(wanted, expr)
            }
            Expr::ScalarFunction(mut call) => {
                let settled = settle_numbers(&mut call);
                let expr = Expr::ScalarFunction(call);
                let Expr::ScalarFunction(call) = &expr else {
                    return Ok(Transformed::no(expr));
                };
                // The rule runs again over what is explained.
                if is_canonical(&expr)
                    && let [inner] = call.args.as_slice()
                    && is_canonical(inner)
                {
                    return Ok(Transformed::yes(inner.clone()));
                }
                let wanted = !CHOOSING.contains(&call.func.name())
                    && !is_own(&expr)
                    && type_of(&expr, schema).is_some_and(|t| is_float(&t));
                let done = self.canonical_if(wanted, expr)?;
                Ok(Transformed::new_transformed(
                    done.data,
                    done.transformed || settled,
                ))
            }
            other => Ok(Transformed::no(other)),
        }
    }

    fn canonical_if(&self, wanted: bool, expr: Expr) -> Result<Transformed<Expr>> {
        Ok(match wanted {
            true => Transformed::yes(self.canonical.call(vec![expr])),
            false => Transformed::no(expr),
        })
    }
}

/// Whole numbers among a function's arguments that are constants become literals. `round(price, 1)` of a DECIMAL has fewer digits if it
/// is told a literal, which a cast is not: so its type is known before the optimizer computes the constant, and is the one that is
/// announced.
fn settle_numbers(call: &mut ScalarFunction) -> bool {
    let mut settled = false;
    for argument in &mut call.args {
        if let Expr::Cast(Cast { expr, field }) = &*argument
            && field.data_type().is_integer()
            && let Some(Expr::Literal(value, _)) = constant(expr)
            && let Ok(value) = value.cast_to(field.data_type())
        {
            *argument = Expr::Literal(value, None);
            settled = true;
        }
    }
    settled
}

/// What a constant comes to, computed as the rule has made it; none where it is no constant, or cannot be computed.
fn constant(expr: &Expr) -> Option<Expr> {
    if matches!(expr, Expr::Literal(..)) {
        return Some(expr.clone());
    }
    let varies = |e: &Expr| Ok(!matches!(e, Expr::Literal(..) | Expr::Cast(_)) && !is_own(e));
    if expr.exists(varies).unwrap_or(true) {
        return None;
    }
    let simplifier = ExprSimplifier::new(SimplifyContext::default());
    simplifier.simplify(expr.clone()).ok()
}

/// A text can be any NaN, and a small number becomes -0.0 where it gets fewer digits.
fn loses_form(from: &Expr, to: &Expr, schema: &DFSchema) -> bool {
    let types = (type_of(from, schema), type_of(to, schema));
    let (Some(from), Some(to)) = types else {
        return false;
    };
    let fewer_digits = from == DataType::Float64 && to == DataType::Float32;
    is_float(&to) && (from.is_string() || fewer_digits)
}
