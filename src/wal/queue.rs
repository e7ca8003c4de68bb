//! The callers' side of the log: room, a place in line, and a ticket that resolves at the sync.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::frame::NewFrame;
use super::shared::{Health, OnDurable, Shared};
use super::writer::Writer;
use super::{Error, LogConfig};
use crate::types::Lsn;

/// Proof that a frame is on disk. Made here only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Durable(Lsn);

impl Durable {
    pub fn offset(self) -> Lsn {
        self.0
    }
}

/// A frame's place in line.
#[derive(Debug)]
pub struct AppendTicket {
    offset: Lsn,
    done: oneshot::Receiver<Result<(), Error>>,
    shared: Arc<Shared>,
    /// How long a full disk is waited for.
    patience: Duration,
}

impl AppendTicket {
    pub fn offset(&self) -> Lsn {
        self.offset
    }

    /// # Errors
    /// - `Poisoned`: the frame may or may not be on disk; replay decides.
    /// - `StillQueued`: the disk has been full for the admission time-out. The frame keeps its place in the queue, and becomes
    ///   durable if there is room again before the process ends.
    pub async fn wait(mut self) -> Result<Durable, Error> {
        let answer = tokio::select! {
            biased;
            answer = &mut self.done => answer,
            error = still_full(&self.shared, self.patience) => return Err(error),
        };
        match answer {
            Ok(Ok(())) => Ok(Durable(self.offset)),
            Ok(Err(error)) => Err(error),
            // The writer answers everyone; it drops a frame without a word only when it panics.
            Err(_) => Err(Error::panicked()),
        }
    }
}

/// Resolves when the disk is full after `patience`.
async fn still_full(shared: &Shared, patience: Duration) -> Error {
    let waited_from = tokio::time::Instant::now();
    let mut health = shared.health.subscribe();
    tokio::time::sleep_until(waited_from + patience).await;
    loop {
        if let Health::DiskFull { cause } = &*health.borrow_and_update() {
            return Error::StillQueued {
                waited: waited_from.elapsed(),
                cause: cause.clone(),
            };
        }
        if health.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Room in the log for one frame, given back if it is not used.
#[derive(Debug)]
pub struct Reservation {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shared.state.lock().reserved -= self.bytes;
            self.shared.room.notify_waiters();
        }
    }
}

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    config: Arc<LogConfig>,
    uuid: uuid::Uuid,
    shared: Arc<Shared>,
}

impl Log {
    pub(super) fn start(
        config: LogConfig,
        uuid: uuid::Uuid,
        writer: Writer,
    ) -> Result<Self, Error> {
        let shared = writer.shared();
        // Its end is told by `Shared::done`.
        std::thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(Error::io("thread"))?;
        Ok(Log::over(config, uuid, shared))
    }

    pub(super) fn over(config: LogConfig, uuid: uuid::Uuid, shared: Arc<Shared>) -> Self {
        Log {
            config: Arc::new(config),
            uuid,
            shared,
        }
    }

