//! The sum of intervals.

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::width::too_large;

/// The sum of intervals, part by part.
#[derive(Debug, Default)]
pub(super) struct Intervals {
    months: i128,
    days: i128,
    nanoseconds: i128,
    count: u64,
}

impl Intervals {
    fn each(values: &[ArrayRef]) -> impl Iterator<Item = IntervalMonthDayNano> + '_ {
        let values = values.first().into_iter();
        values.flat_map(|v| {
            v.as_primitive::<IntervalMonthDayNanoType>()
                .iter()
                .flatten()
        })
    }
}

impl Accumulator for Intervals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Self::each(values) {
            self.count += 1;
            self.months += i128::from(value.months);
            self.days += i128::from(value.days);
            self.nanoseconds += i128::from(value.nanoseconds);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in Self::each(values) {
            self.count = self.count.saturating_sub(1);
            self.months -= i128::from(value.months);
            self.days -= i128::from(value.days);
            self.nanoseconds -= i128::from(value.nanoseconds);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::IntervalMonthDayNano(None));
        }
        let parts = (
            i32::try_from(self.months),
            i32::try_from(self.days),
            i64::try_from(self.nanoseconds),
        );
        let (Ok(months), Ok(days), Ok(nanoseconds)) = parts else {
            let type_ = DataType::Interval(IntervalUnit::MonthDayNano);
            return Err(too_large(&type_));
        };
        let sum = IntervalMonthDayNano::new(months, days, nanoseconds);
        Ok(ScalarValue::IntervalMonthDayNano(Some(sum)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
