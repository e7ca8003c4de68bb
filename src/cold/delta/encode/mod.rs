//! Rows to Parquet files, one or more a partition value, each with the statistics that its Delta `add` action carries. No sort
//! and no hash a row: batches come nearly ordered by time, so a few ranges of equal partition values make up each of them.
//!
//! A writer costs about a megabyte however few rows it holds, so at most `OPEN_MAX` are open. Rows of other partitions wait
//! as Arrow until they have `WAITING_MAX` bytes together, and then become files one partition after the other: memory is
//! bounded whatever number of partitions a batch touches.

mod codec;
mod partition;
mod statistics;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;

use super::super::files::file::tags;
use super::super::files::float_bounds::{self, has_nan};
use super::super::{Columns, Error};
use super::page_checksums::with_page_checksums;
use crate::floats;
use crate::nested::retyped;
use partition::{Key, path, split};
use statistics::statistics;

/// Partitions whose files are written at the same time.
const OPEN_MAX: usize = 16;
/// Bytes of rows that wait for a writer, over all partitions.
const WAITING_MAX: usize = 64 * 1024 * 1024;
/// So many files, or bytes of them, are handed over at a time.
const HANDED_FILES: usize = 128;
const HANDED_BYTES: usize = 64 * 1024 * 1024;

/// How hard to try: a flush is waited for, compaction has time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    Quick,
    /// Smaller, and in row groups that a reader can leave out.
    Thorough,
}

impl Effort {
    fn compression(self) -> Compression {
        match self {
            Effort::Quick => Compression::SNAPPY,
            Effort::Thorough => Compression::ZSTD(ZstdLevel::default()),
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Effort::Quick => "c000.snappy.parquet",
            Effort::Thorough => "c000.zstd.parquet",
        }
    }
}

/// Rows of a row group in files that are read often and written once.
const GROUP_ROWS: usize = 128 * 1024;

/// A file of at least this share of its target is not small any more.
pub fn large_enough(target_bytes: usize) -> usize {
    target_bytes / 4 * 3
}

/// One file's bytes and what Delta is told of it. `add.path` is relative to the table.
pub struct EncodedFile {
    pub add: Add,
    pub bytes: Vec<u8>,
    pub rows: u64,
}

/// Files in the making, one a partition value.
pub struct Slices {
    schema: SchemaRef,
    /// The partition columns as the Delta log calls them.
    partition_by: Vec<String>,
    keys: Vec<usize>,
    kept: Vec<usize>,
    /// The other columns as files have them.
    file_schema: SchemaRef,
    properties: WriterProperties,
    effort: Effort,
    target_bytes: usize,
    open: BTreeMap<Key, FileWriter>,
    waiting: BTreeMap<Key, Vec<RecordBatch>>,
    waiting_bytes: usize,
    /// Set when too much waits, until nothing does: so each partition's file is as large as it can be.
    draining: bool,
}

/// A file in the making.
struct FileWriter {
    parquet: ArrowWriter<Vec<u8>>,
    /// For each of its columns, whether a NaN was written to it.
    nans: Vec<bool>,
    /// Every float that was written is in its one form.
    in_one_form: bool,
}

impl FileWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        self.in_one_form &= rows.columns().iter().all(floats::is_in_one_form);
        for (column, found) in rows.columns().iter().zip(&mut self.nans) {
            *found |= has_nan(column);
        }
        self.parquet.write(rows).map_err(failed)
    }
}

impl Slices {
    /// Columns of partitions go into the path and not into the file. A file that has `target_bytes` is ended and the next one
    /// begun.
    ///
    /// # Errors
    /// `Encode`: a partition column is missing. `Mismatch`: a column has no place in the table's files.
    pub fn new(columns: Columns<'_>, effort: Effort, target_bytes: usize) -> Result<Self, Error> {
        let Columns {
            schema,
            partition_by,
            mapping,
        } = columns;
        let keys = partition_by
            .iter()
            .map(|name| schema.index_of(name))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let kept: Vec<usize> = (0..schema.fields().len())
            .filter(|i| !keys.contains(i))
            .collect();
        let file_schema = mapping.to_files(&Arc::new(schema.project(&kept).map_err(failed)?))?;
        let partition_by = partition_by.iter();
        let partition_by = partition_by.map(|name| mapping.in_files(name).unwrap_or(name));
        Ok(Slices {
            schema: schema.clone(),
            partition_by: partition_by.map(ToOwned::to_owned).collect(),
            keys,
            kept,
            properties: properties(&file_schema, effort),
            file_schema,
            effort,
            target_bytes,
            open: BTreeMap::new(),
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            draining: false,
        })
    }

    /// Takes a batch of the table's columns; returns the files that are full now. While [`Slices::is_full`] says so
    /// afterwards, [`Slices::drain`] comes before the next batch.
    ///
    /// # Errors
    /// `Encode`: Parquet cannot hold a type. Contracts are checked against it.
    pub fn push(&mut self, batch: RecordBatch) -> Result<Vec<EncodedFile>, Error> {
        // The same columns under the table's names and nullability.
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns = columns.map(|(column, field)| match field.data_type().is_nested() {
            true => retyped(column, field.data_type()),
            false => Ok(column.clone()),
        });
        let columns = columns.collect::<Result<Vec<_>, _>>().map_err(failed)?;
        let batch = RecordBatch::try_new(self.schema.clone(), columns).map_err(failed)?;
        let mut full = Vec::new();
        for (key, part) in split(&batch, &self.keys)? {
            let kept = self.kept.iter().map(|index| part.column(*index).clone());
            let options = RecordBatchOptions::new().with_row_count(Some(part.num_rows()));
            let schema = self.file_schema.clone();
            let part = RecordBatch::try_new_with_options(schema, kept.collect(), &options);
            let part = part.map_err(failed)?;
            if !self.open.contains_key(&key)
                && self.open.len() < OPEN_MAX
                && !self.waiting.contains_key(&key)
            {
                let writer = self.writer(&part)?;
                self.open.insert(key.clone(), writer);
            }
            let Some(writer) = self.open.get_mut(&key) else {
                self.wait(key, part)?;
                continue;
            };
            writer.write(&part)?;
            let parquet = &mut writer.parquet;
            if parquet.bytes_written() + parquet.in_progress_size() >= self.target_bytes {
                // What is in progress is an estimate from before compression.
                parquet.flush().map_err(failed)?;
                if parquet.bytes_written() >= large_enough(self.target_bytes)
                    && let Some(writer) = self.open.remove(&key)
                {
                    full.push(self.close(&key, writer)?);
                }
            }
        }
        Ok(full)
    }

