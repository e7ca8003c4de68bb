//! What the columns of a table are called in its files (Delta protocol, "Column Mapping").
//!
//! In a table without column mapping a column has its own name there. With it, a column keeps the name under which it was first
//! written, its physical name, and a number. So a column can be renamed, and a column that was dropped is never taken for a
//! later one that bears its name. Delta allows some characters in a name only with a mapping, so a table that has such a name has one
//! from then on. The fields of a STRUCT have their own names in the files. Above `cold` nobody knows of physical names: they stand in files, in the statistics and
//! partition values of the log, and in the field metadata of the table's schema.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::{Map, Value, json};

use super::{Error, store_error};
use crate::types::ColumnMoves;

/// The properties of the table, and the metadata of a field.
pub(super) const MODE: &str = "delta.columnMapping.mode";
const MAX_ID: &str = "delta.columnMapping.maxColumnId";
const ID: &str = "delta.columnMapping.id";
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
/// What the name of a column or field has only in a table with a mapping (Delta protocol, "Column Mapping").
const ONLY_MAPPED: [char; 10] = [' ', ',', ';', '{', '}', '(', ')', '\n', '\t', '='];

/// By what a column is found in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mode {
    /// By its own name: there is no mapping.
    #[default]
    Own,
    Name,
    Id,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct InFiles {
    name: String,
    id: i32,
}

/// The mapping of one version of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    mode: Mode,
    /// By the names of columns; empty without a mapping.
    columns: BTreeMap<String, InFiles>,
    /// The numbers of fields within columns, by the way to them from the column's name in the files.
    nested: BTreeMap<Vec<String>, i32>,
    /// The highest number that a column ever had.
    max_id: i32,
}

impl Mapping {
    /// As a version's log says. `schema` and `protocol`: as in its `metaData` and `protocol` actions.
    ///
    /// # Errors
    /// `Damaged`: a column lacks what the mode needs.
    pub(super) fn read(
        schema: &Value,
        protocol: &Value,
        property: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Error> {
        let reader = protocol["minReaderVersion"].as_i64().unwrap_or(0);
        let listed = protocol["readerFeatures"].as_array();
        let listed = listed.is_some_and(|all| all.iter().any(|f| f == "columnMapping"));
        let max_id = property(MAX_ID).and_then(|v| v.parse().ok()).unwrap_or(0);
        let mode = match property(MODE).as_deref() {
            // The property counts only where the protocol has the feature.
            _ if reader != 2 && !listed => Mode::Own,
            None | Some("none") => Mode::Own,
            Some("name") => Mode::Name,
            Some("id") => Mode::Id,
            Some(other) => {
                return Err(Error::Damaged(format!(
                    "{MODE} is {other}, which is no mode"
                )));
            }
        };
        let mut mapping = Mapping {
            mode,
            columns: BTreeMap::new(),
            nested: BTreeMap::new(),
            max_id,
        };
        if mode == Mode::Own {
            return Ok(mapping);
        }
        let mut taken = BTreeSet::new();
        for field in schema["fields"].as_array().into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default();
            let (Some(id), Some(physical)) = (number_of(field), name_in_files(field)) else {
                return Err(Error::Damaged(format!(
                    "column {name} has no {ID} or no {PHYSICAL_NAME}, and {MODE} is set"
                )));
            };
            if !taken.insert(physical.to_owned()) {
                return Err(Error::Damaged(format!(
                    "two columns have the {PHYSICAL_NAME} {physical}"
                )));
            }
            let in_files = InFiles {
                name: physical.to_owned(),
                id,
            };
            mapping.max_id = mapping.max_id.max(id);
            mapping.columns.insert(name.to_owned(), in_files);
            let mut data_type = field["type"].clone();
            let mut way = vec![physical.to_owned()];
            each_field(&mut data_type, &mut way, &mut |way, part| {
                if name_in_files(part) != part["name"].as_str() {
                    return Err(Error::Damaged(format!(
                        "the parts of column {name} may have other names in its files, which is not read here; write it as a table without columnMapping, or export its rows"
                    )));
                }
                if let Some(id) = number_of(part) {
                    mapping.max_id = mapping.max_id.max(id);
                    mapping.nested.insert(way.to_vec(), id);
                }
                Ok(())
            })?;
        }
        Ok(mapping)
    }

    /// That of a new table: none if its names need none. `fresh`: an id that nothing else has.
    pub(super) fn created(fields: &Fields, fresh: impl Fn() -> String) -> Self {
        let mut made = Mapping::default();
        if !is_needed(fields) {
            return made;
        }
        made.mode = Mode::Name;
        for field in fields {
            made.max_id += 1;
            let name = match field.name().contains(ONLY_MAPPED) {
                true => format!("col-{}", fresh()),
                false => field.name().clone(),
            };
            let in_files = InFiles {
                name,
                id: made.max_id,
            };
            made.columns.insert(field.name().clone(), in_files);
        }
        made
    }

