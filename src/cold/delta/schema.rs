//! A Delta table's columns in Arrow.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};

/// Delta's own types come back as views or with other field names; ours are plain.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(|f| {
        let plain = match f.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
            other => other.clone(),
        };
        Arc::new(f.as_ref().clone().with_data_type(plain))
    });
    Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>()))
}
