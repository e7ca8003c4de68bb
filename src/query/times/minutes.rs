//! Texts that are times without seconds, `'2026-11-01 10:20'`, as files have them too. Arrow's cast wants the seconds, so the casts are
//! given texts that have them.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringArray};
use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, exec_err};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TryCast, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use crate::query::node::{has, input_of};
use crate::validate::with_seconds;

const NAME: &str = "with_seconds";

/// The same text with seconds, if it is a time without them; none for anything else.
pub(in crate::query) fn full(value: &ScalarValue) -> Option<ScalarValue> {
    let text = value.try_as_str().flatten()?;
    with_seconds(text).map(|full| ScalarValue::Utf8(Some(full)))
}

/// Texts, each with seconds if it is a time without them.
pub(super) fn all_full(texts: &ColumnarValue) -> Result<ColumnarValue> {
    Ok(match texts {
        ColumnarValue::Scalar(value) => {
            ColumnarValue::Scalar(full(value).unwrap_or_else(|| value.clone()))
        }
        ColumnarValue::Array(_) => {
            let texts = texts.cast_to(&DataType::Utf8, None)?.into_array(1)?;
            ColumnarValue::Array(each_full(texts))
        }
    })
}

fn each_full(texts: ArrayRef) -> ArrayRef {
    let values = texts.as_string::<i32>();
    let whole = values
        .iter()
        .flatten()
        .all(|text| with_seconds(text).is_none());
    if whole {
        return texts;
    }
    let made = values.iter().map(|text| {
        let text = text?;
        Some(with_seconds(text).unwrap_or_else(|| text.to_owned()))
    });
    Arc::new(made.collect::<StringArray>())
}

/// Puts the seconds into what is cast to a time or a day. Runs behind coercion, which makes such casts.
#[derive(Debug)]
pub(in crate::query) struct ShortTimes(Arc<ScalarUDF>);

impl Default for ShortTimes {
    fn default() -> Self {
        let signature = Signature::exact(vec![DataType::Utf8], Volatility::Immutable);
        ShortTimes(Arc::new(ScalarUDF::from(WithSeconds(signature))))
    }
}

impl AnalyzerRule for ShortTimes {
    fn name(&self) -> &str {
        "short_times"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let is_cast = |expr: &Expr| matches!(expr, Expr::Cast(_) | Expr::TryCast(_));
            if !has(&plan, is_cast)? {
                return Ok(Transformed::no(plan));
            }
            let schema = input_of(&plan)?;
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let expr = expr.transform_up(|expr| self.rewritten(expr, &schema))?;
                Ok(expr.update_data(|expr| name.restore(expr)))
            })
        });
        Ok(plan?.data)
    }
}

impl ShortTimes {
    fn rewritten(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        let (text, field, tries) = match expr {
            Expr::Cast(Cast { expr, field }) => (expr, field, false),
            Expr::TryCast(TryCast { expr, field }) => (expr, field, true),
            other => return Ok(Transformed::no(other)),
        };
        let to_time = matches!(
            field.data_type(),
            DataType::Timestamp(..) | DataType::Date32 | DataType::Date64
        );
        let (text, changed) = match *text {
            text if !to_time => (text, false),
            Expr::Literal(value, metadata) => match full(&value) {
                Some(full) => (Expr::Literal(full, metadata), true),
                None => (Expr::Literal(value, metadata), false),
            },
            // It gets them when it is bound, where an error names it.
            text @ Expr::Placeholder(_) => (text, false),
            text if self.is_due(&text, schema) => {
                let text = text.cast_to(&DataType::Utf8, schema)?;
                (self.0.call(vec![text]), true)
            }
            text => (text, false),
        };
        let expr = Box::new(text);
        let whole = match tries {
            true => Expr::TryCast(TryCast { expr, field }),
            false => Expr::Cast(Cast { expr, field }),
        };
        Ok(Transformed::new_transformed(whole, changed))
    }

    /// The rule runs again over what is explained.
    fn is_due(&self, text: &Expr, schema: &DFSchema) -> bool {
        let done = matches!(text, Expr::ScalarFunction(call) if call.func == self.0);
        !done && text.get_type(schema).is_ok_and(|t| t.is_string())
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct WithSeconds(Signature);

impl ScalarUDFImpl for WithSeconds {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first() {
            Some(texts) => all_full(texts),
            None => exec_err!("{NAME} takes a text"),
        }
    }
}
