//! The machine against what its rules say, over random looks, failures, restarts and clocks.
#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;

use super::*;

const S: Micros = 1_000_000;

fn rule(hold: Micros, keep: Micros) -> Rule {
    Rule {
        hold,
        keep,
        instances_max: 100,
        resolved_for: 1_000_000 * S,
        resolved_max: 1000,
    }
}

fn found(keys: &[&str]) -> Found {
    Found(
        keys.iter()
            .map(|k| ((*k).to_owned(), Columns::new()))
            .collect(),
    )
}

/// As a server that is killed and started again has it.
fn restarted(state: &State) -> State {
    serde_json::from_slice(&serde_json::to_vec(state).unwrap()).unwrap()
}

#[derive(Clone, Debug)]
struct Step {
    /// Which of three keys are in condition; none: the look fails.
    found: Option<[bool; 3]>,
    /// Time since the step before during which a server looked.
    elapsed: Micros,
    /// What the wall clock does meanwhile.
    wall: Micros,
    restart: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        prop::option::weighted(0.8, any::<[bool; 3]>()),
        0i64..8,
        -50i64..50,
        prop::bool::weighted(0.3),
    );
    let step = step.prop_map(|(found, elapsed, wall, restart)| Step {
        found,
        elapsed: elapsed * S,
        wall: wall * S,
        restart,
    });
    prop::collection::vec(step, 1..40)
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn keys(which: [bool; 3]) -> Vec<&'static str> {
    KEYS.iter()
        .zip(which)
        .filter_map(|(k, is)| is.then_some(*k))
        .collect()
}

/// Each step's transitions, as (key, fires?).
fn run(steps: &[Step], rule: &Rule, restarts: bool) -> Vec<Vec<(String, bool)>> {
    let (mut state, mut seen, mut wall) = (State::default(), 0, 1_000_000 * S);
    let mut out = Vec::new();
    for step in steps {
        if restarts && step.restart {
            state = restarted(&state);
        }
        seen += step.elapsed;
        wall += step.wall;
        let mut now = Vec::new();
        if let Some(which) = step.found {
            let changed = state
                .look(rule, found(&keys(which)), seen, wall, &[])
                .unwrap();
            now.extend(changed.fired.into_iter().map(|k| (k, true)));
            now.extend(changed.resolved.into_iter().map(|k| (k, false)));
        }
        now.sort();
        out.push(now);
    }
    out
}

/// The rule in words: a key fires at the first look at which it has been in condition, at every look that answered, for
/// `hold`; it is resolved at the first at which it has been out of condition for `keep`.
fn model(steps: &[Step], rule: &Rule) -> Vec<Vec<(String, bool)>> {
    let mut out = vec![Vec::new(); steps.len()];
    for (k, key) in KEYS.iter().enumerate() {
        let (mut firing, mut since, mut seen) = (false, None, 0);
        for (at, step) in steps.iter().enumerate() {
            seen += step.elapsed;
            let Some(which) = step.found else { continue };
            // What has to last: being in condition while quiet, being out of it while firing.
            if which[k] == firing {
                since = None;
                continue;
            }
            let start = *since.get_or_insert(seen);
            if seen - start >= if firing { rule.keep } else { rule.hold } {
                firing = !firing;
                since = None;
                out[at].push(((*key).to_owned(), firing));
            }
        }
    }
    out.iter_mut().for_each(|now| now.sort());
    out
}

proptest! {
    #[test]
    fn transitions_are_those_of_the_rule_whatever_the_clock_says(steps in steps(), hold in 0i64..15, keep in 0i64..15) {
        let rule = rule(hold * S, keep * S);
        prop_assert_eq!(run(&steps, &rule, false), model(&steps, &rule));
    }

    #[test]
    fn a_restart_at_any_step_changes_no_transition(steps in steps(), hold in 0i64..15, keep in 0i64..15) {
        let rule = rule(hold * S, keep * S);
        prop_assert_eq!(run(&steps, &rule, true), run(&steps, &rule, false));
    }

    #[test]
    fn each_firing_is_followed_by_one_resolved(steps in steps(), hold in 0i64..15, keep in 0i64..15) {
        let mut firing = [false; 3];
        for (key, fires) in run(&steps, &rule(hold * S, keep * S), true).into_iter().flatten() {
            let k = KEYS.iter().position(|known| *known == key).unwrap();
            prop_assert_ne!(firing[k], fires, "{} twice", key);
            firing[k] = fires;
        }
    }

    /// Whatever is delivered when: a webhook that gets its news in the end knows each instance as it is.
    #[test]
    fn the_last_news_that_a_webhook_gets_is_the_truth(steps in steps(), delivers in prop::collection::vec(any::<[bool; 3]>(), 40)) {
        let rule = rule(2 * S, 0);
        let hooks = ["ops".to_owned()];
        let (mut state, mut seen) = (State::default(), 0);
        let mut knows: BTreeMap<String, (u64, bool)> = BTreeMap::new();
        let mut deliver = |state: &mut State, which: [bool; 3]| {
            for key in keys(which) {
                let Some(instance) = state.instances.get(key) else { continue };
                if !instance.owes("ops") { continue; }
                let news = instance.news.clone().unwrap();
                let before = knows.insert(key.to_owned(), (news.number, news.firing));
                assert!(before.is_none_or(|(number, _)| number < news.number), "out of order");
                state.told(key, "ops", news.number, true);
            }
            knows.clone()
        };
        for (step, which) in steps.iter().zip(delivers) {
            seen += step.elapsed;
            if let Some(which) = step.found {
                state.look(&rule, found(&keys(which)), seen, seen, &hooks).unwrap();
            }
            if step.restart {
                state = restarted(&state);
            }
            deliver(&mut state, which);
        }
        let knows = deliver(&mut state, [true; 3]);
        for key in KEYS {
            let fires = state.instances.get(key).is_some_and(|i| i.phase == Phase::Firing);
            prop_assert_eq!(knows.get(key).is_some_and(|(_, firing)| *firing), fires);
        }
        prop_assert!(state.instances.values().all(|i| !i.owes("ops")));
    }
}

