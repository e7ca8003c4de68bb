//! Variance and standard deviation of the floats in a window's frame, which values leave again.
//!
//! Running sums of squares (B. P. Welford, "Note on a method for calculating corrected sums of squares and products", 1962) take
//! values away as well, but what a large value leaves behind is larger than the squares of the small ones, and NaN stays for good.
//! So the frame's values are kept, and the sums are made anew when most of them has been taken away, when a value was no finite
//! number, and once in as many rows as the frame has.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, FieldRef, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator};

use super::as_inner::as_inner;

/// The aggregates that [`spread`] takes the place of.
pub(super) const NAMES: [&str; 4] = ["stddev", "stddev_pop", "var", "var_pop"];

/// Of the largest sum of squares, what has to be left for the digits to be trusted.
const TRUSTED: f64 = 1e-6;

/// `inner`: one of DataFusion's [`NAMES`].
pub(super) fn spread(inner: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Spread {
        inner: inner.clone(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Spread {
    inner: Arc<AggregateUDF>,
}

impl Spread {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }
}

impl AggregateUDFImpl for Spread {
    as_inner!();

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.of().accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.of().state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.of().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        self.of().create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let of = args.expr_fields.first().map(|f| f.data_type());
        match (of, args.is_distinct) {
            (Some(DataType::Float64), false) => Ok(Box::new(SlidingSpread {
                of_sample: !self.name().ends_with("_pop"),
                root: self.name().starts_with("stddev"),
                ..SlidingSpread::default()
            })),
            _ => self.of().create_sliding_accumulator(args),
        }
    }
}

#[derive(Debug, Default)]
struct SlidingSpread {
    /// The frame's, first in first out.
    values: VecDeque<f64>,
    mean: f64,
    /// The sum of the squares of the distances from the mean.
    squares: f64,
    /// The largest that it was since it was made anew.
    largest: f64,
    /// Values that were taken away since.
    gone: usize,
    /// It has to be made anew.
    stale: bool,
    /// Of a sample of the values, and not of all there are.
    of_sample: bool,
    /// The standard deviation, and not the variance.
    root: bool,
}

impl SlidingSpread {
    fn add(&mut self, value: f64) {
        self.values.push_back(value);
        self.stale |= !value.is_finite();
        if !self.stale {
            let distance = value - self.mean;
            self.mean += distance / self.values.len() as f64;
            self.squares += distance * (value - self.mean);
            self.largest = self.largest.max(self.squares);
        }
    }

    fn take_away(&mut self) {
        let Some(value) = self.values.pop_front() else {
            return;
        };
        self.gone += 1;
        self.stale |= !value.is_finite() || self.gone > self.values.len();
        if !self.stale {
            let distance = value - self.mean;
            self.mean -= distance / self.values.len() as f64;
            self.squares -= distance * (value - self.mean);
            self.stale = self.squares < self.largest * TRUSTED;
        }
    }

    /// NaN where a value is no finite number.
    fn anew(&mut self) {
        self.stale = self.values.iter().any(|value| !value.is_finite());
        (self.mean, self.squares, self.gone) = (0.0, f64::NAN, 0);
        if self.stale {
            return;
        }
        for (at, value) in self.values.iter().enumerate() {
            self.mean += (value - self.mean) / (at + 1) as f64;
        }
        self.squares = self.values.iter().map(|v| (v - self.mean).powi(2)).sum();
        self.largest = self.squares;
    }
}

/// Those that are not null.
fn of(values: &[ArrayRef]) -> impl Iterator<Item = f64> + '_ {
    let columns = values.iter().map(|v| v.as_primitive::<Float64Type>());
    columns.flat_map(|column| column.iter().flatten())
}

impl Accumulator for SlidingSpread {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        of(values).for_each(|value| self.add(value));
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        of(values).for_each(|_| self.take_away());
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("the variance of a window's frame is not merged")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("the variance of a window's frame is not merged")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let by = self
            .values
            .len()
            .saturating_sub(usize::from(self.of_sample));
        if by == 0 {
            return Ok(ScalarValue::Float64(None));
        }
        if self.stale {
            self.anew();
        }
        let variance = self.squares / by as f64;
        let value = if self.root { variance.sqrt() } else { variance };
        Ok(ScalarValue::Float64(Some(value)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<f64>()
    }
}
