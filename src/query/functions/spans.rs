//! `INTERVAL '1 second' * n`, `n * INTERVAL '1 second'` and `INTERVAL '1 hour' / n`, which DataFusion does not plan. A part of
//! a month counts 30 days and a part of a day 24 hours, as in PostgreSQL. Differences of times, `(max(ts) - min(ts)) / count(*)`, are
//! durations: whole numbers of microseconds.

use std::sync::Arc;

use arrow::array::{AsArray, PrimitiveArray};
use arrow::datatypes::{
    DataType, Float64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::common::{DFSchema, ExprSchema, Result, exec_err, plan_err};
use datafusion::functions::math::expr_fn::round;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, cast,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);
const DAY_NANOS: f64 = 86_400e9;
const MONTH_DAYS: f64 = 30.0;

#[derive(Debug, PartialEq, Eq, Hash)]
struct Scaled {
    name: &'static str,
    divides: bool,
    signature: Signature,
}

impl Scaled {
    fn function(name: &'static str, divides: bool) -> Arc<ScalarUDF> {
        Arc::new(ScalarUDF::from(Scaled {
            name,
            divides,
            signature: Signature::user_defined(Volatility::Immutable),
        }))
    }
}

/// Plans a product of an interval and a number.
#[derive(Debug)]
pub struct SpanPlanner {
    times: Arc<ScalarUDF>,
    divided: Arc<ScalarUDF>,
}

impl Default for SpanPlanner {
    fn default() -> Self {
        SpanPlanner {
            times: Scaled::function("interval_times", false),
            divided: Scaled::function("interval_divided", true),
        }
    }
}

impl SpanPlanner {
    /// What can be told at a glance: the type of a chain is not worked out at each link.
    fn is_interval(&self, expr: &Expr, schema: &DFSchema) -> bool {
        match expr {
            Expr::Literal(value, _) => matches!(value.data_type(), DataType::Interval(_)),
            Expr::Cast(cast) => matches!(cast.field.data_type(), DataType::Interval(_)),
            Expr::Column(column) => {
                matches!(schema.data_type(column), Ok(DataType::Interval(_)))
            }
            Expr::Placeholder(placeholder) => {
                let field = placeholder.field.as_ref();
                field.is_some_and(|f| matches!(f.data_type(), DataType::Interval(_)))
            }
            Expr::ScalarFunction(call) => call.func == self.times || call.func == self.divided,
            _ => false,
        }
    }
}

/// The type of a difference of times, or of what is made of one.
fn duration(expr: &Expr, schema: &DFSchema) -> Option<DataType> {
    let looked_at = match expr {
        Expr::BinaryExpr(operation) => operation.op == Operator::Minus,
        Expr::Cast(_) | Expr::Column(_) => true,
        Expr::AggregateFunction(_) | Expr::WindowFunction(_) => true,
        _ => false,
    };
    let found = looked_at.then(|| expr.get_type(schema).ok())??;
    matches!(found, DataType::Duration(_)).then_some(found)
}

/// A duration times or through a number, rounded to a microsecond.
fn duration_by(
    span: Expr,
    type_: DataType,
    op: &BinaryOperator,
    number: Expr,
    schema: &DFSchema,
) -> Expr {
    let micros = cast(span, DataType::Int64);
    let times = *op == BinaryOperator::Multiply;
    // A product of whole numbers needs no rounding.
    let made = if times && number.get_type(schema).is_ok_and(|t| t.is_integer()) {
        micros * number
    } else {
        let micros = cast(micros, DataType::Float64);
        let number = cast(number, DataType::Float64);
        round(vec![if times {
            micros * number
        } else {
            micros / number
        }])
    };
    cast(cast(made, DataType::Int64), type_)
}

impl ExprPlanner for SpanPlanner {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if matches!(expr.op, BinaryOperator::Multiply | BinaryOperator::Divide) {
            if let Some(type_) = duration(&expr.left, schema) {
                let made = duration_by(expr.left, type_, &expr.op, expr.right, schema);
                return Ok(PlannerResult::Planned(made));
            }
            if expr.op == BinaryOperator::Multiply
                && let Some(type_) = duration(&expr.right, schema)
            {
                let made = duration_by(expr.right, type_, &expr.op, expr.left, schema);
                return Ok(PlannerResult::Planned(made));
            }
        }
        let is_interval = |expr| self.is_interval(expr, schema);
        let planned = match expr.op {
            BinaryOperator::Multiply => match (is_interval(&expr.left), is_interval(&expr.right)) {
                (true, false) => self.times.call(vec![expr.left, expr.right]),
                (false, true) => self.times.call(vec![expr.right, expr.left]),
                _ => return Ok(PlannerResult::Original(expr)),
            },
            BinaryOperator::Divide if is_interval(&expr.left) && !is_interval(&expr.right) => {
                self.divided.call(vec![expr.left, expr.right])
            }
            _ => return Ok(PlannerResult::Original(expr)),
        };
        Ok(PlannerResult::Planned(planned))
    }
}

