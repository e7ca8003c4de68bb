//! Quotients of decimals, rounded to the last digit of their type with a half away from zero, as in PostgreSQL. Arrow's division and
//! DataFusion's `avg` cut the digits behind it off.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Datum, Decimal128Array};
use arrow::datatypes::{DataType, Decimal128Type, Decimal256Type, UInt64Type, i256};
use arrow::error::ArrowError;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};

use super::overflow::out_of_range;
use crate::query::errors::external;

/// None: these are no decimals of this width.
pub(super) fn quotient(
    left: &dyn Datum,
    right: &dyn Datum,
    type_: &DataType,
) -> Option<Result<ArrayRef, ArrowError>> {
    let ((left, one_left), (right, one_right)) = (left.get(), right.get());
    let (DataType::Decimal128(_, l), DataType::Decimal128(_, r), DataType::Decimal128(_, made)) =
        (left.data_type(), right.data_type(), type_)
    else {
        return None;
    };
    let shift = u32::try_from(i16::from(*made) - i16::from(*l) + i16::from(*r)).ok()?;
    let shift = ten_to(shift)?;
    let left = left.as_primitive::<Decimal128Type>();
    let right = right.as_primitive::<Decimal128Type>();
    let rows = if one_left { right.len() } else { left.len() };
    let one = |row: usize| {
        let (l, r) = (
            if one_left { 0 } else { row },
            if one_right { 0 } else { row },
        );
        if left.is_null(l) || right.is_null(r) {
            return Ok(None);
        }
        let (l, r) = (left.value(l), right.value(r));
        if r == 0 {
            return Err(ArrowError::DivideByZero);
        }
        let value = i256::from_i128(l)
            .checked_mul(shift)
            .and_then(|l| rounded(l, i256::from_i128(r)))
            .and_then(i256::to_i128);
        let overflow = || ArrowError::ArithmeticOverflow(String::new());
        value.map(Some).ok_or_else(overflow)
    };
    let values = (0..rows).map(one).collect::<Result<Decimal128Array, _>>();
    Some(values.map(|v| Arc::new(v.with_data_type(type_.clone())) as ArrayRef))
}

fn ten_to(exponent: u32) -> Option<i256> {
    i256::from_i128(10).checked_pow(exponent)
}

/// None: the divisor is zero, or the numbers are too large.
fn rounded(number: i256, by: i256) -> Option<i256> {
    let (whole, rest) = (number.checked_div(by)?, number.checked_rem(by)?);
    let half = rest.checked_abs()?.checked_mul(i256::from_i128(2))? >= by.checked_abs()?;
    match (half, number.is_negative() == by.is_negative()) {
        (false, _) => Some(whole),
        (true, true) => whole.checked_add(i256::ONE),
        (true, false) => whole.checked_sub(i256::ONE),
    }
}

/// The mean of decimals, which are counted and summed up by DataFusion's accumulator.
#[derive(Clone, Debug)]
pub(super) struct DecimalMean {
    type_: DataType,
    shift: i256,
}

impl DecimalMean {
    /// `of`: the type of the values. None: these are no decimals of this width.
    pub(super) fn new(of: &DataType, type_: &DataType) -> Option<Self> {
        let (DataType::Decimal128(_, values), DataType::Decimal128(_, mean)) = (of, type_) else {
            return None;
        };
        Some(DecimalMean {
            type_: type_.clone(),
            shift: ten_to(u32::try_from(i16::from(*mean) - i16::from(*values)).ok()?)?,
        })
    }

    fn of(&self, sum: i256, count: u64) -> Result<i128> {
        let mean = sum
            .checked_mul(self.shift)
            .and_then(|sum| rounded(sum, i256::from_i128(i128::from(count))))
            .and_then(i256::to_i128);
        let fits = |mean: &i128| {
            let digits = match self.type_ {
                DataType::Decimal128(precision, _) => precision,
                _ => 0,
            };
            mean.unsigned_abs() < 10u128.pow(u32::from(digits))
        };
        mean.filter(fits)
            .ok_or_else(|| external(out_of_range(&self.type_, "avg")))
    }

    fn scalar(&self, mean: Option<i128>) -> ScalarValue {
        match self.type_ {
            DataType::Decimal128(precision, scale) => {
                ScalarValue::Decimal128(mean, precision, scale)
            }
            _ => ScalarValue::Null,
        }
    }

    pub(super) fn rounding(self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        Box::new(OfRows { mean: self, inner })
    }

    pub(super) fn rounding_groups(
        self,
        inner: Box<dyn GroupsAccumulator>,
    ) -> Box<dyn GroupsAccumulator> {
        Box::new(OfGroups { mean: self, inner })
    }
}

#[derive(Debug)]
struct OfRows {
    mean: DecimalMean,
    inner: Box<dyn Accumulator>,
}

fn sum_of(value: &ScalarValue) -> Option<i256> {
    match value {
        ScalarValue::Decimal128(sum, ..) => sum.map(i256::from_i128),
        ScalarValue::Decimal256(sum, ..) => *sum,
        _ => None,
    }
}

impl Accumulator for OfRows {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.update_batch(values)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let state = self.inner.state()?;
        let (sum, count) = match state.as_slice() {
            [ScalarValue::UInt64(count), sum] => (sum_of(sum), count.unwrap_or(0)),
            // Distinct values, which are kept one by one.
            [ScalarValue::List(lists)] if lists.len() == 1 => {
                let values = lists.value(0);
                let values = values.as_primitive::<Decimal128Type>();
                let mut sum = i256::ZERO;
                let mut count = 0;
                for value in values.iter().flatten() {
                    // i256 holds more of these than memory does.
                    sum = sum.wrapping_add(i256::from_i128(value));
                    count += 1;
                }
                (Some(sum), count)
            }
            _ => return internal_err!("a mean of decimals in another form"),
        };
        match sum {
            Some(sum) if count > 0 => Ok(self.mean.scalar(Some(self.mean.of(sum, count)?))),
            _ => Ok(self.mean.scalar(None)),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

struct OfGroups {
    mean: DecimalMean,
    inner: Box<dyn GroupsAccumulator>,
}

impl GroupsAccumulator for OfGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        self.inner.update_batch(values, groups, filter, count)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        self.inner.merge_batch(states, groups, count)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let states = self.inner.state(emit)?;
        let [counts, sums] = states.as_slice() else {
            return internal_err!("means of decimals in another form");
        };
        let counts = counts.as_primitive::<UInt64Type>();
        let sum = |group: usize| match sums.data_type() {
            _ if sums.is_null(group) || counts.is_null(group) => None,
            DataType::Decimal128(..) => {
                let sums = sums.as_primitive::<Decimal128Type>();
                Some(i256::from_i128(sums.value(group)))
            }
            _ => Some(sums.as_primitive::<Decimal256Type>().value(group)),
        };
        let means = (0..sums.len()).map(|group| match sum(group) {
            Some(sum) if counts.value(group) > 0 => {
                self.mean.of(sum, counts.value(group)).map(Some)
            }
            _ => Ok(None),
        });
        let means = means.collect::<Result<Decimal128Array>>()?;
        Ok(Arc::new(means.with_data_type(self.mean.type_.clone())))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        self.inner.size()
    }
}
