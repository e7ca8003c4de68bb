//! Where statements are read and planned: on threads of their own with a large stack, so that a deep tree does not overflow
//! one and a slow plan holds up nobody's stream and nobody's query. The time limit and the cancel hold here too.
//!
//! Planning cannot be interrupted, it can only look at the clock between two rules (`optimizer_rules`). So its caller waits no longer
//! than the limit, and a thread that is still busy keeps its permit until it is done.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::limits::QueryLimits;
use super::running;
use crate::fault::{Fault, Kind};
use crate::sql::check_size;

/// Stack of a query thread. Virtual: what a statement does not reach is never made. The text's limits (`sql/text_limits`) are such that
/// the deepest tree that they let through fits with opt-level 1; tests and `query.terms_max`'s upper bound rely on it.
pub const STACK_BYTES: usize = 256 << 20;

/// Short statements that are planned at once. They take little: this bounds memory, and the operating system shares the cores.
const SHORT_AT_ONCE: usize = 32;

/// Long texts that are read at once: reading takes a time that goes with the text, and finds out what is too large to be planned.
const READ_AT_ONCE: usize = 2;

/// Bytes of text up to which a statement is short.
const SHORT_BYTES: usize = 4096;

pub(super) struct Planning {
    handle: Handle,
    reading: Arc<Semaphore>,
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Planning {
    /// `threads`: long statements that are planned at once. Each may hold much memory until the optimizer's next look at the clock.
    pub(super) fn new(handle: Handle, threads: usize) -> Self {
        Planning {
            handle,
            reading: Arc::new(Semaphore::new(READ_AT_ONCE)),
            short: Arc::new(Semaphore::new(SHORT_AT_ONCE)),
            long: Arc::new(Semaphore::new(threads.max(1))),
        }
    }

    /// Threads beside the runtime's own that this may use.
    pub(super) fn threads_max(threads: usize) -> usize {
        threads.max(1) + SHORT_AT_ONCE + READ_AT_ONCE
    }

    /// Runs work that plans a statement of `text_bytes`. Dropped before its end, it cancels
    /// `limits.client`. The work is made on its own thread: planning holds some hundred kilobytes from one await to the next.
    ///
    /// # Errors
    /// What the work meets; DEADLINE_EXCEEDED, CANCELLED, RESOURCE_EXHAUSTED; INTERNAL for a panic.
    pub(super) async fn run<T: Send + 'static, F: Future<Output = Result<T, Fault>>>(
        &self,
        text_bytes: usize,
        limits: &QueryLimits,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, Fault> {
        let lane = if text_bytes <= SHORT_BYTES {
            &self.short
        } else {
            &self.long
        };
        self.run_in(lane, limits, work).await
    }

    /// [`Planning::run`] of work that reads a text, and plans nothing.
    ///
    /// # Errors
    /// As [`Planning::run`].
    pub(super) async fn read<T: Send + 'static, F: Future<Output = Result<T, Fault>>>(
        &self,
        text_bytes: usize,
        limits: &QueryLimits,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, Fault> {
        let lane = if text_bytes <= SHORT_BYTES {
            &self.short
        } else {
            &self.reading
        };
        self.run_in(lane, limits, work).await
    }

    /// Refuses a text that is too large, without a wait for a place in which long statements are planned. A short text is no larger than a
    /// statement may be, or its planning finds out at once.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED `statement_too_large`; as [`Planning::run`].
    pub(super) async fn check_size(&self, sql: &str, limits: &QueryLimits) -> Result<(), Fault> {
        if sql.len() <= SHORT_BYTES {
            return Ok(());
        }
        let text = sql.to_owned();
        let work = move || async move { check_size(&text) };
        self.read(sql.len(), limits, work).await
    }

    /// Takes the places of long statements until the answer is dropped.
    #[cfg(test)]
    pub(super) async fn take_long(&self) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let places = u32::try_from(self.long.available_permits()).unwrap_or(u32::MAX);
        self.long.clone().acquire_many_owned(places).await.ok()
    }

    async fn run_in<T: Send + 'static, F: Future<Output = Result<T, Fault>>>(
        &self,
        lane: &Arc<Semaphore>,
        limits: &QueryLimits,
        work: impl FnOnce() -> F + Send + 'static,
    ) -> Result<T, Fault> {
        let gone = limits.client.clone().drop_guard();
        let done = async {
            let permit = lane.clone().acquire_owned().await.map_err(|_| stopping())?;
            let (handle, limits) = (self.handle.clone(), limits.clone());
            let thread = self.handle.spawn_blocking(move || {
                // Nobody waits any more, or there is no room for a plan.
                limits.check_in_planning()?;
                let work = limits.meter.watch(work());
                let work = AssertUnwindSafe(work).catch_unwind();
                let outcome = handle
                    .block_on(work)
                    .unwrap_or_else(|panic| Err(panicked(&*panic)));
                drop(permit);
                outcome
            });
            thread.await.unwrap_or_else(|_| Err(stopping()))
        };
        let outcome = tokio::select! {
            outcome = done => outcome,
            () = tokio::time::sleep_until(limits.deadline) => Err(limits.expired()),
            () = limits.client.cancelled() => Err(running::cancelled()),
            () = limits.meter.ended() => Err(limits.meter.fault()),
        };
        if outcome.is_ok() {
            gone.disarm();
        }
        outcome
    }
}

pub(super) fn stopping() -> Fault {
    Fault::new(Kind::Unavailable, "stopping", "the server is stopping")
}

/// A panic as one query's error.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Fault {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    let text: String = text
        .lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(300)
        .collect();
    tracing::error!("a query panicked: {text}");
    metrics::counter!("deltaplane_query_panics_total").increment(1);
    Fault::internal(format!(
        "the query met a defect of the server and was ended; others go on: {text}"
    ))
}
