//! A disk that keeps what was synced and what was not apart. A power cut keeps, loses or tears each write that was not synced, in any
//! combination, and keeps the names of files up to any point behind the last sync of a folder, as a file system with a journal does.
//! A torn write ends at any byte: disks that write whole sectors are kinder.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::world::{Fate, How, Random, World};
use crate::wal::{Disk, SegmentFile};

#[derive(Default)]
struct Node {
    synced: Vec<u8>,
    live: Vec<u8>,
    /// Written since the last sync: where, and what.
    pending: Vec<(usize, Vec<u8>)>,
}

/// A name was given to a file, or taken from it.
type Naming = (PathBuf, Option<usize>);

#[derive(Default)]
pub(super) struct Files {
    nodes: Vec<Node>,
    names: BTreeMap<PathBuf, usize>,
    synced_names: BTreeMap<PathBuf, usize>,
    pending_names: Vec<Vec<Naming>>,
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let end = at + piece.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(piece);
}

impl Files {
    fn name(&mut self, change: Vec<Naming>) {
        apply(&mut self.names, &change);
        self.pending_names.push(change);
    }

    fn sync_names(&mut self) {
        // A journal has one order for all folders.
        for change in self.pending_names.drain(..) {
            apply(&mut self.synced_names, &change);
        }
    }

    /// One bit changes of what was written to one file.
    pub(super) fn damage(&mut self, random: &mut Random) -> String {
        let mut named: Vec<(&PathBuf, usize)> = self.names.iter().map(|(p, n)| (p, *n)).collect();
        let is_written = |byte: &u8| *byte != 0;
        named.retain(|(_, node)| self.nodes[*node].synced.iter().any(is_written));
        let (path, node) = named[random.below(named.len() as u64) as usize];
        let (name, node) = (short(path), &mut self.nodes[node]);
        let written: Vec<usize> = (0..node.synced.len())
            .filter(|at| is_written(&node.synced[*at]))
            .collect();
        let at = written[random.below(written.len() as u64) as usize];
        node.synced[at] ^= 1 << random.below(8);
        node.live.clone_from(&node.synced);
        format!("damage {name} {at}")
    }

    pub(super) fn keep_all(&mut self) {
        for node in &mut self.nodes {
            node.pending.clear();
            node.synced.clone_from(&node.live);
        }
        self.sync_names();
    }

