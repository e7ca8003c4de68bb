//! What the columns of a table are called in its files (Delta protocol, "Column Mapping").
//!
//! In a table without column mapping a column has its own name there. With it, a column keeps the name under which it was first
//! written, its physical name, and a number. So a column can be renamed, and a column that was dropped is never taken for a
//! later one that bears its name. Above `cold` nobody knows of physical names: they stand in files, in the statistics and
//! partition values of the log, and in the field metadata of the table's schema.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::datatypes::{Field, Schema, SchemaRef};
use parquet::arrow::PARQUET_FIELD_ID_META_KEY;
use serde_json::{Map, Value, json};

use super::{Error, store_error};
use crate::types::ColumnMoves;

/// The properties of the table, and the metadata of a field.
pub(super) const MODE: &str = "delta.columnMapping.mode";
const MAX_ID: &str = "delta.columnMapping.maxColumnId";
const ID: &str = "delta.columnMapping.id";
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";

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
            max_id,
        };
        if mode == Mode::Own {
            return Ok(mapping);
        }
        let mut taken = BTreeSet::new();
        for field in schema["fields"].as_array().into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default();
            let metadata = &field["metadata"];
            let id = metadata[ID].as_i64().and_then(|id| i32::try_from(id).ok());
            let (Some(id), Some(physical)) = (id, metadata[PHYSICAL_NAME].as_str()) else {
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
        }
        Ok(mapping)
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
    /// none renamed or dropped, stays without one. `fresh`: an id that nothing else has.
    pub(super) fn altered<'a>(
        &self,
        before: impl Iterator<Item = &'a str>,
        after: impl Iterator<Item = &'a str>,
        moves: &ColumnMoves,
        fresh: impl Fn() -> String,
    ) -> Self {
        if !self.is_on() && moves.is_empty() {
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
        for name in after {
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

    /// Writes the mapping into a schema as Delta has it.
    pub(super) fn annotate(&self, schema: &mut Value) {
        let fields = schema["fields"].as_array_mut();
        for field in fields.into_iter().flatten() {
            let name = field["name"].as_str().unwrap_or_default().to_owned();
            let Some(in_files) = self.columns.get(&name) else {
                continue;
            };
            if !field["metadata"].is_object() {
                field["metadata"] = Value::Object(Map::new());
            }
            field["metadata"][ID] = json!(in_files.id);
            field["metadata"][PHYSICAL_NAME] = json!(in_files.name);
        }
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
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use arrow::datatypes::DataType;

    use super::*;

    fn moves(renamed: &[(&str, &str)], dropped: &[&str]) -> ColumnMoves {
        let renamed = renamed
            .iter()
            .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
        ColumnMoves {
            renamed: renamed.collect(),
            dropped: dropped.iter().map(|c| (*c).to_owned()).collect(),
        }
    }

    fn names(mapping: &Mapping) -> Vec<(&str, &str, i32)> {
        let columns = mapping.columns.iter();
        columns
            .map(|(own, c)| (own.as_str(), c.name.as_str(), c.id))
            .collect()
    }

    fn fresh() -> String {
        "new".to_owned()
    }

    fn altered(mapping: &Mapping, before: &[&str], after: &[&str], by: &ColumnMoves) -> Mapping {
        mapping.altered(before.iter().copied(), after.iter().copied(), by, fresh)
    }

    #[test]
    fn a_column_keeps_its_place_in_files_whatever_it_is_called_later() {
        let none = Mapping::default();
        let added = altered(&none, &["a"], &["a", "b"], &ColumnMoves::default());
        assert_eq!(added, none, "a table that only grows needs no mapping");
        assert_eq!(added.in_files("b"), Some("b"));
        let on = altered(&none, &["a", "b"], &["c", "b"], &moves(&[("a", "c")], &[]));
        assert_eq!(names(&on), [("b", "b", 2), ("c", "a", 1)]);
        // Two columns change places, and one that was dropped comes again under its name.
        let swap = moves(&[("b", "c"), ("c", "b")], &[]);
        let swapped = altered(&on, &["c", "b"], &["b", "c"], &swap);
        assert_eq!(names(&swapped), [("b", "a", 1), ("c", "b", 2)]);
        let again = altered(&swapped, &["b", "c"], &["b", "c"], &moves(&[], &["c"]));
        assert_eq!(names(&again), [("b", "a", 1), ("c", "col-new", 3)]);
        let grown = altered(&again, &["b", "c"], &["b"], &moves(&[], &["c"]));
        let grown = altered(&grown, &["b"], &["b", "a"], &ColumnMoves::default());
        assert_eq!(names(&grown), [("a", "col-new", 4), ("b", "a", 1)]);
        assert_eq!(grown.column_of("a"), Some("b"));
        assert_eq!(grown.in_files("c"), None);
    }

    #[test]
    fn what_the_log_says_is_read_back_and_counts_only_with_the_feature() {
        let on = altered(
            &Mapping::default(),
            &["a", "b"],
            &["A"],
            &moves(&[("a", "A")], &["b"]),
        );
        let mut schema = json!({ "fields": [{ "name": "A", "metadata": {} }] });
        on.annotate(&mut schema);
        let properties: BTreeMap<_, _> = on.properties().into_iter().collect();
        let property = |key: &str| properties.get(key).cloned();
        let v3 = json!({ "minReaderVersion": 3, "readerFeatures": ["columnMapping"] });
        for protocol in [&v3, &json!({ "minReaderVersion": 2 })] {
            assert_eq!(Mapping::read(&schema, protocol, property).unwrap(), on);
        }
        let without = json!({ "minReaderVersion": 3, "readerFeatures": ["timestampNtz"] });
        assert!(!Mapping::read(&schema, &without, property).unwrap().is_on());
        schema["fields"][0]["metadata"] = json!({});
        assert!(Mapping::read(&schema, &v3, property).is_err());
    }

    #[test]
    fn a_column_is_found_by_name_or_by_number_as_the_table_says() {
        let mut mapping = altered(
            &Mapping::default(),
            &["a", "b"],
            &["b", "c"],
            &moves(&[("a", "b")], &["b"]),
        );
        let numbered = |name: &str, id: &str| {
            let metadata = [(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_owned())];
            Field::new(name, DataType::Int64, true).with_metadata(metadata.into())
        };
        let file = Schema::new(vec![numbered("b", "1"), numbered("a", "2")]);
        let places =
            |mapping: &Mapping, file: &Schema| mapping.places(["b", "c"].into_iter(), file);
        assert_eq!(places(&mapping, &file), Ok(vec![Some(1), None]));
        mapping.mode = Mode::Id;
        assert_eq!(places(&mapping, &file), Ok(vec![Some(0), None]));
        let plain = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        assert!(places(&mapping, &plain).is_err());
        let own = Field::new("c", DataType::Int64, true);
        let written = mapping.to_files(&Schema::new(vec![own]).into()).unwrap();
        assert_eq!(written.field(0), &numbered("col-new", "3"));
    }
}
