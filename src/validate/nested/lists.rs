//! The lists of Arrow's five layouts, and maps, in one: offsets that rise, and values without gaps between them.

use arrow::array::{Array, ArrayRef, AsArray, OffsetSizeTrait, UInt64Array};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::{Walk, internal};
use crate::fault::{Fault, Kind};
use crate::validate::size::taken_bytes;

/// Lists, one behind the other; one that is null is empty.
pub(super) struct Lists {
    pub values: ArrayRef,
    pub offsets: OffsetBuffer<i32>,
    pub nulls: Option<NullBuffer>,
}

fn place<O: OffsetSizeTrait>(offset: O) -> usize {
    offset.as_usize()
}

/// Where each list begins in its values, and its length.
fn ranges<O: OffsetSizeTrait>(offsets: &[O]) -> Vec<(usize, usize)> {
    let pairs = offsets.iter().zip(offsets.iter().skip(1));
    pairs
        .map(|(from, to)| (place(*from), place(*to).saturating_sub(place(*from))))
        .collect()
}

fn views<O: OffsetSizeTrait>(offsets: &[O], sizes: &[O]) -> Vec<(usize, usize)> {
    let pairs = offsets.iter().zip(sizes);
    pairs
        .map(|(from, size)| (place(*from), place(*size)))
        .collect()
}

impl Walk<'_> {
    pub(super) fn lists(&mut self, sent: &ArrayRef) -> Result<Lists, Fault> {
        self.charge(sent.len().saturating_mul(24))?;
        let (values, mut ranges) = match sent.data_type() {
            DataType::List(_) => {
                let list = sent.as_list::<i32>();
                (list.values().clone(), ranges(list.value_offsets()))
            }
            DataType::LargeList(_) => {
                let list = sent.as_list::<i64>();
                (list.values().clone(), ranges(list.value_offsets()))
            }
            DataType::ListView(_) => {
                let list = sent.as_list_view::<i32>();
                let ranges = views(list.value_offsets(), list.value_sizes());
                (list.values().clone(), ranges)
            }
            DataType::LargeListView(_) => {
                let list = sent.as_list_view::<i64>();
                let ranges = views(list.value_offsets(), list.value_sizes());
                (list.values().clone(), ranges)
            }
            DataType::FixedSizeList(_, _) => {
                let list = sent.as_fixed_size_list();
                let size = usize::try_from(list.value_length()).unwrap_or(0);
                let ranges = (0..list.len()).map(|row| (row.saturating_mul(size), size));
                (list.values().clone(), ranges.collect())
            }
            DataType::Map(..) => {
                let map = sent.as_map();
                let entries: ArrayRef = std::sync::Arc::new(map.entries().clone());
                (entries, ranges(map.value_offsets()))
            }
            other => return Err(internal(format!("{other} is no list"))),
        };
        let nulls = sent.nulls().cloned();
        if let Some(nulls) = &nulls {
            for (row, range) in ranges.iter_mut().enumerate() {
                if nulls.is_null(row) {
                    range.1 = 0;
                }
            }
        }
        let total = ranges
            .iter()
            .fold(0usize, |sum, (_, length)| sum.saturating_add(*length));
        if i32::try_from(total).is_err() {
            return Err(Fault::new(
                Kind::Exhausted,
                "batch_too_large",
                format!(
                    "the lists of a batch have too many elements together, elements={total}, limit={}, table={}; send fewer rows at a time",
                    i32::MAX,
                    self.table
                ),
            ));
        }
        let offsets = OffsetBuffer::from_lengths(ranges.iter().map(|(_, length)| *length));
        let values = match contiguous(&ranges) {
            Some(start) => values.slice(start.min(values.len()), total),
            None => {
                self.charge(taken_bytes(&values, &ranges, total))?;
                let places = ranges
                    .iter()
                    .flat_map(|(from, length)| *from..from + length);
                let places = UInt64Array::from_iter_values(places.map(|p| p as u64));
                take(&values, &places, None).map_err(internal)?
            }
        };
        Ok(Lists {
            values,
            offsets,
            nulls,
        })
    }
}

/// Where the values begin that the lists have without a gap; none: there are gaps, or another order.
fn contiguous(ranges: &[(usize, usize)]) -> Option<usize> {
    let mut filled = ranges.iter().filter(|(_, length)| *length > 0);
    let Some((start, length)) = filled.next() else {
        return Some(0);
    };
    let mut end = start + length;
    for (from, length) in filled {
        if *from != end {
            return None;
        }
        end += length;
    }
    Some(*start)
}