impl ScalarUDFImpl for Scaled {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(INTERVAL)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        match types {
            [_, by] if by.is_numeric() || by.is_null() => Ok(vec![INTERVAL, DataType::Float64]),
            [_, by] => plan_err!("an interval is multiplied by a number, not by {by}"),
            _ => plan_err!("an interval and a number are due"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars = args.args.iter();
        let constant = scalars
            .clone()
            .all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = scalars
            .map(|a| a.to_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let [spans, numbers] = arrays.as_slice() else {
            return exec_err!("an interval and a number are due");
        };
        let spans = spans.as_primitive::<IntervalMonthDayNanoType>();
        let numbers = numbers.as_primitive::<Float64Type>();
        let made = spans.iter().zip(numbers.iter()).map(|pair| match pair {
            (Some(span), Some(number)) => self.scaled(span, number).map(Some),
            _ => Ok(None),
        });
        let made: PrimitiveArray<IntervalMonthDayNanoType> = made.collect::<Result<_>>()?;
        if constant {
            let value = datafusion::common::ScalarValue::try_from_array(&made, 0)?;
            return Ok(ColumnarValue::Scalar(value));
        }
        Ok(ColumnarValue::Array(Arc::new(made)))
    }
}

impl Scaled {
    fn scaled(&self, span: IntervalMonthDayNano, number: f64) -> Result<IntervalMonthDayNano> {
        if self.divides && number == 0.0 {
            return exec_err!("an interval divided by zero");
        }
        let made = if self.divides {
            parts(span, |part| part / number)
        } else if number.fract() == 0.0 && number.abs() < 1e15 {
            // Whole numbers keep every nanosecond.
            whole(span, number as i64)
        } else {
            parts(span, |part| part * number)
        };
        match made {
            Some(made) => Ok(made),
            None => exec_err!("an interval is too long, interval={span:?}, number={number}"),
        }
    }
}

fn whole(span: IntervalMonthDayNano, by: i64) -> Option<IntervalMonthDayNano> {
    let small = |part: i32| i32::try_from(i64::from(part).checked_mul(by)?).ok();
    Some(IntervalMonthDayNano::new(
        small(span.months)?,
        small(span.days)?,
        span.nanoseconds.checked_mul(by)?,
    ))
}

fn parts(span: IntervalMonthDayNano, scaled: impl Fn(f64) -> f64) -> Option<IntervalMonthDayNano> {
    let months = scaled(f64::from(span.months));
    let days = scaled(f64::from(span.days)) + months.fract() * MONTH_DAYS;
    let nanos = scaled(span.nanoseconds as f64) + days.fract() * DAY_NANOS;
    let small = |part: f64| {
        let fits = part.is_finite() && part.abs() < f64::from(i32::MAX);
        fits.then_some(part.trunc() as i32)
    };
    let nanos = nanos.round();
    (nanos.is_finite() && nanos.abs() < 9.2e18).then_some(())?;
    Some(IntervalMonthDayNano::new(
        small(months)?,
        small(days)?,
        nanos as i64,
    ))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_interval_is_multiplied_whole_or_in_parts() {
        let hour = 3_600_000_000_000;
        let span = IntervalMonthDayNano::new;
        let times = |s, by: f64| parts(s, |part| part * by).unwrap();
        assert_eq!(whole(span(1, 2, 3), -2).unwrap(), span(-2, -4, -6));
        assert_eq!(whole(span(i32::MAX, 0, 0), 2), None);
        assert_eq!(whole(span(0, 0, i64::MAX), 2), None);
        assert_eq!(times(span(0, 0, hour), 1.5), span(0, 0, hour / 2 * 3));
        assert_eq!(times(span(1, 0, 0), 1.5), span(1, 15, 0));
        assert_eq!(times(span(0, 1, 0), 0.25), span(0, 0, 6 * hour));
        assert_eq!(parts(span(0, 0, hour), |part| part * f64::NAN), None);
    }
}
