//! What a statement was bound to: rows of parameters, each of which is one execution. An update bound to many rows is one
//! statement still: it happens whole or not at all, and has one count.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, interleave};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit, UnionFields};
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;

use crate::fault::{Fault, Kind};
use crate::query::check_count;

/// Executions of a statement that is planned for each row that is bound to it.
const EXECUTIONS_MAX: usize = 10_000;

/// Rows of parameters, by position. A statement without parameters is bound to nothing.
#[derive(Clone, Debug, Default)]
pub struct Bound(Option<RecordBatch>);

impl Bound {
    pub const NOTHING: &'static Bound = &Bound(None);

    /// A batch without columns binds nothing: some drivers send one with every update. Columns of unions, in which some
    /// drivers bind a parameter whose type they are not told, become columns of what is in them.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the values of a parameter have no type in common.
    pub fn new(rows: Option<RecordBatch>) -> Result<Self, Fault> {
        let rows = rows.filter(|r| r.num_columns() > 0);
        rows.map(without_unions).transpose().map(Bound)
    }

    pub fn batch(&self) -> Option<&RecordBatch> {
        self.0.as_ref()
    }

    /// How often the statement is to be executed.
    pub fn executions(&self) -> usize {
        self.0.as_ref().map_or(1, RecordBatch::num_rows)
    }

    /// # Errors
    /// RESOURCE_EXHAUSTED `too_many_executions`.
    pub fn check_executions(&self) -> Result<(), Fault> {
        if self.executions() <= EXECUTIONS_MAX {
            return Ok(());
        }
        Err(Fault::new(
            Kind::Exhausted,
            "too_many_executions",
            format!(
                "{} rows were bound, limit={EXECUTIONS_MAX} for a statement that is executed once a row; bind fewer at a time, or use INSERT .. VALUES of parameters or bulk ingest",
                self.executions()
            ),
        ))
    }

    /// # Errors
    /// INVALID_ARGUMENT: a statement of so many parameters takes more or fewer.
    pub fn check_count(&self, parameters: usize) -> Result<(), Fault> {
        check_count(
            parameters,
            self.0.as_ref().map_or(0, RecordBatch::num_columns),
        )
    }

    /// The parameters of one execution, as the query engine takes them; nulls of their types if there is none.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: a type that has no SQL value.
    pub fn row(&self, row: usize) -> Result<Option<Vec<ScalarValue>>, Fault> {
        let Some(batch) = &self.0 else {
            return Ok(None);
        };
        let values = batch.columns().iter().zip(1..).map(|(column, n)| {
            let value = if row < column.len() {
                ScalarValue::try_from_array(column, row)
            } else {
                ScalarValue::try_new_null(column.data_type())
            };
            let value = value.and_then(plain);
            value.map_err(|e| wrong(n, column.data_type(), &e.strip_backtrace()))
        });
        values.collect::<Result<Vec<_>, Fault>>().map(Some)
    }
}

fn wrong(n: usize, data_type: &DataType, why: &str) -> Fault {
    Fault::invalid(
        "parameters",
        format!("parameter {n} cannot be bound, type={data_type}: {why}"),
    )
}

/// A value in the type that SQL has for it: a literal of it would be of that type.
fn plain(value: ScalarValue) -> datafusion::common::Result<ScalarValue> {
    let target = match value.data_type() {
        DataType::Dictionary(_, inner) => return plain(value.cast_to(&inner)?),
        DataType::RunEndEncoded(_, inner) => return plain(value.cast_to(inner.data_type())?),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 => DataType::Int64,
        // One that no whole number of SQL holds.
        DataType::UInt64 if matches!(value, ScalarValue::UInt64(Some(n)) if i64::try_from(n).is_err()) => {
            DataType::Decimal128(20, 0)
        }
        DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        // Times of day of different units are not compared.
        DataType::Time32(_) | DataType::Time64(_) => DataType::Time64(TimeUnit::Nanosecond),
        _ => return Ok(value),
    };
    value.cast_to(&target)
}

