//! `sum` of whole numbers, decimals, durations and intervals. It is counted in twice the width, so that the order of the rows
//! decides nothing, and ends with an error where the result does not fit its type. Floats stay with DataFusion, but for those of a
//! window's frame.
//!
//! What one partition gives to the next is the wide total, a decimal.

mod distinct;
mod groups;
mod intervals;
mod whole;
mod width;

use std::sync::Arc;

use arrow::array::ArrowPrimitiveType;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Field, FieldRef, Int64Type, IntervalUnit, TimeUnit, UInt64Type, i256,
};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::format_state_name;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, GroupsAccumulator};

use self::distinct::{SlidingDistinct, distinct};
use self::groups::Groups;
use self::intervals::Intervals;
use self::whole::Whole;
use self::width::{Total, Width, bound_128, bound_256, in_digits, state_type};
use super::as_inner::as_inner;
use super::floats_in_frame::SlidingFloats;

/// `inner`: DataFusion's `sum`.
pub(super) fn checked(inner: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Sum {
        inner: inner.clone(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sum {
    inner: Arc<AggregateUDF>,
}

/// Calls `$make` with the [`Width`] of a result's type.
macro_rules! by_width {
    ($type:expr, $make:ident, $other:expr) => {{
        macro_rules! whole {
            ($t:ty, $native:ty) => {
                $make(Width::<$t, i128> {
                    type_: $type.clone(),
                    widen: |v| i128::from(v),
                    narrow: |v, _| <$native>::try_from(v).ok(),
                })
            };
        }
        macro_rules! decimal {
            ($t:ty, $native:ty) => {
                $make(Width::<$t, i128> {
                    type_: $type.clone(),
                    widen: |v| i128::from(v),
                    narrow: |v, t| <$native>::try_from(in_digits(v, bound_128(t))?).ok(),
                })
            };
        }
        match $type {
            DataType::Int64 => whole!(Int64Type, i64),
            DataType::UInt64 => whole!(UInt64Type, u64),
            DataType::Duration(TimeUnit::Second) => whole!(DurationSecondType, i64),
            DataType::Duration(TimeUnit::Millisecond) => whole!(DurationMillisecondType, i64),
            DataType::Duration(TimeUnit::Microsecond) => whole!(DurationMicrosecondType, i64),
            DataType::Duration(TimeUnit::Nanosecond) => whole!(DurationNanosecondType, i64),
            DataType::Decimal32(..) => decimal!(Decimal32Type, i32),
            DataType::Decimal64(..) => decimal!(Decimal64Type, i64),
            DataType::Decimal128(p, _) if *p < 38 => decimal!(Decimal128Type, i128),
            DataType::Decimal128(..) => $make(Width::<Decimal128Type, i256> {
                type_: $type.clone(),
                widen: i256::from_i128,
                narrow: |v, t| in_digits(v, bound_256(t))?.to_i128(),
            }),
            DataType::Decimal256(..) => $make(Width::<Decimal256Type, i256> {
                type_: $type.clone(),
                widen: |v| v,
                narrow: |v, t| in_digits(v, bound_256(t)),
            }),
            _ => $other,
        }
    }};
}

impl Sum {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }
}

impl AggregateUDFImpl for Sum {
    as_inner!(identical);

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let type_ = args.return_field.data_type().clone();
        if let DataType::Interval(IntervalUnit::MonthDayNano) = type_
            && !args.is_distinct
        {
            return Ok(Box::<Intervals>::default());
        }
        if state_type(&type_).is_none() || matches!(type_, DataType::Interval(_)) {
            return self.of().accumulator(args);
        }
        if args.is_distinct {
            let inner = self.of().accumulator(args)?;
            return Ok(distinct(type_, inner));
        }
        fn make<T: ArrowPrimitiveType, W: Total>(
            width: Width<T, W>,
        ) -> Result<Box<dyn Accumulator>> {
            Ok(Box::new(Whole::new(width)))
        }
        by_width!(&type_, make, internal_err!("no sum of {type_}"))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        match state_type(args.return_field.data_type()) {
            Some(type_) if !args.is_distinct => {
                let name = format_state_name(args.name, "sum");
                Ok(vec![Arc::new(Field::new(name, type_, true))])
            }
            _ => self.of().state_fields(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        let interval = matches!(args.return_field.data_type(), DataType::Interval(_));
        !interval && self.of().groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        fn make<T: ArrowPrimitiveType + Send, W: Total>(
            width: Width<T, W>,
        ) -> Result<Box<dyn GroupsAccumulator>> {
            Ok(Box::new(Groups::new(width)))
        }
        let type_ = args.return_field.data_type().clone();
        by_width!(&type_, make, self.of().create_groups_accumulator(args))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let type_ = args.return_field.data_type().clone();
        match (&type_, args.is_distinct) {
            (DataType::Int64, true) => return Ok(Box::<SlidingDistinct>::default()),
            (DataType::Interval(IntervalUnit::MonthDayNano), false) => {
                return Ok(Box::<Intervals>::default());
            }
            (DataType::Float64, false) => return Ok(Box::<SlidingFloats>::default()),
            (_, true) => return self.of().create_sliding_accumulator(args),
            (_, false) => {}
        }
        fn make<T: ArrowPrimitiveType, W: Total>(
            width: Width<T, W>,
        ) -> Result<Box<dyn Accumulator>> {
            Ok(Box::new(Whole::new(width)))
        }
        by_width!(&type_, make, self.of().create_sliding_accumulator(args))
    }
}
