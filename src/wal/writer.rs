//! The one thread that writes: group by group, one sync each, segment after segment.
//!
//! Each segment opens with a checkpoint: the owner's state when everything before it was durable. It stands in a frame that
//! takes no offset of its own but repeats the one before the segment's first, so that offsets stay dense for their callers.

mod segments;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::frame::{self, Payload, Place};
use super::manifest::{ManifestFile, Tail};
use super::segment;
use super::shared::{EndOfThread, Health, Queued, Shared, fail};
use super::watched_disk::Watched;
use super::{Disk, Error, GroupHook, LogConfig, SegmentFile};
use crate::types::Lsn;

/// A segment that is written and kept for replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed {
    pub number: u64,
    pub first: Lsn,
    pub last: Lsn,
    pub bytes: u64,
}

struct Active {
    file: Arc<dyn SegmentFile>,
    number: u64,
    first: Lsn,
    position: u64,
    bytes: u64,
}

pub(super) struct Writer {
    config: LogConfig,
    disk: Arc<dyn Disk>,
    hook: Arc<dyn GroupHook>,
    shared: Arc<Shared>,
    manifest: ManifestFile,
    uuid: [u8; 16],
    sealed: VecDeque<Sealed>,
    active: Active,
    group_began: Instant,
    /// Offset of the last frame written.
    last: Lsn,
    chain: u32,
    spare: Option<u64>,
    buffer: Vec<u8>,
    /// When the full disk was last told of.
    told_full: Option<Instant>,
}

/// How long the writer waits before it asks a full disk again.
const DISK_RETRY: Duration = Duration::from_millis(200);
/// A full disk is told of when it begins, and then so often.
const TELL_FULL_EVERY: Duration = Duration::from_secs(30);
/// Smaller groups tell of the latency of a sync, not of the disk's speed.
const MEASURED_BYTES: u64 = 256 * 1024;
/// A group is handed to the disk in pieces of about this size, and synced once.
const WRITE_BYTES: usize = 4 * 1024 * 1024;
/// A piece of this size is worth a write of its own: a system call costs less than its copy.
const DIRECT_BYTES: usize = 64 * 1024;

