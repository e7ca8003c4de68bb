//! Batches of a size that the server takes.

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Rows a batch, where no blocks are: fixed, because a batch's number stands for its rows when a cut run goes on.
pub(super) const BATCH_ROWS: usize = 8192;
/// Bytes of a batch, below the least that a server takes unless it is told to take less.
const BATCH_BYTES_MAX: usize = 15 << 20;
const ROWS_MAX: usize = 1 << 20;

/// The batch in pieces; mostly it is one. Where it is cut depends on its rows alone.
pub(super) fn cut(batch: RecordBatch) -> Result<Vec<RecordBatch>, ArrowError> {
    let mut out = Vec::new();
    if fits(&batch) {
        out.push(batch);
    } else {
        halve(plain(batch)?, &mut out);
    }
    Ok(out)
}

fn fits(batch: &RecordBatch) -> bool {
    batch.num_rows() <= 1
        || (batch.num_rows() <= ROWS_MAX
            && batch.columns().iter().map(bytes).sum::<usize>() <= BATCH_BYTES_MAX)
}

fn bytes(column: &ArrayRef) -> usize {
    let slice = column.to_data().get_slice_memory_size();
    slice.unwrap_or_else(|_| column.get_array_memory_size())
}

fn halve(batch: RecordBatch, out: &mut Vec<RecordBatch>) {
    if fits(&batch) {
        out.push(batch);
        return;
    }
    let half = batch.num_rows() / 2;
    halve(batch.slice(0, half), out);
    halve(batch.slice(half, batch.num_rows() - half), out);
}

/// Values that rows share have no size of their own: they are written out first.
fn plain(batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Dictionary(_, values) => cast(column, values),
            DataType::Utf8View => cast(column, &DataType::Utf8),
            DataType::BinaryView => cast(column, &DataType::Binary),
            _ => Ok(column.clone()),
        });
    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
    let fields = schema.fields().iter().zip(&columns);
    let fields: Vec<_> = fields
        .map(|(field, column)| {
            field
                .as_ref()
                .clone()
                .with_data_type(column.data_type().clone())
        })
        .collect();
    RecordBatch::try_new(
        std::sync::Arc::new(arrow::datatypes::Schema::new(fields)),
        columns,
    )
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int64Array, StringArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn rows(pieces: &[RecordBatch]) -> Vec<i64> {
        let ids = pieces.iter().map(|p| {
            p.column(0)
                .as_any()
                .downcast_ref::<Int64Array>()
                .unwrap()
                .values()
                .to_vec()
        });
        ids.flatten().collect()
    }

    #[test]
    fn wide_rows_are_cut_and_none_is_lost() {
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..8192));
        let long = "x".repeat(3000);
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..8192).map(|_| &long)));
        let shared = DictionaryArray::<Int32Type>::new(
            (0..8192)
                .map(|_| Some(0))
                .collect::<arrow::array::Int32Array>(),
            Arc::new(StringArray::from(vec![long.as_str()])),
        );
        let batch = RecordBatch::try_from_iter([("id", ids.clone()), ("s", texts)]).unwrap();
        let pieces = cut(batch).unwrap();
        assert!(pieces.len() > 1 && pieces.iter().all(fits));
        assert_eq!(rows(&pieces), (0..8192).collect::<Vec<_>>());
        // One text for all rows is small.
        let batch =
            RecordBatch::try_from_iter([("id", ids.clone()), ("s", Arc::new(shared) as ArrayRef)])
                .unwrap();
        assert_eq!(cut(batch).unwrap().len(), 1);
        let narrow = RecordBatch::try_from_iter([("id", ids)]).unwrap();
        assert_eq!(cut(narrow).unwrap().len(), 1);
    }

    #[test]
    fn a_row_that_is_too_large_alone_stays_whole() {
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let texts = ["x".repeat(20 << 20), String::new(), "y".repeat(20 << 20)];
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(&texts));
        let batch = RecordBatch::try_from_iter([("id", ids), ("s", texts)]).unwrap();
        assert_eq!(rows(&cut(batch).unwrap()), [1, 2, 3]);
    }
}
