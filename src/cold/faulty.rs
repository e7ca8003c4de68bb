//! A store for tests that loses the answer to a write of a Delta log, or reads less than was asked.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, GetResultPayload, ListResult, ObjectMeta, ObjectStore, PutOptions,
    PutPayload, PutResult, Result,
};
use parking_lot::Mutex;

use super::Lake;
use super::passed_on::passed_on;

pub const SOUND: u8 = 0;
/// The next write fails and took no effect.
pub const FAIL_BEFORE: u8 = 1;
/// The next write takes effect, and its answer is lost.
pub const FAIL_AFTER: u8 = 2;
/// The same, and from then on the log cannot be read until the store is sound again.
pub const FAIL_AFTER_AND_DEAF: u8 = 3;
/// The log can be neither written nor read.
pub const DEAF: u8 = 4;
/// What is read comes back without its last byte, as of a file that is cut while it is open.
pub const SHORT_READS: u8 = 5;
/// The next write takes effect, and its answer never comes.
pub const SILENT: u8 = 6;
/// The answer to the next write never comes, and it takes effect when another comes, just before that one.
pub const LATE: u8 = 7;

/// Does to paths with `log` in them what its mode says, and passes on the rest.
#[derive(Debug)]
pub struct Faulty {
    inner: Arc<dyn ObjectStore>,
    log: &'static str,
    mode: Arc<AtomicU8>,
    late: Mutex<Option<(Path, PutPayload, PutOptions)>>,
}

impl Faulty {
    /// The lake over such a store, and the mode to set.
    pub fn under(lake: Lake, log: &'static str) -> (Lake, Arc<AtomicU8>) {
        let mode = Arc::new(AtomicU8::new(SOUND));
        let given = mode.clone();
        let lake = lake.with_store(|inner| {
            Arc::new(Faulty {
                inner,
                log,
                mode: given,
                late: Mutex::default(),
            })
        });
        (lake, mode)
    }

    fn is_deaf(&self, path: &Path) -> bool {
        self.mode.load(Ordering::SeqCst) == DEAF && format!("{path}/").contains(self.log)
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

fn lost() -> object_store::Error {
    object_store::Error::Generic {
        store: "Faulty",
        source: "the connection was lost on purpose".into(),
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        if !location.as_ref().contains(self.log) {
            return self.inner.put_opts(location, payload, opts).await;
        }
        let late = self.late.lock().take();
        if let Some((location, payload, opts)) = late {
            self.inner.put_opts(&location, payload, opts).await?;
        }
        match self.mode.load(Ordering::SeqCst) {
            SILENT => {
                self.mode.store(SOUND, Ordering::SeqCst);
                self.inner.put_opts(location, payload, opts).await?;
                std::future::pending().await
            }
            LATE => {
                self.mode.store(SOUND, Ordering::SeqCst);
                *self.late.lock() = Some((location.clone(), payload, opts));
                std::future::pending().await
            }
            FAIL_BEFORE => {
                self.mode.store(SOUND, Ordering::SeqCst);
                Err(lost())
            }
            mode @ (FAIL_AFTER | FAIL_AFTER_AND_DEAF) => {
                let after = if mode == FAIL_AFTER { SOUND } else { DEAF };
                self.mode.store(after, Ordering::SeqCst);
                self.inner.put_opts(location, payload, opts).await?;
                Err(lost())
            }
            DEAF => Err(lost()),
            _ => self.inner.put_opts(location, payload, opts).await,
        }
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.is_deaf(location) {
            return Err(lost());
        }
        let got = self.inner.get_opts(location, options).await?;
        if self.mode.load(Ordering::SeqCst) != SHORT_READS || !location.as_ref().contains(self.log)
        {
            return Ok(got);
        }
        let (meta, range, attributes) =
            (got.meta.clone(), got.range.clone(), got.attributes.clone());
        let bytes = got.bytes().await?;
        let cut = bytes.slice(..bytes.len().saturating_sub(1));
        Ok(GetResult {
            payload: GetResultPayload::Stream(futures::stream::once(async { Ok(cut) }).boxed()),
            meta,
            range,
            attributes,
        })
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        if prefix.is_some_and(|p| self.is_deaf(p)) {
            return futures::stream::once(async { Err(lost()) }).boxed();
        }
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        if prefix.is_some_and(|p| self.is_deaf(p)) {
            return futures::stream::once(async { Err(lost()) }).boxed();
        }
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        if prefix.is_some_and(|p| self.is_deaf(p)) {
            return Err(lost());
        }
        self.inner.list_with_delimiter(prefix).await
    }

    passed_on!(inner: put_multipart_opts, delete_stream, copy_opts);
}
