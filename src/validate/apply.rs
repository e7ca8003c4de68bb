//! Does what a verdict says: changes values, leaves rows out, and gives the rest the table's own columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch,
    TimestampMicrosecondArray,
};
use arrow::compute::kernels::zip::zip;
use arrow::compute::{cast, filter, nullif};
use arrow::datatypes::{DataType, Date32Type, TimestampMicrosecondType};
use arrow::error::ArrowError;

use super::findings::Out;
use super::nested;
use super::source::Source;
use super::validator::Validator;
use super::verdict::Cell;
use crate::clock::{self, Micros};
use crate::fault::Fault;

/// Where a batch came from: the system columns.
pub struct Origin<'a> {
    /// When it arrived.
    pub ingest_ts: Micros,
    pub source: &'a Source,
    pub seq: i64,
}

/// The rows of one batch, each in the schema of the table that it goes to. Made by a [`Validator`] only.
#[derive(Clone, Debug, Default)]
pub struct Applied {
    pub(super) accepted: Option<RecordBatch>,
    pub(super) rejected: Option<RecordBatch>,
}

impl Applied {
    /// Rows of the table, and rows of its quarantine.
    pub fn into_sides(self) -> (Option<RecordBatch>, Option<RecordBatch>) {
        (self.accepted, self.rejected)
    }

    /// The same rows, after the table's schema has changed.
    pub fn reshaped(self, reshape: impl FnOnce(&RecordBatch) -> RecordBatch) -> Self {
        Applied {
            accepted: self.accepted.map(|rows| reshape(&rows)),
            ..self
        }
    }
}

/// Gives the values of a verdict's cells to the columns, each column in one pass.
pub(super) fn change<'a>(
    columns: &mut [ArrayRef],
    cells: impl Iterator<Item = &'a Cell>,
) -> Result<(), ArrowError> {
    let wrong =
        || ArrowError::InvalidArgumentError("a verdict's cell is outside its batch".to_owned());
    let mut changes: BTreeMap<usize, Vec<(usize, Option<f64>)>> = BTreeMap::new();
    for cell in cells {
        let column = changes.entry(usize::from(cell.column)).or_default();
        column.push((cell.row as usize, cell.bound));
    }
    for (index, cells) in changes {
        let column = columns.get_mut(index).ok_or_else(wrong)?;
        let rows = column.len();
        let mut mask = vec![false; rows];
        let mut values: Vec<Option<f64>> = Vec::new();
        for (row, bound) in cells {
            *mask.get_mut(row).ok_or_else(wrong)? = true;
            if bound.is_some() && values.is_empty() {
                values.resize(rows, None);
            }
            // A later change of the same value wins.
            if let Some(value) = values.get_mut(row) {
                *value = bound;
            }
        }
        let mask = BooleanArray::from(mask);
        *column = if values.is_empty() {
            nullif(column, &mask)?
        } else {
            let bounds: ArrayRef = Arc::new(Float64Array::from(values));
            let bounds = match column.data_type() {
                DataType::Float64 => bounds,
                other => cast(&bounds, other)?,
            };
            zip(&mask, &bounds, column)?
        };
    }
    Ok(())
}

/// The columns without the rows that are out.
pub(super) fn without(
    columns: &[ArrayRef],
    rows: usize,
    out: &Out,
) -> Result<Vec<ArrayRef>, ArrowError> {
    if out.is_empty() {
        return Ok(columns.to_vec());
    }
    let keep = out.keep(rows);
    columns.iter().map(|column| filter(column, &keep)).collect()
}

impl Validator {
    /// Accepted rows with all of the table's columns; none if there is none.
    pub(super) fn accepted(
        &self,
        columns: Vec<ArrayRef>,
        rows: usize,
        origin: &Origin<'_>,
    ) -> Result<Option<RecordBatch>, Fault> {
        if rows == 0 {
            return Ok(None);
        }
        let mut all = columns;
        for (values, field) in all.iter_mut().zip(self.table_schema().fields()) {
            if field.data_type().is_nested() {
                *values = nested::strict(values, field.data_type()).map_err(unfit)?;
            }
        }
        if let Some(times) = self.event_time().and_then(|index| all.get(index)) {
            all.push(dates(times));
        }
        if self.contract().system_columns {
            all.extend(system_columns(origin, rows));
        }
        let batch = RecordBatch::try_new(self.table_schema().clone(), all);
        batch.map(Some).map_err(unfit)
    }
}

/// The batch and the verdict do not belong together.
pub(super) fn unfit(error: ArrowError) -> Fault {
    Fault::internal(format!("cannot apply a verdict to its batch: {error}"))
}

/// The UTC date of each event time.
fn dates(times: &ArrayRef) -> ArrayRef {
    match times.as_primitive_opt::<TimestampMicrosecondType>() {
        Some(times) => Arc::new(times.unary::<_, Date32Type>(clock::day_of)),
        None => Arc::new(Date32Array::new_null(times.len())),
    }
}

pub(super) fn system_columns(origin: &Origin<'_>, rows: usize) -> [ArrayRef; 3] {
    [
        Arc::new(
            TimestampMicrosecondArray::from_value(origin.ingest_ts, rows).with_timezone("UTC"),
        ),
        origin.source.column(rows),
        Arc::new(Int64Array::from_value(origin.seq, rows)),
    ]
}
