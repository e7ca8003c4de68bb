//! The log's disk, which fails when a test says so.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::wal::{Disk, RealDisk, SegmentFile};

/// The real disk, until its writes or syncs fail with a given error.
#[derive(Clone, Default)]
pub(super) struct FailingDisk(pub(super) Arc<Mutex<Failure>>);

#[derive(Clone, Copy, Default)]
pub(super) struct Failure {
    pub(super) write: Option<ErrorKind>,
    pub(super) sync: Option<ErrorKind>,
    /// Calls neither end nor fail.
    pub(super) hangs: bool,
}

impl FailingDisk {
    fn answer(&self) {
        while self.0.lock().hangs {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

struct FailingFile(Arc<dyn SegmentFile>, FailingDisk);

fn outcome(failure: Option<ErrorKind>) -> std::io::Result<()> {
    failure.map_or(Ok(()), |kind| Err(kind.into()))
}

impl SegmentFile for FailingFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> std::io::Result<()> {
        self.1.answer();
        outcome(self.1.0.lock().write)?;
        self.0.write_at(bytes, position)
    }
    fn sync(&self) -> std::io::Result<()> {
        self.1.answer();
        outcome(self.1.0.lock().sync)?;
        self.0.sync()
    }
    fn read_all(&self) -> std::io::Result<Vec<u8>> {
        self.0.read_all()
    }
    fn size(&self) -> std::io::Result<u64> {
        self.0.size()
    }
}

impl Disk for FailingDisk {
    fn create_dir(&self, dir: &Path) -> std::io::Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> std::io::Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn open(&self, path: &Path) -> std::io::Result<Arc<dyn SegmentFile>> {
        Ok(Arc::new(FailingFile(RealDisk.open(path)?, self.clone())))
    }
    fn create(&self, path: &Path, bytes: u64) -> std::io::Result<Arc<dyn SegmentFile>> {
        let file = RealDisk.create(path, bytes)?;
        Ok(Arc::new(FailingFile(file, self.clone())))
    }
    fn create_unsynced(&self, path: &Path) -> std::io::Result<Arc<dyn SegmentFile>> {
        let file = RealDisk.create_unsynced(path)?;
        Ok(Arc::new(FailingFile(file, self.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> std::io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}