fn without_unions(batch: RecordBatch) -> Result<RecordBatch, Fault> {
    let is_union = |c: &ArrayRef| matches!(c.data_type(), DataType::Union(..));
    if !batch.columns().iter().any(is_union) {
        return Ok(batch);
    }
    let columns = batch.columns().iter().zip(1..).map(|(column, n)| {
        let DataType::Union(fields, _) = column.data_type() else {
            return Ok(column.clone());
        };
        unified(column, fields).map_err(|e| wrong(n, column.data_type(), &e.to_string()))
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, Fault>>()?;
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields = fields.map(|(field, c)| Field::new(field.name(), c.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema, columns, &rows)
        .map_err(|e| Fault::invalid("parameters", e.to_string()))
}

/// The values of a union in the type of those that are no null.
fn unified(column: &ArrayRef, fields: &UnionFields) -> Result<ArrayRef, ArrowError> {
    let union = column.as_union();
    let places: Vec<(i8, usize)> = (0..union.len())
        .map(|row| (union.type_id(row), union.value_offset(row)))
        .collect();
    let mut used: BTreeSet<i8> = BTreeSet::new();
    for (id, at) in &places {
        if !used.contains(id)
            && union.child(*id).is_valid(*at)
            && !union.child(*id).data_type().is_null()
        {
            used.insert(*id);
        }
    }
    let types = fields.iter().filter(|(id, _)| used.contains(id));
    let types: BTreeSet<&DataType> = types.map(|(_, field)| field.data_type()).collect();
    let target = match types.iter().copied().collect::<Vec<_>>().as_slice() {
        [] => return Ok(new_null_array(&DataType::Null, union.len())),
        [one] => (*one).clone(),
        several if several.iter().all(|t| t.is_integer()) => DataType::Int64,
        several if several.iter().all(|t| t.is_integer() || t.is_floating()) => DataType::Float64,
        several => {
            let several: Vec<String> = several.iter().map(ToString::to_string).collect();
            return Err(ArrowError::InvalidArgumentError(format!(
                "its values are of several types, {}; bind values of one type at a time",
                several.join(", ")
            )));
        }
    };
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    // A child whose values are all null stands for nulls.
    let mut children: Vec<ArrayRef> = vec![new_null_array(&target, 1)];
    let mut position = vec![0usize; 256];
    for (id, _) in fields.iter().filter(|(id, _)| used.contains(id)) {
        if let Some(slot) = position.get_mut(usize::from(id.cast_unsigned())) {
            *slot = children.len();
        }
        children.push(cast_with_options(union.child(id), &target, &strict)?);
    }
    let indices: Vec<(usize, usize)> = places
        .iter()
        .map(
            |(id, at)| match position.get(usize::from(id.cast_unsigned())) {
                Some(0) | None => (0, 0),
                Some(child) => (*child, *at),
            },
        )
        .collect();
    let children: Vec<&dyn Array> = children.iter().map(AsRef::as_ref).collect();
    interleave(&children, &indices)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{
        Float64Array, Int64Array, StringArray, Time32MillisecondArray, UInt64Array, UnionArray,
    };
    use arrow::buffer::ScalarBuffer;

    use super::*;

    fn union(ids: Vec<i8>, offsets: Vec<i32>) -> ArrayRef {
        let fields = [
            (5, Field::new("t", DataType::Utf8, true)),
            (6, Field::new("i", DataType::Int64, true)),
            (7, Field::new("f", DataType::Float64, true)),
        ];
        let fields = fields.map(|(id, f)| (id, Arc::new(f)));
        let children: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("a"), None])),
            Arc::new(Int64Array::from(vec![1, 2])),
            Arc::new(Float64Array::from(vec![0.5])),
        ];
        let (ids, offsets) = (ScalarBuffer::from(ids), ScalarBuffer::from(offsets));
        let made = UnionArray::try_new(fields.into_iter().collect(), ids, Some(offsets), children);
        Arc::new(made.unwrap())
    }

    fn bound(column: ArrayRef) -> Result<Bound, Fault> {
        Bound::new(Some(RecordBatch::try_from_iter([("1", column)]).unwrap()))
    }

    fn values(bound: &Bound) -> Vec<String> {
        let rows = 0..bound.executions();
        let rows = rows.map(|r| bound.row(r).unwrap().unwrap());
        rows.map(|row| format!("{} {}", row[0].data_type(), row[0]))
            .collect()
    }

    #[test]
    fn a_union_is_bound_as_what_is_in_it() {
        let one = |ids, offsets| values(&bound(union(ids, offsets)).unwrap());
        assert_eq!(one(vec![5, 5], vec![0, 1]), ["Utf8 a", "Utf8 NULL"]);
        assert_eq!(one(vec![6, 5], vec![1, 1]), ["Int64 2", "Int64 NULL"]);
        assert_eq!(one(vec![6, 7], vec![1, 0]), ["Float64 2", "Float64 0.5"]);
        assert_eq!(one(vec![5], vec![1]), ["Null NULL"]);
        let fault = bound(union(vec![5, 6], vec![0, 0])).unwrap_err();
        assert!(fault.message.contains("parameter 1"), "{fault}");
    }

    #[test]
    fn a_value_has_the_type_that_sql_has_for_it() {
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![7, u64::MAX]));
        let large = bound(large).unwrap();
        assert_eq!(values(&large)[0], "Int64 7");
        assert!(values(&large)[1].contains("18446744073709551615"));
        let words: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
        let kind = DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8));
        let words = arrow::compute::cast(&words, &kind).unwrap();
        assert_eq!(values(&bound(words).unwrap()), ["Utf8 a"]);
        let noon: ArrayRef = Arc::new(Time32MillisecondArray::from(vec![43_200_000]));
        assert!(values(&bound(noon).unwrap())[0].starts_with("Time64(ns)"));
        // No row: the type is known all the same.
        let none = bound(new_null_array(&DataType::Int64, 0)).unwrap();
        assert_eq!(none.executions(), 0);
        assert_eq!(none.row(0).unwrap().unwrap(), [ScalarValue::Int64(None)]);
    }
}
