//! Which rows are of one partition, and the partition's value and folder as Delta has them.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, lexsort_to_indices, partition, take_record_batch};
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};

use super::super::super::Error;
use super::{Effort, failed};
use crate::partition_folder;

/// More ranges than this in one batch: it is put in order first.
const RANGES_MAX: usize = 64;

pub(super) type Key = Vec<Option<String>>;

/// Parts of equal partition values.
pub(super) fn split(batch: &RecordBatch, keys: &[usize]) -> Result<Vec<(Key, RecordBatch)>, Error> {
    if keys.is_empty() || batch.num_rows() == 0 {
        return Ok(vec![(Key::new(), batch.clone())]);
    }
    let columns = |batch: &RecordBatch| -> Vec<ArrayRef> {
        keys.iter().map(|i| batch.column(*i).clone()).collect()
    };
    let mut batch = batch.clone();
    let mut ranges = partition(&columns(&batch)).map_err(failed)?.ranges();
    if ranges.len() > RANGES_MAX {
        let order = columns(&batch)
            .into_iter()
            .map(|values| arrow::compute::SortColumn {
                values,
                options: None,
            });
        let order = lexsort_to_indices(&order.collect::<Vec<_>>(), None).map_err(failed)?;
        batch = take_record_batch(&batch, &order).map_err(failed)?;
        ranges = partition(&columns(&batch)).map_err(failed)?.ranges();
    }
    let parts = ranges.into_iter().map(|range| {
        let part = batch.slice(range.start, range.len());
        let key = keys
            .iter()
            .map(|i| partition_value(part.column(*i)))
            .collect::<Result<Key, _>>()?;
        Ok((key, part))
    });
    parts.collect()
}

/// A partition value as Delta writes it (Delta protocol, "Partition Value Serialization"); an empty text is a null there.
pub(super) fn partition_value(column: &ArrayRef) -> Result<Option<String>, Error> {
    if column.is_null(0) {
        return Ok(None);
    }
    if let DataType::Timestamp(TimeUnit::Microsecond, zone) = column.data_type() {
        let micros = column.as_primitive::<TimestampMicrosecondType>().value(0);
        let time = chrono::DateTime::from_timestamp_micros(micros)
            .ok_or_else(|| Error::Encode(format!("no time that Delta can write: {micros} us")))?;
        let format = match zone {
            Some(_) => "%Y-%m-%dT%H:%M:%S%.6fZ",
            None if micros.rem_euclid(1_000_000) == 0 => "%Y-%m-%d %H:%M:%S",
            None => "%Y-%m-%d %H:%M:%S%.6f",
        };
        return Ok(Some(time.format(format).to_string()));
    }
    let text = cast(&column.slice(0, 1), &DataType::Utf8).map_err(failed)?;
    let text = text.as_string::<i32>().value(0);
    // Spark knows infinities under these words alone.
    let text = match (column.data_type(), text) {
        (DataType::Float32 | DataType::Float64, "inf") => "Infinity",
        (DataType::Float32 | DataType::Float64, "-inf") => "-Infinity",
        (_, text) => text,
    };
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

pub(super) fn path(partition_by: &[String], key: &[Option<String>], effort: Effort) -> String {
    let mut out = String::new();
    for (name, value) in partition_by.iter().zip(key) {
        out.push_str(&partition_folder::folder(name, value.as_deref()));
        out.push('/');
    }
    out.push_str(&format!(
        "part-00000-{}-{}",
        crate::ids::random_id(),
        effort.suffix()
    ));
    out
}
