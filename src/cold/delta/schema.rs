//! A Delta table's columns in Arrow, and what they are called in its files.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema, SchemaRef};
use deltalake::table::state::DeltaTableState;

use super::super::mapping::{self, Mapping, schema_json};
use super::super::{Error, store_error};

/// What the columns of a version are called in its files.
///
/// # Errors
/// `Damaged`: the log says it in part only.
pub(super) fn mapping_of(snapshot: &DeltaTableState) -> Result<Mapping, Error> {
    let configuration = snapshot.metadata().configuration();
    if !configuration.contains_key(mapping::MODE) {
        return Ok(Mapping::default());
    }
    let schema = schema_json(snapshot.snapshot().schema().as_ref())?;
    let protocol = serde_json::to_value(snapshot.protocol()).map_err(store_error)?;
    Mapping::read(&schema, &protocol, |key| configuration.get(key).cloned())
}

/// Delta's own types come back as views or with other field names; ours are plain. What stands at a field for the mapping of
/// columns is left out: above it there are the columns' names alone.
pub(super) fn plain_schema(schema: &Schema) -> SchemaRef {
    let fields = schema.fields().iter().map(plain_field);
    Arc::new(Schema::new(fields.collect::<Vec<FieldRef>>()))
}

fn plain_field(field: &FieldRef) -> FieldRef {
    let plain = plain_type(field.data_type());
    let is_own = |key: &String| mapping::is_own_metadata(key);
    if plain == *field.data_type() && !field.metadata().keys().any(is_own) {
        return field.clone();
    }
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| !is_own(key));
    let field = field.as_ref().clone().with_data_type(plain);
    Arc::new(field.with_metadata(metadata))
}

fn plain_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::List(item) | DataType::LargeList(item) => DataType::List(plain_field(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain_field).collect()),
        DataType::Map(entries, ordered) => DataType::Map(plain_field(entries), *ordered),
        other => other.clone(),
    }
}
