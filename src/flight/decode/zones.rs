//! A timestamp whose time zone is the empty text is one without a time zone: Arrow's other libraries mean nothing else by it, and
//! arrow-ipc leaves an empty text out when it writes. The log would therefore give back another type than the one that was judged,
//! and the column's own time zone would shift the values at a replay.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};

pub(super) fn without_empty_zones(schema: Schema) -> Schema {
    let fields = schema.fields().iter().map(field).collect::<Vec<_>>();
    Schema::new_with_metadata(fields, schema.metadata)
}

fn field(field: &FieldRef) -> FieldRef {
    let data_type = without_empty_zone(field.data_type());
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

/// Nests as deep as the schema does, which is bounded.
fn without_empty_zone(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(unit, Some(zone)) if zone.is_empty() => {
            DataType::Timestamp(*unit, None)
        }
        DataType::Dictionary(key, value) => {
            DataType::Dictionary(key.clone(), Box::new(without_empty_zone(value)))
        }
        DataType::List(item) => DataType::List(field(item)),
        DataType::LargeList(item) => DataType::LargeList(field(item)),
        DataType::ListView(item) => DataType::ListView(field(item)),
        DataType::LargeListView(item) => DataType::LargeListView(field(item)),
        DataType::FixedSizeList(item, length) => DataType::FixedSizeList(field(item), *length),
        DataType::Map(item, sorted) => DataType::Map(field(item), *sorted),
        DataType::RunEndEncoded(ends, item) => DataType::RunEndEncoded(ends.clone(), field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Union(fields, mode) => {
            let fields = fields.iter().map(|(id, item)| (id, field(item)));
            DataType::Union(fields.collect(), *mode)
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    #[test]
    fn an_empty_time_zone_is_none_at_every_level() {
        let time =
            |zone: Option<&str>| DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into));
        let schema = |zone: Option<&str>| {
            let inner = Field::new("t", time(zone), true);
            let list = DataType::new_list(DataType::Struct(vec![inner].into()), true);
            let words = DataType::Dictionary(Box::new(DataType::Int8), Box::new(time(zone)));
            Schema::new(vec![
                Field::new("a", time(zone), false),
                Field::new("b", list, true),
                Field::new("c", words, true),
            ])
        };
        assert_eq!(without_empty_zones(schema(Some(""))), schema(None));
        for kept in [None, Some("UTC")] {
            assert_eq!(without_empty_zones(schema(kept)), schema(kept));
        }
    }
}
