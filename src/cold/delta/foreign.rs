//! A Delta table that is somebody else's, as a source of rows: the files of its newest version, as its log has them. Files that
//! lie in its folder and are in no version, such as those of deleted rows, are none of them. Nothing is written.

use std::collections::BTreeMap;
use std::path::{Path as FsPath, PathBuf};

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use deltalake::DeltaTableBuilder;
use url::Url;

use super::super::{Error, Mapping, store_error};
use super::schema::{mapping_of, plain_schema};
use super::table::version_of;

/// Features whose tables are read right by what is read here.
const KNOWN: [&str; 4] = [
    "columnMapping",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];
/// What a table may list without using it.
const UNUSED: [&str; 1] = ["deletionVectors"];

/// One version of the table.
#[derive(Debug)]
pub struct ForeignTable {
    id: String,
    version: i64,
    schema: SchemaRef,
    mapping: Mapping,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    partition: BTreeMap<String, ScalarValue>,
}

impl ForeignTable {
    /// Opens the newest version of the table in a directory.
    ///
    /// # Errors
    /// `Damaged`: its log cannot be read, or it says something that only other readers know.
    pub async fn open(dir: &FsPath) -> Result<Self, Error> {
        let dir = dir.canonicalize().map_err(store_error)?;
        let url = Url::from_directory_path(&dir)
            .map_err(|()| Error::Location(dir.display().to_string()))?;
        let mut delta = DeltaTableBuilder::from_url(url)
            .and_then(DeltaTableBuilder::build)
            .map_err(store_error)?;
        delta.load().await.map_err(store_error)?;
        let snapshot = delta.snapshot().map_err(store_error)?;
        let protocol = serde_json::to_value(snapshot.protocol()).map_err(store_error)?;
        let unread = |feature: &str| {
            Error::Damaged(format!(
                "it has the feature {feature}, which is not read here; write it as a table without it, or export its rows"
            ))
        };
        for feature in protocol["readerFeatures"].as_array().into_iter().flatten() {
            let feature = feature.as_str().unwrap_or_default();
            if !KNOWN.contains(&feature) && !UNUSED.contains(&feature) {
                return Err(unread(feature));
            }
        }
        let metadata = snapshot.metadata();
        let mapping = mapping_of(snapshot)?;
        let schema = plain_schema(&snapshot.snapshot().arrow_schema());
        let mut files = Vec::new();
        for file in snapshot.log_data().iter() {
            if file.deletion_vector_descriptor().is_some() {
                return Err(unread("deletionVectors"));
            }
            let path = file.path();
            if path.contains("://") || path.starts_with('/') {
                return Err(Error::Damaged(format!(
                    "a file of it stands elsewhere, file={path}; copy the table whole first"
                )));
            }
            let mut partition = BTreeMap::new();
            for (name, value) in file.partition_values_map() {
                let column = mapping.column_of(&name).unwrap_or(&name);
                let field = schema.field_with_name(column).map_err(store_error)?;
                let value = match value {
                    Some(text) => ScalarValue::try_from_string(text, field.data_type()),
                    None => ScalarValue::try_from(field.data_type()),
                };
                partition.insert(column.to_owned(), value.map_err(store_error)?);
            }
            files.push(File {
                path: dir.join(path.as_ref()),
                partition,
            });
        }
        // In one order, whatever order the log and its checkpoints have.
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(ForeignTable {
            id: metadata.id().to_owned(),
            version: version_of(&delta),
            schema,
            mapping,
            files,
        })
    }

    /// The table's own, which it keeps wherever it is copied.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|f| f.name().as_str())
    }

    /// The version's files, each a Parquet file, always in the same order.
    pub fn files(&self) -> impl Iterator<Item = &FsPath> {
        self.files.iter().map(|f| f.path.as_path())
    }

    /// Rows of a file as rows of the table: with the values of its partition, and NULL where the file is older than a column.
    ///
    /// # Errors
    /// A value is not of the column's type; there is no such file.
    pub fn complete(&self, file: usize, rows: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let file = self.files.get(file).ok_or_else(|| {
            ArrowError::InvalidArgumentError("no such file of the table".to_owned())
        })?;
        let strict = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        let places = self.mapping.places(self.columns(), &rows.schema());
        let places = places.map_err(|problem| {
            ArrowError::SchemaError(format!("{}: {problem}", file.path.display()))
        })?;
        let columns = self.schema.fields().iter().zip(places);
        let columns = columns.map(|(field, place)| {
            if let Some(value) = file.partition.get(field.name()) {
                return Ok(value.to_array_of_size(rows.num_rows())?);
            }
            match place.map(|place| rows.column(place)) {
                Some(values) => cast_with_options(values, field.data_type(), &strict),
                None => Ok(new_null_array(field.data_type(), rows.num_rows())),
            }
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)
    }
}
