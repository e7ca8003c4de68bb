//! `sum` and `avg` of the floats in a window's frame, which values leave again; `avg` of decimals is rounded (`quotient`).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator};

use super::as_inner::as_inner;
use super::exact::ExactSum;
use super::quotient::DecimalMean;

/// `inner`: DataFusion's `avg`.
pub(super) fn mean(inner: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Mean {
        inner: inner.clone(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Mean {
    inner: Arc<AggregateUDF>,
}

impl Mean {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }
}

impl AggregateUDFImpl for Mean {
    as_inner!(identical, state_fields, groups_supported);

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let mean = rounding(&args);
        let inner = self.of().accumulator(args)?;
        Ok(match mean {
            Some(mean) => mean.rounding(inner),
            None => inner,
        })
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let mean = rounding(&args);
        let inner = self.of().create_groups_accumulator(args)?;
        Ok(match mean {
            Some(mean) => mean.rounding_groups(inner),
            None => inner,
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let of = args.expr_fields.first().map(|f| f.data_type());
        match (of, args.is_distinct) {
            (Some(DataType::Float64), false) => Ok(Box::new(SlidingFloats {
                mean: true,
                ..SlidingFloats::default()
            })),
            _ => {
                let mean = rounding(&args);
                let inner = self.of().create_sliding_accumulator(args)?;
                Ok(match mean {
                    Some(mean) => mean.rounding(inner),
                    None => inner,
                })
            }
        }
    }
}

/// None: a mean of other values than decimals.
fn rounding(args: &AccumulatorArgs) -> Option<DecimalMean> {
    let of = args.expr_fields.first()?.data_type();
    DecimalMean::new(of, args.return_type())
}

#[derive(Debug, Default)]
pub(super) struct SlidingFloats {
    sum: ExactSum,
    /// Values in it.
    count: u64,
    /// The mean of the values, and not their sum.
    mean: bool,
}

/// Those that are not null.
fn of(values: &[ArrayRef]) -> impl Iterator<Item = f64> + '_ {
    let columns = values.iter().map(|v| v.as_primitive::<Float64Type>());
    columns.flat_map(|column| column.iter().flatten())
}

impl Accumulator for SlidingFloats {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in of(values) {
            self.sum.add(value);
            self.count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in of(values) {
            self.sum.take_away(value);
            self.count = self.count.saturating_sub(1);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> Result<()> {
        internal_err!("the sum of a window's frame is not merged")
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        internal_err!("the sum of a window's frame is not merged")
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.count == 0 {
            return Ok(ScalarValue::Float64(None));
        }
        let sum = self.sum.value();
        let value = match self.mean {
            true => sum / self.count as f64,
            false => sum,
        };
        Ok(ScalarValue::Float64(Some(value)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
