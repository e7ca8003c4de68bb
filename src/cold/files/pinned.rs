//! A list of files that vacuum leaves alone while it is alive: the only one whose rows can be read.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::datasource::object_store::ObjectStoreUrl;
use object_store::ObjectStore;
use parquet::arrow::RowNumber;

use super::super::delta::history::History;
use super::super::mapping::Mapping;
use super::super::{Error, Lake};
use super::pins::{Pin, Pins};
use super::{ColdFile, FILE, FileList, ROW};
use crate::fault::Fault;

/// Files of one version of a table. They are noted in the table's [`Pins`] for as long as this, a clone of it or a plan over
/// it is alive. Made by the table, or by [`PinnedFiles::pin`] and [`PinnedFiles::with_files`] from a list of the same table.
#[derive(Clone, Debug)]
pub struct PinnedFiles {
    list: FileList,
    pin: Arc<Pin>,
    pins: Pins,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) store_url: ObjectStoreUrl,
    pub(super) located: bool,
    pub(super) in_order: bool,
    /// The table is parked: whoever reads has this as the error.
    unreadable: Option<Arc<Fault>>,
}

/// What can be said of files without reading them.
impl Deref for PinnedFiles {
    type Target = FileList;

    fn deref(&self) -> &FileList {
        &self.list
    }
}

impl PinnedFiles {
    /// The first list of a table: no version and no files yet. It has pins of its own, which all lists share that are made
    /// from it.
    pub fn empty(lake: &Lake, schema: SchemaRef, partition_by: Vec<String>) -> Self {
        let url = ObjectStoreUrl::parse(lake.store_url())
            .unwrap_or_else(|_| ObjectStoreUrl::local_filesystem());
        let list = FileList::empty(schema, partition_by);
        let pins = Pins::default();
        PinnedFiles {
            pin: pins.pin(&list.files),
            list,
            pins,
            store: lake.store(),
            store_url: url,
            located: false,
            in_order: false,
            unreadable: None,
        }
    }

    pub(in crate::cold) fn in_folder(mut self, folder: &str) -> Self {
        self.list = self.list.in_folder(folder);
        self
    }

    pub(in crate::cold) fn with_history(mut self, history: Arc<History>) -> Self {
        self.list = self.list.with_history(history);
        self
    }

    /// The same table, whose columns have other names in the files from now on.
    pub(in crate::cold) fn mapped(&self, mapping: Arc<Mapping>) -> Self {
        let mut mapped = self.clone();
        mapped.list = mapped.list.mapped(mapping);
        mapped
    }

    /// The one way from a list to files that can be read.
    fn of(&self, list: FileList) -> Self {
        PinnedFiles {
            pin: self.pins.pin(&list.files),
            list,
            ..self.clone()
        }
    }

    /// Another version of the same table, pinned from now on. Vacuum may have taken files of it before: whoever looks for
    /// them after this call and finds them has them for as long as the result lives.
    pub fn pin(&self, version: &FileList) -> Self {
        debug_assert!(self.is_of(version), "pins are of one table");
        let list = FileList {
            history: self.list.history.clone(),
            ..version.clone()
        };
        PinnedFiles {
            located: false,
            in_order: false,
            unreadable: None,
            ..self.of(list)
        }
    }

    /// Another set of the table's files, pinned from now on. Those that are not among the files here may be gone already,
    /// and reading them is an error then.
    pub fn with_files(&self, files: Vec<Arc<ColdFile>>) -> Self {
        self.of(self.list.of_version(self.version(), files))
    }

    /// These files with changes that are in no version: what a transaction sees of the table. It has no way to other versions,
    /// so that nobody takes it for the version that it is based on.
    ///
    /// # Errors
    /// `Changed`: a file that goes is not among these.
    pub fn changed(&self, gone: &BTreeSet<String>, come: &[Arc<ColdFile>]) -> Result<Self, Error> {
        let there: BTreeSet<&str> = self.files().iter().map(|f| f.path()).collect();
        if let Some(path) = gone.iter().find(|path| !there.contains(path.as_str())) {
            return Err(Error::Changed { path: path.clone() });
        }
        let stay = self.files().iter().filter(|f| !gone.contains(f.path()));
        let files = stay.chain(come).cloned().collect();
        Ok(self.of(FileList {
            history: None,
            ..self.list.of_version(self.version(), files)
        }))
    }

    /// The files of another version, as the table's log has them.
    pub(in crate::cold) fn of_version(&self, version: i64, files: Vec<Arc<ColdFile>>) -> Self {
        self.of(self.list.of_version(version, files))
    }

    /// The next version: these files and more.
    pub(in crate::cold) fn appended(&self, version: i64, files: Vec<Arc<ColdFile>>) -> Self {
        if files.is_empty() {
            let mut same = self.clone();
            same.list.version = version;
            return same;
        }
        let all = self.files().iter().cloned().chain(files).collect();
        self.of_version(version, all)
    }

    /// The same table under other columns, no files yet.
    pub fn reshaped(&self, schema: SchemaRef) -> Self {
        self.of(FileList {
            schema,
            ..self.list.of_version(-1, Vec::new())
        })
    }

    /// The same table, partitioned otherwise, no files yet.
    pub(in crate::cold) fn partitioned_by(&self, partition_by: Vec<String>) -> Self {
        self.of(FileList {
            partition_by,
            ..self.list.of_version(-1, Vec::new())
        })
    }

    /// The same files with two more columns, [`FILE`] (Int32, a place in [`FileList::files`]) and [`ROW`] (Int64).
    pub fn located(&self) -> Self {
        let mut fields: Vec<FieldRef> = self.list.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(FILE, DataType::Int32, true)));
        fields.push(Arc::new(
            Field::new(ROW, DataType::Int64, true).with_extension_type(RowNumber),
        ));
        let mut located = self.clone();
        located.list.schema = Arc::new(Schema::new(fields));
        located.located = true;
        located
    }

    /// The same files, scanned one after the other in the order of the list.
    pub fn in_order(mut self) -> Self {
        self.in_order = true;
        self
    }

    /// The same version, which nobody can read.
    pub fn unreadable(&self, fault: Fault) -> Self {
        PinnedFiles {
            unreadable: Some(Arc::new(fault)),
            ..self.clone()
        }
    }

    /// # Errors
    /// Why the table is parked.
    pub fn readable(&self) -> Result<(), Fault> {
        match &self.unreadable {
            Some(fault) => Err(Fault::clone(fault)),
            None => Ok(()),
        }
    }

    /// What is left of it when vacuum may take the files: a list to compare with.
    pub fn to_list(&self) -> FileList {
        self.list.clone()
    }

    /// This version is visible now: tells those who follow the table.
    pub fn announce(&self) {
        if let Some(history) = self.history() {
            history.announce(self.version());
        }
    }

    /// Every list of the table that is alive.
    pub(in crate::cold) fn pins(&self) -> &Pins {
        &self.pins
    }

    /// For what reads the files after the list is dropped.
    pub(super) fn held(&self) -> Arc<Pin> {
        self.pin.clone()
    }
}
