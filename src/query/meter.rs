//! What each statement really holds, and the end of the one that holds most when all together hold too much.
//!
//! DataFusion's pool counts what its operators say of themselves; that decides who spills. It does not see the batch that an
//! operator works on, the copies of a growing list, a plan, or rows that a statement keeps. A [`Meter`] sees them: it counts
//! every allocation of its statement (`memory`), in planning, on each thread that DataFusion's tasks run on, and until the
//! reader of the result has gone. It is looked at after each step of a task and with each batch (`query/metered`): when the
//! meters of a [`Budget`] go over its limit together, the statement with the most is ended by an error that says so.

use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use datafusion::common::runtime::{JoinSetTracer, set_join_set_tracer};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::fault::{Fault, Kind};
use crate::memory::{self, Account};

/// Growth of one statement between two looks at what all of them hold.
const STEP_BYTES: u64 = 1 << 20;

/// How long others wait for a statement that was told to end.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// The memory of statements that share a limit.
#[derive(Debug)]
pub(super) struct Budget {
    /// What an operator raises for more.
    setting: &'static str,
    limit: u64,
    meters: Mutex<Vec<Weak<Meter>>>,
    /// When a statement was told to end last, while it may still be there.
    ending: Mutex<Option<Instant>>,
}

/// One statement's memory.
pub struct Meter {
    account: Account,
    budget: Arc<Budget>,
    /// Bytes when all meters were looked at last.
    seen: AtomicU64,
    over: AtomicBool,
    ended: CancellationToken,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Meter({} bytes)", self.bytes())
    }
}

impl Budget {
    pub(super) fn new(setting: &'static str, limit: u64) -> Arc<Budget> {
        memory::count();
        static TRACER: Tracer = Tracer;
        // Another engine of this process has set the same one.
        let _ = set_join_set_tracer(&TRACER);
        Arc::new(Budget {
            setting,
            limit,
            meters: Mutex::default(),
            ending: Mutex::default(),
        })
    }

    pub(super) fn meter(self: &Arc<Self>) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            account: Account::default(),
            budget: self.clone(),
            seen: AtomicU64::new(0),
            over: AtomicBool::new(false),
            ended: CancellationToken::new(),
        });
        let mut meters = self.meters.lock();
        if meters.len() == meters.capacity() {
            meters.retain(|m| m.strong_count() > 0);
        }
        meters.push(Arc::downgrade(&meter));
        meter
    }

    fn live(&self) -> Vec<Arc<Meter>> {
        self.meters
            .lock()
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

/// A statement is ended for its memory.
pub(super) fn count_ended() {
    metrics::counter!("deltaplane_query_memory_ended_total").increment(1);
}

impl Meter {
    /// That of the present task.
    pub fn current() -> Option<Arc<Meter>> {
        CURRENT.with_borrow(Clone::clone)
    }

    pub fn bytes(&self) -> u64 {
        self.account.bytes()
    }

    /// # Errors
    /// RESOURCE_EXHAUSTED: the statement has been ended, for what all statements hold.
    pub fn check(&self) -> Result<(), Fault> {
        let own = self.bytes();
        if own < self.seen.load(Ordering::Relaxed) {
            self.seen.store(own, Ordering::Relaxed);
        } else if own >= self.seen.load(Ordering::Relaxed) + STEP_BYTES {
            self.seen.store(own, Ordering::Relaxed);
            self.budget.hold();
        }
        match self.over.load(Ordering::Acquire) {
            true => Err(self.fault()),
            false => Ok(()),
        }
    }

    /// # Errors
    /// RESOURCE_EXHAUSTED: with so many bytes more at once the statement alone would hold more than all may.
    pub fn has_room(&self, bytes: usize) -> Result<(), Fault> {
        let due = self.bytes() + bytes as u64;
        if bytes == 0 || due <= self.budget.limit {
            return Ok(());
        }
        self.end(due);
        Err(self.fault())
    }

    /// Tells the statement to end, for so many bytes of all.
    fn end(&self, all: u64) {
        self.over.store(true, Ordering::Release);
        self.ended.cancel();
        *self.budget.ending.lock() = Some(Instant::now());
        tracing::warn!(
            bytes = self.bytes(),
            all,
            limit = self.budget.limit,
            "a statement is ended for its memory"
        );
        count_ended();
    }

    /// Whether the statement has to wait with its next batch: others that are told to end still hold what they held.
    pub fn waits(&self) -> bool {
        self.budget.is_ending() && self.budget.still_full()
    }

    /// Until the statement is ended for its memory.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    pub fn fault(&self) -> Fault {
        let Budget { setting, limit, .. } = &*self.budget;
        Fault::new(
            Kind::Exhausted,
            "query_memory",
            format!(
                "the statements that run hold more memory than {setting}={limit} bytes, and this one held the most; narrow it, run fewer at once, or raise {setting}"
            ),
        )
    }

    /// Counts what the future allocates, and the tasks that it spawns through DataFusion.
    pub fn watch<F: Future>(self: &Arc<Self>, work: F) -> Metered<F> {
        Metered {
            meter: self.clone(),
            work: Box::pin(work),
        }
    }

    /// Counts what `work` allocates.
    fn within<R>(self: &Arc<Self>, work: impl FnOnce() -> R) -> R {
        let _present = Present::enter(self);
        self.account.count(work)
    }
}

impl Budget {
    /// Whether a statement that was told to end has had less time for it than it may need.
    fn is_ending(&self) -> bool {
        let told = *self.ending.lock();
        told.is_some_and(|told| told.elapsed() < ENDS_WITHIN)
    }

