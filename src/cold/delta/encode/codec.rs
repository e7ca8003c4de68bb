//! Which columns of a file are worth a codec. What noise is in the last bits of a measured value no codec makes smaller, but each
//! reader would unpack it again: 43 % of the processor's time of a filter over doubles went there.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::RecordBatch;

/// Bytes of a column that are tried.
const SAMPLE: usize = 32 * 1024;
/// Fewer bytes say nothing, and cost nothing either.
const SAMPLE_MIN: usize = 8 * 1024;
/// At least one byte in so many has to be saved.
const SAVED: usize = 16;

/// The properties for a file that begins with these rows: columns of floats that LZ4, the quickest of the codecs, does not make smaller are
/// stored as they are. Other types keep the codec: their values are packed into a few bits before it, or are text.
pub(super) fn for_rows(properties: &WriterProperties, rows: &RecordBatch) -> WriterProperties {
    let fields = rows.schema_ref().fields().iter().zip(rows.columns());
    let noise = fields.filter(|(_, column)| is_noise(column.as_ref()));
    let noise = noise.map(|(field, _)| ColumnPath::from(field.name().as_str()));
    let builder = noise.fold(None, |builder, column| {
        let builder = Option::unwrap_or_else(builder, || properties.clone().into_builder());
        Some(builder.set_column_compression(column, Compression::UNCOMPRESSED))
    });
    builder.map_or_else(|| properties.clone(), |builder| builder.build())
}

fn is_noise(column: &dyn Array) -> bool {
    let bytes = match column.data_type() {
        DataType::Float64 => column.as_primitive::<Float64Type>().values().inner(),
        DataType::Float32 => column.as_primitive::<Float32Type>().values().inner(),
        _ => return false,
    };
    let sample = bytes.get(..SAMPLE.min(bytes.len())).unwrap_or_default();
    let saved = || {
        let packed = lz4_flex::block::compress(sample).len();
        sample.len().saturating_sub(packed)
    };
    sample.len() >= SAMPLE_MIN && saved() < sample.len() / SAVED
}
