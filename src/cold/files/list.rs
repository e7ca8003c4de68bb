//! What a version's log says: its files and what is known of them, without a way to read them.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::super::delta::history::History;
use super::super::mapping::Mapping;
use super::{ColdFile, Columns};

/// The files of one version of a table, immutable. It keeps no file from vacuum: it is for comparing versions and for what
/// statistics tell. [`super::PinnedFiles`] is what can be read.
#[derive(Clone, Debug)]
pub struct FileList {
    /// The table's; empty for a list that no table made.
    pub(super) folder: Arc<str>,
    pub(super) version: i64,
    pub(super) files: Arc<Vec<Arc<ColdFile>>>,
    pub(super) schema: SchemaRef,
    pub(super) partition_by: Vec<String>,
    /// What the columns are called in the files.
    pub(super) mapping: Arc<Mapping>,
    /// The way to other versions; none for a list that no table made.
    pub(super) history: Option<Arc<History>>,
}

impl FileList {
    /// No version and no files yet.
    pub(in crate::cold) fn empty(schema: SchemaRef, partition_by: Vec<String>) -> Self {
        FileList {
            folder: Arc::from(""),
            version: -1,
            files: Arc::default(),
            schema,
            partition_by,
            mapping: Arc::default(),
            history: None,
        }
    }

    pub(in crate::cold) fn mapped(mut self, mapping: Arc<Mapping>) -> Self {
        self.mapping = mapping;
        self
    }

    pub(in crate::cold) fn in_folder(mut self, folder: &str) -> Self {
        self.folder = Arc::from(folder);
        self
    }

    pub(super) fn with_history(mut self, history: Arc<History>) -> Self {
        self.history = Some(history);
        self
    }

    /// The same table with the files of a version.
    pub(in crate::cold) fn of_version(&self, version: i64, files: Vec<Arc<ColdFile>>) -> Self {
        FileList {
            version,
            files: Arc::new(files),
            ..self.clone()
        }
    }

    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Versions of one table, and of one life of it?
    pub fn is_of(&self, other: &FileList) -> bool {
        self.folder == other.folder
    }

    pub fn history(&self) -> Option<&Arc<History>> {
        self.history.as_ref()
    }

    pub fn version(&self) -> i64 {
        self.version
    }

    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    pub fn partition_by(&self) -> &[String] {
        &self.partition_by
    }

    /// As what its files are listed.
    pub(in crate::cold) fn columns(&self) -> Columns<'_> {
        Columns {
            schema: &self.schema,
            partition_by: &self.partition_by,
            mapping: &self.mapping,
        }
    }

    pub(in crate::cold) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Is a column's name in both lists the name of the same column?
    pub fn same_columns(&self, other: &FileList) -> bool {
        self.mapping == other.mapping
    }

    pub fn files(&self) -> &[Arc<ColdFile>] {
        &self.files
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|f| f.size()).sum()
    }

    /// Exact, if every file says how many rows it has.
    pub fn rows(&self) -> Option<usize> {
        self.files.iter().map(|f| f.rows()).sum()
    }
}
