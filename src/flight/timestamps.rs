//! The unit in which a client is given timestamps: microseconds, as tables keep them, or nanoseconds, if it asks for them by a
//! header or an option of its session. Some clients take every timestamp for nanoseconds, Grafana's Flight SQL plugin among
//! them.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use tonic::metadata::MetadataMap;

use crate::fault::Fault;
use crate::query::described;

/// The header, and the option of a session.
pub(super) const OPTION: &str = "deltaplane.timestamp_unit";

/// A unit by its name; none: it is not one in which timestamps are given.
pub(super) fn unit_of(text: &str) -> Option<TimeUnit> {
    match text {
        "us" => Some(TimeUnit::Microsecond),
        "ns" => Some(TimeUnit::Nanosecond),
        _ => None,
    }
}

pub(super) fn name_of(unit: TimeUnit) -> &'static str {
    match unit {
        TimeUnit::Nanosecond => "ns",
        _ => "us",
    }
}

/// What the headers of a call ask for.
///
/// # Errors
/// INVALID_ARGUMENT `invalid_option`.
pub(super) fn asked(headers: &MetadataMap) -> Result<Option<TimeUnit>, Fault> {
    let Some(value) = headers.get(OPTION) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    unit_of(text).map(Some).ok_or_else(|| {
        Fault::invalid(
            "invalid_option",
            format!("the header {OPTION} is us or ns, got {text:?}"),
        )
    })
}

/// The schema in which a result of the schema `wire` is given.
pub(super) fn announced(wire: SchemaRef, unit: TimeUnit) -> SchemaRef {
    if unit != TimeUnit::Nanosecond {
        return wire;
    }
    let fields = wire.fields().iter().map(in_nanoseconds);
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

fn in_nanoseconds(field: &FieldRef) -> FieldRef {
    let data_type = type_in_nanoseconds(field.data_type());
    if data_type == *field.data_type() {
        return field.clone();
    }
    let mut metadata = field.metadata().clone();
    // Its precision, if it says one.
    for (key, value) in described(&data_type) {
        if let Some(own) = metadata.get_mut(&key) {
            *own = value;
        }
    }
    let field = Field::new(field.name(), data_type, field.is_nullable());
    Arc::new(field.with_metadata(metadata))
}

fn type_in_nanoseconds(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()),
        DataType::List(item) => DataType::List(in_nanoseconds(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(in_nanoseconds).collect()),
        DataType::Map(entries, sorted) => DataType::Map(in_nanoseconds(entries), *sorted),
        other => other.clone(),
    }
}

/// The batch in the schema that was announced for it.
///
/// # Errors
/// INVALID_ARGUMENT `value_out_of_range`: a time that nanoseconds cannot hold.
pub(super) fn given(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Fault> {
    if batch.schema().fields() == schema.fields() {
        return Ok(batch);
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| {
        if column.data_type() == field.data_type() {
            return Ok(column.clone());
        }
        cast_with_options(column, field.data_type(), &options).map_err(|_| {
            Fault::invalid(
                "value_out_of_range",
                format!(
                    "a time of column {} cannot be given in nanoseconds, which reach from 1677-09-21 to 2262-04-11; leave it out, or set {OPTION} to us",
                    field.name()
                ),
            )
        })
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, Fault>>()?;
    let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &rows)
        .map_err(|e| Fault::internal(format!("result in nanoseconds: {e}")))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
    use arrow::datatypes::TimestampNanosecondType;

    use super::*;

    fn batch(micros: i64) -> RecordBatch {
        let times = TimestampMicrosecondArray::from(vec![Some(micros), None]).with_timezone("UTC");
        let field = Field::new("at", times.data_type().clone(), true)
            .with_metadata(described(times.data_type()));
        let schema = Arc::new(Schema::new(vec![field]));
        RecordBatch::try_new(schema, vec![Arc::new(times)]).unwrap()
    }

    #[test]
    fn times_are_given_as_announced_or_not_at_all() {
        let now = batch(1_700_000_000_000_001);
        let same = announced(now.schema(), TimeUnit::Microsecond);
        assert_eq!(given(now.clone(), &same).unwrap(), now);
        let nanos = announced(now.schema(), TimeUnit::Nanosecond);
        let scale = "ARROW:FLIGHT:SQL:SCALE";
        assert_eq!(nanos.field(0).metadata()[scale], "9");
        let column = given(now, &nanos).unwrap();
        let column = column.column(0).as_primitive::<TimestampNanosecondType>();
        assert_eq!(
            column.iter().collect::<Vec<_>>(),
            [Some(1_700_000_000_000_001_000), None]
        );
        let fault = given(batch(i64::MAX / 2), &nanos).unwrap_err();
        assert_eq!(&*fault.reason, "value_out_of_range");
    }
}
