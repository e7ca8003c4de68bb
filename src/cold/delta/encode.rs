//! Rows to Parquet files, one or more a partition value, each with the statistics that its Delta `add` action carries. No sort
//! and no hash a row: batches come nearly ordered by time, so a few ranges of equal partition values make up each of them.
//!
//! A writer costs about a megabyte however few rows it holds, so at most `OPEN_MAX` are open. Rows of other partitions wait
//! as Arrow until they have `WAITING_MAX` bytes together, and then become files one partition after the other: memory is
//! bounded whatever number of partitions a batch touches.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, lexsort_to_indices, partition, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use deltalake::kernel::Add;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::ParquetMetaData;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use serde_json::{Map, Value, json};

use super::super::Error;
use super::super::files::float_bounds::{self, has_nan};
use super::page_checksums::with_page_checksums;
use crate::partition_folder;

/// Partitions whose files are written at the same time.
const OPEN_MAX: usize = 16;
/// Bytes of rows that wait for a writer, over all partitions.
const WAITING_MAX: usize = 64 * 1024 * 1024;
/// So many files, or bytes of them, are handed over at a time.
const HANDED_FILES: usize = 128;
const HANDED_BYTES: usize = 64 * 1024 * 1024;
/// More ranges than this in one batch: it is put in order first.
const RANGES_MAX: usize = 64;
/// `delta.dataSkippingNumIndexedCols` where a table does not say otherwise (Delta protocol, "Per-file Statistics").
const STATISTICS_COLUMNS: usize = 32;
/// Longer texts have their minimum cut and no maximum.
const STATISTICS_TEXT: usize = 32;

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

type Key = Vec<Option<String>>;

/// Files in the making, one a partition value.
pub struct Slices {
    schema: SchemaRef,
    partition_by: Vec<String>,
    keys: Vec<usize>,
    kept: Vec<usize>,
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
}

impl FileWriter {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        for (column, found) in rows.columns().iter().zip(&mut self.nans) {
            *found |= has_nan(column);
        }
        self.parquet.write(rows).map_err(failed)
    }
}

