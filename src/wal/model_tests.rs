//! Model checks of group commit: writers, the log's thread and readers under thousands of schedules.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::HashMap;
use std::io::{Error as IoError, Result as IoResult};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::tests::data;
use super::*;
use crate::sync::schedule::{JoinHandle, block_on, check, give_way, pause, spawn};

/// What was written to a file, and what of it was synced.
#[derive(Default)]
struct Content {
    written: Vec<u8>,
    synced: Vec<u8>,
}

#[derive(Clone, Default)]
struct ModelFile(Arc<Mutex<Content>>);

impl SegmentFile for ModelFile {
    fn write_at(&self, bytes: &[u8], position: u64) -> IoResult<()> {
        pause();
        let at = usize::try_from(position).map_err(IoError::other)?;
        let written = &mut self.0.lock().written;
        let end = at + bytes.len();
        written.resize(written.len().max(end), 0);
        written[at..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&self) -> IoResult<()> {
        pause();
        let mut content = self.0.lock();
        content.synced = content.written.clone();
        Ok(())
    }

    fn read_all(&self) -> IoResult<Vec<u8>> {
        Ok(self.0.lock().written.clone())
    }

    fn size(&self) -> IoResult<u64> {
        Ok(self.0.lock().written.len() as u64)
    }
}

/// Files in memory; their names need no sync.
#[derive(Clone, Default)]
struct ModelDisk(Arc<Mutex<HashMap<PathBuf, ModelFile>>>);

impl ModelDisk {
    /// Are these bytes on the disk, synced?
    fn holds(&self, bytes: &[u8]) -> bool {
        let files = self.0.lock();
        let has = |file: &ModelFile| {
            file.0
                .lock()
                .synced
                .windows(bytes.len())
                .any(|w| w == bytes)
        };
        files.values().any(has)
    }
}

impl Disk for ModelDisk {
    fn create_dir(&self, _: &Path) -> IoResult<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> IoResult<Vec<PathBuf>> {
        Ok(self.0.lock().keys().cloned().collect())
    }

    fn open(&self, path: &Path) -> IoResult<Arc<dyn SegmentFile>> {
        let file = self.0.lock().get(path).cloned();
        let file = file.ok_or_else(|| IoError::from(std::io::ErrorKind::NotFound))?;
        Ok(Arc::new(file))
    }

    fn create(&self, path: &Path, bytes: u64) -> IoResult<Arc<dyn SegmentFile>> {
        let file = self.create_unsynced(path)?;
        let bytes = usize::try_from(bytes).map_err(IoError::other)?;
        file.write_at(&vec![0; bytes], 0)?;
        file.sync()?;
        Ok(file)
    }

