//! Does a file hold what the Delta log says of it? Read whole, page by page, against the row count, null counts and bounds in
//! the log: what readers prune and count by.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{ColdFile, FileList, PinnedFile};

const BATCH_ROWS: usize = 8192;

/// What is wrong with the file; none if nothing is. It is held in memory once, as it is in the store.
pub async fn problem(file: PinnedFile<'_>) -> Option<String> {
    if let Some(problem) = size_problem(file).await {
        return Some(problem);
    }
    let bytes = match file.bytes().await {
        Ok(bytes) => bytes,
        Err(error) => return Some(format!("cannot be read now: {error}")),
    };
    let (list, file) = (file.list().to_list(), file.file().clone());
    let work = move || compared(bytes, &list, &file);
    match tokio::task::spawn_blocking(work).await {
        Ok(problem) => problem,
        Err(error) => Some(format!("cannot be decoded: {error}")),
    }
}

/// Is the file there, with the size that the log says?
pub async fn size_problem(file: PinnedFile<'_>) -> Option<String> {
    match file.stored_size().await {
        Ok(bytes) if bytes == file.size() => None,
        Ok(bytes) => Some(format!("has {bytes} bytes, the log says {}", file.size())),
        Err(object_store::Error::NotFound { .. }) => {
            Some("is missing: restore it from a backup, or RESTORE a version without it".to_owned())
        }
        Err(error) => Some(format!("cannot be read now: {error}")),
    }
}

fn compared(bytes: bytes::Bytes, list: &FileList, file: &ColdFile) -> Option<String> {
    let damaged = |error: &dyn std::fmt::Display| {
        let text = error.to_string();
        Some(format!(
            "is damaged: {}",
            text.lines().next().unwrap_or_default()
        ))
    };
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
        .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build());
    let reader = match reader {
        Ok(reader) => reader,
        Err(error) => return damaged(&error),
    };
    let schema = list.schema();
    let found = arrow::array::RecordBatchReader::schema(&reader);
    let mut told = match Told::of(&schema, list, &found, file) {
        Ok(told) => told,
        Err(error) => return damaged(&error),
    };
    for batch in reader {
        match batch {
            Ok(batch) => told.batch(&batch),
            Err(error) => return damaged(&error),
        }
    }
    told.problem(file.rows())
}

/// What the log tells of a column, and what was found so far.
struct Column<'a> {
    name: &'a str,
    /// Among the file's columns; none: it was added to the table later.
    place: Option<usize>,
    told: &'a ColumnStatistics,
    nulls: usize,
    outside: usize,
}

struct Told<'a> {
    columns: Vec<Column<'a>>,
    rows: usize,
}

impl<'a> Told<'a> {
    fn of(
        schema: &'a Schema,
        list: &FileList,
        found: &Schema,
        file: &'a ColdFile,
    ) -> Result<Self, &'static str> {
        let own = schema
            .fields()
            .iter()
            .filter(|f| !list.partition_by().contains(f.name()));
        let names = own.clone().map(|f| f.name().as_str());
        let places = list.mapping().places(names, found)?;
        let columns = own
            .zip(places)
            .zip(&file.statistics().column_statistics)
            .map(|((field, place), told)| Column {
                name: field.name(),
                place,
                told,
                nulls: 0,
                outside: 0,
            });
        Ok(Told {
            columns: columns.collect(),
            rows: 0,
        })
    }

    fn batch(&mut self, batch: &RecordBatch) {
        self.rows += batch.num_rows();
        for column in &mut self.columns {
            let Some(values) = column.place.map(|place| batch.column(place)) else {
                column.nulls += batch.num_rows();
                continue;
            };
            column.nulls += values.null_count();
            let bound = |bound: &Precision<ScalarValue>| bound.get_value().cloned();
            column.outside += outside(
                values,
                bound(&column.told.min_value),
                bound(&column.told.max_value),
            );
        }
    }

    fn problem(&self, rows: Option<usize>) -> Option<String> {
        let mut out = Vec::new();
        if let Some(rows) = rows.filter(|rows| *rows != self.rows) {
            out.push(format!("has {} rows, the log says {rows}", self.rows));
        }
        for column in &self.columns {
            if let Precision::Exact(nulls) = column.told.null_count
                && nulls != column.nulls
            {
                out.push(format!(
                    "has {} nulls in {}, the log says {nulls}",
                    column.nulls, column.name
                ));
            }
            if column.outside > 0 {
                out.push(format!(
                    "has {} values in {} outside the bounds in the log, queries that prune by them miss rows",
                    column.outside, column.name
                ));
            }
        }
        (!out.is_empty()).then(|| out.join("; "))
    }
}

/// How many values lie outside; NaN lies nowhere, and what cannot be compared is not counted.
fn outside(values: &ArrayRef, min: Option<ScalarValue>, max: Option<ScalarValue>) -> usize {
    match (values.data_type(), &min, &max) {
        (DataType::Float64, min, max) => {
            let low = |v: f64| matches!(min, Some(ScalarValue::Float64(Some(m))) if v < *m);
            let high = |v: f64| matches!(max, Some(ScalarValue::Float64(Some(m))) if v > *m);
            let values = values.as_primitive::<Float64Type>().iter().flatten();
            values.filter(|v| low(*v) || high(*v)).count()
        }
        (DataType::Float32, min, max) => {
            let low = |v: f32| matches!(min, Some(ScalarValue::Float32(Some(m))) if v < *m);
            let high = |v: f32| matches!(max, Some(ScalarValue::Float32(Some(m))) if v > *m);
            let values = values.as_primitive::<Float32Type>().iter().flatten();
            values.filter(|v| low(*v) || high(*v)).count()
        }
        _ => {
            let count = |bound: &Option<ScalarValue>, below: bool| {
                let bound = bound.as_ref()?.to_scalar().ok()?;
                let values: Arc<dyn Array> = values.clone();
                let found = if below {
                    cmp::lt(&values, &bound)
                } else {
                    cmp::gt(&values, &bound)
                };
                Some(found.ok()?.true_count())
            };
            count(&min, true).unwrap_or(0) + count(&max, false).unwrap_or(0)
        }
    }
}
