//! Who evaluates when: alerts that answer quickly never wait for those that do not.
//!
//! There are two kinds of slots. An evaluation begins in a quick slot and may stay there for a moment; one that takes longer
//! goes on in a slow slot if one is free, and else is given up and waits for one. An alert whose evaluations take long begins
//! in a slow slot, and one whose query does not end is evaluated ever more rarely. It knows no queries.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// How long an evaluation may hold a quick slot.
pub(super) const QUICK: Duration = Duration::from_secs(1);
/// The pause after a time-out doubles so often.
const DOUBLED_MAX: u32 = 4;

/// The slots. Half of them, and at least one, are slow; whoever waits longest is served first.
pub(super) struct Turns {
    quick: Semaphore,
    slow: Semaphore,
}

/// A place that is given back when it is dropped. None: the server ends.
pub(super) type Turn<'a> = Option<SemaphorePermit<'a>>;

impl Turns {
    pub(super) fn new(parallel: usize) -> Self {
        let slow = (parallel / 2).max(1);
        Turns {
            quick: Semaphore::new(parallel.saturating_sub(slow).max(1)),
            slow: Semaphore::new(slow),
        }
    }

    pub(super) async fn quick(&self) -> Turn<'_> {
        self.quick.acquire().await.ok()
    }

    pub(super) async fn slow(&self) -> Turn<'_> {
        self.slow.acquire().await.ok()
    }

    /// A slow slot, if nobody uses it or waits for it.
    pub(super) fn slow_if_free(&self) -> Turn<'_> {
        self.slow.try_acquire().ok()
    }
}

/// How the evaluations of one alert have gone lately.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    slow: bool,
    /// Evaluations in a row that did not end in time.
    timeouts: u32,
}

impl Pace {
    pub(super) fn is_slow(self) -> bool {
        self.slow
    }

    /// After an evaluation. Returns how long the next one has to wait at least: nothing but after a time-out.
    pub(super) fn note(&mut self, took: Duration, timed_out: bool) -> Duration {
        self.slow = timed_out || took > QUICK;
        if !timed_out {
            self.timeouts = 0;
            return Duration::ZERO;
        }
        let pause = took.max(QUICK) * 2u32.pow(self.timeouts.min(DOUBLED_MAX));
        self.timeouts = self.timeouts.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_that_times_out_is_evaluated_ever_more_rarely_until_it_answers() {
        let limit = Duration::from_secs(30);
        let mut pace = Pace::default();
        let pauses: Vec<u64> = (0..7).map(|_| pace.note(limit, true).as_secs()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 480, 480]);
        assert!(pace.is_slow());
        assert_eq!(pace.note(Duration::from_secs(20), false), Duration::ZERO);
        assert!(pace.is_slow(), "it answers, and takes long");
        assert_eq!(pace.note(limit, true), limit, "from the beginning");
        pace.note(Duration::from_millis(5), false);
        assert_eq!(pace, Pace::default());
    }

    #[tokio::test]
    async fn slow_evaluations_leave_slots_to_quick_ones() {
        for parallel in [0, 1, 2, 3, 8] {
            let turns = Turns::new(parallel);
            let mut held = Vec::new();
            while let Some(turn) = turns.slow_if_free() {
                held.push(turn);
            }
            assert_eq!(held.len(), (parallel / 2).max(1));
            assert!(turns.quick().await.is_some());
        }
    }
}