    pub(super) fn lose_power(&mut self, random: &mut Random) {
        for node in &mut self.nodes {
            for (at, piece) in std::mem::take(&mut node.pending) {
                match random.below(10) {
                    0..4 => put(&mut node.synced, at, &piece),
                    4..8 => {}
                    torn => {
                        let half = random.below(piece.len() as u64 + 1) as usize;
                        let (begin, end) = piece.split_at(half);
                        match torn {
                            8 => put(&mut node.synced, at, begin),
                            _ => put(&mut node.synced, at + half, end),
                        }
                    }
                }
            }
            node.live.clone_from(&node.synced);
        }
        let kept = random.below(self.pending_names.len() as u64 + 1) as usize;
        for change in self.pending_names.drain(..).take(kept) {
            apply(&mut self.synced_names, &change);
        }
        self.names.clone_from(&self.synced_names);
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, change: &[Naming]) {
    for (path, node) in change {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

/// The disk as the server of one life has it.
#[derive(Clone)]
pub(super) struct SimDisk {
    pub(super) world: Arc<World>,
    pub(super) life: u64,
}

struct SimFile {
    disk: SimDisk,
    node: usize,
    name: String,
}

fn no_power() -> Error {
    Error::other("the power is out")
}

impl SimDisk {
    /// `work` does what the call is for, all of it or (`Some`) so many thousandths.
    fn call<T>(
        &self,
        writes: bool,
        what: &str,
        work: impl FnOnce(&mut Files, Option<u64>) -> Result<T>,
    ) -> Result<T> {
        let fate = self.world.call(self.life, writes, &what);
        let part = match fate {
            Fate::Meets(How::Torn) => Some(self.world.random(1000)),
            _ => None,
        };
        let mut files = self.world.files.lock();
        match fate {
            Fate::Done => work(&mut files, None),
            Fate::NoPower | Fate::Meets(How::Before) => Err(no_power()),
            Fate::Meets(How::Torn | How::After) => {
                let _ = work(&mut files, part);
                Err(no_power())
            }
            Fate::Meets(How::Fails) => Err(Error::other("failed on purpose")),
            Fate::Meets(How::FailsAfter) => {
                let _ = work(&mut files, None);
                Err(Error::other("failed on purpose, after its work"))
            }
            Fate::Meets(How::NoRoom) if writes => Err(ErrorKind::StorageFull.into()),
            Fate::Meets(How::NoRoom) => work(&mut files, None),
        }
    }

    fn file(&self, node: usize, path: &Path) -> Arc<dyn SegmentFile> {
        Arc::new(SimFile {
            disk: self.clone(),
            node,
            name: short(path),
        })
    }

    fn fresh(&self, path: &Path, node: Node) -> Result<Arc<dyn SegmentFile>> {
        let what = format!("create {}", short(path));
        let node = self.call(true, &what, |files, _| {
            files.nodes.push(node);
            let number = files.nodes.len() - 1;
            files.name(vec![(path.to_owned(), Some(number))]);
            Ok(number)
        })?;
        Ok(self.file(node, path))
    }
}

/// The same in each run, unlike the folder's name.
fn short(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

impl SegmentFile for SimFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> Result<()> {
        let what = format!("write {} {position}+{}", self.name, bytes.len());
        self.disk.call(true, &what, |files, part| {
            let kept = part.map_or(bytes.len(), |p| bytes.len() * p as usize / 1000);
            let (node, at) = (&mut files.nodes[self.node], position as usize);
            put(&mut node.live, at, &bytes[..kept]);
            node.pending.push((at, bytes[..kept].to_vec()));
            Ok(())
        })
    }

    fn sync(&self) -> Result<()> {
        let what = format!("sync {}", self.name);
        self.disk.call(false, &what, |files, part| {
            let node = &mut files.nodes[self.node];
            // What a sync has begun with, a power cut decides as well.
            if part.is_none() {
                node.synced.clone_from(&node.live);
                node.pending.clear();
            }
            Ok(())
        })
    }

    fn read_all(&self) -> Result<Vec<u8>> {
        match self.disk.world.is_alive(self.disk.life) {
            true => Ok(self.disk.world.files.lock().nodes[self.node].live.clone()),
            false => Err(no_power()),
        }
    }

    fn size(&self) -> Result<u64> {
        self.read_all().map(|bytes| bytes.len() as u64)
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, _: &Path) -> Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let files = self.world.files.lock();
        let inside = files.names.keys().filter(|p| p.parent() == Some(dir));
        Ok(inside.cloned().collect())
    }

    fn open(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        let found = self.world.files.lock().names.get(path).copied();
        match found {
            Some(node) => Ok(self.file(node, path)),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    fn create(&self, path: &Path, bytes: u64) -> Result<Arc<dyn SegmentFile>> {
        let zeros = vec![0; bytes as usize];
        let node = Node {
            synced: zeros.clone(),
            live: zeros,
            pending: Vec::new(),
        };
        self.fresh(path, node)
    }

    fn create_unsynced(&self, path: &Path) -> Result<Arc<dyn SegmentFile>> {
        self.fresh(path, Node::default())
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let what = format!("rename {} {}", short(from), short(to));
        self.call(false, &what, |files, _| {
            let node = *files.names.get(from).ok_or(ErrorKind::NotFound)?;
            files.name(vec![(from.to_owned(), None), (to.to_owned(), Some(node))]);
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.call(false, &format!("remove {}", short(path)), |files, _| {
            files.names.get(path).ok_or(ErrorKind::NotFound)?;
            files.name(vec![(path.to_owned(), None)]);
            Ok(())
        })
    }

    fn sync_dir(&self, _: &Path) -> Result<()> {
        self.call(false, "sync folder", |files, part| {
            if part.is_none() {
                files.sync_names();
            }
            Ok(())
        })
    }
}
