//! One file of a pinned list: for those who write its rows anew, and for those who check it. Its rows are read by
//! [`PinnedFile::slices`].

use std::ops::Deref;
use std::sync::Arc;

use object_store::ObjectStoreExt;

use super::data_file::DataFile;
use super::{ColdFile, PinnedFiles};

/// A file that is pinned for as long as its list is borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PinnedFile<'a> {
    list: &'a PinnedFiles,
    file: &'a Arc<ColdFile>,
}

impl Deref for PinnedFile<'_> {
    type Target = ColdFile;

    fn deref(&self) -> &ColdFile {
        self.file
    }
}

impl PinnedFiles {
    /// The files in the order of the list, to be read one by one.
    pub fn each(&self) -> impl Iterator<Item = PinnedFile<'_>> {
        let files = self.files().iter();
        files.map(|file| PinnedFile { list: self, file })
    }
}

impl<'a> PinnedFile<'a> {
    pub fn list(self) -> &'a PinnedFiles {
        self.list
    }

    pub fn file(self) -> &'a Arc<ColdFile> {
        self.file
    }

    pub(super) fn data_file(self) -> DataFile {
        let PinnedFiles { store, .. } = self.list;
        let meta = &self.file.meta;
        let folder = self.list.folder.clone();
        DataFile::new(store.clone(), folder, meta.location.clone(), meta.size)
    }

    /// Its size in the store.
    ///
    /// # Errors
    /// The store's; `NotFound` if it is not there.
    pub async fn stored_size(self) -> object_store::Result<u64> {
        let found = self.list.store.head(&self.file.meta.location).await?;
        Ok(found.size)
    }

    /// All its rows at once.
    ///
    /// # Errors
    /// As [`super::slices::Slices::next`].
    #[cfg(test)]
    pub async fn read(self) -> Result<arrow::array::RecordBatch, super::super::Error> {
        let (mut slices, mut all) = (self.slices(), Vec::new());
        while let Some(slice) = slices.next().await? {
            all.push(slice);
        }
        let schema = self.list.schema();
        arrow::compute::concat_batches(&schema, &all).map_err(super::super::store_error)
    }
}
