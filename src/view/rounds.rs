//! Which views are refreshed when: each by itself and one refresh a view at a time, so that one whose query does not end
//! holds up no other.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::types::Incarnation;

/// A refresh that runs for longer is slow.
const QUICK: Duration = Duration::from_secs(5);
/// Refreshes at once that are not slow, or not known to be.
const QUICK_MAX: usize = 4;
/// Refreshes at once, slow ones included.
const ALL_MAX: usize = 16;
/// The pause of a view that fails, at first; it doubles so often.
const PAUSE: Duration = Duration::from_secs(2);
const DOUBLED_MAX: u32 = 5;

#[derive(Default)]
struct Turn {
    /// Since when it is refreshed.
    running: Option<Instant>,
    /// Not before.
    rests_until: Option<Instant>,
    /// When its last refresh ended.
    ended: Option<Instant>,
    /// Its last refresh took long.
    slow: bool,
    failures: u32,
}

/// Pure: times in, decisions out.
#[derive(Default)]
pub(super) struct Rounds(HashMap<Incarnation, Turn>);

impl Rounds {
    /// When its last refresh ended; none, which sorts first, before the first one. Whoever waits longest begins first: views
    /// that are refreshed in no time would else take every place again and again.
    pub(super) fn last_ended(&self, view: Incarnation) -> Option<Instant> {
        self.0.get(&view).and_then(|turn| turn.ended)
    }

    /// May its refresh begin now? Then it counts as running, until [`Rounds::ended`].
    pub(super) fn begin(&mut self, view: Incarnation, now: Instant) -> bool {
        let running = || self.0.values().filter_map(|t| t.running);
        let quick = running().filter(|since| now.duration_since(*since) < QUICK);
        let (quick, all) = (quick.count(), running().count());
        let turn = self.0.entry(view).or_default();
        let rests = turn.rests_until.is_some_and(|until| until > now);
        let room = if turn.slow {
            all < ALL_MAX / 2
        } else {
            quick < QUICK_MAX && all < ALL_MAX
        };
        if turn.running.is_some() || rests || !room {
            return false;
        }
        turn.running = Some(now);
        true
    }

    /// A view takes at most half of the time, and one that fails is tried again less often.
    pub(super) fn ended(&mut self, view: Incarnation, now: Instant, failed: bool) {
        let turn = self.0.entry(view).or_default();
        let took = turn
            .running
            .take()
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        turn.slow = took > QUICK;
        turn.ended = Some(now);
        let pause = if failed {
            let pause = PAUSE.max(took) * 2u32.pow(turn.failures.min(DOUBLED_MAX));
            turn.failures = turn.failures.saturating_add(1);
            pause
        } else {
            turn.failures = 0;
            took
        };
        turn.rests_until = Some(now + pause);
    }

    /// Forgets views that are no more.
    pub(super) fn keep(&mut self, there: impl Fn(Incarnation) -> bool) {
        self.0
            .retain(|view, turn| turn.running.is_some() || there(*view));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(n: u64) -> Incarnation {
        Incarnation::new(n)
    }

    #[test]
    fn views_that_do_not_end_leave_room_for_those_that_do() {
        let mut rounds = Rounds::default();
        let start = Instant::now();
        let late = start + QUICK * 2;
        for n in 0..8 {
            // Four begin; the others do when these are known to be slow.
            let now = if n < 4 { start } else { late };
            assert!(rounds.begin(view(n), now), "{n}");
        }
        assert!(
            !rounds.begin(view(8), late),
            "four are quick, as far as known"
        );
        let later = late + QUICK * 2;
        assert!(rounds.begin(view(8), later));
        assert!(
            !rounds.begin(view(8), later),
            "one refresh a view at a time"
        );
        // Known to be slow from now on: it waits while half of the places are taken.
        rounds.ended(view(0), later, true);
        let rested = later + QUICK * 100;
        assert!(!rounds.begin(view(0), rested));
        assert!(rounds.begin(view(9), rested), "a new one does not");
    }

    #[test]
    fn more_views_than_places_are_all_refreshed() {
        let mut rounds = Rounds::default();
        let mut views: Vec<Incarnation> = (0..3 * QUICK_MAX as u64).map(view).collect();
        let mut refreshed = std::collections::BTreeMap::<u64, usize>::new();
        let mut now = Instant::now();
        for _ in 0..12 {
            views.sort_by_key(|view| rounds.last_ended(*view));
            let begun: Vec<Incarnation> = views
                .iter()
                .copied()
                .filter(|view| rounds.begin(*view, now))
                .collect();
            now += Duration::from_millis(1);
            for view in begun {
                rounds.ended(view, now, false);
                *refreshed.entry(view.get()).or_default() += 1;
            }
            now += Duration::from_secs(1);
        }
        assert_eq!(refreshed.len(), views.len());
        assert!(refreshed.values().all(|n| *n == 4), "{refreshed:?}");
    }

    #[test]
    fn a_view_that_fails_is_tried_again_ever_more_rarely() {
        let mut rounds = Rounds::default();
        let mut now = Instant::now();
        for doubled in [1, 2, 4, 8] {
            assert!(rounds.begin(view(1), now));
            rounds.ended(view(1), now, true);
            assert!(!rounds.begin(view(1), now + PAUSE * doubled - PAUSE / 2));
            now += PAUSE * doubled;
        }
        assert!(rounds.begin(view(1), now));
        rounds.ended(view(1), now, false);
        assert!(rounds.begin(view(1), now), "it was refreshed in no time");
    }
}
