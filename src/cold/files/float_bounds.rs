//! The bounds of floating-point columns in a file's footer, as far as they can be relied on.
//!
//! A NaN is above all numbers, and Parquet's writers leave it out of a column's maximum (parquet-format, "Statistics"): a row
//! group whose maximum is 4 may hold a row that `v > 5` finds. So only a file that says that a column holds no NaN keeps the
//! maximum of that column. Our own files say it in their footer, under [`WITHOUT_NAN`]; files of other writers and of our
//! older versions do not, and where another writer has copied the entry it says nothing of that file. Their minimum holds: no NaN is below it.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Float16Type, Float32Type, Float64Type};
use parquet::basic::Type;
use parquet::errors::Result;
use parquet::file::metadata::{ColumnChunkMetaData, KeyValue, ParquetMetaData};
use parquet::file::statistics::Statistics;

use super::metadata_checksum::is_ours;

/// The key of the footer under which the names of columns stand that hold no NaN, as a list in JSON.
pub(in crate::cold) const WITHOUT_NAN: &str = "deltaplane.columns_without_nan";

/// Does a column of floats hold a NaN?
pub(in crate::cold) fn has_nan(column: &ArrayRef) -> bool {
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>();
            values.values().iter().any(|v| v.is_nan())
        }
        DataType::Float32 => {
            let values = column.as_primitive::<Float32Type>();
            values.values().iter().any(|v| v.is_nan())
        }
        DataType::Float16 => {
            let values = column.as_primitive::<Float16Type>();
            values.values().iter().any(|v| v.is_nan())
        }
        _ => false,
    }
}

/// What a file says of its columns without NaN.
pub(in crate::cold) fn entry<'a>(columns: impl Iterator<Item = &'a str>) -> KeyValue {
    let names: Vec<&str> = columns.collect();
    KeyValue::new(
        WITHOUT_NAN.to_owned(),
        serde_json::Value::from(names).to_string(),
    )
}

fn without_nan(metadata: &ParquetMetaData) -> HashSet<String> {
    if !is_ours(metadata) {
        return HashSet::new();
    }
    let entries = metadata.file_metadata().key_value_metadata();
    let entry = entries.and_then(|all| all.iter().find(|e| e.key == WITHOUT_NAN));
    let text = entry.and_then(|e| e.value.as_deref()).unwrap_or_default();
    serde_json::from_str(text).unwrap_or_default()
}

fn is_float(column: &ColumnChunkMetaData) -> bool {
    matches!(column.column_type(), Type::FLOAT | Type::DOUBLE)
        || column
            .column_descr()
            .logical_type_ref()
            .is_some_and(|t| matches!(t, parquet::basic::LogicalType::Float16))
}

/// The same metadata without the bounds that a NaN may be beyond. Without an index of its pages a column is read whole where
/// its row group is read.
///
/// # Errors
/// None is known: the parts are those of metadata that was read.
pub(super) fn relied_on(metadata: ParquetMetaData) -> Result<ParquetMetaData> {
    let sound = without_nan(&metadata);
    let unsound = |column: &ColumnChunkMetaData| {
        is_float(column) && !sound.contains(&column.column_path().string())
    };
    let groups = metadata.row_groups();
    if !groups.iter().flat_map(|g| g.columns()).any(&unsound) {
        return Ok(metadata);
    }
    let mut changed = Vec::with_capacity(groups.len());
    for group in groups {
        let columns = group.columns().iter().map(|column| match unsound(column) {
            true => without_maximum(column),
            false => Ok(column.clone()),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let builder = group.clone().into_builder().set_column_metadata(columns);
        changed.push(builder.build()?);
    }
    Ok(metadata.into_builder().set_row_groups(changed).build())
}

fn without_maximum(column: &ColumnChunkMetaData) -> Result<ColumnChunkMetaData> {
    let kept = match column.statistics() {
        Some(Statistics::Double(s)) => {
            let min = s.min_opt().copied().filter(|v| !v.is_nan());
            let (distinct, nulls) = (s.distinct_count(), s.null_count_opt());
            Some(Statistics::double(min, None, distinct, nulls, false))
        }
        Some(Statistics::Float(s)) => {
            let min = s.min_opt().copied().filter(|v| !v.is_nan());
            let (distinct, nulls) = (s.distinct_count(), s.null_count_opt());
            Some(Statistics::float(min, None, distinct, nulls, false))
        }
        Some(Statistics::FixedLenByteArray(s)) => {
            let (distinct, nulls) = (s.distinct_count(), s.null_count_opt());
            let none = Statistics::fixed_len_byte_array(None, None, distinct, nulls, false);
            Some(none)
        }
        _ => None,
    };
    let builder = column
        .clone()
        .into_builder()
        .set_column_index_offset(None)
        .set_column_index_length(None);
    match kept {
        Some(statistics) => builder.set_statistics(statistics),
        None => builder.clear_statistics(),
    }
    .build()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use arrow::array::{Float32Array, Float64Array, Int64Array, RecordBatch};
    use parquet::arrow::ArrowWriter;
    use parquet::file::properties::WriterProperties;
    use parquet::file::reader::{FileReader, SerializedFileReader};

    use super::*;

    /// A file as Parquet's writer makes it, with one entry of ours or none.
    fn footer(sound: Option<&[&str]>, writer: &str) -> ParquetMetaData {
        let doubles: ArrayRef = Arc::new(Float64Array::from(vec![1.0, f64::NAN, 2.0]));
        let singles: ArrayRef = Arc::new(Float32Array::from(vec![1.0, 3.0, 2.0]));
        let whole: ArrayRef = Arc::new(Int64Array::from(vec![1, 3, 2]));
        let batch = RecordBatch::try_from_iter([("d", doubles), ("s", singles), ("n", whole)]);
        let batch = batch.unwrap();
        let properties = WriterProperties::builder().set_created_by(writer.to_owned());
        let properties = Some(properties.build());
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), properties).unwrap();
        writer.write(&batch).unwrap();
        if let Some(columns) = sound {
            writer.append_key_value_metadata(entry(columns.iter().copied()));
        }
        let bytes = bytes::Bytes::from(writer.into_inner().unwrap());
        let reader = SerializedFileReader::new(bytes).unwrap();
        reader.metadata().clone()
    }

    fn bounds(metadata: ParquetMetaData) -> Vec<(bool, bool, bool)> {
        let metadata = relied_on(metadata).unwrap();
        let columns = metadata.row_group(0).columns().iter();
        let bounds = columns.map(|c| {
            let statistics = c.statistics().unwrap();
            let (min, max) = (statistics.min_bytes_opt(), statistics.max_bytes_opt());
            assert_eq!(statistics.null_count_opt(), Some(0));
            (
                min.is_some(),
                max.is_some(),
                c.column_index_offset().is_some(),
            )
        });
        bounds.collect()
    }

    #[test]
    fn a_maximum_of_floats_counts_only_where_the_file_says_that_there_is_no_nan() {
        let (whole, half) = ((true, true, true), (true, false, false));
        let of = |sound| bounds(footer(sound, "deltaplane 1.0"));
        assert_eq!(of(None), [half, half, whole]);
        assert_eq!(of(Some(&["s"])), [half, whole, whole]);
        assert_eq!(of(Some(&["s", "d"])), [whole, whole, whole]);
        // Copied from a file of ours.
        let copied = footer(Some(&["s", "d"]), "parquet-cpp-arrow version 23.0.0");
        assert_eq!(bounds(copied), [half, half, whole]);
    }
}
