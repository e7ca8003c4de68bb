//! A disk in memory, without faults: a fuzz test opens thousands of folders a second.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::wal::{Disk, SegmentFile};

type Bytes = Arc<Mutex<Vec<u8>>>;

#[derive(Clone, Default)]
pub(crate) struct MemoryDisk(Arc<Mutex<BTreeMap<PathBuf, Bytes>>>);

struct MemoryFile(Bytes);

impl MemoryDisk {
    pub(crate) fn of(files: &BTreeMap<PathBuf, Vec<u8>>) -> Self {
        let disk = MemoryDisk::default();
        for (path, bytes) in files {
            disk.put(path, bytes.clone());
        }
        disk
    }

    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) -> Arc<dyn SegmentFile> {
        let file = Arc::new(Mutex::new(bytes));
        self.0.lock().insert(path.to_owned(), file.clone());
        Arc::new(MemoryFile(file))
    }

    pub(crate) fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let files = self.0.lock();
        let bytes = files.iter().map(|(p, b)| (p.clone(), b.lock().clone()));
        bytes.collect()
    }
}

impl SegmentFile for MemoryFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        let mut file = self.0.lock();
        let at = usize::try_from(position).unwrap();
        let end = at + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn read_all(&self) -> Result<Vec<u8>> {
        Ok(self.0.lock().clone())
    }

    fn size(&self) -> Result<u64> {
        Ok(self.0.lock().len() as u64)
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let files = self.0.lock();
        let inside = files.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.cloned().collect())
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        match self.0.lock().get(path) {
            Some(file) => Ok(Arc::new(MemoryFile(file.clone()))),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SegmentFile>> {
        Ok(self.put(path, vec![0; usize::try_from(bytes).unwrap()]))
    }

    fn create_unsynced(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        Ok(self.put(path, Vec::new()))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut files = self.0.lock();
        let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let removed = self.0.lock().remove(path);
        removed.map(|_| ()).ok_or(ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }
}
