//! What a sum is counted in: a wider number than its values are, and the way to it and back.

use std::fmt::Debug;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{
    ArrowNativeTypeOp, DataType, Decimal128Type, Decimal256Type, DecimalType, IntervalUnit, i256,
};
use datafusion::common::DataFusionError;

use crate::query::arithmetic::overflow::out_of_range;
use crate::query::errors::external;

/// What a sum is counted in.
pub(super) trait Total: ArrowNativeTypeOp + Debug + Default + Send + Sync {
    type State: DecimalType<Native = Self> + ArrowPrimitiveType<Native = Self>;
}

impl Total for i128 {
    type State = Decimal128Type;
}

impl Total for i256 {
    type State = Decimal256Type;
}

/// A type of sums, with its way to the total and back.
pub(super) struct Width<T: ArrowPrimitiveType, W> {
    /// Of the result.
    pub(super) type_: DataType,
    pub(super) widen: fn(T::Native) -> W,
    /// None: it does not fit the result's type.
    pub(super) narrow: fn(W, &DataType) -> Option<T::Native>,
}

impl<T: ArrowPrimitiveType, W> Clone for Width<T, W> {
    fn clone(&self) -> Self {
        Width {
            type_: self.type_.clone(),
            widen: self.widen,
            narrow: self.narrow,
        }
    }
}

impl<T: ArrowPrimitiveType, W> Debug for Width<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Width({})", self.type_)
    }
}

/// A sum that does not fit the result's type.
pub(super) fn too_large(type_: &DataType) -> DataFusionError {
    external(out_of_range(type_, "sum"))
}

/// The type of the total that is kept between two steps of a sum; none for those that DataFusion sums.
pub(super) fn state_type(type_: &DataType) -> Option<DataType> {
    match type_ {
        DataType::Int64 | DataType::UInt64 | DataType::Duration(_) => {
            Some(DataType::Decimal128(38, 0))
        }
        DataType::Decimal32(_, s) | DataType::Decimal64(_, s) => Some(DataType::Decimal128(38, *s)),
        // Fewer digits than the type could have: the values are ten orders smaller than it.
        DataType::Decimal128(p, s) if *p < 38 => Some(DataType::Decimal128(38, *s)),
        DataType::Decimal128(_, s) | DataType::Decimal256(_, s) => {
            Some(DataType::Decimal256(76, *s))
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => Some(type_.clone()),
        _ => None,
    }
}

/// None: it has more digits than are below the bound.
pub(super) fn in_digits<N: PartialOrd + std::ops::Neg<Output = N> + Copy>(
    value: N,
    bound: N,
) -> Option<N> {
    (value < bound && value > -bound).then_some(value)
}

pub(super) fn bound_128(type_: &DataType) -> i128 {
    match type_ {
        DataType::Decimal128(p, _) => 10i128.checked_pow(u32::from(*p)).unwrap_or(i128::MAX),
        DataType::Decimal64(p, _) => 10i128.pow(u32::from(*p).min(38)),
        DataType::Decimal32(p, _) => 10i128.pow(u32::from(*p).min(38)),
        _ => i128::MAX,
    }
}

pub(super) fn bound_256(type_: &DataType) -> i256 {
    match type_ {
        DataType::Decimal128(p, _) | DataType::Decimal256(p, _) => i256::from_i128(10)
            .checked_pow(u32::from(*p))
            .unwrap_or(i256::MAX),
        _ => i256::MAX,
    }
}
