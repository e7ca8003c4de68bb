//! Where the tables are: one root, a directory or an object store's URL.

use std::path::Path as FsPath;
use std::sync::Arc;

use deltalake::logstore::LogStoreRef;
use deltalake::{DeltaTable, DeltaTableBuilder};
use futures::TryStreamExt;
use object_store::aws::AmazonS3Builder;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use super::delta::checksummed_store::ChecksummedStore;
use super::delta::synced_store::SyncedLocalStore;
use super::encoders::Encoders;
use super::{Error, store_error};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Lake {
    /// "/" of this store is the root of the bucket or, locally, of the file system.
    store: Arc<dyn ObjectStore>,
    root: Url,
    prefix: Path,
    pub(super) encoders: Encoders,
}

impl Lake {
    /// # Errors
    /// The location is no directory and no known URL, or the directory cannot be made.
    pub async fn open(location: &str) -> Result<Self, Error> {
        let bad = |e: String| Error::Location(format!("{location}: {e}"));
        if let Some((scheme, _)) = location.split_once("://") {
            let mut root = Url::parse(location).map_err(|e| bad(e.to_string()))?;
            if !root.path().ends_with('/') {
                root.set_path(&format!("{}/", root.path()));
            }
            let store: Arc<dyn ObjectStore> = match scheme {
                "s3" | "s3a" => {
                    let built = AmazonS3Builder::from_env().with_url(location).build();
                    Arc::new(built.map_err(|e| bad(e.to_string()))?)
                }
                "memory" => Arc::new(InMemory::new()),
                _ => return Err(bad("unknown scheme".to_owned())),
            };
            let prefix = Path::from_url_path(root.path()).map_err(|e| bad(e.to_string()))?;
            return Ok(Lake {
                store: Arc::new(ChecksummedStore::over(store)),
                root,
                prefix,
                encoders: Encoders::start()?,
            });
        }
        let dir = FsPath::new(location);
        std::fs::create_dir_all(dir).map_err(|e| bad(e.to_string()))?;
        let dir = dir.canonicalize().map_err(|e| bad(e.to_string()))?;
        let root =
            Url::from_directory_path(&dir).map_err(|()| bad("not an absolute path".to_owned()))?;
        let prefix = Path::from_absolute_path(&dir).map_err(|e| bad(e.to_string()))?;
        Ok(Lake {
            store: Arc::new(ChecksummedStore::over(Arc::new(SyncedLocalStore::new()))),
            root,
            prefix,
            encoders: Encoders::start()?,
        })
    }

    /// The same lake over a store of the test's making.
    pub fn with_store(
        mut self,
        wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>,
    ) -> Self {
        self.store = wrap(self.store);
        self
    }

    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    /// The store's "/" as DataFusion registers it.
    pub fn store_url(&self) -> Url {
        let mut url = self.root.clone();
        url.set_path("/");
        url
    }

    /// Where the folders of the datasets are, in the store.
    pub fn root_path(&self) -> Path {
        self.prefix.clone()
    }

    pub fn path(&self, folder: &str) -> Path {
        // As it is: joining part by part would write the `~` of a later life as `%7E`, which no other reader looks for.
        Path::parse(format!("{}/{folder}", self.prefix)).unwrap_or_else(|_| {
            folder
                .split('/')
                .fold(self.prefix.clone(), |path, part| path.join(part))
        })
    }

    /// A file of the store as an operator types it: a path on disk, or the address of the object.
    pub fn shown(&self, file: &Path) -> String {
        match self.root.scheme() {
            "file" => format!("/{file}"),
            _ => format!("{}{file}", self.store_url()),
        }
    }

    pub fn url(&self, folder: &str) -> Result<Url, Error> {
        self.root
            .join(&format!("{folder}/"))
            .map_err(|e| Error::Location(e.to_string()))
    }

    pub(super) fn log_store(&self, folder: &str) -> Result<LogStoreRef, Error> {
        Ok(self.table(folder)?.log_store())
    }

    pub(super) fn table(&self, folder: &str) -> Result<DeltaTable, Error> {
        let url = self.url(folder)?;
        let builder = DeltaTableBuilder::from_url(url.clone()).map_err(store_error)?;
        builder
            .with_storage_backend(self.store.clone(), url)
            .build()
            .map_err(store_error)
    }

    /// Deletes a dropped table's files.
    pub async fn remove_folder(&self, folder: &str) -> Result<(), Error> {
        let prefix = self.path(folder);
        let found: Vec<Path> = self
            .store
            .list(Some(&prefix))
            .map_ok(|meta| meta.location)
            .try_collect()
            .await
            .map_err(store_error)?;
        for location in found {
            self.store.delete(&location).await.map_err(store_error)?;
        }
        Ok(())
    }
}