impl Writer {
    /// `sealed`: the segments that are there. `last`: offset of the newest frame, and the CRC of its header.
    pub(super) fn new(
        config: LogConfig,
        disk: Arc<dyn Disk>,
        hook: Arc<dyn GroupHook>,
        manifest: ManifestFile,
        sealed: Vec<Sealed>,
        (last, chain): (Lsn, u32),
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared::default());
        let disk = Watched::over(disk, shared.clone());
        let manifest = manifest.watched(&shared);
        // The folder may hold a spare of a former run; it is as good as a new file.
        let spare = disk
            .open(&segment::spare_path(&config.dir))
            .ok()
            .and_then(|f| f.size().ok());
        let none = Active {
            file: Arc::new(NoFile),
            number: 0,
            first: Lsn::ZERO,
            position: 0,
            bytes: 0,
        };
        let next_number = sealed.last().map_or(1, |s: &Sealed| s.number + 1);
        let mut writer = Writer {
            config,
            disk,
            hook,
            shared,
            uuid: manifest.contents.uuid,
            manifest,
            sealed: sealed.into(),
            active: none,
            group_began: Instant::now(),
            last,
            chain,
            spare,
            buffer: Vec::new(),
            told_full: None,
        };
        writer.begin_segment(next_number, 0)?;
        {
            let mut state = writer.shared.state.lock();
            state.next = last.next();
            state.on_disk = writer.disk_bytes();
        }
        writer.shared.durable.store(last.get(), Ordering::Release);
        Ok(writer)
    }

    pub(super) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        let _end = EndOfThread(&shared);
        loop {
            let batch = shared.take();
            let mut done = self.group(batch.frames);
            if batch.roll && done.is_ok() && self.active_has_frames() {
                done = self.seal_and_begin(0);
            }
            if let Err(error) = done {
                tracing::error!(%error, "nothing more is written to the log until the next start");
                shared.end(&error.poison());
                return;
            }
            self.trim(batch.trim);
            if batch.roll {
                shared.idle.notify_waiters();
            }
            if batch.closing && shared.state.lock().queue.is_empty() {
                if let Err(error) = self.manifest.sync() {
                    tracing::warn!(%error, "the log's tail is not in its manifest");
                }
                return;
            }
        }
    }

    fn active_has_frames(&self) -> bool {
        self.sealed.back().map_or(Lsn::ZERO, |s| s.last) < self.last || self.active.number == 0
    }

    /// Writes frames in order; a sync at the end, and before each new segment.
    fn group(&mut self, frames: Vec<Queued>) -> Result<(), Error> {
        #[cfg(test)]
        assert!(
            !self.shared.panic_next.load(Ordering::SeqCst),
            "panic on purpose"
        );
        self.group_began = Instant::now();
        let mut written: Vec<Queued> = Vec::with_capacity(frames.len());
        let mut position = self.active.position;
        let mut frames = VecDeque::from(frames);
        while let Some(queued) = frames.pop_front() {
            if position + self.buffer.len() as u64 + queued.bytes > self.active.bytes {
                let done = self
                    .write_out(&mut position)
                    .and_then(|()| self.finish(&mut written, position))
                    .and_then(|()| self.seal_and_begin(queued.bytes));
                if let Err(error) = done {
                    fail(
                        written.into_iter().chain([queued]).chain(frames),
                        &error.poison(),
                    );
                    return Err(error);
                }
                position = self.active.position;
            }
            let place = Place {
                uuid: self.uuid,
                segment: self.active.number,
                offset: queued.offset,
                group_start: Lsn::new(self.shared.durable.load(Ordering::Acquire)).next(),
                chain: self.chain,
            };
            self.chain = frame::encode_header(&queued.frame, &place, &mut self.buffer);
            let put = self.put(&queued.frame.payload, &mut position);
            written.push(queued);
            if let Err(error) = put {
                fail(written.into_iter().chain(frames), &error.poison());
                return Err(error);
            }
        }
        let done = self
            .write_out(&mut position)
            .and_then(|()| self.finish(&mut written, position));
        if let Err(error) = &done {
            fail(written, &error.poison());
        }
        done
    }

    /// Behind what is there already; large pieces go to the disk as they are.
    fn put(&mut self, payload: &Payload, position: &mut u64) -> Result<(), Error> {
        self.buffer.extend_from_slice(&payload.head);
        for piece in &payload.body {
            if piece.len() < DIRECT_BYTES {
                self.buffer.extend_from_slice(piece);
                continue;
            }
            self.write_out(position)?;
            self.write(piece, *position)?;
            *position += piece.len() as u64;
        }
        if self.buffer.len() < WRITE_BYTES {
            return Ok(());
        }
        self.write_out(position)
    }

    fn write_out(&mut self, position: &mut u64) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer, *position)?;
        *position += buffer.len() as u64;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }

    /// Segments are preallocated, so that only a file system which cannot do that runs out of room here. The same bytes at the
    /// same place again do no harm: nothing of the group is synced yet.
    fn write(&mut self, bytes: &[u8], position: u64) -> Result<(), Error> {
        loop {
            let written = self.active.file.write_at(bytes, position);
            match written.map_err(Error::io("write")) {
                Err(Error::NoRoom { cause, .. }) => self.wait_for_room(&cause)?,
                other => {
                    self.has_room();
                    return other;
                }
            }
        }
    }

    /// Sync, then make visible, then wake: in this order and no other.
    fn finish(&mut self, written: &mut Vec<Queued>, position: u64) -> Result<(), Error> {
        if written.is_empty() {
            return Ok(());
        }
        self.active.file.sync().map_err(Error::io("sync"))?;
        let tail = Tail {
            segment: self.active.number,
            offset: written.last().map_or(self.last, |q| q.offset),
            position,
            chain: self.chain,
        };
        if let Err(error) = self.manifest.write_tail(&tail) {
            // An older tail says less, and nothing that is wrong.
            tracing::debug!(%error, "the log's tail is not in its manifest");
        }
        self.note_speed(position.saturating_sub(self.active.position));
        self.active.position = position;
        let group = std::mem::take(written);
        let mut bytes = 0;
        let mut waiters = Vec::with_capacity(group.len());
        for queued in group {
            self.last = queued.offset;
            bytes += queued.bytes;
            if let Some(effect) = queued.on_durable {
                effect(queued.offset);
            }
            waiters.extend(queued.done);
        }
        // Whoever finds an offset durable finds its rows, and its producer's newest batch, as well.
        self.hook.end(self.last);
        self.shared
            .durable
            .store(self.last.get(), Ordering::Release);
        self.shared.written.fetch_add(bytes, Ordering::Relaxed);
        self.shared.groups.fetch_add(1, Ordering::Relaxed);
        self.shared.state.lock().queued -= bytes;
        for waiter in waiters {
            // A stream that has gone away needs no answer.
            let _ = waiter.send(Ok(()));
        }
        self.shared.room.notify_waiters();
        Ok(())
    }

    fn note_speed(&mut self, bytes: u64) {
        let took = self.group_began.elapsed();
        self.group_began = Instant::now();
        if bytes < MEASURED_BYTES {
            return;
        }
        let now = took.as_nanos() as f64 / bytes as f64;
        let before = f64::from_bits(self.shared.ns_per_byte.load(Ordering::Relaxed));
        let smoothed = if before == 0.0 {
            now
        } else {
            before * 0.875 + now * 0.125
        };
        self.shared
            .ns_per_byte
            .store(smoothed.to_bits(), Ordering::Relaxed);
    }

    /// The disk is full: says so, lets go of what is not needed any more, and waits a moment.
    ///
    /// # Errors
    /// The log is being closed: there is no more waiting.
    fn wait_for_room(&mut self, cause: &str) -> Result<(), Error> {
        let told = self.told_full.map(|at| at.elapsed());
        if told.is_none_or(|ago| ago >= TELL_FULL_EVERY) {
            tracing::warn!(
                cause,
                dir = %self.config.dir.display(),
                "the disk of the log is full: no rows are taken until there is room"
            );
            self.told_full = Some(Instant::now());
            let cause = cause.to_owned();
            self.shared.health.send_if_modified(|health| match health {
                Health::Writing => {
                    *health = Health::DiskFull { cause };
                    true
                }
                _ => false,
            });
        }
        let trim = {
            let mut state = self.shared.state.lock();
            state.disk_full.get_or_insert_with(|| cause.to_owned());
            if !state.closing {
                self.shared.work.wait_for(&mut state, DISK_RETRY);
            }
            if state.closing {
                return Err(Error::NoRoom {
                    what: "write",
                    cause: cause.to_owned(),
                });
            }
            state.trim
        };
        self.trim(trim);
        Ok(())
    }

    fn has_room(&mut self) {
        if self.told_full.take().is_none() {
            return;
        }
        self.shared.state.lock().disk_full = None;
        self.shared.health.send_if_modified(|health| match health {
            Health::DiskFull { .. } => {
                *health = Health::Writing;
                true
            }
            _ => false,
        });
        self.shared.room.notify_waiters();
        tracing::info!("the disk of the log has room again");
    }
}

/// Stands for the active segment until the first one is begun.
struct NoFile;

impl SegmentFile for NoFile {
    fn write_at(&self, _: &[u8], _: u64) -> std::io::Result<()> {
        Err(std::io::Error::other("no segment yet"))
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn read_all(&self) -> std::io::Result<Vec<u8>> {
        Ok(Vec::new())
    }

    fn size(&self) -> std::io::Result<u64> {
        Ok(0)
    }
}
