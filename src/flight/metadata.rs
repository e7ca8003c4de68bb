//! The trees that SQL tools draw: catalogues, schemas, tables, columns, keys.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray, UInt8Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow_flight::sql::metadata::{GetCatalogsBuilder, GetTablesBuilder};
use arrow_flight::sql::{
    Command, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTableTypes, CommandGetTables,
};

use crate::catalog::view::Snapshot;
use crate::fault::Fault;
use crate::flight::sql_info;
use crate::flight::status::not_supported;
use crate::query::{self, CATALOG, Engine, PUBLIC, QueryContext, SYSTEM, wire_schema};
use crate::types::{SameName, TableName};

/// What tools call a table that one session alone has.
const TEMPORARY: &str = "LOCAL TEMPORARY";

/// Longer patterns for names are refused.
const PATTERN_BYTES_MAX: usize = 1024;

type Answer = Result<RecordBatch, Fault>;

/// Answers that come from the catalogue alone.
///
/// # Errors
/// UNIMPLEMENTED: the command asks for something else.
pub(super) fn answer(
    engine: &Engine,
    caller: &QueryContext,
    transaction_idle: Duration,
    command: Command,
) -> Answer {
    let snapshot = || caller.sees(engine.snapshot());
    bounded(&command)?;
    match command {
        Command::CommandGetCatalogs(_) => catalogs(),
        Command::CommandGetDbSchemas(c) => schemas(&snapshot(), c),
        Command::CommandGetTables(c) => tables(engine, &snapshot(), c),
        Command::CommandGetTableTypes(_) => table_types(),
        Command::CommandGetPrimaryKeys(c) => primary_keys(&engine.snapshot(), &c),
        Command::CommandGetExportedKeys(_)
        | Command::CommandGetImportedKeys(_)
        | Command::CommandGetCrossReference(_) => no_foreign_keys(),
        Command::CommandGetSqlInfo(c) => sql_info(c.info, transaction_idle),
        Command::CommandGetXdbcTypeInfo(c) => xdbc_types(c.data_type),
        _ => Err(not_supported("this command")),
    }
}

fn internal(e: impl std::fmt::Display) -> Fault {
    Fault::internal(format!("metadata: {e}"))
}

/// Of each name and each wildcard a pattern makes a part of a regular expression, which has a limit of its own.
///
/// # Errors
/// INVALID_ARGUMENT `pattern_too_long`.
fn bounded(command: &Command) -> Result<(), Fault> {
    let patterns = match command {
        Command::CommandGetDbSchemas(c) => [c.db_schema_filter_pattern.as_ref(), None],
        Command::CommandGetTables(c) => [
            c.db_schema_filter_pattern.as_ref(),
            c.table_name_filter_pattern.as_ref(),
        ],
        _ => [None, None],
    };
    match patterns.into_iter().flatten().map(String::len).max() {
        Some(bytes) if bytes > PATTERN_BYTES_MAX => Err(Fault::invalid(
            "pattern_too_long",
            format!(
                "a pattern for names is too long, bytes={bytes}, limit={PATTERN_BYTES_MAX}; shorten it: names have 63 characters at most"
            ),
        )),
        _ => Ok(()),
    }
}

fn catalogs() -> Answer {
    let mut builder = GetCatalogsBuilder::new();
    builder.append(CATALOG);
    builder.build().map_err(internal)
}

fn table_types() -> Answer {
    let mut builder = CommandGetTableTypes {}.into_builder();
    for kind in [TEMPORARY, "SYSTEM TABLE", "TABLE", "VIEW"] {
        builder.append(kind);
    }
    builder.build().map_err(internal)
}

/// Every schema that a name may stand in.
pub(super) fn schema_names(snapshot: &Snapshot) -> BTreeSet<String> {
    let tables = snapshot.tables.values();
    let mut names: BTreeSet<String> = tables.map(|v| v.name.schema().to_owned()).collect();
    names.extend([PUBLIC, SYSTEM, "information_schema"].map(str::to_owned));
    let defined = &snapshot.defined;
    names.extend(defined.views.values().map(|v| v.name.schema().to_owned()));
    names.extend(defined.schemas.values().cloned());
    names
}

fn schemas(snapshot: &Snapshot, command: CommandGetDbSchemas) -> Answer {
    let mut builder = command.into_builder();
    let names = schema_names(snapshot);
    names.iter().for_each(|name| builder.append(CATALOG, name));
    builder.build().map_err(internal)
}

fn tables(engine: &Engine, snapshot: &Snapshot, command: CommandGetTables) -> Answer {
    // Grafana says "BASE TABLE", others "table".
    let types = command
        .table_types
        .iter()
        .map(|t| match t.to_ascii_uppercase().as_str() {
            "BASE TABLE" => "TABLE".to_owned(),
            other => other.to_owned(),
        });
    let mut builder = GetTablesBuilder::new(
        command.catalog,
        command.db_schema_filter_pattern,
        command.table_name_filter_pattern,
        types.collect::<Vec<_>>(),
        command.include_schema,
    );
    for view in snapshot.tables.values() {
        let (schema, table) = (view.name.schema(), view.name.table());
        let kind = match view.progress {
            None if view.is_temporary() => TEMPORARY,
            None => "TABLE",
            Some(_) => "VIEW",
        };
        let columns = described(schema, table, &view.schema);
        builder
            .append(CATALOG, schema, table, kind, &columns)
            .map_err(internal)?;
    }
    for view in snapshot.defined.views.values() {
        let (schema, table) = (view.name.schema(), view.name.table());
        let columns = described(schema, table, &view.columns_schema());
        builder
            .append(CATALOG, schema, table, "VIEW", &columns)
            .map_err(internal)?;
    }
    for table in engine.system_tables() {
        let columns = described(SYSTEM, table.name(), table.schema());
        builder
            .append(CATALOG, SYSTEM, table.name(), "SYSTEM TABLE", &columns)
            .map_err(internal)?;
    }
    builder.build().map_err(internal)
}