    fn has_floats(&self) -> bool {
        let mut fields = self.file_schema.fields().iter();
        fields.any(|field| floats::holds_floats(field.data_type()))
    }

    /// For a file that begins with these rows.
    fn writer(&self, rows: &RecordBatch) -> Result<FileWriter, Error> {
        let properties = Some(codec::for_rows(&self.properties, rows));
        let schema = self.file_schema.clone();
        Ok(FileWriter {
            parquet: ArrowWriter::try_new(Vec::new(), schema, properties).map_err(failed)?,
            nans: vec![false; self.file_schema.fields().len()],
            in_one_form: true,
        })
    }

    /// A copy of the rows: a slice would keep its whole batch in memory.
    fn wait(&mut self, key: Key, part: RecordBatch) -> Result<(), Error> {
        let rows = u32::try_from(part.num_rows()).map_err(failed)?;
        let all = UInt32Array::from_iter_values(0..rows);
        let part = take_record_batch(&part, &all).map_err(failed)?;
        self.waiting_bytes += part.get_array_memory_size();
        self.draining |= self.waiting_bytes >= WAITING_MAX;
        self.waiting.entry(key).or_default().push(part);
        Ok(())
    }

    /// Do so many rows wait for a writer that they have to become files now?
    pub fn is_full(&self) -> bool {
        self.draining
    }

    /// Does no row wait for its file to end?
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.waiting.is_empty()
    }

    /// Ends files, some at a time: those of partitions whose rows wait, and at the end (`last`) all others. An empty answer:
    /// there are no more.
    ///
    /// # Errors
    /// `Encode`, as [`Slices::push`].
    pub fn drain(&mut self, last: bool) -> Result<Vec<EncodedFile>, Error> {
        let mut files = Vec::new();
        let mut bytes = 0;
        while files.len() < HANDED_FILES && bytes < HANDED_BYTES {
            let file = if let Some((key, parts)) = self.waiting.pop_first() {
                let Some(first) = parts.first() else {
                    continue;
                };
                let mut writer = self.writer(first)?;
                for part in &parts {
                    self.waiting_bytes = self
                        .waiting_bytes
                        .saturating_sub(part.get_array_memory_size());
                    writer.write(part)?;
                }
                self.close(&key, writer)?
            } else if last && let Some((key, writer)) = self.open.pop_first() {
                self.close(&key, writer)?
            } else {
                break;
            };
            bytes += file.bytes.len();
            files.push(file);
        }
        self.draining &= !self.waiting.is_empty();
        Ok(files)
    }

    fn close(&self, key: &Key, writer: FileWriter) -> Result<EncodedFile, Error> {
        let FileWriter {
            mut parquet,
            nans,
            in_one_form,
        } = writer;
        let floats = self.file_schema.fields().iter().zip(&nans);
        let floats = floats.filter(|(f, has_nan)| f.data_type().is_floating() && !**has_nan);
        let mut floats = floats.map(|(f, _)| f.name().as_str()).peekable();
        if floats.peek().is_some() {
            parquet.append_key_value_metadata(float_bounds::entry(floats));
        }
        let metadata = parquet.finish().map_err(failed)?;
        let bytes = std::mem::take(parquet.inner_mut());
        drop(parquet);
        let statistics = statistics(&metadata, &self.file_schema, &nans)?;
        let rows = u64::try_from(metadata.file_metadata().num_rows()).unwrap_or(0);
        let bytes = with_page_checksums(&bytes, metadata)?;
        let values: HashMap<String, Option<String>> = self
            .partition_by
            .iter()
            .cloned()
            .zip(key.iter().cloned())
            .collect();
        let add = Add {
            path: path(&self.partition_by, key, self.effort),
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            partition_values: values,
            modification_time: crate::clock::utc_now().timestamp_millis(),
            data_change: true,
            stats: Some(statistics.to_string()),
            tags: tags(in_one_form && self.has_floats()),
            ..Add::default()
        };
        Ok(EncodedFile { add, bytes, rows })
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    let text = error.to_string();
    Error::Encode(text.lines().next().unwrap_or_default().to_owned())
}

/// Counters and times rise evenly: as differences they need no dictionary and a few bits each.
fn properties(schema: &Schema, effort: Effort) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_compression(effort.compression())
        .set_write_batch_size(8192)
        .set_created_by(concat!("deltaplane ", env!("CARGO_PKG_VERSION")).to_owned());
    if effort == Effort::Thorough {
        builder = builder.set_max_row_group_row_count(Some(GROUP_ROWS));
    }
    for field in schema.fields() {
        if matches!(
            field.data_type(),
            DataType::Int64 | DataType::Timestamp(_, _)
        ) {
            let column = ColumnPath::from(field.name().as_str());
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    builder.build()
}