    /// Have columns names of their own in the files?
    pub(super) fn is_on(&self) -> bool {
        self.mode != Mode::Own
    }

    /// What a column is called in statistics, in partition values, and in files that are written. None: it has no place there.
    pub(super) fn in_files<'a>(&'a self, column: &'a str) -> Option<&'a str> {
        match self.mode {
            Mode::Own => Some(column),
            Mode::Name | Mode::Id => self.columns.get(column).map(|c| c.name.as_str()),
        }
    }

    /// The column that is called so in statistics and partition values.
    pub(super) fn column_of<'a>(&'a self, in_files: &'a str) -> Option<&'a str> {
        match self.mode {
            Mode::Own => Some(in_files),
            Mode::Name | Mode::Id => {
                let mut columns = self.columns.iter();
                let found = columns.find(|(_, c)| c.name == in_files);
                found.map(|(column, _)| column.as_str())
            }
        }
    }

    /// The columns as a file that is written has them.
    ///
    /// # Errors
    /// `Mismatch`: the table has no such column.
    pub(super) fn to_files(&self, schema: &SchemaRef) -> Result<SchemaRef, Error> {
        if !self.is_on() {
            return Ok(schema.clone());
        }
        let fields = schema.fields().iter().map(|field| {
            let in_files = self.columns.get(field.name()).ok_or_else(|| {
                Error::Mismatch(format!("column {} has no physical name", field.name()))
            })?;
            let mut metadata = field.metadata().clone();
            metadata.insert(
                PARQUET_FIELD_ID_META_KEY.to_owned(),
                in_files.id.to_string(),
            );
            let field = Field::clone(field).with_name(&in_files.name);
            Ok(field.with_metadata(metadata))
        });
        Ok(Schema::new(fields.collect::<Result<Vec<_>, Error>>()?).into())
    }

    /// Which of a file's columns is which of the table's: their names in the table, in the file's order. `file`: name and
    /// number of each.
    ///
    /// # Errors
    /// The mapping is by number, and the file has none.
    pub(super) fn in_table<'a>(
        &self,
        file: impl Iterator<Item = (&'a str, Option<i32>)>,
    ) -> Result<Vec<Option<&str>>, &'static str> {
        let file: Vec<_> = file.collect();
        if self.mode == Mode::Id && !file.is_empty() && file.iter().all(|(_, id)| id.is_none()) {
            return Err("its columns have no numbers, by which the table's columns are found");
        }
        let (mut by_name, mut by_id) = (HashMap::new(), HashMap::new());
        for (column, in_files) in &self.columns {
            by_name.insert(in_files.name.as_str(), column.as_str());
            by_id.insert(in_files.id, column.as_str());
        }
        let found = file.into_iter().map(|(name, id)| match self.mode {
            Mode::Id => by_id.get(&id?).copied(),
            Mode::Own | Mode::Name => by_name.get(name).copied(),
        });
        Ok(found.collect())
    }

    /// The places of columns among those of a file that was read; none: the file lacks it.
    ///
    /// # Errors
    /// The mapping is by number, and the file has none.
    pub(super) fn places<'a>(
        &self,
        columns: impl Iterator<Item = &'a str>,
        file: &Schema,
    ) -> Result<Vec<Option<usize>>, &'static str> {
        if !self.is_on() {
            return Ok(columns.map(|column| file.index_of(column).ok()).collect());
        }
        let named = file.fields().iter().map(|field| {
            let id = field.metadata().get(PARQUET_FIELD_ID_META_KEY);
            (field.name().as_str(), id.and_then(|id| id.parse().ok()))
        });
        let found = self.in_table(named)?.into_iter().enumerate();
        let found: HashMap<&str, usize> = found
            .filter_map(|(place, column)| Some((column?, place)))
            .collect();
        Ok(columns.map(|column| found.get(column).copied()).collect())
    }

    /// The mapping behind a change of the columns `before` to the columns `after`. A table whose columns were all added, and
    /// none renamed or dropped, stays without one if their names need none. `fresh`: an id that nothing else has.
    pub(super) fn altered<'a>(
        &self,
        before: impl Iterator<Item = &'a str>,
        after: &'a Fields,
        moves: &ColumnMoves,
        fresh: impl Fn() -> String,
    ) -> Self {
        if !self.is_on() && moves.is_empty() && !is_needed(after) {
            return self.clone();
        }
        let mut old = self.clone();
        if !self.is_on() {
            // What is in the files by now has the columns' own names.
            old.mode = Mode::Name;
            for name in before {
                old.max_id += 1;
                let in_files = InFiles {
                    name: name.to_owned(),
                    id: old.max_id,
                };
                old.columns.insert(name.to_owned(), in_files);
            }
        }
        let mut next = Mapping {
            columns: BTreeMap::new(),
            ..old
        };
        for name in after.iter().map(|f| f.name()) {
            let known = moves.origin(name).and_then(|from| old.columns.get(from));
            let in_files = known.cloned().unwrap_or_else(|| {
                next.max_id += 1;
                InFiles {
                    name: format!("col-{}", fresh()),
                    id: next.max_id,
                }
            });
            next.columns.insert(name.to_owned(), in_files);
        }
        next
    }

    /// Writes the mapping into a schema as Delta has it. Fields within columns that are new get their numbers.
    ///
    /// # Errors
    /// None.
    pub(super) fn annotate(&mut self, schema: &mut Value) -> Result<(), Error> {
        let Mapping {
            columns,
            nested,
            max_id,
            ..
        } = self;
        let fields = schema["fields"].as_array_mut();
        for field in fields.into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default().to_owned();
            let Some(in_files) = columns.get(&name) else {
                continue;
            };
            note(field, in_files.id, &in_files.name);
            let Some(data_type) = field.get_mut("type") else {
                continue;
            };
            let mut way = vec![in_files.name.clone()];
            each_field(data_type, &mut way, &mut |way, part| {
                let id = nested.entry(way.to_vec()).or_insert_with(|| {
                    *max_id += 1;
                    *max_id
                });
                let name = part["name"].as_str().unwrap_or_default().to_owned();
                note(part, *id, &name);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// The table's properties that say so; none without a mapping.
    pub(super) fn properties(&self) -> Vec<(String, String)> {
        let mode = match self.mode {
            Mode::Own => return Vec::new(),
            Mode::Name => "name",
            Mode::Id => "id",
        };
        vec![
            (MODE.to_owned(), mode.to_owned()),
            (MAX_ID.to_owned(), self.max_id.to_string()),
        ]
    }
}

/// Has one of the columns, or a field within them, a name that Delta allows only with a mapping?
fn is_needed(fields: &Fields) -> bool {
    fields
        .iter()
        .any(|f| f.name().contains(ONLY_MAPPED) || is_needed_within(f.data_type()))
}

fn is_needed_within(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => is_needed(fields),
        DataType::List(f) | DataType::LargeList(f) => is_needed_within(f.data_type()),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) => pair.iter().any(|f| is_needed_within(f.data_type())),
            _ => false,
        },
        _ => false,
    }
}

