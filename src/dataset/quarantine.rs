//! The shape of `<table>_quarantine`: each rejected row as it came, and why.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::column::ColumnType;
use super::contract::system_fields;

/// `row_index` is the position in the sent batch, `rules` every rule that the row broke (`range:AT`), `reason` the first in
/// words, `raw` the row as JSON (NaN and infinities as text, unparsable input verbatim). Partitioned by `ingest_date`.
pub fn quarantine_schema() -> SchemaRef {
    let mut fields = Vec::from(system_fields());
    fields.extend([
        Field::new("row_index", DataType::Int64, false),
        Field::new(
            "rules",
            DataType::List(Arc::new(Field::new("element", DataType::Utf8, true))),
            false,
        ),
        Field::new("reason", DataType::Utf8, false),
        Field::new("event_ts", ColumnType::Timestamp.to_arrow(), true),
        Field::new("raw", DataType::Utf8, false),
        Field::new("ingest_date", DataType::Date32, true),
    ]);
    Arc::new(Schema::new(fields))
}
