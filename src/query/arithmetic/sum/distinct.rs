//! Sums of distinct values.

use std::collections::HashMap;
use std::fmt::Debug;

use arrow::array::{ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, Int64Type, UInt64Type, i256};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::Accumulator;

use super::whole::Whole;
use super::width::{Total, Width, bound_256, in_digits, too_large};

/// The sum of distinct values, which DataFusion's accumulator gathers.
struct Distinct<T: ArrowPrimitiveType, W> {
    width: Width<T, W>,
    inner: Box<dyn Accumulator>,
}

pub(super) fn distinct(type_: DataType, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
    macro_rules! made {
        ($t:ty, $w:ty, $widen:expr, $narrow:expr) => {
            Box::new(Distinct {
                width: Width::<$t, $w> {
                    type_,
                    widen: $widen,
                    narrow: $narrow,
                },
                inner,
            })
        };
    }
    match &type_ {
        DataType::Int64 => made!(Int64Type, i128, i128::from, |v, _| i64::try_from(v).ok()),
        DataType::UInt64 => made!(UInt64Type, i128, i128::from, |v, _| u64::try_from(v).ok()),
        DataType::Decimal128(..) => made!(Decimal128Type, i256, i256::from_i128, |v, t| {
            in_digits(v, bound_256(t))?.to_i128()
        }),
        DataType::Decimal256(..) => made!(Decimal256Type, i256, |v| v, |v, t| in_digits(
            v,
            bound_256(t)
        )),
        _ => inner,
    }
}

impl<T: ArrowPrimitiveType, W> Debug for Distinct<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Distinct({})", self.width.type_)
    }
}

impl<T: ArrowPrimitiveType, W: Total> Accumulator for Distinct<T, W> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = Whole::new(self.width.clone());
        for state in self.inner.state()? {
            if let ScalarValue::List(lists) = state {
                sum.update_batch(&[lists.values().clone()])?;
            }
        }
        sum.evaluate()
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

/// The sum of the distinct whole numbers in a window's frame.
#[derive(Debug, Default)]
pub(super) struct SlidingDistinct {
    counts: HashMap<i64, u64>,
    total: i128,
}

/// Those that are not null.
fn of(values: &[ArrayRef]) -> impl Iterator<Item = i64> + '_ {
    let columns = values.iter().map(|v| v.as_primitive::<Int64Type>());
    columns.flat_map(|column| column.iter().flatten())
}

impl Accumulator for SlidingDistinct {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in of(values) {
            let count = self.counts.entry(value).or_insert(0);
            if *count == 0 {
                self.total += i128::from(value);
            }
            *count += 1;
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in of(values) {
            if let Some(count) = self.counts.get_mut(&value) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&value);
                    self.total -= i128::from(value);
                }
            }
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
        if self.counts.is_empty() {
            return Ok(ScalarValue::Int64(None));
        }
        match i64::try_from(self.total) {
            Ok(total) => Ok(ScalarValue::Int64(Some(total))),
            Err(_) => Err(too_large(&DataType::Int64)),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(i64, u64)>()
    }
}
