//! `times_between(from, until, step, whole)`: the times from one to another, each a step behind the one before, as a list; `whole` says
//! whether the end is among them. What `FROM generate_series(..)` of times is written out to. DataFusion's function of that name gives
//! nothing outside the years that nanoseconds hold, counts days alone for a DATE, and goes on for ever by `INTERVAL '1 month -31 days'`.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, AsArray, ListArray, PrimitiveArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{
    DataType, Field, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use crate::fault::{Fault, Kind};
use crate::query::errors::external;

pub(super) const NAME: &str = "times_between";

/// Times of one call: 32 MB.
const TIMES_MAX: usize = 4_000_000;

pub(super) fn function() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(TimesBetween(Signature::user_defined(
        Volatility::Immutable,
    ))))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimesBetween(Signature);

fn list_of(time: &DataType) -> Arc<Field> {
    Arc::new(Field::new_list_field(time.clone(), true))
}

impl ScalarUDFImpl for TimesBetween {
    fn name(&self) -> &str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.0
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [time, ..] => Ok(DataType::List(list_of(time))),
            [] => plan_err!("a series of times has a first and a last one, and a step"),
        }
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [from, until, step, whole] = types else {
            return plan_err!("a series of times has a first and a last one, and a step");
        };
        let mut zone = None;
        for end in [from, until] {
            match end {
                DataType::Timestamp(_, of_end) => zone = zone.or_else(|| of_end.clone()),
                DataType::Date32 | DataType::Null => {}
                other => {
                    return plan_err!(
                        "a series by an INTERVAL goes from a time to a time, not to {other}; write TIMESTAMP '2026-01-01 00:00:00'"
                    );
                }
            }
        }
        if !matches!(step, DataType::Interval(_) | DataType::Null) {
            return plan_err!("the step of a series of times is an INTERVAL, not {step}");
        }
        let time = DataType::Timestamp(TimeUnit::Microsecond, zone);
        let step = DataType::Interval(IntervalUnit::MonthDayNano);
        Ok(vec![time.clone(), time, step, whole.clone()])
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [
            from,
            until,
            step,
            ColumnarValue::Scalar(ScalarValue::Boolean(Some(whole))),
        ] = args.args.as_slice()
        else {
            return exec_err!("a series of times has a first and a last one, and a step");
        };
        let rows = args.number_rows;
        let ends = [from.to_array(rows)?, until.to_array(rows)?];
        let [from, until] = ends.each_ref().map(|end| {
            let times = end.as_primitive::<TimestampMicrosecondType>();
            times.clone()
        });
        let steps = step.to_array(rows)?;
        let steps = steps.as_primitive::<IntervalMonthDayNanoType>();
        let zone: Tz = from.timezone().unwrap_or("+00:00").parse()?;
        let (mut times, mut lengths) = (Vec::new(), Vec::with_capacity(rows));
        for row in 0..rows {
            let before = times.len();
            if from.is_valid(row) && until.is_valid(row) && steps.is_valid(row) {
                let ends = (from.value(row), until.value(row));
                between(ends, steps.value(row), *whole, zone, &mut times)?;
            }
            lengths.push(times.len() - before);
        }
        let values: PrimitiveArray<TimestampMicrosecondType> = times.into();
        let values = values.with_data_type(from.data_type().clone());
        Ok(ColumnarValue::Array(Arc::new(ListArray::new(
            list_of(from.data_type()),
            OffsetBuffer::from_lengths(lengths),
            Arc::new(values),
            None,
        ))))
    }
}

/// Adds the times to `out`. None where the step leads away from the end.
fn between(
    (from, until): (i64, i64),
    step: IntervalMonthDayNano,
    whole: bool,
    zone: Tz,
    out: &mut Vec<i64>,
) -> Result<()> {
    let next = |at| TimestampMicrosecondType::add_month_day_nano(at, step, zone);
    let forward = match next(from) {
        Some(second) if second != from => second > from,
        None => step.months > 0 || step.days > 0 || step.nanoseconds > 0,
        Some(_) => {
            return exec_err!("the step of a series of times is at least a microsecond long");
        }
    };
    let mut at = from;
    loop {
        let within = match (forward, whole) {
            (true, true) => at <= until,
            (true, false) => at < until,
            (false, true) => at >= until,
            (false, false) => at > until,
        };
        if !within {
            return Ok(());
        }
        if out.len() >= TIMES_MAX {
            return Err(external(Fault::new(
                Kind::Exhausted,
                "value_too_large",
                format!(
                    "the series has too many times, limit={TIMES_MAX}; take a longer step or a shorter range"
                ),
            )));
        }
        out.push(at);
        match next(at) {
            Some(after) if (after > at) == forward && after != at => at = after,
            Some(_) => {
                return exec_err!(
                    "the step of a series of times goes forward and back; write it with one sign"
                );
            }
            // The calendar ends.
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    const DAY: i64 = 86_400_000_000;

    fn days(from: i64, until: i64, step: IntervalMonthDayNano, whole: bool) -> Result<Vec<i64>> {
        let (mut out, zone) = (Vec::new(), "+00:00".parse().unwrap());
        between((from * DAY, until * DAY), step, whole, zone, &mut out)?;
        Ok(out.into_iter().map(|at| at / DAY).collect())
    }

    #[test]
    fn a_series_goes_one_way_and_has_an_end() {
        let step = IntervalMonthDayNano::new;
        assert_eq!(days(0, 3, step(0, 1, 0), true).unwrap(), [0, 1, 2, 3]);
        assert_eq!(days(0, 3, step(0, 1, 0), false).unwrap(), [0, 1, 2]);
        assert_eq!(days(3, 1, step(0, -1, 0), true).unwrap(), [3, 2, 1]);
        assert!(days(3, 1, step(0, 1, 0), true).unwrap().is_empty());
        assert_eq!(days(0, 0, step(1, 0, 0), true).unwrap(), [0]);
        assert_eq!(days(0, 60, step(1, 0, 0), true).unwrap(), [0, 31, 59]);
        // The years 2300 and 1000.
        assert_eq!(
            days(120_529, 120_530, step(0, 1, 0), true).unwrap().len(),
            2
        );
        assert_eq!(days(-354_285, 0, step(1200, 0, 0), true).unwrap().len(), 10);
        for (wrong, what) in [
            (step(0, 0, 0), "at least a microsecond"),
            (step(0, 0, 999), "at least a microsecond"),
            (step(1, -31, 0), "at least a microsecond"),
            (step(1, -30, 0), "forward and back"),
            (step(0, 0, 1000), "too many times"),
        ] {
            let error = days(0, 400, wrong, true).unwrap_err().to_string();
            assert!(error.contains(what), "{wrong:?}: {error}");
        }
    }
}
