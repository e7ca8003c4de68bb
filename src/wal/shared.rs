//! What the callers' side ([`super::queue`]) and the writer thread ([`super::writer`]) share: the queue between them, the
//! room in the log, and how the log is. It knows no files.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};
use tokio::sync::{Notify, oneshot, watch};

use super::Error;
use super::frame::NewFrame;
use crate::types::Lsn;

/// Runs on the writer thread, in offset order, once the frame is on disk.
pub type OnDurable = Box<dyn FnOnce(Lsn) + Send>;

/// What the log can do now. It changes on the writer thread, but for `Stalled`: that thread waits for the disk then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// Frames are written as they come.
    #[default]
    Writing,
    /// The disk has no room for the next write. The writer tries again until there is room; nothing is lost meanwhile.
    DiskFull { cause: String },
    /// The disk has not answered a call for longer than anybody waits for a frame, and has not failed. If it answers, all goes on.
    Stalled,
    /// Nothing is written any more in this process. Final.
    Poisoned { cause: String },
}

pub(super) struct Queued {
    pub frame: NewFrame,
    pub offset: Lsn,
    pub bytes: u64,
    pub on_durable: Option<OnDurable>,
    pub done: Option<oneshot::Sender<Result<(), Error>>>,
}

/// What the writer takes from the queue at once.
pub(super) struct Batch {
    pub frames: Vec<Queued>,
    pub trim: Lsn,
    pub roll: bool,
    pub closing: bool,
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
    /// Why nothing is written any more.
    pub ended: Option<Error>,
    /// The disk is full: nobody new is let in until there is room.
    pub disk_full: Option<String>,
    /// Someone waits for the sync of what is queued; notes alone can wait for company.
    pub urgent: bool,
}

impl State {
    /// The next offset and a place in the queue.
    ///
    /// # Errors
    /// `Poisoned`, `Closed`: the frame is not in the log.
    pub(super) fn push(
        &mut self,
        frame: NewFrame,
        on_durable: Option<OnDurable>,
        done: Option<oneshot::Sender<Result<(), Error>>>,
    ) -> Result<Lsn, Error> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.closing {
            return Err(Error::Closed);
        }
        let offset = self.next;
        self.next = offset.next();
        let bytes = frame.encoded_len();
        self.queued += bytes;
        self.queue.push(Queued {
            frame,
            offset,
            bytes,
            on_durable,
            done,
        });
        Ok(offset)
    }
}

#[derive(Default)]
pub(super) struct Shared {
    pub state: Mutex<State>,
    pub work: Condvar,
    pub room: Notify,
    pub idle: Notify,
    pub health: watch::Sender<Health>,
    /// When the writer thread began the call of the disk that it waits for.
    asked: Mutex<Option<Instant>>,
    /// The writer thread has ended.
    pub done: watch::Sender<bool>,
    /// A test makes the writer panic at its next group.
    #[cfg(test)]
    pub panic_next: std::sync::atomic::AtomicBool,
    pub durable: AtomicU64,
    /// Bytes of frames synced since the start.
    pub written: AtomicU64,
    /// Groups of frames synced since the start.
    pub groups: AtomicU64,
    /// What the disk takes for a byte of a large group, write and sync together: nanoseconds, the bits of a double, smoothed.
    pub ns_per_byte: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("wal::Shared")
    }
}

/// A call of the disk, while it lasts.
pub(super) struct Asked<'a>(&'a Shared);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut asked = self.0.asked.lock();
        *asked = None;
        self.0.health.send_if_modified(|health| {
            let news = *health == Health::Stalled;
            if news {
                *health = Health::Writing;
            }
            news
        });
    }
}

impl Shared {
    /// The disk is asked for something, until this is dropped. One call does not begin within another.
    pub(super) fn ask(&self) -> Asked<'_> {
        *self.asked.lock() = Some(Instant::now());
        Asked(self)
    }

    /// Says so in the health if the disk has not answered for as long. With `asked` held no answer comes in between.
    pub(super) fn look_for_stall(&self, limit: Duration) {
        let asked = self.asked.lock();
        if asked.is_none_or(|since| since.elapsed() < limit) {
            return;
        }
        self.health.send_if_modified(|health| {
            let news = *health == Health::Writing;
            if news {
                *health = Health::Stalled;
            }
            news
        });
    }

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
                .wait_for(&mut state, Duration::from_millis(200))
                .timed_out();
            if timed_out && !state.queue.is_empty() {
                state.urgent = true;
            }
        }
    }

    /// The newest offset that is on disk and visible.
    pub(super) fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    /// Nothing is written any more: everyone who waits gets the error, and so does everyone who comes.
    pub(super) fn end(&self, error: &Error) {
        let queue = {
            let mut state = self.state.lock();
            // The first cause is the one to look at.
            state.ended.get_or_insert_with(|| error.clone());
            std::mem::take(&mut state.queue)
        };
        self.health.send_if_modified(|health| {
            let news = !matches!(health, Health::Poisoned { .. });
            if news {
                *health = Health::Poisoned {
                    cause: error.to_string(),
                };
            }
            news
        });
        fail(queue, error);
        self.room.notify_waiters();
        self.idle.notify_waiters();
    }
}

/// Tells those who wait for these frames that nobody knows whether they were kept.
pub(super) fn fail(queue: impl IntoIterator<Item = Queued>, error: &Error) {
    for waiter in queue.into_iter().filter_map(|queued| queued.done) {
        let _ = waiter.send(Err(error.clone()));
    }
}

/// Lives as long as the writer thread. A panic there poisons the log as a failed sync does: the frames under way may or may
/// not be on disk, and nobody would ever write the next ones.
pub(super) struct EndOfThread<'a>(pub &'a Shared);

impl Drop for EndOfThread<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.end(&Error::panicked());
        }
        self.0.done.send_replace(true);
    }
}