fn number_of(field: &Value) -> Option<i32> {
    let id = field["metadata"][ID].as_i64()?;
    i32::try_from(id).ok()
}

fn name_in_files(field: &Value) -> Option<&str> {
    field["metadata"][PHYSICAL_NAME].as_str()
}

fn note(field: &mut Value, id: i32, name: &str) {
    if !field["metadata"].is_object() {
        field["metadata"] = Value::Object(Map::new());
    }
    field["metadata"][ID] = json!(id);
    field["metadata"][PHYSICAL_NAME] = json!(name);
}

/// Takes the way to a field, and the field.
type Visit<'a> = &'a mut dyn FnMut(&[String], &mut Value) -> Result<(), Error>;

/// Visits each field of each STRUCT within a type as Delta's schema has it, with the way to it.
fn each_field(data_type: &mut Value, way: &mut Vec<String>, visit: Visit<'_>) -> Result<(), Error> {
    for part in ["elementType", "keyType", "valueType"] {
        if let Some(of) = data_type.get_mut(part) {
            way.push(part.to_owned());
            each_field(of, way, visit)?;
            way.pop();
        }
    }
    let fields = data_type.get_mut("fields").and_then(Value::as_array_mut);
    for field in fields.into_iter().flatten() {
        way.push(field["name"].as_str().unwrap_or_default().to_owned());
        visit(way, field)?;
        if let Some(of) = field.get_mut("type") {
            each_field(of, way, visit)?;
        }
        way.pop();
    }
    Ok(())
}

/// What Delta's schema says of the mapping is no metadata of a column as queries see it.
pub(super) fn is_own_metadata(key: &str) -> bool {
    [ID, PHYSICAL_NAME, PARQUET_FIELD_ID_META_KEY].contains(&key)
}

/// The table's schema as its log has it.
///
/// # Errors
/// `Store`: it cannot be written as JSON.
pub(super) fn schema_json(schema: &impl serde::Serialize) -> Result<Value, Error> {
    serde_json::to_value(schema).map_err(store_error)
}

#[cfg(test)]
mod tests;
