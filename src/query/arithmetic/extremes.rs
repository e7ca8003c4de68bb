//! `min` and `max` of floats in one order, grouped or not. DataFusion's grouped ones compare as the processor does, where a NaN
//! is neither below nor above a number and the answer depends on the order of the rows, and they begin with the largest
//! finite number, so that the smallest of infinities alone is no infinity.

use std::sync::Arc;

use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::Result;
use datafusion::functions_aggregate::min_max::{max_udaf, min_udaf};
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{AggregateUDF, AggregateUDFImpl, Expr, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::prim_op::PrimitiveGroupsAccumulator;

use super::as_inner::as_inner;

/// `inner`: DataFusion's `min` or `max`.
pub(super) fn ordered(inner: &Arc<AggregateUDF>) -> AggregateUDF {
    AggregateUDF::from(Extreme {
        inner: inner.clone(),
    })
}

/// The smallest of the values, for a rule that plans an aggregate.
pub(in crate::query) fn min(values: Expr) -> Expr {
    ordered(&min_udaf()).call(vec![values])
}

/// The largest of the values.
pub(in crate::query) fn max(values: Expr) -> Expr {
    ordered(&max_udaf()).call(vec![values])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    inner: Arc<AggregateUDF>,
}

impl Extreme {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }

    fn is_max(&self) -> bool {
        self.inner.name() == "max"
    }
}

impl AggregateUDFImpl for Extreme {
    as_inner!(
        identical,
        accumulator,
        state_fields,
        groups_supported,
        sliding
    );

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        // The start is what no value is worse than. Not by `total_cmp`, which takes twice as long: a NaN is above all numbers, whichever it is, and
        // zeros are equal, because floats are brought to one form behind an aggregate ([`super::floats`]).
        macro_rules! floats {
            ($type:ty, $float:ty) => {{
                let type_ = args.return_field.data_type();
                if self.is_max() {
                    let more = |best: &mut $float, new: $float| {
                        if new > *best || new.is_nan() {
                            *best = new;
                        }
                    };
                    let groups = PrimitiveGroupsAccumulator::<$type, _>::new(type_, more);
                    Ok(Box::new(groups.with_starting_value(<$float>::NEG_INFINITY)))
                } else {
                    let less = |best: &mut $float, new: $float| {
                        if new < *best || best.is_nan() {
                            *best = new;
                        }
                    };
                    let groups = PrimitiveGroupsAccumulator::<$type, _>::new(type_, less);
                    Ok(Box::new(groups.with_starting_value(<$float>::NAN)))
                }
            }};
        }
        match args.return_field.data_type() {
            DataType::Float64 => floats!(Float64Type, f64),
            DataType::Float32 => floats!(Float32Type, f32),
            _ => self.of().create_groups_accumulator(args),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{ArrayRef, AsArray, Float64Array};
    use arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::EmitTo;
    use datafusion::physical_expr::expressions::col;

    use super::*;

    #[test]
    fn the_extremes_of_a_group_do_not_depend_on_the_order_of_its_rows() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        let cases = [
            (vec![1.0, nan, 2.0], 1.0, nan),
            (vec![nan, 1.0, 2.0], 1.0, nan),
            (vec![2.0, 1.0, nan], 1.0, nan),
            (vec![nan], nan, nan),
            (vec![inf], inf, inf),
            (vec![-inf], -inf, -inf),
            (vec![-inf, inf], -inf, inf),
        ];
        let schema = Schema::new(vec![Field::new("v", DataType::Float64, true)]);
        for (values, least, most) in cases {
            for (inner, expected) in [(min_udaf(), least), (max_udaf(), most)] {
                let function = ordered(&inner);
                let field = schema.fields()[0].clone();
                let args = AccumulatorArgs {
                    return_field: field.clone(),
                    schema: &schema,
                    ignore_nulls: false,
                    order_bys: &[],
                    is_reversed: false,
                    name: "v",
                    is_distinct: false,
                    exprs: &[col("v", &schema).unwrap()],
                    expr_fields: &[field],
                };
                let mut groups = function.create_groups_accumulator(args).unwrap();
                let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
                let places = vec![0; values.len()];
                groups.update_batch(&[array], &places, None, 1).unwrap();
                let found = groups.evaluate(EmitTo::All).unwrap();
                let found = found.as_primitive::<Float64Type>().value(0);
                let name = function.name();
                assert_eq!(found.to_bits(), expected.to_bits(), "{name} of {values:?}");
            }
        }
    }
}
