//! Where the rows of a result stand: two of its columns name file and row (`cold/files/scan`).

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int32Type, Int64Type};

use crate::fault::Fault;

/// Where each row of a result stands: file and row. `at`: the column of the file; that of the row is the next one.
pub(super) fn places(
    batch: &RecordBatch,
    at: usize,
) -> Result<impl Iterator<Item = Option<(usize, usize)>>, Fault> {
    let wrong = || Fault::internal("a result without places");
    let file = batch.columns().get(at).ok_or_else(wrong)?.clone();
    let row = batch.columns().get(at + 1).ok_or_else(wrong)?.clone();
    let file = file
        .as_primitive_opt::<Int32Type>()
        .ok_or_else(wrong)?
        .clone();
    let row = row
        .as_primitive_opt::<Int64Type>()
        .ok_or_else(wrong)?
        .clone();
    Ok((0..batch.num_rows()).map(move |i| {
        if file.is_null(i) || row.is_null(i) {
            return None;
        }
        Some((
            usize::try_from(file.value(i)).ok()?,
            usize::try_from(row.value(i)).ok()?,
        ))
    }))
}
