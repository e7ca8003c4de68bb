//! A disk for tests: the real one, but each kind of call can be made to fail with a given error until it is healed.

use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, RealDisk, SegmentFile};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Create,
    Write,
    Sync,
    Rename,
    Remove,
    SyncDir,
}

#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<(Call, ErrorKind)>>);

impl Faults {
    /// From now on each such call fails.
    pub(super) fn fail(&self, call: Call, kind: ErrorKind) {
        self.0.lock().push((call, kind));
    }

    pub(super) fn heal(&self) {
        self.0.lock().clear();
    }

    fn check(&self, call: Call) -> Result<()> {
        match self.0.lock().iter().find(|(c, _)| *c == call) {
            Some((_, kind)) => Err(Error::new(*kind, format!("{call:?} failed on purpose"))),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Default)]
pub(super) struct FaultyDisk(pub Arc<Faults>);

struct FaultyFile(Arc<dyn SegmentFile>, Arc<Faults>);

impl SegmentFile for FaultyFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        self.1.check(Call::Write)?;
        self.0.write_at(bytes, position)
    }
    fn sync(&self) -> Result<()> {
        self.1.check(Call::Sync)?;
        self.0.sync()
    }
    fn read_all(&self) -> Result<Vec<u8>> {
        self.0.read_all()
    }
    fn size(&self) -> Result<u64> {
        self.0.size()
    }
}

impl FaultyDisk {
    fn file(&self, file: Arc<dyn SegmentFile>) -> Arc<dyn SegmentFile> {
        Arc::new(FaultyFile(file, self.0.clone()))
    }
}

impl Disk for FaultyDisk {
    fn create_dir(&self, dir: &Path) -> Result<()> {
        RealDisk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        RealDisk.list(dir)
    }
    fn open(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        Ok(self.file(RealDisk.open(path)?))
    }
    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SegmentFile>> {
        self.0.check(Call::Create)?;
        Ok(self.file(RealDisk.create(path, bytes)?))
    }
    fn create_unsynced(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        self.0.check(Call::Create)?;
        Ok(self.file(RealDisk.create_unsynced(path)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.0.check(Call::Rename)?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> Result<()> {
        self.0.check(Call::Remove)?;
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.0.check(Call::SyncDir)?;
        RealDisk.sync_dir(dir)
    }
}
