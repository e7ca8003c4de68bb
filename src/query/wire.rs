//! The one function that says what a result looks like on the wire. FlightInfo, GetSchema and prepared statements advertise
//! it, and every batch is forced to it: clients compare the two and give up when they differ.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use arrow::error::ArrowError;

use crate::fault::Fault;

/// Plain text and binary, no dictionaries, all fields nullable: logical and physical plans differ in nullability, and views
/// and dictionaries break drivers.
pub fn wire_schema(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema
            .fields()
            .iter()
            .map(|f| wire_field(f))
            .collect::<Vec<_>>(),
    ))
}

/// A column that is selected as it is keeps what its contract says of it.
fn wire_field(field: &Field) -> Field {
    let told = field.metadata().iter();
    let told = told.filter(|(key, _)| ["unit", "comment"].contains(&key.as_str()));
    Field::new(field.name(), wire_type(field.data_type()), true)
        .with_metadata(told.map(|(k, v)| (k.clone(), v.clone())).collect())
}

fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::RunEndEncoded(_, value) => wire_type(value.data_type()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => DataType::List(Arc::new(wire_field(item))),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|f| wire_field(f)).collect::<Fields>())
        }
        DataType::FixedSizeList(item, size) => {
            DataType::FixedSizeList(Arc::new(wire_field(item)), *size)
        }
        DataType::Map(entries, ordered) => DataType::Map(wire_entries(entries), *ordered),
        // Tables keep microseconds; `now()` has nanoseconds, which Python's datetime cannot hold.
        DataType::Timestamp(TimeUnit::Nanosecond, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.clone())
        }
        DataType::Time64(TimeUnit::Nanosecond) => DataType::Time64(TimeUnit::Microsecond),
        // Java has no unsigned integers: its drivers lose the top half.
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        other => other.clone(),
    }
}

/// A map's entries and keys are never null.
fn wire_entries(entries: &Field) -> Arc<Field> {
    let data_type = match entries.data_type() {
        DataType::Struct(pair) => {
            let own = pair.iter().enumerate();
            let own = own.map(|(at, field)| wire_field(field).with_nullable(at > 0));
            DataType::Struct(own.collect::<Fields>())
        }
        other => wire_type(other),
    };
    Arc::new(Field::new(entries.name(), data_type, false))
}

/// # Errors
/// INVALID_ARGUMENT: a value has no place in the wire's type (an unsigned above the largest signed). INTERNAL: a column is of
/// a type whose values another one may not hold.
pub fn conform_to_wire(batch: &RecordBatch, wire: &SchemaRef) -> Result<RecordBatch, Fault> {
    let options = arrow::compute::CastOptions {
        safe: false,
        ..Default::default()
    };
    let columns = batch
        .columns()
        .iter()
        .zip(wire.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                return Ok(column.clone());
            }
            // Never a cast that loses something without a word, whatever the plan said of its types.
            if !wire_type(column.data_type()).equals_datatype(field.data_type()) {
                return Err(ArrowError::SchemaError(format!(
                    "column {} was announced as {} and is {}",
                    field.name(),
                    field.data_type(),
                    column.data_type()
                )));
            }
            if matches!(column.data_type(), DataType::Dictionary(..)) {
                return cast(column, field.data_type());
            }
            arrow::compute::cast_with_options(column, field.data_type(), &options)
        });
    let columns: Vec<ArrayRef> = columns.collect::<Result<_, _>>().map_err(|e| match e {
        ArrowError::SchemaError(why) => Fault::internal(why),
        e => Fault::invalid("value_out_of_range", e.to_string()),
    })?;
    let rows = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(wire.clone(), columns, &rows)
        .map_err(|e| Fault::internal(format!("result schema: {e}")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Float64Array, StringViewArray, UInt64Array};

    use super::*;
    use crate::fault::Kind;

    #[test]
    fn a_batch_is_brought_to_the_wire_and_never_cut_down_to_it() {
        let conform = |column: ArrayRef, type_| {
            let batch = RecordBatch::try_from_iter([("c", column)]).unwrap();
            let wire = Arc::new(Schema::new(vec![Field::new("c", type_, true)]));
            conform_to_wire(&batch, &wire).map(|b| b.column(0).len())
        };
        let halves: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
        let fault = conform(halves, DataType::Int64).unwrap_err();
        assert_eq!(fault.kind, Kind::Internal);
        assert!(
            fault.message.contains("column c was announced as Int64"),
            "{fault}"
        );
        let text: ArrayRef = Arc::new(StringViewArray::from(vec!["a"]));
        assert_eq!(conform(text, DataType::Utf8).unwrap(), 1);
        let small: ArrayRef = Arc::new(UInt64Array::from(vec![7]));
        assert_eq!(conform(small, DataType::Int64).unwrap(), 1);
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX]));
        let fault = conform(large, DataType::Int64).unwrap_err();
        assert_eq!(&*fault.reason, "value_out_of_range");
    }
}
