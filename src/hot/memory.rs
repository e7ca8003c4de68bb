//! What rows keep in memory: each allocation once, however many arrays are parts of it. The columns of a batch from the network
//! are parts of one body, and the batches of a sender share the column that names it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ptr::NonNull;

use arrow::array::{Array, ArrayData, RecordBatch};

/// Allocations by their place, with their bytes and how often they are referred to.
#[derive(Debug, Default)]
pub struct Memory {
    held: HashMap<Place, (usize, usize)>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place(usize);

impl Memory {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn add(&mut self, batch: &RecordBatch) {
        each(batch, &mut |place, bytes| {
            let (_, count) = self.held.entry(place).or_insert_with(|| {
                self.bytes += bytes;
                (bytes, 0)
            });
            *count += 1;
        });
    }

    /// Of a batch that was added, as it was then.
    pub fn remove(&mut self, batch: &RecordBatch) {
        each(batch, &mut |place, _| {
            if let Entry::Occupied(mut held) = self.held.entry(place) {
                let (bytes, count) = held.get_mut();
                *count -= 1;
                if *count == 0 {
                    self.bytes -= *bytes;
                    held.remove();
                }
            }
        });
    }
}

fn each(batch: &RecordBatch, see: &mut impl FnMut(Place, usize)) {
    for column in batch.columns() {
        buffers(&column.to_data(), see);
    }
}

fn buffers(data: &ArrayData, see: &mut impl FnMut(Place, usize)) {
    let nulls = data.nulls().map(|n| n.buffer());
    for buffer in data.buffers().iter().chain(nulls) {
        let place: NonNull<u8> = buffer.data_ptr();
        see(Place(place.addr().get()), buffer.capacity());
    }
    for child in data.child_data() {
        buffers(child, see);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use arrow::buffer::Buffer;

    use super::*;

    #[test]
    fn a_body_is_counted_once_however_many_columns_are_parts_of_it() {
        let body = Buffer::from_vec((0..3000i64).collect::<Vec<_>>());
        let part = |n: usize| {
            let values = body.slice_with_length(n * 8000, 8000);
            let column: ArrayRef = Arc::new(Int64Array::new(values.into(), None));
            (["a", "b", "c"][n], column)
        };
        let whole = RecordBatch::try_from_iter((0..3).map(part)).unwrap();
        let some = RecordBatch::try_from_iter((0..2).map(part)).unwrap();
        let mut memory = Memory::default();
        memory.add(&whole);
        memory.add(&some);
        assert_eq!(memory.bytes(), 24_000);
        memory.remove(&whole);
        assert_eq!(memory.bytes(), 24_000, "the other one keeps it");
        memory.remove(&some);
        assert_eq!(memory.bytes(), 0);
        assert!(memory.held.is_empty());
    }
}