#[test]
fn time_without_a_server_and_failed_looks_fire_nothing() {
    let rule = rule(60 * S, 0);
    let mut state = State::default();
    state
        .look(&rule, found(&["a"]), 10 * S, 10 * S, &[])
        .unwrap();
    // A day later, by the wall: `seen` goes on where it was.
    let day = 86_400 * S;
    let mut state = restarted(&state);
    let changed = state.look(&rule, found(&["a"]), 11 * S, day, &[]).unwrap();
    assert!(changed.fired.is_empty());
    assert_eq!(state.instances["a"].since, 10 * S, "pending since is kept");
    let changed = state.look(&rule, found(&["a"]), 70 * S, 0, &[]).unwrap();
    assert_eq!(changed.fired, ["a"]);
}

#[test]
fn over_the_bound_nothing_changes() {
    let mut rule = rule(0, 0);
    rule.instances_max = 2;
    let mut state = State::default();
    state.look(&rule, found(&["a", "b"]), S, S, &[]).unwrap();
    let before = state.clone();
    let over = state.look(&rule, found(&["a", "b", "c"]), 2 * S, 2 * S, &[]);
    assert_eq!(over, Err(TooMany(3)));
    assert_eq!(state, before);
    // Those that end make room.
    state
        .look(&rule, found(&["c", "d"]), 3 * S, 3 * S, &[])
        .unwrap();
    assert_eq!(
        (state.count(Phase::Firing), state.count(Phase::Resolved)),
        (2, 2)
    );
}

#[test]
fn resolved_ones_go_after_their_time_but_not_before_they_were_told() {
    let mut rule = rule(0, 0);
    rule.resolved_for = 10 * S;
    rule.resolved_max = 2;
    let hooks = ["ops".to_owned()];
    let mut state = State::default();
    let at = |state: &mut State, s: i64, keys: &[&str]| {
        state
            .look(&rule, found(keys), s * S, s * S, &hooks)
            .unwrap();
    };
    at(&mut state, 1, &["a"]);
    at(&mut state, 2, &[]);
    at(&mut state, 100, &[]);
    assert_eq!(state.instances.len(), 1, "not told yet");
    state.told("a", "ops", 2, true);
    at(&mut state, 101, &[]);
    assert!(state.instances.is_empty());
    // What is owed is not forgotten because there is much of it ..
    at(&mut state, 102, &["a", "b", "c", "d"]);
    at(&mut state, 103, &[]);
    assert_eq!(state.instances.len(), 4);
    for key in ["a", "b", "c"] {
        let number = state.instances[key].news.clone().unwrap().number;
        state.told(key, "ops", number, true);
    }
    at(&mut state, 104, &[]);
    assert_eq!(state.instances.keys().collect::<Vec<_>>(), ["b", "c", "d"]);
    // .. and what is told of one that was forgotten is no news of the next of its name.
    at(&mut state, 105, &["a"]);
    state.told("a", "ops", 8, true);
    assert!(state.instances["a"].owes("ops"));
    // But there is a bound.
    let keys: Vec<String> = (0..150).map(|n| format!("k{n}")).collect();
    for part in keys.chunks(50) {
        let part: Vec<&str> = part.iter().map(String::as_str).collect();
        at(&mut state, 106, &part);
    }
    at(&mut state, 107, &[]);
    assert_eq!(state.count(Phase::Resolved), 102);
}

#[test]
fn an_end_resolves_what_fires_and_drops_what_waits() {
    let rule = rule(5 * S, 0);
    let mut state = State::default();
    state.look(&rule, found(&["a"]), 0, 0, &[]).unwrap();
    state
        .look(&rule, found(&["a", "b"]), 5 * S, 5 * S, &[])
        .unwrap();
    let changed = state.end(4 * S);
    assert_eq!(changed.resolved, ["a"]);
    assert_eq!(state.instances.len(), 1);
    let news = state.instances["a"].news.clone().unwrap();
    assert_eq!(
        (news.firing, news.starts_at, news.ends_at),
        (false, 5 * S, Some(5 * S))
    );
}
