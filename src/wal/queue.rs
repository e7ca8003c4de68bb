//! The callers' side of the log: room, a place in line, and a ticket that resolves at the sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot};

use super::frame::NewFrame;
use super::writer::{Batch, Writer};
use super::{Error, LogConfig};
use crate::types::Lsn;

/// Runs on the writer thread, in offset order, once the frame is on disk.
pub type OnDurable = Box<dyn FnOnce(Lsn) + Send>;

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
}

impl AppendTicket {
    pub fn offset(&self) -> Lsn {
        self.offset
    }

    /// # Errors
    /// `Poisoned`: the frame may or may not be on disk; replay decides.
    pub async fn wait(self) -> Result<Durable, Error> {
        match self.done.await {
            Ok(Ok(())) => Ok(Durable(self.offset)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::Closed),
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

pub(super) struct Queued {
    pub frame: NewFrame,
    pub offset: Lsn,
    pub bytes: u64,
    pub on_durable: Option<OnDurable>,
    pub done: Option<oneshot::Sender<Result<(), Error>>>,
}

#[derive(Default)]
pub(super) struct State {
    pub queue: Vec<Queued>,
    /// Bytes of frames that are queued or being written.
    pub queued: u64,
    /// Bytes promised to reservations that have not become frames yet.
    pub reserved: u64,
    /// Bytes of segments on disk that cannot be given back yet.
    pub on_disk: u64,
    pub next: Lsn,
    pub trim: Lsn,
    pub roll: bool,
    pub closing: bool,
    pub poisoned: Option<String>,
    /// Someone waits for the sync of what is queued; notes alone can wait for company.
    pub urgent: bool,
}

#[derive(Default)]
pub(super) struct Shared {
    pub state: Mutex<State>,
    pub work: Condvar,
    pub room: Notify,
    pub idle: Notify,
    pub durable: AtomicU64,
    /// Bytes of frames synced since the start.
    pub written: AtomicU64,
    /// What the disk takes for a byte of a large group, write and sync together: nanoseconds, the bits of a double, smoothed.
    pub ns_per_byte: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wal::Shared")
    }
}

/// A handle on the log. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    config: Arc<LogConfig>,
    uuid: uuid::Uuid,
    shared: Arc<Shared>,
    thread: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl Log {
    pub(super) fn start(
        config: LogConfig,
        uuid: uuid::Uuid,
        writer: Writer,
    ) -> Result<Self, Error> {
        let shared = writer.shared();
        let thread = std::thread::Builder::new()
            .name("wal-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(Error::io("thread"))?;
        Ok(Log {
            config: Arc::new(config),
            uuid,
            shared,
            thread: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Waits for room for a frame of up to `bytes`.
    ///
    /// # Errors
    /// `Full` after the admission time-out; `Poisoned`; `TooLarge`.
    pub async fn reserve(&self, bytes: usize) -> Result<Reservation, Error> {
        let bytes = bytes as u64;
        let limit = self
            .config
            .segment_bytes
            .saturating_sub(super::segment::HEADER_BYTES)
            .max(self.config.queue_bytes_max / 2);
        if bytes > limit {
            return Err(Error::TooLarge { bytes, limit });
        }
        let waited = self.config.admission_timeout;
        let deadline = tokio::time::Instant::now() + waited;
        loop {
            let room = self.shared.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            let used = {
                let mut state = self.shared.state.lock();
                if let Some(cause) = &state.poisoned {
                    return Err(Error::Poisoned {
                        cause: cause.clone(),
                    });
                }
                if state.closing {
                    return Err(Error::Closed);
                }
                let waiting = state.queued + state.reserved;
                let queue_fits = waiting == 0 || waiting + bytes <= self.config.queue_bytes_max;
                if queue_fits && state.on_disk + waiting + bytes <= self.config.bytes_max {
                    state.reserved += bytes;
                    return Ok(Reservation {
                        shared: self.shared.clone(),
                        bytes,
                    });
                }
                state.on_disk + waiting
            };
            if tokio::time::timeout_at(deadline, room).await.is_err() {
                return Err(Error::Full {
                    used,
                    limit: self.config.bytes_max,
                    waited,
                });
            }
        }
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
        let offset = push(&mut state, frame, Some(on_durable), Some(tx))?;
        state.urgent = true;
        self.shared.work.notify_one();
        Ok(AppendTicket { offset, done })
    }

    /// Writes a note with the next group, or soon; nobody waits for it.
    pub fn append_unsynced(&self, frame: NewFrame) -> Result<Lsn, Error> {
        let mut state = self.shared.state.lock();
        push(&mut state, frame, None, None)
    }

    /// Everything up to here is on disk and visible.
    pub fn durable(&self) -> Lsn {
        Lsn::new(self.shared.durable.load(Ordering::Acquire))
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
                if let Some(cause) = &state.poisoned {
                    return Err(Error::Poisoned {
                        cause: cause.clone(),
                    });
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
    pub async fn roll(&self) -> Result<(), Error> {
        let idle = self.shared.idle.notified();
        {
            let mut state = self.shared.state.lock();
            if let Some(cause) = &state.poisoned {
                return Err(Error::Poisoned {
                    cause: cause.clone(),
                });
            }
            state.roll = true;
            state.urgent = true;
            self.shared.work.notify_one();
        }
        idle.await;
        Ok(())
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

    pub fn is_poisoned(&self) -> bool {
        self.shared.state.lock().poisoned.is_some()
    }

    pub fn uuid(&self) -> uuid::Uuid {
        self.uuid
    }

    /// Writes what is queued and ends the thread.
    pub async fn close(&self) -> Result<(), Error> {
        {
            let mut state = self.shared.state.lock();
            state.closing = true;
            self.shared.work.notify_one();
        }
        self.shared.room.notify_waiters();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread {
            let joined = tokio::task::spawn_blocking(move || thread.join()).await;
            if !matches!(joined, Ok(Ok(()))) {
                return Err(Error::Io {
                    what: "thread",
                    cause: "it panicked".to_owned(),
                });
            }
        }
        match &self.shared.state.lock().poisoned {
            Some(cause) => Err(Error::Poisoned {
                cause: cause.clone(),
            }),
            None => Ok(()),
        }
    }
}

fn push(
    state: &mut State,
    frame: NewFrame,
    on_durable: Option<OnDurable>,
    done: Option<oneshot::Sender<Result<(), Error>>>,
) -> Result<Lsn, Error> {
    if let Some(cause) = &state.poisoned {
        return Err(Error::Poisoned {
            cause: cause.clone(),
        });
    }
    if state.closing {
        return Err(Error::Closed);
    }
    let offset = state.next;
    state.next = offset.next();
    let bytes = frame.encoded_len();
    state.queued += bytes;
    state.queue.push(Queued {
        frame,
        offset,
        bytes,
        on_durable,
        done,
    });
    Ok(offset)
}

impl Shared {
    /// Waits for work and takes all of it.
    pub(super) fn take(&self) -> Batch {
        let mut state = self.state.lock();
        loop {
            if state.urgent || state.closing {
                state.urgent = false;
                return Batch {
                    frames: std::mem::take(&mut state.queue),
                    trim: state.trim,
                    roll: std::mem::take(&mut state.roll),
                    closing: state.closing,
                };
            }
            // Notes alone: give them a moment for company, then write them too.
            let timed_out = self
                .work
                .wait_for(&mut state, std::time::Duration::from_millis(200))
                .timed_out();
            if timed_out && !state.queue.is_empty() {
                state.urgent = true;
            }
        }
    }
}
