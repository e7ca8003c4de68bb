//! `date_part` and `extract` of the time between two times, which has days, hours, minutes and seconds as in PostgreSQL: 1 day
//! 01:30:01.5 has 1 day, 1 hour, 30 minutes, and 91801.5 seconds in all (`epoch`). DataFusion counts each unit over the whole, and
//! drops the fraction.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, IntervalMonthDayNanoArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, DurationMicrosecondType, DurationNanosecondType, FieldRef, IntervalMonthDayNano,
    IntervalUnit, TimeUnit,
};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::datetime::date_part;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult};
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

const DAY_MICROS: i64 = 86_400_000_000;

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(DatePart(date_part()))
}

/// Plans `extract(part FROM time)`, for which DataFusion does not look the function up.
#[derive(Debug)]
pub(in crate::query) struct PartPlanner(Arc<ScalarUDF>);

impl Default for PartPlanner {
    fn default() -> Self {
        PartPlanner(Arc::new(function()))
    }
}

impl ExprPlanner for PartPlanner {
    fn plan_extract(&self, args: Vec<Expr>) -> Result<PlannerResult<Vec<Expr>>> {
        Ok(PlannerResult::Planned(self.0.call(args)))
    }
}

/// DataFusion's function, within ours.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DatePart(Arc<ScalarUDF>);

impl DatePart {
    fn of(&self) -> &dyn ScalarUDFImpl {
        self.0.inner().as_ref()
    }
}

impl ScalarUDFImpl for DatePart {
    fn name(&self) -> &str {
        self.of().name()
    }

    fn aliases(&self) -> &[String] {
        self.of().aliases()
    }

    fn signature(&self) -> &Signature {
        self.of().signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.of().return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.of().return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let epoch = *args.return_field.data_type() == DataType::Float64;
        let Some(value) = args.args.get_mut(1) else {
            return self.of().invoke_with_args(args);
        };
        if !matches!(value.data_type(), DataType::Duration(_)) {
            return self.of().invoke_with_args(args);
        }
        let made = |array: ArrayRef| {
            if epoch {
                seconds(&array)
            } else {
                parts(&array)
            }
        };
        *value = match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(made(array.clone())?),
            ColumnarValue::Scalar(scalar) => {
                let made = made(scalar.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&made, 0)?)
            }
        };
        if epoch {
            return Ok(value.clone());
        }
        if let Some(field) = args.arg_fields.get_mut(1) {
            let interval = DataType::Interval(IntervalUnit::MonthDayNano);
            *field = Arc::new(field.as_ref().clone().with_data_type(interval));
        }
        self.of().invoke_with_args(args)
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        self.of().preimage(args, literal, info)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.of().documentation()
    }
}

fn micros(durations: &ArrayRef) -> Result<ArrayRef> {
    let micros = DataType::Duration(TimeUnit::Microsecond);
    Ok(cast(durations, &micros)?)
}

#[expect(clippy::cast_precision_loss, reason = "a double is what is asked for")]
fn seconds(durations: &ArrayRef) -> Result<ArrayRef> {
    let seconds: Float64Array = match durations.data_type() {
        DataType::Duration(TimeUnit::Nanosecond) => durations
            .as_primitive::<DurationNanosecondType>()
            .unary(|nanos| nanos as f64 / 1e9),
        _ => micros(durations)?
            .as_primitive::<DurationMicrosecondType>()
            .unary(|micros| micros as f64 / 1e6),
    };
    Ok(Arc::new(seconds))
}

/// As intervals of days and what is less than a day, both with the sign of the whole.
fn parts(durations: &ArrayRef) -> Result<ArrayRef> {
    let intervals: IntervalMonthDayNanoArray = micros(durations)?
        .as_primitive::<DurationMicrosecondType>()
        .unary(|micros| {
            // All microseconds that there are have fewer days than an i32 has.
            let days = i32::try_from(micros / DAY_MICROS).unwrap_or(i32::MAX);
            IntervalMonthDayNano::new(0, days, micros % DAY_MICROS * 1_000)
        });
    Ok(Arc::new(intervals))
}
