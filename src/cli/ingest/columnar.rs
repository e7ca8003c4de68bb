//! Files that carry their columns' types: Parquet, and Arrow as file or as stream.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema, TimeUnit};
use arrow::error::ArrowError;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type;
use parquet::schema::types::SchemaDescriptor;

use super::cut::BATCH_ROWS;

pub(super) type Batches = Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>;

/// A Parquet file's rows, and how many there are.
///
/// # Errors
/// It is no whole Parquet file.
pub(super) fn parquet(path: &Path) -> anyhow::Result<(Batches, u64)> {
    let whole =
        "it is no whole Parquet file; if it is still being written, wait, else write it again";
    let file = File::open(path).context("cannot open it")?;
    let read = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).context(whole)?;
    let rows = u64::try_from(read.metadata().file_metadata().num_rows()).unwrap_or(0);
    let read = match with_far_times(&read) {
        Some(schema) => {
            let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
            ArrowReaderMetadata::try_new(read.metadata().clone(), options).context(whole)?
        }
        None => read,
    };
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, read)
        .with_batch_size(BATCH_ROWS)
        .build()
        .context(whole)?;
    Ok((Box::new(reader), rows))
}

/// The columns, with INT96 in microseconds: as nanoseconds, which is how the library reads them, times after 2262 would wrap.
/// None: there is no such column.
fn with_far_times(read: &ArrowReaderMetadata) -> Option<Schema> {
    let descriptor: &SchemaDescriptor = read.metadata().file_metadata().schema_descr();
    let roots = descriptor.root_schema().get_fields();
    let is_int96 = |index: usize| {
        roots
            .get(index)
            .is_some_and(|t| t.is_primitive() && t.get_physical_type() == Type::INT96)
    };
    let schema = read.schema();
    (0..roots.len()).any(is_int96).then(|| {
        let fields =
            schema
                .fields()
                .iter()
                .enumerate()
                .map(|(index, field)| match field.data_type() {
                    DataType::Timestamp(_, zone) if is_int96(index) => {
                        let micros = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
                        field.as_ref().clone().with_data_type(micros)
                    }
                    _ => field.as_ref().clone(),
                });
        Schema::new(fields.collect::<Vec<_>>())
    })
}

/// What an Arrow file begins with, and no stream.
const FILE_MAGIC: &[u8; 6] = b"ARROW1";

/// An Arrow file's or stream's rows.
///
/// # Errors
/// It is neither, or it is cut.
pub(super) fn arrow(path: &Path) -> anyhow::Result<Batches> {
    let whole = "it is no whole Arrow file or stream; write it again";
    let mut file = File::open(path).context("cannot open it")?;
    let mut start = [0; FILE_MAGIC.len()];
    let read = file.read(&mut start)?;
    file.rewind()?;
    if start.get(..read) == Some(FILE_MAGIC) {
        let reader = arrow::ipc::reader::FileReader::try_new(file, None).context(whole)?;
        return Ok(Box::new(reader));
    }
    let reader = BufReader::with_capacity(1 << 18, file);
    let reader = arrow::ipc::reader::StreamReader::try_new(reader, None).context(whole)?;
    Ok(Box::new(reader))
}

/// What a whole stream ends with.
const END_OF_STREAM: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];

/// Reads all of an Arrow file or stream: how many rows it has.
///
/// # Errors
/// It is not whole.
pub(super) fn arrow_rows(path: &Path) -> anyhow::Result<u64> {
    let whole = "it is no whole Arrow file or stream; write it again";
    let mut rows = 0;
    for batch in arrow(path)? {
        rows += batch.context(whole)?.num_rows() as u64;
    }
    let mut file = File::open(path).context("cannot open it")?;
    let mut start = [0; FILE_MAGIC.len()];
    file.read_exact(&mut start).context(whole)?;
    if start != *FILE_MAGIC {
        // A stream that was cut between two batches reads like one that has ended.
        let mut end = [0; END_OF_STREAM.len()];
        file.seek(std::io::SeekFrom::End(-8)).context(whole)?;
        file.read_exact(&mut end).context(whole)?;
        anyhow::ensure!(end == END_OF_STREAM, whole);
    }
    Ok(rows)
}
