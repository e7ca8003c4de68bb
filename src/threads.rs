//! Long work on the threads of the runtime, and which threads come first.
//!
//! Where all cores are busy, threads that rows wait for before their ack come before those of queries, and these before those that
//! make Parquet: a query takes a moment longer, and an ack does not wait for the end of a query's turn.
//!
//! A thread of the runtime that works for long without a pause may be the one that looks after all sockets: the others sleep
//! until it wakes them. Long work therefore gives the thread's duties to another thread before it begins.

use std::cell::Cell;
use std::num::NonZeroUsize;
use std::thread::available_parallelism;

use arrow::array::RecordBatch;
use parking_lot::{Condvar, Mutex};
use thread_priority::{ThreadPriority, ThreadPriorityValue, set_current_thread_priority};
use tokio::runtime::{Handle, RuntimeFlavor};

/// Work on more rows, or on more bytes, takes milliseconds, beside which another thread costs nothing.
const LONG_ROWS: usize = 16 * 1024;
const LONG_BYTES: usize = 1024 * 1024;

/// How much of a core a thread gets where others want it too; those that nothing is said of come first.
#[derive(Clone, Copy, Debug)]
pub enum Precedence {
    /// About nice 4 on Linux: beside two threads that come first it has a sixth of their core, and not a third.
    Query,
    /// About nice 10.
    Encoder,
}

/// The present thread has this precedence from now on. A system that refuses is slower under load and nothing else.
pub fn give_precedence(of: Precedence) {
    // Of 100, where 50 is the usual.
    let value = match of {
        Precedence::Query => 40,
        Precedence::Encoder => 23u8,
    };
    if let Ok(value) = ThreadPriorityValue::try_from(value)
        && let Err(error) = set_current_thread_priority(ThreadPriority::Crossplatform(value))
    {
        tracing::debug!(?error, ?of, "the thread keeps the usual priority");
    }
}

/// Is work on so many rows and bytes worth [`step_aside`]?
pub fn is_long(rows: usize, bytes: usize) -> bool {
    rows > LONG_ROWS || bytes > LONG_BYTES
}

/// Is work on each value of the batch worth [`step_aside`]? Told by their number, which costs nothing to know.
pub fn has_many_values(batch: &RecordBatch) -> bool {
    let values = batch.num_rows().saturating_mul(batch.num_columns());
    values > LONG_BYTES / size_of::<u64>()
}

/// Does the work here, and lets another thread take over what this one does for the runtime.
pub fn step_aside<T>(work: impl FnOnce() -> T) -> T {
    let several = Handle::try_current()
        .is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
    if several {
        tokio::task::block_in_place(work)
    } else {
        work()
    }
}

/// As [`step_aside`] if the work [`is_long`], and no more of it at once than there are cores: more threads would make nothing
/// faster, and each would hold what it makes of its batch. Other work is done at once, at no cost.
pub fn step_aside_if<T>(long: bool, work: impl FnOnce() -> T) -> T {
    if !long || AT_WORK.get() {
        return work();
    }
    step_aside(|| {
        let _turn = Turn::wait();
        work()
    })
}

/// Threads at long work on batches, and who waits for them.
static BUSY: Mutex<usize> = Mutex::new(0);
static FREE: Condvar = Condvar::new();

thread_local! {
    /// The present thread has a turn already: work within its work does not wait for it.
    static AT_WORK: Cell<bool> = const { Cell::new(false) };
}

/// A turn at long work; the next one begins when it is dropped.
struct Turn;

impl Turn {
    fn wait() -> Turn {
        let most = available_parallelism().map_or(1, NonZeroUsize::get);
        let mut busy = BUSY.lock();
        while *busy >= most {
            FREE.wait(&mut busy);
        }
        *busy += 1;
        AT_WORK.set(true);
        Turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        AT_WORK.set(false);
        *BUSY.lock() -= 1;
        FREE.notify_one();
    }
}

#[cfg(test)]
#[path = "threads_tests.rs"]
mod tests;