    fn create_unsynced(&self, path: &Path) -> IoResult<Arc<dyn SegmentFile>> {
        let file = ModelFile::default();
        self.0.lock().insert(path.to_owned(), file.clone());
        Ok(Arc::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> IoResult<()> {
        let mut files = self.0.lock();
        let file = files.remove(from);
        let file = file.ok_or_else(|| IoError::from(std::io::ErrorKind::NotFound))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> IoResult<()> {
        self.0.lock().remove(path);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> IoResult<()> {
        pause();
        Ok(())
    }
}

/// Frames whose effects have run, and those of them that are visible.
#[derive(Default)]
struct Owner {
    done: Mutex<Vec<Lsn>>,
    visible: Mutex<Vec<Lsn>>,
}

impl GroupHook for Owner {
    fn end(&self, durable: Lsn) {
        pause();
        let visible = std::mem::take(&mut *self.done.lock());
        assert_eq!(visible.last(), Some(&durable));
        pause();
        self.visible.lock().extend(visible);
    }

    fn checkpoint(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl Owner {
    /// Everything up to `durable` is visible, each frame once and in order.
    fn has_all_up_to(&self, durable: Lsn) {
        let visible = self.visible.lock();
        let all: Vec<Lsn> = (1..=visible.len() as u64).map(Lsn::new).collect();
        assert_eq!(*visible, all);
        assert!(visible.len() as u64 >= durable.get());
    }
}

struct Model {
    disk: ModelDisk,
    owner: Arc<Owner>,
    log: Log,
    writer: JoinHandle<()>,
}

fn begin(queue_bytes_max: u64) -> Model {
    let disk = ModelDisk::default();
    let config = LogConfig {
        queue_bytes_max,
        ..tests::config(Path::new("log"))
    };
    let (opener, replay) = open(config, Arc::new(disk.clone())).unwrap();
    assert_eq!(replay.count(), 0);
    let owner = Arc::new(Owner::default());
    let (log, work) = opener.model(owner.clone()).unwrap();
    Model {
        disk,
        owner,
        log,
        writer: spawn(work),
    }
}

impl Model {
    /// A thread that appends so many frames, each when the one before has its ack.
    fn producer(&self, number: u64, frames: u64) -> JoinHandle<()> {
        let (disk, owner, log) = (self.disk.clone(), self.owner.clone(), self.log.clone());
        spawn(move || {
            for frame in 0..frames {
                let marker = [0xd0, number as u8, frame as u8, 0x0d, 0xbe, 0xef, 7, 7];
                let room = block_on(log.reserve(300)).unwrap();
                let (of, on) = (owner.clone(), disk.clone());
                // A trim may take it as soon as it is acked.
                let effect = Box::new(move |offset| {
                    assert!(on.holds(&marker), "visible and not synced");
                    of.done.lock().push(offset);
                });
                let frame = data(number * 100 + frame, marker.to_vec());
                let ticket = log.append(room, frame, effect).unwrap();
                let durable = block_on(ticket.wait()).unwrap();
                owner.has_all_up_to(durable.offset());
                assert!(log.durable() >= durable.offset());
            }
        })
    }

    fn end(self) {
        block_on(self.log.close()).unwrap();
        self.writer.join();
    }
}

#[test]
fn what_is_acked_is_synced_and_visible_and_nobody_waits_for_ever() {
    check(1_000, || {
        let model = begin(16 * 1024);
        let producers: Vec<_> = (1..=3).map(|n| model.producer(n, 2)).collect();
        let reader = {
            let (log, owner) = (model.log.clone(), model.owner.clone());
            spawn(move || {
                for _ in 0..4 {
                    owner.has_all_up_to(log.durable());
                    give_way();
                }
            })
        };
        for thread in producers.into_iter().chain([reader]) {
            thread.join();
        }
        assert_eq!(model.owner.visible.lock().len(), 6);
        model.end();
    });
}

#[test]
fn whoever_waits_for_room_or_for_anothers_frame_is_woken() {
    check(1_000, || {
        // Room for one frame at a time.
        let model = begin(400);
        let producers: Vec<_> = (1..=3).map(|n| model.producer(n, 2)).collect();
        let follower = {
            let (log, owner) = (model.log.clone(), model.owner.clone());
            spawn(move || {
                for offset in (1..=6).map(Lsn::new) {
                    // It is taken or it is not; if it is, its sync is told.
                    match block_on(log.synced(offset)) {
                        Ok(durable) => owner.has_all_up_to(durable.offset()),
                        Err(error) => assert!(matches!(error, Error::Closed), "{error}"),
                    }
                }
            })
        };
        for thread in producers.into_iter().chain([follower]) {
            thread.join();
        }
        model.end();
    });
}

#[test]
fn a_log_that_rolls_and_trims_beside_its_writers_loses_nothing() {
    check(500, || {
        let model = begin(16 * 1024);
        let producers: Vec<_> = (1..=2).map(|n| model.producer(n, 2)).collect();
        let upkeep = {
            let log = model.log.clone();
            spawn(move || {
                for _ in 0..2 {
                    block_on(log.roll()).unwrap();
                    log.trim(log.durable());
                }
            })
        };
        for thread in producers.into_iter().chain([upkeep]) {
            thread.join();
        }
        let (disk, durable) = (model.disk.clone(), model.log.durable());
        model.end();
        // The next start finds a whole log that goes on behind the last frame.
        let config = tests::config(Path::new("log"));
        let (_, replay) = open(config, Arc::new(disk)).unwrap();
        assert_eq!(durable, Lsn::new(4));
        assert_eq!(replay.tail(), durable);
        replay.for_each(|frame| drop(frame.unwrap()));
    });
}
