//! The sum of all rows, or of a window's frame.

use std::fmt::Debug;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::width::{Total, Width, state_type, too_large};

/// The sum of all rows, or of those in a window's frame.
pub(super) struct Whole<T: ArrowPrimitiveType, W> {
    width: Width<T, W>,
    total: W,
    /// Values in it.
    count: u64,
    /// The total itself did not fit.
    lost: bool,
}

impl<T: ArrowPrimitiveType, W> Debug for Whole<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Whole({})", self.width.type_)
    }
}

impl<T: ArrowPrimitiveType, W: Total> Whole<T, W> {
    pub(super) fn new(width: Width<T, W>) -> Self {
        Whole {
            width,
            total: W::default(),
            count: 0,
            lost: false,
        }
    }

    fn of_batch(&self, values: &PrimitiveArray<T>) -> W {
        let widen = self.width.widen;
        match values.nulls() {
            None => values
                .values()
                .iter()
                .fold(W::default(), |sum, v| sum.add_wrapping(widen(*v))),
            Some(_) => values
                .iter()
                .flatten()
                .fold(W::default(), |sum, v| sum.add_wrapping(widen(v))),
        }
    }

    fn add(&mut self, more: W) {
        match self.total.add_checked(more) {
            Ok(total) => self.total = total,
            Err(_) => self.lost = true,
        }
    }
}

impl<T: ArrowPrimitiveType, W: Total> Accumulator for Whole<T, W> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(values) = values.first() {
            let values = values.as_primitive::<T>();
            self.count += (values.len() - values.null_count()) as u64;
            self.add(self.of_batch(values));
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if let Some(values) = values.first() {
            let values = values.as_primitive::<T>();
            let gone = (values.len() - values.null_count()) as u64;
            self.count = self.count.saturating_sub(gone);
            self.total = self.total.sub_wrapping(self.of_batch(values));
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        if let Some(states) = states.first() {
            for total in states.as_primitive::<W::State>().iter().flatten() {
                self.count += 1;
                self.add(total);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        if self.lost {
            return Err(too_large(&self.width.type_));
        }
        let total = (self.count > 0).then_some(self.total);
        let state = state_type(&self.width.type_).unwrap_or(DataType::Null);
        Ok(vec![ScalarValue::new_primitive::<W::State>(total, &state)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let type_ = &self.width.type_;
        if self.count == 0 {
            return ScalarValue::new_primitive::<T>(None, type_);
        }
        match (self.width.narrow)(self.total, type_) {
            Some(value) if !self.lost => ScalarValue::new_primitive::<T>(Some(value), type_),
            _ => Err(too_large(type_)),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}
