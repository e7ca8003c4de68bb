//! A local object store whose writes are on the disk when they return.
//!
//! object_store's `LocalFileSystem` never syncs: a Delta commit made through it is lost by a power cut. Here each put
//! writes a temporary file, syncs it, gives it its name (atomically; for a conditional create only if the name is free) and
//! syncs the directory, and every directory it had to make.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path as FsPath, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyMode, CopyOptions, Error, GetOptions, GetResult, MultipartUpload, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use super::super::passed_on::passed_on;

#[derive(Debug)]
pub struct SyncedLocalStore {
    inner: LocalFileSystem,
}

impl SyncedLocalStore {
    /// Rooted at "/".
    #[expect(
        clippy::new_without_default,
        reason = "made in one place, `Lake::open`"
    )]
    pub fn new() -> Self {
        SyncedLocalStore {
            inner: LocalFileSystem::new(),
        }
    }
}

impl fmt::Display for SyncedLocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncedLocalStore")
    }
}

fn generic(source: io::Error) -> Error {
    Error::Generic {
        store: "SyncedLocalStore",
        source: Box::new(source),
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| generic(io::Error::other(e)))?
}

fn sync_dir(dir: &FsPath) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the directory and those above it, and syncs the parent of each new one.
fn create_dirs(dir: &FsPath) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent() {
        create_dirs(parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) => return Err(e),
    }
    dir.parent().map_or(Ok(()), sync_dir)
}

fn temporary(target: &FsPath) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    // The leading underscore and dot keep Delta readers and vacuum from taking it for data.
    target.with_file_name(format!("_.{name}.{}.{n}.tmp", std::process::id()))
}

/// Content first, then the name, then the directory.
fn put_synced(target: &FsPath, payload: &PutPayload, only_new: bool) -> io::Result<()> {
    let dir = target
        .parent()
        .ok_or_else(|| io::Error::other("a file without a directory"))?;
    create_dirs(dir)?;
    let temporary = temporary(target);
    let written = (|| {
        let mut file = File::create(&temporary)?;
        for part in payload {
            file.write_all(part)?;
        }
        file.sync_all()?;
        if only_new {
            fs::hard_link(&temporary, target)
        } else {
            fs::rename(&temporary, target)
        }
    })();
    if only_new || written.is_err() {
        // Best effort: a leftover is harmless and its name says what it is.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    sync_dir(dir)
}

fn meta_tag(target: &FsPath) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let meta = fs::metadata(target).ok()?;
    Some(format!(
        "{:x}-{:x}-{:x}",
        meta.ino(),
        meta.mtime_nsec(),
        meta.size()
    ))
}

#[async_trait]
impl ObjectStore for SyncedLocalStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let target = self.inner.path_to_filesystem(location)?;
        let only_new = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => {
                return Err(Error::NotImplemented {
                    operation: "put with PutMode::Update".into(),
                    implementer: "SyncedLocalStore".into(),
                });
            }
        };
        let path = location.to_string();
        blocking(move || match put_synced(&target, &payload, only_new) {
            Ok(()) => Ok(PutResult {
                e_tag: meta_tag(&target),
                version: None,
            }),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::AlreadyExists {
                path,
                source: Box::new(e),
            }),
            Err(e) => Err(generic(e)),
        })
        .await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let target = self.inner.path_to_filesystem(location)?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(SyncedUpload { inner, target }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    // Delta asks twice a commit for a list with an offset. Below, names before it are left out by name: the trait's own form
    // would look at each of a log's thousands of entries.
    passed_on!(inner: delete_stream, list, list_with_offset, list_with_delimiter);

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let only_new = matches!(options.mode, CopyMode::Create);
        let source = self.inner.path_to_filesystem(from)?;
        let target = self.inner.path_to_filesystem(to)?;
        let path = to.to_string();
        blocking(move || {
            let bytes = fs::read(source).map_err(generic)?;
            put_synced(&target, &bytes.into(), only_new).map_err(|e| match e.kind() {
                io::ErrorKind::AlreadyExists => Error::AlreadyExists {
                    path,
                    source: Box::new(e),
                },
                _ => generic(e),
            })
        })
        .await
    }
}

#[derive(Debug)]
struct SyncedUpload {
    inner: Box<dyn MultipartUpload>,
    target: PathBuf,
}

#[async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let target = self.target.clone();
        blocking(move || {
            File::open(&target)
                .and_then(|f| f.sync_all())
                .map_err(generic)?;
            target
                .ancestors()
                .skip(1)
                .take(3)
                .try_for_each(sync_dir)
                .map_err(generic)
        })
        .await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}
