//! Up to which event time a view takes its source as complete. A pure machine: newest times by producer in, a watermark out,
//! which never falls. Instants of arrival are a monotonic clock's, so a step of the server's own clock closes nothing early.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::dataset::ViewSettings;

/// Producers that are remembered; beyond it the longest silent goes.
const PRODUCERS_MAX: usize = 10_000;
/// Times ahead of the clock that are remembered; beyond it the furthest goes, and is looked for again when the clock is there.
pub(super) const AHEAD_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug)]
struct Seen {
    newest: i64,
    at: Duration,
}

#[derive(Debug, Default)]
pub(super) struct Watermark {
    producers: HashMap<Arc<str>, Seen>,
    /// The newest event time of all rows; times too far ahead of the clock never get here.
    newest: Option<i64>,
    /// When a row was seen last.
    last: Duration,
    /// Times that were too far ahead of the clock when they came, be it that the rows were wrong or the clock was.
    ahead: BTreeSet<i64>,
    /// From here on times ahead of the clock may have been let go of.
    unknown_from: Option<i64>,
}

impl Watermark {
    /// `newest`: the greatest event time of the producer's rows that is not too far ahead of the clock.
    pub(super) fn observe(&mut self, producer: &str, newest: i64, at: Duration) {
        self.newest = self.newest.max(Some(newest));
        self.last = self.last.max(at);
        if let Some(seen) = self.producers.get_mut(producer) {
            seen.newest = seen.newest.max(newest);
            seen.at = seen.at.max(at);
            return;
        }
        if self.producers.len() >= PRODUCERS_MAX
            && let Some(silent) = self.producers.iter().min_by_key(|(_, s)| s.at)
        {
            let silent = silent.0.clone();
            self.producers.remove(&silent);
        }
        self.producers.insert(producer.into(), Seen { newest, at });
    }

    /// Rows that were there before anyone looked.
    pub(super) fn observe_old(&mut self, newest: i64) {
        self.newest = self.newest.max(Some(newest));
    }

    /// Rows with a time that is too far ahead of the clock: it counts once the clock is there.
    pub(super) fn observe_ahead(&mut self, at: i64) {
        self.ahead.insert(at);
        if self.ahead.len() > AHEAD_MAX
            && let Some(gone) = self.ahead.pop_last()
        {
            self.forget_ahead(gone);
        }
    }

    /// There may be rows of this time and later that nobody told of.
    pub(super) fn forget_ahead(&mut self, from: i64) {
        self.unknown_from = Some(self.unknown_from.map_or(from, |known| known.min(from)));
    }

    /// `bound`: times beyond it are too far ahead. False: the clock has come to times of which no more is known, and all rows
    /// have to be looked at again.
    pub(super) fn reach(&mut self, bound: i64) -> bool {
        if let Some(newest) = self.newest {
            self.ahead = self.ahead.split_off(&newest);
        }
        if self.unknown_from.is_some_and(|from| from <= bound) {
            self.unknown_from = None;
            return false;
        }
        true
    }

    /// Every window that ends at or before it is complete. None: no row has been seen. `size`: of a window; `bound`: times
    /// beyond it are too far ahead of the clock, also where it has once been there and was put back.
    pub(super) fn at(
        &self,
        now: Duration,
        settings: &ViewSettings,
        size: i64,
        bound: i64,
    ) -> Option<i64> {
        let idle = Duration::from_micros(u64::try_from(settings.idle).unwrap_or(0));
        let silent = |seen: &Seen| now.saturating_sub(seen.at) >= idle;
        let active = self.producers.values().filter(|seen| !silent(seen));
        match active.map(|seen| seen.newest).min() {
            Some(slowest) => Some(slowest.saturating_sub(settings.delay)),
            // Nobody sends: the last windows end too, the moment that the silence is long enough.
            None if now.saturating_sub(self.last) >= idle => {
                let reached = self.ahead.range(..=bound).next_back().copied();
                let newest = self.newest.max(reached);
                newest.map(|newest| newest.saturating_add(size))
            }
            None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: ViewSettings = ViewSettings {
        delay: 5,
        idle: 1_000_000,
        future: 0,
    };

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_slowest_active_producer_holds_it_and_a_silent_one_does_not() {
        let mut mark = Watermark::default();
        assert_eq!(mark.at(s(9), &SETTINGS, 60, 1_000), None);
        mark.observe("fast", 500, s(10));
        mark.observe("slow", 100, s(10));
        assert_eq!(mark.at(s(10), &SETTINGS, 60, 1_000), Some(95));
        mark.observe("fast", 600, s(11));
        // A second without a word: the slow one is silent.
        assert_eq!(mark.at(s(11), &SETTINGS, 60, 1_000), Some(595));
        mark.observe("slow", 590, s(11));
        assert_eq!(mark.at(s(11), &SETTINGS, 60, 1_000), Some(585));
    }

    #[test]
    fn when_all_are_silent_the_last_windows_close() {
        let mut mark = Watermark::default();
        mark.observe("one", 500, s(10));
        assert_eq!(mark.at(s(10), &SETTINGS, 60, 1_000), Some(495));
        assert_eq!(mark.at(s(11), &SETTINGS, 60, 1_000), Some(560));
        let mut restarted = Watermark::default();
        restarted.observe_old(500);
        assert_eq!(restarted.at(Duration::ZERO, &SETTINGS, 60, 1_000), None);
        assert_eq!(restarted.at(s(1), &SETTINGS, 60, 1_000), Some(560));
    }

    #[test]
    fn a_time_ahead_of_the_clock_counts_once_the_clock_is_there() {
        let mut mark = Watermark::default();
        mark.observe("one", 500, s(10));
        mark.observe_ahead(9_000);
        assert_eq!(mark.at(s(20), &SETTINGS, 60, 8_999), Some(560));
        assert_eq!(mark.at(s(20), &SETTINGS, 60, 9_000), Some(9_060));
        // Put back, it is not there any more.
        assert_eq!(mark.at(s(20), &SETTINGS, 60, 8_000), Some(560));
        mark.observe_old(9_500);
        assert!(mark.reach(9_999));
        assert!(mark.ahead.is_empty());
        (0..2_000).for_each(|at| mark.observe_ahead(10_000 + at));
        assert_eq!(mark.ahead.len(), AHEAD_MAX);
        assert_eq!(mark.ahead.first(), Some(&10_000));
        // What there was no room for is looked for again when the clock is there, once.
        assert!(mark.reach(10_999));
        assert!(!mark.reach(11_000));
        assert!(mark.reach(11_000));
    }
}
