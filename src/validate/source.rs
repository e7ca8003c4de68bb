//! Who sent a batch, as a column.

use std::sync::{Arc, Weak};

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use bytes::Bytes;
use parking_lot::Mutex;

/// Below this a column of its own is cheaper than a share in another.
const SHARED_ROWS: usize = 256;

/// A sender's name. The rows of its batches share one column that says so while any of them is in memory: a name is longer
/// than most rows are.
pub struct Source {
    name: Arc<str>,
    column: Mutex<Weak<StringArray>>,
}

impl Source {
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Source {
            name: name.into(),
            column: Mutex::new(Weak::new()),
        }
    }

    /// Of rows that came without a producer's name.
    pub fn unnamed() -> Self {
        Source::new("unnamed")
    }

    /// The name, `rows` times.
    pub(super) fn column(&self, rows: usize) -> ArrayRef {
        if rows < SHARED_ROWS {
            return Arc::new(self.names(rows));
        }
        let mut known = self.column.lock();
        let column = match known.upgrade().filter(|c| c.len() >= rows) {
            Some(column) => column,
            None => {
                let column = Arc::new(self.names(rows));
                *known = Arc::downgrade(&column);
                column
            }
        };
        Arc::new(first(&column, rows).unwrap_or_else(|| self.names(rows)))
    }

    fn names(&self, rows: usize) -> StringArray {
        StringArray::from_iter_values(std::iter::repeat_n(&self.name, rows))
    }
}

/// Its first rows, which keep the whole alive and say so to no one but its `Arc`.
fn first(column: &Arc<StringArray>, rows: usize) -> Option<StringArray> {
    let offsets = Buffer::from(Bytes::from_owner(Offsets(column.clone())));
    let offsets = OffsetBuffer::new(ScalarBuffer::new(offsets, 0, rows + 1));
    let values = Buffer::from(Bytes::from_owner(Values(column.clone())));
    StringArray::try_new(offsets, values, None).ok()
}

struct Offsets(Arc<StringArray>);

impl AsRef<[u8]> for Offsets {
    fn as_ref(&self) -> &[u8] {
        self.0.offsets().inner().inner()
    }
}

struct Values(Arc<StringArray>);

impl AsRef<[u8]> for Values {
    fn as_ref(&self) -> &[u8] {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn batches_share_a_column_as_long_as_one_of_them_is_there() {
        let source = Source::new("edge-7");
        let place = |column: &ArrayRef| column.as_string::<i32>().values().data_ptr();
        let a = source.column(1000);
        let b = source.column(700);
        assert_eq!((a.len(), b.len()), (1000, 700));
        assert_eq!(place(&a), place(&b));
        assert!(
            b.as_string::<i32>()
                .iter()
                .all(|name| name == Some("edge-7"))
        );
        let larger = source.column(2000);
        assert_eq!(larger.as_string::<i32>().value(1999), "edge-7");
        let few = source.column(3);
        assert_eq!(few.as_string::<i32>().value(2), "edge-7");
        drop((a, b, larger));
        assert!(
            source.column.lock().upgrade().is_none(),
            "nothing is kept for an idle sender"
        );
    }
}
