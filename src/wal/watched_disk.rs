//! The writer thread's disk: each call is noted while it lasts, so that a disk which neither answers nor fails is seen
//! ([`super::Health::Stalled`]). Every call of the thread goes through here, and none can be forgotten.

use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::shared::Shared;
use super::{Disk, SegmentFile};

/// A disk, or an open file of it.
pub(super) struct Watched<T: ?Sized> {
    inner: Arc<T>,
    shared: Arc<Shared>,
}

impl Watched<dyn Disk> {
    pub(super) fn over(inner: Arc<dyn Disk>, shared: Arc<Shared>) -> Arc<dyn Disk> {
        Arc::new(Watched { inner, shared })
    }

    fn file(&self, inner: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
        watched_file(inner, self.shared.clone())
    }
}

/// A file that was opened before there was a thread to watch.
pub(super) fn watched_file(
    inner: Arc<dyn SegmentFile>,
    shared: Arc<Shared>,
) -> Arc<dyn SegmentFile> {
    Arc::new(Watched { inner, shared })
}

impl SegmentFile for Watched<dyn SegmentFile> {
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        let _asked = self.shared.ask();
        self.inner.write_at(bytes, position)
    }

    fn sync(&self) -> Result<()> {
        let _asked = self.shared.ask();
        self.inner.sync()
    }

    fn read_all(&self) -> Result<Vec<u8>> {
        let _asked = self.shared.ask();
        self.inner.read_all()
    }

    fn size(&self) -> Result<u64> {
        let _asked = self.shared.ask();
        self.inner.size()
    }
}

impl Disk for Watched<dyn Disk> {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        let _asked = self.shared.ask();
        self.inner.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let _asked = self.shared.ask();
        self.inner.list(dir)
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        let _asked = self.shared.ask();
        Ok(self.file(self.inner.open(path)?))
    }

    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SegmentFile>> {
        let _asked = self.shared.ask();
        Ok(self.file(self.inner.create(path, bytes)?))
    }

    fn create_unsynced(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        let _asked = self.shared.ask();
        Ok(self.file(self.inner.create_unsynced(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let _asked = self.shared.ask();
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let _asked = self.shared.ask();
        self.inner.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let _asked = self.shared.ask();
        self.inner.sync_dir(dir)
    }
}