impl Slices {
    /// `partition_by`: columns that go into the path and not into the file. A file that has `target_bytes` is ended and the
    /// next one begun.
    ///
    /// # Errors
    /// `Encode`: a partition column is missing.
    pub fn new(
        schema: &SchemaRef,
        partition_by: &[String],
        effort: Effort,
        target_bytes: usize,
    ) -> Result<Self, Error> {
        let keys = partition_by
            .iter()
            .map(|name| schema.index_of(name))
            .collect::<Result<Vec<_>, _>>()
            .map_err(failed)?;
        let kept: Vec<usize> = (0..schema.fields().len())
            .filter(|i| !keys.contains(i))
            .collect();
        let file_schema = Arc::new(schema.project(&kept).map_err(failed)?);
        Ok(Slices {
            schema: schema.clone(),
            partition_by: partition_by.to_vec(),
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
        let batch =
            RecordBatch::try_new(self.schema.clone(), batch.columns().to_vec()).map_err(failed)?;
        let mut full = Vec::new();
        for (key, part) in split(&batch, &self.keys)? {
            let part = part.project(&self.kept).map_err(failed)?;
            if !self.open.contains_key(&key)
                && self.open.len() < OPEN_MAX
                && !self.waiting.contains_key(&key)
            {
                let writer = self.writer()?;
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

    fn writer(&self) -> Result<FileWriter, Error> {
        let properties = Some(self.properties.clone());
        let schema = self.file_schema.clone();
        Ok(FileWriter {
            parquet: ArrowWriter::try_new(Vec::new(), schema, properties).map_err(failed)?,
            nans: vec![false; self.file_schema.fields().len()],
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
                let mut writer = self.writer()?;
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
        let FileWriter { mut parquet, nans } = writer;
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

/// Parts of equal partition values.
fn split(batch: &RecordBatch, keys: &[usize]) -> Result<Vec<(Key, RecordBatch)>, Error> {
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
fn partition_value(column: &ArrayRef) -> Result<Option<String>, Error> {
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

fn path(partition_by: &[String], key: &[Option<String>], effort: Effort) -> String {
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

/// Row count, bounds and null counts from the file's own footer. `nans`: the columns that hold a NaN. It is above all numbers, and
/// JSON has no word for it, so that these have no maximum.
fn statistics(
    metadata: &ParquetMetaData,
    schema: &SchemaRef,
    nans: &[bool],
) -> Result<Value, Error> {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    let groups = metadata.row_groups();
    let descriptor = metadata.file_metadata().schema_descr();
    for (field, has_nan) in schema.fields().iter().zip(nans).take(STATISTICS_COLUMNS) {
        if field.data_type().is_nested() {
            continue;
        }
        let name = field.name();
        let converter = StatisticsConverter::try_new(name, schema, descriptor).map_err(failed)?;
        let counts = converter.row_group_null_counts(groups).map_err(failed)?;
        if counts.null_count() == 0 {
            nulls.insert(name.clone(), json!(counts.values().iter().sum::<u64>()));
        }
        let lows = converter.row_group_mins(groups).map_err(failed)?;
        let highs = converter.row_group_maxes(groups).map_err(failed)?;
        let low = extreme(&lows, std::cmp::Ordering::Less).and_then(|v| bound(&v, false));
        let high = extreme(&highs, std::cmp::Ordering::Greater).and_then(|v| bound(&v, true));
        if let (Some(low), high) = (low, high) {
            min.insert(name.clone(), low);
            if let Some(high) = high.filter(|_| !has_nan) {
                max.insert(name.clone(), high);
            }
        }
    }
    let rows = metadata.file_metadata().num_rows();
    Ok(json!({ "numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls }))
}

/// The extreme over row groups. A group of nulls alone has none, and so has a group whose writer could not tell.
fn extreme(values: &ArrayRef, wanted: std::cmp::Ordering) -> Option<ScalarValue> {
    let mut best: Option<ScalarValue> = None;
    for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
        let value = ScalarValue::try_from_array(values, row).ok()?;
        let better = match &best {
            Some(best) => value.partial_cmp(best)? == wanted,
            None => true,
        };
        if better {
            best = Some(value);
        }
    }
    best
}

/// A bound as Delta writes it. Times have milliseconds there: the upper bound is rounded up.
fn bound(value: &ScalarValue, upper: bool) -> Option<Value> {
    match value {
        ScalarValue::Int8(v) => v.map(Value::from),
        ScalarValue::Int16(v) => v.map(Value::from),
        ScalarValue::Int32(v) => v.map(Value::from),
        ScalarValue::Int64(v) => v.map(Value::from),
        ScalarValue::Float32(v) => v.map(f64::from).filter(|v| v.is_finite()).map(Value::from),
        ScalarValue::Float64(v) => v.filter(|v| v.is_finite()).map(Value::from),
        ScalarValue::Utf8(v) => {
            let text = v.as_ref()?;
            let short = text.chars().count() < STATISTICS_TEXT;
            (short || !upper).then(|| {
                text.chars()
                    .take(STATISTICS_TEXT)
                    .collect::<String>()
                    .into()
            })
        }
        ScalarValue::Date32(days) => {
            let seconds = i64::from((*days)?) * 86_400;
            let date = chrono::DateTime::from_timestamp(seconds, 0)?.date_naive();
            Some(date.to_string().into())
        }
        ScalarValue::TimestampMicrosecond(micros, zone) => {
            let micros = (*micros)?;
            let millis = micros.div_euclid(1000) + i64::from(upper && micros.rem_euclid(1000) > 0);
            let time = chrono::DateTime::from_timestamp_millis(millis)?;
            let format = if zone.is_some() {
                "%Y-%m-%dT%H:%M:%S%.3fZ"
            } else {
                "%Y-%m-%dT%H:%M:%S%.3f"
            };
            Some(time.format(format).to_string().into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Date32Array, Float64Array, TimestampMicrosecondArray};
    use arrow::datatypes::{Field, Float64Type};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;

    /// `days` alternate in the batch, so that the first test meets few ranges and the second too many.
    fn batch(days: &[i32]) -> RecordBatch {
        let rows = i32::try_from(days.len()).unwrap();
        let schema = Schema::new(vec![
            Field::new(
                "ts",
                DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
                false,
            ),
            Field::new("v", DataType::Float64, true),
            Field::new("day", DataType::Date32, true),
        ]);
        let times = (0..rows).map(|n| 1_000_001 + i64::from(n));
        let values: Float64Array = (0..rows).map(|n| (n > 0).then(|| f64::from(n))).collect();
        RecordBatch::try_new(
            Arc::new(schema),
            vec![
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
                Arc::new(values),
                Arc::new(Date32Array::from(days.to_vec())),
            ],
        )
        .unwrap()
    }

    fn encode(
        batches: &[RecordBatch],
        effort: Effort,
        target_bytes: usize,
    ) -> Result<Vec<EncodedFile>, Error> {
        let partition = ["day".to_owned()];
        let mut slices = Slices::new(&batches[0].schema(), &partition, effort, target_bytes)?;
        let mut files = Vec::new();
        for batch in batches {
            files.extend(slices.push(batch.clone())?);
        }
        loop {
            let ended = slices.drain(true)?;
            if ended.is_empty() {
                return Ok(files);
            }
            files.extend(ended);
        }
    }

    fn read(file: EncodedFile) -> Vec<f64> {
        let reader =
            ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.bytes)).unwrap();
        let batches = reader.build().unwrap().map(Result::unwrap);
        let values = batches.map(|b| b.column(1).as_primitive::<Float64Type>().values().to_vec());
        values.flatten().collect()
    }

    #[test]
    fn each_partition_value_gets_one_file_with_its_rows_however_they_are_mixed() {
        for rows in [6i32, 1000] {
            let days: Vec<i32> = (0..rows).map(|n| n % 2).collect();
            let batch = batch(&days);
            let twice = [batch.clone(), batch.clone()];
            let files = encode(&twice, Effort::Quick, usize::MAX).unwrap();
            let values: Vec<_> = files
                .iter()
                .map(|f| f.add.partition_values["day"].clone().unwrap())
                .collect();
            assert_eq!(values, ["1970-01-01", "1970-01-02"], "{rows} rows");
            assert!(files[0].add.path.starts_with("day=1970-01-01/part-00000-"));
            for (parity, file) in files.into_iter().enumerate() {
                let got = read(file);
                assert_eq!(got.len(), rows as usize);
                assert!(got.iter().all(|v| *v as usize % 2 == parity));
            }
        }
    }

    #[test]
    fn a_column_with_a_nan_has_no_maximum_and_one_without_says_so_in_the_footer() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        let cases = [
            (
                vec![1.0, 2.0],
                json!({"v": 1.0}),
                json!({"v": 2.0}),
                r#"["v"]"#,
            ),
            (vec![1.0, nan, 2.0], json!({"v": 1.0}), json!({}), ""),
            (vec![nan], json!({}), json!({}), ""),
            // JSON has no word for infinity either.
            (vec![1.0, inf], json!({"v": 1.0}), json!({}), r#"["v"]"#),
        ];
        for (values, min, max, sound) in cases {
            let column: ArrayRef = Arc::new(Float64Array::from(values.clone()));
            let batch = RecordBatch::try_from_iter([("v", column)]).unwrap();
            let mut slices = Slices::new(&batch.schema(), &[], Effort::Quick, usize::MAX).unwrap();
            slices.push(batch).unwrap();
            let file = slices.drain(true).unwrap().remove(0);
            let stats: Value = serde_json::from_str(file.add.stats.as_deref().unwrap()).unwrap();
            assert_eq!(
                (&stats["minValues"], &stats["maxValues"]),
                (&min, &max),
                "{values:?}"
            );
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(file.bytes));
            let reader = reader.unwrap();
            let entries = reader.metadata().file_metadata().key_value_metadata();
            let entry = entries
                .unwrap()
                .iter()
                .find(|e| e.key == float_bounds::WITHOUT_NAN);
            let entry = entry.and_then(|e| e.value.as_deref()).unwrap_or_default();
            assert_eq!(entry, sound, "{values:?}");
        }
    }

    #[test]
    fn statistics_bound_every_value_and_count_nulls() {
        let batch = batch(&[0, 0, 0]);
        let files = encode(std::slice::from_ref(&batch), Effort::Quick, usize::MAX).unwrap();
        let statistics: Value =
            serde_json::from_str(files[0].add.stats.as_deref().unwrap()).unwrap();
        assert_eq!(
            statistics,
            json!({
                "numRecords": 3,
                "minValues": { "ts": "1970-01-01T00:00:01.000Z", "v": 1.0 },
                // One microsecond into the millisecond: the bound is the next one.
                "maxValues": { "ts": "1970-01-01T00:00:01.001Z", "v": 2.0 },
                "nullCount": { "ts": 0, "v": 1 },
            })
        );
    }

    /// A device whose clock jumps: every row has another day. Few writers are open at any moment, and each row is in one file.
    #[test]
    fn any_number_of_partitions_is_written_by_a_bounded_number_of_writers() {
        let days: Vec<i32> = (0..3000).map(|n| (n * 7919) % 3000).collect();
        let partition = ["day".to_owned()];
        let batch = batch(&days);
        let mut slices =
            Slices::new(&batch.schema(), &partition, Effort::Quick, usize::MAX).unwrap();
        assert!(slices.push(batch).unwrap().is_empty());
        assert!(slices.open.len() <= OPEN_MAX, "{}", slices.open.len());
        let mut files = Vec::new();
        loop {
            let ended = slices.drain(true).unwrap();
            assert!(ended.len() <= HANDED_FILES);
            if ended.is_empty() {
                break;
            }
            files.extend(ended);
        }
        let values: std::collections::BTreeSet<_> = files
            .iter()
            .map(|f| f.add.partition_values["day"].clone())
            .collect();
        assert_eq!((files.len(), values.len()), (3000, 3000));
        assert_eq!(files.iter().map(|f| f.rows).sum::<u64>(), 3000);
        assert_eq!(slices.waiting_bytes, 0);
    }

    #[test]
    fn partition_values_and_folders_are_as_other_readers_expect_them() {
        let time = |micros: i64, zone: Option<&str>| -> ArrayRef {
            let times = TimestampMicrosecondArray::from_iter_values([micros]);
            match zone {
                Some(zone) => Arc::new(times.with_timezone(zone)),
                None => Arc::new(times),
            }
        };
        let cases = [
            (time(1_767_225_600_000_000, None), "2026-01-01 00:00:00"),
            (time(-1, None), "1969-12-31 23:59:59.999999"),
            (time(1_500_000, Some("UTC")), "1970-01-01T00:00:01.500000Z"),
        ];
        for (column, expected) in cases {
            assert_eq!(partition_value(&column).unwrap().as_deref(), Some(expected));
        }
        for (value, expected) in [(f64::INFINITY, "Infinity"), (-0.0, "-0.0")] {
            let column: ArrayRef = Arc::new(Float64Array::from(vec![value]));
            let text = partition_value(&column).unwrap().unwrap();
            assert_eq!(text, expected);
            assert_eq!(
                ScalarValue::try_from_string(text, &DataType::Float64).unwrap(),
                ScalarValue::Float64(Some(value))
            );
        }
        let keys = ["site".to_owned(), "line".to_owned()];
        let got = path(&keys, &[Some("a/b".to_owned()), None], Effort::Quick);
        assert!(
            got.starts_with("site=a%2Fb/line=__HIVE_DEFAULT_PARTITION__/part-"),
            "{got}"
        );
    }

    #[test]
    fn files_end_near_their_target_and_hold_every_row_once() {
        let batches: Vec<RecordBatch> = (0..40).map(|_| batch(&[0; 2000])).collect();
        let target = 60_000;
        let files = encode(&batches, Effort::Thorough, target).unwrap();
        assert!(files.len() > 2, "{} files", files.len());
        let (last, full) = files.split_last().unwrap();
        for file in full {
            assert!(
                file.bytes.len() >= large_enough(target),
                "{}",
                file.bytes.len()
            );
            assert!(file.bytes.len() < 2 * target, "{}", file.bytes.len());
        }
        assert!(last.add.path.ends_with(".zstd.parquet"));
        assert_eq!(files.iter().map(|f| f.rows).sum::<u64>(), 80_000);
        let stats: Value = serde_json::from_str(files[0].add.stats.as_deref().unwrap()).unwrap();
        assert_eq!(stats["numRecords"], files[0].rows);
    }
}
