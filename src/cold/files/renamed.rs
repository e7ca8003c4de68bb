//! The columns of a file under their names in the table. The footer is changed on its way to the Parquet reader, so that
//! everything behind it (projection, pruning of row groups and pages, values of old files for new columns) knows the names of
//! the table's version alone.

use std::sync::Arc;

use parquet::arrow::ARROW_SCHEMA_META_KEY;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    FileMetaData, ParquetMetaData, ParquetMetaDataBuilder, RowGroupMetaData,
};
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::super::mapping::Mapping;

/// The footer with the table's names. A column of the file that is none of the table's, such as one that was dropped, has a name
/// that no column of the table has.
///
/// # Errors
/// The columns are found by number, and the file has none; a type that Parquet does not know.
pub(super) fn named_as_in_table(
    metadata: ParquetMetaData,
    mapping: &Mapping,
) -> Result<ParquetMetaData> {
    if !mapping.is_on() {
        return Ok(metadata);
    }
    let root = metadata.file_metadata().schema();
    let fields = root.get_fields();
    let own = fields.iter().map(|field| {
        let info = field.get_basic_info();
        (info.name(), info.has_id().then(|| info.id()))
    });
    let found = mapping
        .in_table(own)
        .map_err(|problem| ParquetError::General(problem.to_owned()))?;
    let names: Vec<String> = fields
        .iter()
        .zip(&found)
        .map(|(field, found)| match found {
            Some(name) => (*name).to_owned(),
            // Also for a column that the file lacks: it would be found by its name.
            None if mapping.in_files(field.name()).is_some() => {
                format!("\u{0}{}", field.name())
            }
            None => field.name().to_owned(),
        })
        .collect();
    let same = fields.iter().zip(&names).all(|(f, name)| f.name() == name);
    if same {
        return Ok(metadata);
    }
    let fields = fields.iter().zip(&names);
    let fields = fields
        .map(|(field, name)| renamed(field, name).map(Arc::new))
        .collect::<Result<Vec<_>>>()?;
    let root = Type::group_type_builder(root.name())
        .with_fields(fields)
        .build()?;
    let schema = Arc::new(SchemaDescriptor::new(Arc::new(root)));
    let groups = metadata.row_groups().iter().map(|group| {
        let mut next = RowGroupMetaData::builder(schema.clone())
            .set_num_rows(group.num_rows())
            .set_sorting_columns(group.sorting_columns().cloned())
            .set_total_byte_size(group.total_byte_size())
            .set_column_metadata(group.columns().to_vec());
        if let Some(ordinal) = group.ordinal() {
            next = next.set_ordinal(ordinal);
        }
        if let Some(offset) = group.file_offset() {
            next = next.set_file_offset(offset);
        }
        next.build()
    });
    let groups = groups.collect::<Result<Vec<_>>>()?;
    let file = metadata.file_metadata();
    // The Arrow schema that writers put beside Parquet's has the names of the file.
    let kept = file.key_value_metadata().map(|entries| {
        let entries = entries.iter().filter(|e| e.key != ARROW_SCHEMA_META_KEY);
        entries.cloned().collect()
    });
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(ToOwned::to_owned),
        kept,
        schema,
        file.column_orders().cloned(),
    );
    let builder = ParquetMetaDataBuilder::new(file)
        .set_row_groups(groups)
        .set_column_index(metadata.column_index().cloned())
        .set_offset_index(metadata.offset_index().cloned());
    Ok(builder.build())
}

fn renamed(field: &TypePtr, name: &str) -> Result<Type> {
    let info = field.get_basic_info();
    let id = info.has_id().then(|| info.id());
    match field.as_ref() {
        Type::PrimitiveType {
            physical_type,
            type_length,
            scale,
            precision,
            ..
        } => Type::primitive_type_builder(name, *physical_type)
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_length(*type_length)
            .with_precision(*precision)
            .with_scale(*scale)
            .with_id(id)
            .build(),
        Type::GroupType { fields, .. } => Type::group_type_builder(name)
            .with_repetition(info.repetition())
            .with_converted_type(info.converted_type())
            .with_logical_type(info.logical_type_ref().cloned())
            .with_fields(fields.clone())
            .with_id(id)
            .build(),
    }
}
