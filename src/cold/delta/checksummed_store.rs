//! The object store as tables see it: each entry of a Delta log gets its checksum when it is written, and is compared with it
//! whenever it is read, also by the Delta library. Each Delta checkpoint gets its checksum as well; because it is read in parts, it is
//! compared where a table is opened (`cold/folder_check`). All other files pass as they are. See [`super::entry_checksum`] and
//! [`super::checkpoint_checksum`].

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{
    Error, GetOptions, GetResult, GetResultPayload, ObjectStore, PutOptions, PutPayload, PutResult,
    Result,
};

use super::super::passed_on::passed_on;
use super::checkpoint_checksum::{self, is_checkpoint};
use super::entry_checksum::{MISMATCH, is_entry, is_whole, sealed};

#[derive(Debug)]
pub struct ChecksummedStore {
    inner: Arc<dyn ObjectStore>,
}

/// The bytes of an entry are not those that this server wrote.
#[derive(Debug, thiserror::Error)]
#[error("{MISMATCH}, file={file}; restore it from a backup")]
struct EntryDamaged {
    file: String,
}

impl ChecksummedStore {
    pub fn over(inner: Arc<dyn ObjectStore>) -> Self {
        ChecksummedStore { inner }
    }
}

/// The file's name, if it is in a Delta log.
fn log_name(location: &Path) -> Option<&str> {
    let (folder, name) = location.as_ref().rsplit_once('/')?;
    folder.ends_with("_delta_log").then_some(name)
}

impl fmt::Display for ChecksummedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChecksummedStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for ChecksummedStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let payload = match log_name(location) {
            Some(name) if is_entry(name) => sealed(name, payload.into()).into(),
            Some(name) if is_checkpoint(name) => {
                checkpoint_checksum::sealed(name, payload.into()).into()
            }
            _ => payload,
        };
        self.inner.put_opts(location, payload, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let is_part = options.head || options.range.is_some();
        let got = self.inner.get_opts(location, options).await?;
        let name = log_name(location).filter(|name| is_entry(name) && !is_part);
        let Some(name) = name else {
            return Ok(got);
        };
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let bytes = got.bytes().await?;
        if !is_whole(name, &bytes) {
            return Err(Error::Generic {
                store: "Delta log",
                source: Box::new(EntryDamaged {
                    file: location.to_string(),
                }),
            });
        }
        Ok(GetResult {
            payload: GetResultPayload::Stream(
                futures::stream::once(std::future::ready(Ok(bytes))).boxed(),
            ),
            meta,
            range,
            attributes,
        })
    }

    async fn get_ranges(
        &self,
        location: &Path,
        ranges: &[std::ops::Range<u64>],
    ) -> Result<Vec<bytes::Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    passed_on!(
        inner: put_multipart_opts, delete_stream, list, list_with_offset, list_with_delimiter, copy_opts
    );
}
