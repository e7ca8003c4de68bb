//! Notes beside a table's files: what is under way, kept where the table is, so that whoever opens it next can finish it. Names
//! that begin with `_` are no data to any Delta reader.

use object_store::{Error as StoreError, ObjectStoreExt, path::Path};
use serde_json::Value;

use super::super::{Error, store_error};
use super::table::ColdTable;

impl ColdTable {
    fn note_path(&self, name: &str) -> Path {
        self.lake
            .path(&self.folder)
            .join("_deltaplane")
            .join(format!("{name}.json"))
    }

    /// On disk when it returns, in the place of an earlier one of this name.
    ///
    /// # Errors
    /// `Store`.
    pub async fn write_note(&self, name: &str, note: &Value) -> Result<(), Error> {
        let path = self.note_path(name);
        let bytes = note.to_string().into_bytes();
        let put = self.lake.store().put(&path, bytes.into()).await;
        put.map(|_| ()).map_err(store_error)
    }

    /// None: there is none.
    ///
    /// # Errors
    /// `Store`: it cannot be read. `Damaged`: it is no JSON.
    pub async fn read_note(&self, name: &str) -> Result<Option<Value>, Error> {
        match self.lake.store().get(&self.note_path(name)).await {
            Ok(found) => {
                let bytes = found.bytes().await.map_err(store_error)?;
                serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                    Error::Damaged(format!(
                        "{} is no JSON: {e}; remove or restore it",
                        self.note_path(name)
                    ))
                })
            }
            Err(StoreError::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    /// # Errors
    /// `Store`; that it is not there is none.
    pub async fn remove_note(&self, name: &str) -> Result<(), Error> {
        match self.lake.store().delete(&self.note_path(name)).await {
            Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(error)),
        }
    }
}
