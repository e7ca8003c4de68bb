//! `percentile_cont` and `median` of floats: between two infinities of one sign the value is that infinity, and the ends are the
//! extremes in the order of [`super::extremes`]. DataFusion's are NaN and the largest finite number, and it cuts a percentile to six
//! digits.
//!
//! DataFusion's accumulators gather the values and tell them as a list: here is only what the list comes to.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, Expr, GroupsAccumulator,
};
use datafusion::physical_expr::expressions::Literal;

use super::as_inner::as_inner;

/// The aggregates that [`interpolated`] takes the place of.
pub(super) const NAMES: [&str; 2] = ["median", "percentile_cont"];

/// `inner`: one of DataFusion's [`NAMES`]. `extremes`: the engine's own `min` and `max`.
pub(super) fn interpolated(
    inner: &Arc<AggregateUDF>,
    extremes: &[Arc<AggregateUDF>],
) -> AggregateUDF {
    AggregateUDF::from(Interpolated {
        inner: inner.clone(),
        extremes: extremes.to_vec(),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Interpolated {
    inner: Arc<AggregateUDF>,
    extremes: Vec<Arc<AggregateUDF>>,
}

impl Interpolated {
    fn of(&self) -> &dyn AggregateUDFImpl {
        self.inner.inner().as_ref()
    }

    /// Where the value is among the others, from 0 to 1; none for types whose values are counted by DataFusion.
    fn place(&self, args: &AccumulatorArgs) -> Option<f64> {
        let type_ = args.expr_fields.first()?.data_type();
        if !matches!(type_, DataType::Float32 | DataType::Float64) {
            return None;
        }
        let place = match args.exprs {
            [_] => 0.5,
            // DataFusion has made sure that it is there, and between 0 and 1.
            [_, place, ..] => match place.downcast_ref::<Literal>()?.value() {
                ScalarValue::Float64(Some(place)) => *place,
                ScalarValue::Float32(Some(place)) => f64::from(*place),
                _ => return None,
            },
            [] => return None,
        };
        let descending = args.order_bys.first().is_some_and(|o| o.options.descending);
        Some(if descending { 1.0 - place } else { place })
    }
}

impl AggregateUDFImpl for Interpolated {
    as_inner!(state_fields, groups_supported);

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        let (place, is_distinct) = (self.place(&args), args.is_distinct);
        let inner = self.of().accumulator(args)?;
        Ok(match place {
            Some(place) => Box::new(One {
                inner,
                place,
                is_distinct,
            }),
            None => inner,
        })
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        self.accumulator(args)
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        let place = self.place(&args);
        let inner = self.of().create_groups_accumulator(args)?;
        Ok(match place {
            Some(place) => Box::new(Groups { inner, place }),
            None => inner,
        })
    }

    /// The ends become extremes, which keep no values. DataFusion takes its own for them.
    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        let simplify = self.of().simplify()?;
        let extremes = self.extremes.clone();
        Some(Box::new(move |call, context| {
            Ok(match simplify(call, context)? {
                Expr::AggregateFunction(mut call) => {
                    let own = extremes.iter().find(|own| own.name() == call.func.name());
                    call.func = own.cloned().unwrap_or(call.func);
                    Expr::AggregateFunction(call)
                }
                other => other,
            })
        }))
    }
}

/// The value at a place among values in any order; none of none.
fn at(values: &mut [f64], place: f64) -> Option<f64> {
    let steps = place * values.len().checked_sub(1)? as f64;
    let below = steps.floor();
    let (_, low, above) = values.select_nth_unstable_by(below as usize, f64::total_cmp);
    let low = *low;
    let high = above.iter().copied().min_by(f64::total_cmp);
    Some(match high {
        Some(high) if steps > below => between(low, high, steps - below),
        _ => low,
    })
}

/// `weight`: above 0 and below 1, how far the value is from `low`.
fn between(low: f64, high: f64, weight: f64) -> f64 {
    let distance = high - low;
    if low == high {
        low
    } else if distance.is_finite() {
        low + distance * weight
    } else {
        low * (1.0 - weight) + high * weight
    }
}

fn floats(values: &ArrayRef) -> Result<Vec<f64>> {
    Ok(match values.data_type() {
        DataType::Float64 => values
            .as_primitive::<Float64Type>()
            .iter()
            .flatten()
            .collect(),
        DataType::Float32 => {
            let values = values.as_primitive::<Float32Type>().iter().flatten();
            values.map(f64::from).collect()
        }
        other => return internal_err!("no percentile of {other}"),
    })
}

/// What each list of values comes to, in the type of the values.
fn of_lists(lists: &ListArray, place: f64) -> Result<ArrayRef> {
    let each = lists.iter().map(|values| match values {
        Some(values) => Ok(at(&mut floats(&values)?, place)),
        None => Ok(None),
    });
    let each: ArrayRef = Arc::new(each.collect::<Result<Float64Array>>()?);
    Ok(cast(&each, &lists.value_type())?)
}

#[derive(Debug)]
struct One {
    inner: Box<dyn Accumulator>,
    place: f64,
    is_distinct: bool,
}

impl Accumulator for One {
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
        let [ScalarValue::List(list)] = state.as_slice() else {
            return internal_err!("values of a percentile are told as one list");
        };
        // A window asks again. All values are given away with the state, distinct ones are kept.
        if !self.is_distinct {
            let all: ArrayRef = list.clone();
            self.inner.merge_batch(std::slice::from_ref(&all))?;
        }
        ScalarValue::try_from_array(&of_lists(list, self.place)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

struct Groups {
    inner: Box<dyn GroupsAccumulator>,
    place: f64,
}

impl GroupsAccumulator for Groups {
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

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        match self.inner.state(emit_to)?.as_slice() {
            [lists] => of_lists(lists.as_list(), self.place),
            _ => internal_err!("values of a percentile are told as one list"),
        }
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        self.inner.convert_to_state(values, filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_between_two_others_is_between_them() {
        let (inf, nan) = (f64::INFINITY, f64::NAN);
        for (values, place, expected) in [
            (vec![3.0, 1.0, 2.0], 0.5, 2.0),
            (vec![4.0, 1.0], 0.25, 1.75),
            (vec![inf, inf], 0.5, inf),
            (vec![-inf, -inf, 1.0], 0.25, -inf),
            (vec![-inf, 3.0], 0.5, -inf),
            (vec![3.0, inf], 0.5, inf),
            (vec![-inf, inf], 0.5, nan),
            (vec![1e308, -1e308], 0.5, 0.0),
            (vec![nan, 1.0, 2.0], 0.5, 2.0),
            (vec![nan, 1.0], 0.5, nan),
            (vec![nan, 1.0], 0.0, 1.0),
            (vec![1.0, 1e9 + 1.0], 1.2345e-7, 124.45),
        ] {
            let found = at(&mut values.clone(), place).unwrap_or_default();
            let close = (found - expected).abs() <= 1e-12 * expected.abs();
            let same = found == expected || (found.is_nan() && expected.is_nan());
            assert!(close || same, "{values:?} {place}: {found}");
        }
        assert_eq!(at(&mut [], 0.5), None);
    }
}
