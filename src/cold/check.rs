//! Does a file hold what the Delta log says of it? Read whole, page by page, against the row count, null counts and bounds in
//! the log: what readers prune and count by.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::kernels::cmp;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue};

use super::files::slices::Blocks;
use super::{ColdFile, Error, FileList, PinnedFile};

/// What is wrong with the file; none if nothing is. In memory there are parts of one column at
/// a time, however large the file is.
pub async fn problem(file: PinnedFile<'_>) -> Option<String> {
    if let Some(problem) = size_problem(file).await {
        return Some(problem);
    }
    let (list, told) = (file.list().to_list(), file.file().clone());
    let work = move |blocks: Blocks| {
        let compared = compared(&blocks, &list, &told);
        compared.unwrap_or_else(|error| Some(problem_of(&error)))
    };
    let found = file.with_blocks(work).await;
    found.unwrap_or_else(|| Some("cannot be decoded: the decoder panicked".to_owned()))
}

fn problem_of(error: &Error) -> String {
    match error {
        Error::Store(_) => format!("cannot be read now: {error}"),
        Error::DataFile { problem, .. } => format!("is damaged: {problem}"),
        other => format!("is damaged: {other}"),
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

/// Column by column, those that the table does not have any more as well: their pages have checksums, too.
fn compared(blocks: &Blocks, list: &FileList, file: &ColdFile) -> Result<Option<String>, Error> {
    let footer = blocks.footer()?;
    let metadata = footer.metadata();
    let rows = usize::try_from(metadata.file_metadata().num_rows()).unwrap_or(usize::MAX);
    let schema = list.schema();
    let told = Told::of(&schema, list, footer.schema(), file);
    let mut told = told.map_err(|problem| blocks.error(&problem))?;
    told.rows = rows;
    for (place, field) in footer.schema().fields().iter().enumerate() {
        let mut found = 0;
        for group in 0..metadata.num_row_groups() {
            for batch in blocks.rows(&footer, group, Some(place))? {
                let batch = batch.map_err(|e| blocks.error(&e))?;
                found += batch.num_rows();
                told.values(place, batch.column(0));
            }
        }
        if found != rows {
            let name = field.name();
            let problem = format!("it has {found} rows in {name}, its footer says {rows}");
            return Err(blocks.error(&problem));
        }
    }
    told.lacking();
    Ok(told.problem(file.rows()))
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

    /// Values of the file's column at `place`.
    fn values(&mut self, place: usize, values: &ArrayRef) {
        let own = self.columns.iter_mut();
        for column in own.filter(|column| column.place == Some(place)) {
            column.nulls += values.null_count();
            let bound = |bound: &Precision<ScalarValue>| bound.get_value().cloned();
            column.outside += outside(
                values,
                bound(&column.told.min_value),
                bound(&column.told.max_value),
            );
        }
    }

    /// The file has no column for these: each row is null.
    fn lacking(&mut self) {
        for column in self.columns.iter_mut().filter(|c| c.place.is_none()) {
            column.nulls = self.rows;
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
