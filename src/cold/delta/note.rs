//! Notes beside a table's files: what is under way, kept where the table is, so that whoever opens it next can finish it. Names
//! that begin with `_` are no data to any Delta reader.
//!
//! A note is a JSON object with a field `crc32c`: the CRC-32C, in eight hexadecimal digits, of the object's text without the field.
//! A note without it is from an older server.

use object_store::{Error as StoreError, ObjectStoreExt, path::Path};
use serde_json::Value;

use super::super::{Error, store_error};
use super::table::ColdTable;

const CHECKSUM: &str = "crc32c";

fn checksum(note: &Value) -> Value {
    format!("{:08x}", crc32c::crc32c(note.to_string().as_bytes())).into()
}

fn sealed(mut note: Value) -> Value {
    let crc = checksum(&note);
    if let Some(fields) = note.as_object_mut() {
        fields.insert(CHECKSUM.to_owned(), crc);
    }
    note
}

/// The note without its checksum; none if it is not the one that was written.
fn opened(mut note: Value) -> Option<Value> {
    let told = note.as_object_mut().and_then(|f| f.remove(CHECKSUM));
    match told {
        Some(told) => (told == checksum(&note)).then_some(note),
        None => Some(note),
    }
}

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
        let bytes = sealed(note.clone()).to_string().into_bytes();
        let put = self.lake.store().put(&path, bytes.into()).await;
        put.map(|_| ()).map_err(store_error)
    }

    /// None: there is none.
    ///
    /// # Errors
    /// `Store`: it cannot be read. `Damaged`: it is no JSON, or is not what was written.
    pub async fn read_note(&self, name: &str) -> Result<Option<Value>, Error> {
        match self.lake.store().get(&self.note_path(name)).await {
            Ok(found) => {
                let bytes = found.bytes().await.map_err(store_error)?;
                let damaged = |problem: String| {
                    let path = self.lake.shown(&self.note_path(name));
                    Error::Damaged(format!("{path} {problem}; remove or restore it"))
                };
                let note = serde_json::from_slice(&bytes)
                    .map_err(|e| damaged(format!("is no JSON: {e}")))?;
                let whole = opened(note);
                let whole = whole.ok_or_else(|| damaged("does not match its checksum".to_owned()));
                whole.map(Some)
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::stored_form::{is_stored_as, stored};

    #[test]
    fn a_changed_value_in_a_note_is_noticed_and_an_older_note_is_read() {
        let note = json!({"version": 1, "removed": ["a", "b"], "replayed": {"number": 17}});
        let written = sealed(note.clone());
        is_stored_as("note.json", written.to_string().as_bytes());
        let read = serde_json::from_slice(&stored("note.json")).unwrap();
        assert_eq!(opened(read), Some(note.clone()));
        assert_eq!(opened(note.clone()), Some(note));
        let mut changed = written.clone();
        changed["replayed"]["number"] = json!(16);
        assert_eq!(opened(changed), None);
        let mut changed = written;
        changed["removed"] = json!(["a"]);
        assert_eq!(opened(changed), None);
    }
}