    /// Whether what ends and what goes on are too much together.
    fn still_full(&self) -> bool {
        let live = self.live();
        if !live.iter().any(|m| m.is_over()) {
            *self.ending.lock() = None;
            return false;
        }
        live.iter().map(|m| m.bytes()).sum::<u64>() > self.limit
    }

    /// Ends the statement that holds most, if all together hold too much. One that has been told to end is on its way out and
    /// is not counted at first, and the others wait for it. What it still holds after that (rows whose reader does not read)
    /// counts again: whoever grows then ends another statement and waits for nobody.
    fn hold(&self) {
        let live = self.live();
        let held: Vec<(u64, &Arc<Meter>)> = live
            .iter()
            .filter(|m| !m.is_over())
            .map(|m| (m.bytes(), m))
            .collect();
        let all: u64 = match self.is_ending() {
            true => held.iter().map(|(bytes, _)| bytes).sum(),
            false => live.iter().map(|m| m.bytes()).sum(),
        };
        if all > self.limit
            && let Some((_, most)) = held.into_iter().max_by_key(|(bytes, _)| *bytes)
        {
            most.end(all);
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Meter>>> = const { RefCell::new(None) };
}

/// A meter as the present thread's; the former one comes back when it is dropped.
struct Present(Option<Arc<Meter>>);

impl Present {
    fn enter(meter: &Arc<Meter>) -> Present {
        Present(CURRENT.replace(Some(meter.clone())))
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// A future whose allocations are counted.
pub struct Metered<F> {
    meter: Arc<Meter>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let work = this.work.as_mut();
        let polled = this.meter.within(|| work.poll(cx));
        // Who is over hears of it where it is waited for: at its next batch, and in its `ended`.
        let _ = this.meter.check();
        polled
    }
}

/// Tasks that DataFusion spawns belong to the statement of the task that spawns them.
struct Tracer;

impl JoinSetTracer for Tracer {
    fn trace_future(
        &self,
        work: BoxFuture<'static, Box<dyn Any + Send>>,
    ) -> BoxFuture<'static, Box<dyn Any + Send>> {
        match Meter::current() {
            Some(meter) => Box::pin(meter.watch(work)),
            None => work,
        }
    }

    fn trace_block(
        &self,
        work: Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>,
    ) -> Box<dyn FnOnce() -> Box<dyn Any + Send> + Send> {
        match Meter::current() {
            Some(meter) => Box::new(move || meter.within(work)),
            None => work,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn the_statement_that_holds_most_is_ended_and_others_go_on() {
        let budget = Budget::new("memory.query_bytes_max", 64 << 20);
        let (small, large, late) = (budget.meter(), budget.meter(), budget.meter());
        let kept = small.watch(async { vec![1u8; 20 << 20] }).await;
        let more = large.watch(async { vec![1u8; 40 << 20] }).await;
        small.check().unwrap();
        large.check().unwrap();
        // Whoever takes too much, it is the largest that ends.
        let last = late.watch(async { vec![1u8; 16 << 20] }).await;
        late.check().unwrap();
        small.check().unwrap();
        let fault = large.check().unwrap_err();
        assert_eq!(
            (fault.kind, &*fault.reason),
            (Kind::Exhausted, "query_memory")
        );
        large.ended().await;
        drop((kept, more, last));
        assert!(small.bytes() + large.bytes() + late.bytes() < 1 << 20);
    }

    #[tokio::test]
    async fn a_statement_that_would_not_fit_ends_before_it_holds_more() {
        let budget = Budget::new("memory.query_bytes_max", 64 << 20);
        let meter = budget.meter();
        let kept = meter.watch(async { vec![1u8; 20 << 20] }).await;
        meter.has_room(0).unwrap();
        meter.has_room(40 << 20).unwrap();
        assert!(!meter.is_over());
        assert_eq!(
            &*meter.has_room(50 << 20).unwrap_err().reason,
            "query_memory"
        );
        meter.ended().await;
        meter.check().unwrap_err();
        drop(kept);
    }

    #[tokio::test]
    async fn what_an_ended_statement_does_not_let_go_of_is_counted_and_not_waited_for() {
        let budget = Budget::new("memory.query_bytes_max", 64 << 20);
        let (unread, other) = (budget.meter(), budget.meter());
        let kept = unread.watch(async { vec![1u8; 65 << 20] }).await;
        unread.check().unwrap_err();
        other.check().unwrap();
        assert!(other.waits());
        // As if a second had passed.
        *budget.ending.lock() = Some(Instant::now().checked_sub(ENDS_WITHIN).unwrap());
        assert!(!other.waits());
        let more = other.watch(async { vec![1u8; 2 << 20] }).await;
        other.check().unwrap_err();
        drop((kept, more));
    }

    #[tokio::test]
    async fn what_is_spawned_within_a_statement_is_its_own() {
        use datafusion::common::runtime::SpawnedTask;
        let budget = Budget::new("memory.query_bytes_max", 1 << 30);
        let meter = budget.meter();
        let work = async {
            let task = SpawnedTask::spawn(async {
                tokio::task::yield_now().await;
                SpawnedTask::spawn_blocking(|| vec![1u8; 8 << 20])
                    .await
                    .unwrap()
            });
            task.await.unwrap()
        };
        let kept = meter.watch(work).await;
        assert!(meter.bytes() >= 8 << 20);
        assert!(Meter::current().is_none());
        drop(kept);
        assert!(meter.bytes() < 1 << 20);
    }
}
