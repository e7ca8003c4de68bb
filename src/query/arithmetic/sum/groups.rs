//! The sums of groups.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion_functions_aggregate_common::aggregate::groups_accumulator::accumulate::NullState;

use super::width::{Total, Width, state_type, too_large};

/// The sums of groups.
pub(super) struct Groups<T: ArrowPrimitiveType, W> {
    width: Width<T, W>,
    /// The type of a total.
    state: DataType,
    totals: Vec<W>,
    nulls: NullState,
    /// A total itself did not fit.
    lost: bool,
}

impl<T: ArrowPrimitiveType, W: Total> Debug for Groups<T, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Groups({})", self.width.type_)
    }
}

impl<T: ArrowPrimitiveType + Send, W: Total> Groups<T, W> {
    pub(super) fn new(width: Width<T, W>) -> Self {
        Groups {
            state: state_type(&width.type_).unwrap_or(DataType::Null),
            width,
            totals: Vec::new(),
            nulls: NullState::new(),
            lost: false,
        }
    }

    fn accumulate<V: ArrowPrimitiveType + Send>(
        &mut self,
        values: &ArrayRef,
        widen: fn(V::Native) -> W,
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) {
        self.totals.resize(count, W::default());
        let (totals, lost) = (&mut self.totals, &mut self.lost);
        let values = values.as_primitive::<V>();
        self.nulls
            .accumulate(groups, values, filter, count, |group, value| {
                if let Some(total) = totals.get_mut(group) {
                    match total.add_checked(widen(value)) {
                        Ok(sum) => *total = sum,
                        Err(_) => *lost = true,
                    }
                }
            });
    }

    fn totals(&mut self, emit: EmitTo) -> Result<(Vec<W>, Option<NullBuffer>)> {
        if self.lost {
            return Err(too_large(&self.width.type_));
        }
        Ok((emit.take_needed(&mut self.totals), self.nulls.build(emit)))
    }
}

impl<T: ArrowPrimitiveType + Send, W: Total> GroupsAccumulator for Groups<T, W> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        count: usize,
    ) -> Result<()> {
        let widen = self.width.widen;
        if let Some(values) = values.first() {
            self.accumulate::<T>(values, widen, groups, filter, count);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef], groups: &[usize], count: usize) -> Result<()> {
        if let Some(states) = states.first() {
            self.accumulate::<W::State>(states, |total| total, groups, None, count);
        }
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        let (totals, nulls) = self.totals(emit)?;
        let type_ = &self.width.type_;
        let narrow = self.width.narrow;
        let mut values = Vec::with_capacity(totals.len());
        for (at, total) in totals.into_iter().enumerate() {
            match narrow(total, type_) {
                Some(value) => values.push(value),
                None if nulls.as_ref().is_some_and(|n| n.is_null(at)) => {
                    values.push(T::Native::default());
                }
                None => return Err(too_large(type_)),
            }
        }
        let values = PrimitiveArray::<T>::new(values.into(), nulls);
        Ok(Arc::new(values.with_data_type(type_.clone())))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        let (totals, nulls) = self.totals(emit)?;
        let totals = PrimitiveArray::<W::State>::new(totals.into(), nulls);
        Ok(vec![Arc::new(totals.with_data_type(self.state.clone()))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let Some(values) = values.first() else {
            return internal_err!("a sum of nothing");
        };
        let values = values.as_primitive::<T>();
        let widen = self.width.widen;
        let totals = values.values().iter().map(|v| widen(*v)).collect();
        let wanted = filter.map(|filter| {
            let nulls = filter.nulls().map(NullBuffer::inner);
            match nulls {
                Some(valid) => NullBuffer::new(valid & filter.values()),
                None => NullBuffer::new(filter.values().clone()),
            }
        });
        let nulls = NullBuffer::union(values.nulls(), wanted.as_ref());
        let totals = PrimitiveArray::<W::State>::new(totals, nulls);
        Ok(vec![Arc::new(totals.with_data_type(self.state.clone()))])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<W>() + self.nulls.size()
    }
}