/// The table's columns with what `getColumns` of JDBC reads from field metadata.
fn described(in_schema: &str, table: &str, schema: &Schema) -> Schema {
    let wire = wire_schema(schema);
    let fields = wire
        .fields()
        .iter()
        .zip(schema.fields())
        .map(|(wire, own)| {
            let mut metadata = query::described(wire.data_type());
            metadata.extend(query::of_table(in_schema, table));
            let comment = own.metadata().get("comment").cloned();
            let remarks = match (comment, own.metadata().get("unit")) {
                (Some(comment), Some(unit)) => Some(format!("{comment} [{unit}]")),
                (comment, unit) => comment.or_else(|| unit.map(|u| format!("[{u}]"))),
            };
            metadata.extend(remarks.map(|text| ("ARROW:FLIGHT:SQL:REMARKS".to_owned(), text)));
            metadata.extend(own.metadata().clone());
            Field::new(own.name(), wire.data_type().clone(), own.is_nullable())
                .with_metadata(metadata)
        });
    Schema::new(fields.collect::<Vec<_>>())
}

/// The columns of the key that a contract names, event time included. A table that is named without its schema is looked for in
/// all of them.
fn primary_keys(snapshot: &Snapshot, command: &CommandGetPrimaryKeys) -> Answer {
    let is = |asked: Option<&str>, own: &str| asked.is_none_or(|a| a.is_same_name(own));
    let here = is(command.catalog.as_deref(), CATALOG);
    // In the order of their names.
    let tables = snapshot.tables.values().filter(|view| {
        here && is(command.db_schema.as_deref(), view.name.schema())
            && is(Some(&command.table), view.name.table())
    });
    let keys: Vec<(&TableName, &str, i32)> = tables
        .filter_map(|view| Some((&view.name, view.contract.as_ref()?)))
        .flat_map(|(name, contract)| {
            let columns = contract.key.iter().zip(1..);
            columns.map(move |(column, place)| (name, column.as_str(), place))
        })
        .collect();
    let text = |pick: fn(&(&TableName, &str, i32)) -> String| {
        Arc::new(keys.iter().map(|k| Some(pick(k))).collect::<StringArray>()) as ArrayRef
    };
    RecordBatch::try_new(
        primary_key_schema(),
        vec![
            text(|_| CATALOG.to_owned()),
            text(|k| k.0.schema().to_owned()),
            text(|k| k.0.table().to_owned()),
            text(|k| k.1.to_owned()),
            Arc::new(StringArray::new_null(keys.len())),
            Arc::new(keys.iter().map(|k| k.2).collect::<Int32Array>()),
        ],
    )
    .map_err(internal)
}

/// As the specification has it.
fn primary_key_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
}

/// Foreign keys: there are none, which is an answer and not an error.
fn no_foreign_keys() -> Answer {
    let mut fields = Vec::new();
    for side in ["pk", "fk"] {
        fields.push(Field::new(
            format!("{side}_catalog_name"),
            DataType::Utf8,
            true,
        ));
        fields.push(Field::new(
            format!("{side}_db_schema_name"),
            DataType::Utf8,
            true,
        ));
        fields.push(Field::new(
            format!("{side}_table_name"),
            DataType::Utf8,
            false,
        ));
        fields.push(Field::new(
            format!("{side}_column_name"),
            DataType::Utf8,
            false,
        ));
    }
    fields.push(Field::new("key_sequence", DataType::Int32, false));
    fields.push(Field::new("fk_key_name", DataType::Utf8, true));
    fields.push(Field::new("pk_key_name", DataType::Utf8, true));
    fields.push(Field::new("update_rule", DataType::UInt8, false));
    fields.push(Field::new("delete_rule", DataType::UInt8, false));
    let columns = fields.iter().map(|f| -> ArrayRef {
        match f.data_type() {
            DataType::Int32 => Arc::new(Int32Array::from(Vec::<i32>::new())),
            DataType::UInt8 => Arc::new(UInt8Array::from(Vec::<u8>::new())),
            _ => Arc::new(StringArray::from(Vec::<&str>::new())),
        }
    });
    let columns = columns.collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(internal)
}

fn sql_info(ids: Vec<u32>, transaction_idle: Duration) -> Answer {
    let idle_ms = i32::try_from(transaction_idle.as_millis()).unwrap_or(i32::MAX);
    sql_info::sql_info(idle_ms)
        .map_err(internal)?
        .record_batch(ids)
        .map_err(internal)
}

fn xdbc_types(data_type: Option<i32>) -> Answer {
    sql_info::xdbc_types()
        .map_err(internal)?
        .record_batch(data_type)
        .map_err(internal)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_pattern_for_names_is_bounded() {
        let asked = |pattern: &str| {
            bounded(&Command::CommandGetTables(CommandGetTables {
                table_name_filter_pattern: Some(pattern.to_owned()),
                ..CommandGetTables::default()
            }))
        };
        assert!(asked("%raw%").is_ok());
        let fault = asked(&"%a".repeat(30_000)).unwrap_err();
        assert_eq!(fault.reason, "pattern_too_long");
    }
}
