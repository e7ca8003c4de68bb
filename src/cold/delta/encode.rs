//! Rows to Parquet files, one or more a partition value, each with the statistics that its Delta `add` action carries. No sort
//! and no hash a row: batches come nearly ordered by time, so a few ranges of equal partition values make up each of them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::{cast, lexsort_to_indices, partition, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
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
use super::page_checksums::with_page_checksums;

/// More ranges than this in one batch: it is put in order first.
const RANGES_MAX: usize = 64;
/// `delta.dataSkippingNumIndexedCols` where a table does not say otherwise (Delta protocol, "Per-file Statistics").
const STATISTICS_COLUMNS: usize = 32;
/// Longer texts have their minimum cut and no maximum.
const STATISTICS_TEXT: usize = 32;
pub(super) const NULL_PARTITION: &str = "__HIVE_DEFAULT_PARTITION__";

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
    open: BTreeMap<Key, ArrowWriter<Vec<u8>>>,
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
        })
    }

    /// Takes a batch of the table's columns; returns the files that are full now.
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
            let writer = match self.open.entry(key.clone()) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(free) => free.insert(
                    ArrowWriter::try_new(
                        Vec::new(),
                        self.file_schema.clone(),
                        Some(self.properties.clone()),
                    )
                    .map_err(failed)?,
                ),
            };
            writer.write(&part).map_err(failed)?;
            if writer.bytes_written() + writer.in_progress_size() >= self.target_bytes {
                // What is in progress is an estimate from before compression.
                writer.flush().map_err(failed)?;
                if writer.bytes_written() >= large_enough(self.target_bytes)
                    && let Some(writer) = self.open.remove(&key)
                {
                    full.push(self.close(&key, writer)?);
                }
            }
        }
        Ok(full)
    }

    /// Ends the files that are left.
    pub fn finish(&mut self) -> Result<Vec<EncodedFile>, Error> {
        let open = std::mem::take(&mut self.open);
        open.into_iter()
            .map(|(key, writer)| self.close(&key, writer))
            .collect()
    }

    fn close(&self, key: &Key, mut writer: ArrowWriter<Vec<u8>>) -> Result<EncodedFile, Error> {
        let metadata = writer.finish().map_err(failed)?;
        let bytes = std::mem::take(writer.inner_mut());
        drop(writer);
        let statistics = statistics(&metadata, &self.file_schema)?;
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
    let text = cast(&column.slice(0, 1), &DataType::Utf8).map_err(failed)?;
    let text = text.as_string::<i32>().value(0).to_owned();
    Ok((!text.is_empty()).then_some(text))
}

/// Values stand in the log; the folder's name is for people, so what a path cannot hold becomes `_`.
fn path(partition_by: &[String], key: &[Option<String>], effort: Effort) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-.".contains(c) {
            c
        } else {
            '_'
        }
    };
    let mut out = String::new();
    for (name, value) in partition_by.iter().zip(key) {
        let value = value.as_ref().map_or(NULL_PARTITION.to_owned(), |v| {
            v.chars().take(80).map(safe).collect()
        });
        out.push_str(&format!("{name}={value}/"));
    }
    out.push_str(&format!(
        "part-00000-{}-{}",
        crate::ids::random_id(),
        effort.suffix()
    ));
    out
}

/// Row count, bounds and null counts from the file's own footer.
fn statistics(metadata: &ParquetMetaData, schema: &SchemaRef) -> Result<Value, Error> {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    let groups = metadata.row_groups();
    let descriptor = metadata.file_metadata().schema_descr();
    for field in schema.fields().iter().take(STATISTICS_COLUMNS) {
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
            if let Some(high) = high {
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
        files.extend(slices.finish()?);
        Ok(files)
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
