//! Texts that become times, as rows that are ingested bring them too: without seconds, `'2026-11-01 10:20'`, which Arrow's cast wants, and with an
//! offset that says nothing of a day and of a time without a zone, where Arrow's cast moves to UTC. The casts are given texts that it reads.

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
use crate::validate::{with_seconds, without_zone};

/// DataFusion's function, which reads a text as a cast to DATE does.
const TO_DATE: &str = "to_date";

/// What a text is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reading {
    /// A moment: an offset moves the clock that is written.
    Instant,
    /// A day, or a time without a zone: what is written, whatever offset stands behind it.
    Local,
}

impl Reading {
    /// None: times of that type are not read here.
    fn of_type(data_type: &DataType) -> Option<Reading> {
        match data_type {
            DataType::Timestamp(_, Some(_)) => Some(Reading::Instant),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => {
                Some(Reading::Local)
            }
            _ => None,
        }
    }

    fn function_name(self) -> &'static str {
        match self {
            Reading::Instant => "with_seconds",
            Reading::Local => "without_zone",
        }
    }

    /// None: Arrow's cast reads the text as it is.
    fn text(self, text: &str) -> Option<String> {
        match self {
            Reading::Instant => with_seconds(text),
            Reading::Local => without_zone(text).or_else(|| with_seconds(text)),
        }
    }

    fn value(self, value: &ScalarValue) -> Option<ScalarValue> {
        let text = value.try_as_str().flatten()?;
        self.text(text).map(|read| ScalarValue::Utf8(Some(read)))
    }

    /// Texts that Arrow's cast reads.
    pub(super) fn texts(self, texts: &ColumnarValue) -> Result<ColumnarValue> {
        Ok(match texts {
            ColumnarValue::Scalar(value) => {
                ColumnarValue::Scalar(self.value(value).unwrap_or_else(|| value.clone()))
            }
            ColumnarValue::Array(_) => {
                let texts = texts.cast_to(&DataType::Utf8, None)?.into_array(1)?;
                ColumnarValue::Array(self.each(texts))
            }
        })
    }

    fn each(self, texts: ArrayRef) -> ArrayRef {
        let values = texts.as_string::<i32>();
        if values
            .iter()
            .flatten()
            .all(|text| self.text(text).is_none())
        {
            return texts;
        }
        let made = values.iter().map(|text| {
            let text = text?;
            Some(self.text(text).unwrap_or_else(|| text.to_owned()))
        });
        Arc::new(made.collect::<StringArray>())
    }
}

/// A constant as it is cast to a type: a text that Arrow's cast reads as that time.
pub(in crate::query) fn cast_as_read(value: &ScalarValue, to: &DataType) -> Result<ScalarValue> {
    let read = Reading::of_type(to).and_then(|reading| reading.value(value));
    read.as_ref().unwrap_or(value).cast_to(to)
}

/// Prepares what is cast to a time or a day. Runs behind coercion, which makes such casts.
#[derive(Debug)]
pub(in crate::query) struct ShortTimes {
    instants: Arc<ScalarUDF>,
    locals: Arc<ScalarUDF>,
}

impl Default for ShortTimes {
    fn default() -> Self {
        let function = |reading| {
            let signature = Signature::exact(vec![DataType::Utf8], Volatility::Immutable);
            Arc::new(ScalarUDF::from(AsRead { reading, signature }))
        };
        ShortTimes {
            instants: function(Reading::Instant),
            locals: function(Reading::Local),
        }
    }
}

impl AnalyzerRule for ShortTimes {
    fn name(&self) -> &str {
        "short_times"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            if !has(&plan, reads_a_time)? {
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

fn reads_a_time(expr: &Expr) -> bool {
    match expr {
        Expr::Cast(_) | Expr::TryCast(_) => true,
        // With more arguments these say how the text is read.
        Expr::ScalarFunction(call) => call.name() == TO_DATE && call.args.len() == 1,
        _ => false,
    }
}

impl ShortTimes {
    fn rewritten(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        Ok(match expr {
            // It is read when it is bound, where an error names it.
            Expr::Cast(cast) if matches!(*cast.expr, Expr::Placeholder(_)) => {
                Transformed::no(Expr::Cast(cast))
            }
            Expr::Cast(Cast { expr, field }) => {
                let reading = Reading::of_type(field.data_type());
                let expr = self.prepared(*expr, reading, schema)?;
                expr.update_data(|expr| Expr::Cast(Cast::new_from_field(Box::new(expr), field)))
            }
            Expr::TryCast(TryCast { expr, field }) => {
                let reading = Reading::of_type(field.data_type());
                let expr = self.prepared(*expr, reading, schema)?;
                expr.update_data(|expr| {
                    Expr::TryCast(TryCast::new_from_field(Box::new(expr), field))
                })
            }
            Expr::ScalarFunction(mut call) if call.name() == TO_DATE && call.args.len() == 1 => {
                let text = call.args.pop().unwrap_or_default();
                let text = self.prepared(text, Some(Reading::Local), schema)?;
                text.update_data(|text| {
                    call.args.push(text);
                    Expr::ScalarFunction(call)
                })
            }
            other => Transformed::no(other),
        })
    }

    fn prepared(
        &self,
        text: Expr,
        reading: Option<Reading>,
        schema: &DFSchema,
    ) -> Result<Transformed<Expr>> {
        let Some(reading) = reading else {
            return Ok(Transformed::no(text));
        };
        Ok(match text {
            Expr::Literal(value, metadata) => match reading.value(&value) {
                Some(read) => Transformed::yes(Expr::Literal(read, metadata)),
                None => Transformed::no(Expr::Literal(value, metadata)),
            },
            text if self.is_due(&text, schema) => {
                let function = match reading {
                    Reading::Instant => &self.instants,
                    Reading::Local => &self.locals,
                };
                let text = text.cast_to(&DataType::Utf8, schema)?;
                Transformed::yes(function.call(vec![text]))
            }
            text => Transformed::no(text),
        })
    }

    /// The rule runs again over what is explained.
    fn is_due(&self, text: &Expr, schema: &DFSchema) -> bool {
        let is_done = |call: &Arc<ScalarUDF>| *call == self.instants || *call == self.locals;
        let done = matches!(text, Expr::ScalarFunction(call) if is_done(&call.func));
        !done && text.get_type(schema).is_ok_and(|t| t.is_string())
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AsRead {
    reading: Reading,
    signature: Signature,
}

impl ScalarUDFImpl for AsRead {
    fn name(&self) -> &str {
        self.reading.function_name()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first() {
            Some(texts) => self.reading.texts(texts),
            None => exec_err!("{} takes a text", self.name()),
        }
    }
}