    /// Waits for room for a frame of up to `bytes`.
    ///
    /// # Errors
    /// `Full`, `DiskFull` or `Stalled` after the admission time-out: nothing was written. `Poisoned`; `TooLarge`.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        self.reserve_within(bytes, self.config.bytes_max).await
    }

    /// As [`Log::reserve`], and in a full log as well: for the few small frames that let go of others. The log may be larger
    /// than its limit by one segment for them.
    ///
    /// # Errors
    /// As [`Log::reserve`].
    pub async fn reserve_beyond(&self, bytes: usize) -> Result<Reservation, Error> {
        let beyond = self.config.bytes_max + self.config.segment_bytes;
        self.reserve_within(bytes, beyond).await
    }

    async fn reserve_within(&self, bytes: usize, bytes_max: u64) -> Result<Reservation, Error> {
        let waited = self.config.admission_timeout;
        let deadline = tokio::time::Instant::now() + waited;
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let full = match self.reserve_now(bytes, bytes_max)? {
                Ok(reservation) => return Ok(reservation),
                Err(full) => full,
            };
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                return Err(full);
            }
        }
    }

    /// Room for a frame of up to `bytes`, if there is some now.
    ///
    /// # Errors
    /// `Poisoned`; `Closed`; `TooLarge`.
    pub fn try_reserve(&self, bytes: usize) -> Result<Option<Reservation>, Error> {
        Ok(self.reserve_now(bytes, self.config.bytes_max)?.ok())
    }

    /// Inside: what there is no room in.
    fn reserve_now(
        &self,
        bytes: usize,
        bytes_max: u64,
    ) -> Result<Result<Reservation, Error>, Error> {
        let bytes = bytes as u64;
        let limit = self
            .config
            .segment_bytes
            .saturating_sub(super::segment::HEADER_BYTES)
            .max(self.config.queue_bytes_max / 2);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        let mut state = self.shared.state.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        if state.closing {
            return Err(Error::Closed);
        }
        let waited = self.config.admission_timeout;
        let waiting = state.queued + state.reserved;
        let queue_fits = waiting == 0 || waiting + bytes <= self.config.queue_bytes_max;
        let log_fits = state.on_disk + waiting + bytes <= bytes_max;
        if queue_fits && log_fits && state.disk_full.is_none() {
            state.reserved += bytes;
            return Ok(Ok(Reservation {
                shared: self.shared.clone(),
                bytes,
            }));
        }
        Ok(Err(match &state.disk_full {
            Some(cause) => Error::DiskFull {
                cause: cause.clone(),
                waited,
            },
            None if *self.shared.health.borrow() == Health::Stalled => Error::Stalled { waited },
            None => Error::Full {
                used: state.on_disk + waiting,
                limit: self.config.bytes_max,
                waited,
            },
        }))
    }

    /// Gives the frame the next offset and its place in line. Never blocks on the disk; the order of calls is the order in the log.
    ///
    /// # Errors
    /// `Poisoned`, `Closed`: the frame is not in the log.
    pub fn append(
        &self,
        mut reservation: Reservation,
        frame: NewFrame,
        on_durable: OnDurable,
    ) -> Result<AppendTicket, Error> {
        let (tx, done) = oneshot::channel();
        let mut state = self.shared.state.lock();
        state.reserved -= std::mem::take(&mut reservation.bytes);
        let offset = state.push(frame, Some(on_durable), Some(tx))?;
        state.urgent = true;
        self.shared.work.notify_one();
        drop(state);
        Ok(AppendTicket {
            offset,
            done,
            shared: self.shared.clone(),
            patience: self.config.admission_timeout,
        })
    }

    /// Writes a note with the next group, or soon; nobody waits for it.
    pub fn append_unsynced(&self, frame: NewFrame) -> Result<Lsn, Error> {
        let mut state = self.shared.state.lock();
        state.push(frame, None, None)
    }

    /// Everything up to here is on disk and visible.
    pub fn durable(&self) -> Lsn {
        self.shared.durable()
    }

    /// Waits until the frame at `offset`, which was appended before, is on disk: the proof for whoever has no ticket of its own.
    ///
    /// # Errors
    /// `Poisoned`: the frame may or may not be on disk; replay decides. `Closed`: it is not in the log.
    pub async fn synced(&self, offset: Lsn) -> Result<Durable, Error> {
        loop {
            let moved = self.shared.room.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if self.durable() >= offset {
                return Ok(Durable(offset));
            }
            {
                let state = self.shared.state.lock();
                if let Some(error) = &state.ended {
                    return Err(error.clone());
                }
                if state.closing || offset >= state.next {
                    return Err(Error::Closed);
                }
            }
            moved.await;
        }
    }

    /// Frames up to here are no longer needed. Whole segments go, later, on the writer thread.
    pub fn trim(&self, up_to: Lsn) {
        let mut state = self.shared.state.lock();
        if up_to > state.trim {
            state.trim = up_to;
            state.urgent = true;
            self.shared.work.notify_one();
        }
    }

    /// Begins a fresh segment, so that a trim can let go of all before it. Resolves when that is done.
    ///
    /// # Errors
    /// `Poisoned`. A full disk is waited for, without a limit.
    pub async fn roll(&self) -> Result<(), Error> {
        let idle = self.shared.idle.notified();
        {
            let mut state = self.shared.state.lock();
            if let Some(error) = &state.ended {
                return Err(error.clone());
            }
            state.roll = true;
            state.urgent = true;
            self.shared.work.notify_one();
        }
        idle.await;
        match &self.shared.state.lock().ended {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// Bytes that the log holds on disk.
    pub fn usage(&self) -> u64 {
        self.shared.state.lock().on_disk
    }

    /// Nanoseconds that the disk takes for a byte, lately; 0 until a group was large enough to tell.
    pub fn ns_per_byte(&self) -> f64 {
        f64::from_bits(self.shared.ns_per_byte.load(Ordering::Relaxed))
    }

    /// Bytes of frames that were written and synced since the start.
    pub fn written(&self) -> u64 {
        self.shared.written.load(Ordering::Relaxed)
    }

    /// Groups of frames that were written and synced since the start, one sync each.
    pub fn groups(&self) -> u64 {
        self.shared.groups.load(Ordering::Relaxed)
    }

    pub fn is_poisoned(&self) -> bool {
        self.shared.state.lock().ended.is_some()
    }

    /// Finds out whether the disk still answers, for [`Log::health`]: the log's thread cannot say that it hangs. To be called again
    /// and again.
    pub fn look_for_stall(&self) {
        // As long as a caller waits for its frame: from then on frames are given up.
        self.shared.look_for_stall(self.config.admission_timeout);
    }

    /// How the log is, and every change of it.
    pub fn health(&self) -> watch::Receiver<Health> {
        self.shared.health.subscribe()
    }

    /// Resolves when the log is poisoned, with the error that everyone gets from then on; never before. Whoever waits for
    /// something that a poisoned log can no longer bring about (a commit of rows that come no more) waits for this as well.
    pub async fn poisoned(&self) -> Error {
        let mut health = self.health();
        let poisoned = |health: &Health| matches!(health, Health::Poisoned { .. });
        // The sender lives in what this handle holds.
        let _ = health.wait_for(poisoned).await;
        let state = self.shared.state.lock();
        state.ended.clone().unwrap_or(Error::Closed)
    }

    #[cfg(test)]
    pub(super) fn panic_at_next_group(&self) {
        self.shared.panic_next.store(true, Ordering::SeqCst);
    }

    pub fn uuid(&self) -> uuid::Uuid {
        self.uuid
    }

    /// Writes what is queued and ends the thread. On a full disk what is queued is given up, and its waiters get the error. A
    /// disk that does not answer is waited for: the caller sets the limit, and may drop this future.
    ///
    /// # Errors
    /// The error that ended the log.
    pub async fn close(&self) -> Result<(), Error> {
        self.shared.state.lock().closing = true;
        self.shared.work.notify_one();
        self.shared.room.notify_waiters();
        let _ = self.shared.done.subscribe().wait_for(|done| *done).await;
        match &self.shared.state.lock().ended {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }
}
