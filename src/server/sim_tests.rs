//! A simulator of crashes. A whole server runs on a disk ([`disk`]) and an object store ([`store`]) that a [`World`] holds. The world
//! counts each call that changes something, and at one of them, named beforehand, the power goes (before the call, in its middle, after
//! it) or the call fails. Then the disk loses what was not synced, as the seed says, and a new server starts on what is left. What it
//! answers is held against a model that fits on a page ([`model`]): every acked change is there once, of the unacked ones the first few
//! or none, each as a whole.
//!
//! Each scenario of [`scenarios`] is cut at each of its calls, and each start that follows is cut once more. [`random`] strings steps and
//! cuts together from a seed.
//!
//! Not simulated: threads (the log's writer, the engine's and the encoders are real ones, so a seed fixes the faults and not every
//! interleaving), the clock, and the files outside the log's disk (`log.identity`, alerts; `running` and `suspects` are gone after
//! each power cut, as an unsynced page cache is).
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod disk;
mod life;
mod lives;
mod model;
mod random;
mod scenarios;
mod store;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::*;
use lives::lives;
use model::Model;
use scenarios::Scenario;
use world::{Cut, How, World};

/// Calls that are cut at the same time, each in a world of its own: a life waits more than it works.
const AT_ONCE: usize = 8;

/// The scenario with each of these faults at each of its calls; of those that leave the power on, one a call, in turn.
fn every_cut(name: &str, scenario: &Scenario) {
    let next = AtomicU64::new(1);
    let end = AtomicU64::new(u64::MAX);
    let cut_them = || {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at > end.load(Ordering::SeqCst) {
                return;
            }
            let failing = [How::Fails, How::FailsAfter, How::NoRoom][(at % 3) as usize];
            let mut is_met = false;
            for how in [How::Before, How::Torn, How::After, failing] {
                let cut = Cut { at, how };
                match lives(scenario, cut, at * 8 + how as u64) {
                    Ok(met) => is_met |= met,
                    Err(why) => panic!("{name}, {how:?} at call {at}: {why}"),
                }
            }
            if !is_met {
                end.fetch_min(at, Ordering::SeqCst);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(cut_them);
        }
    });
    let calls = end.load(Ordering::SeqCst);
    assert!(calls > 3, "{name}: no call was cut");
    println!("{name}: {calls} calls");
}

macro_rules! scenario {
    ($($name:ident),+ $(,)?) => {
        $(#[test]
        fn $name() {
            every_cut(stringify!($name), &scenarios::$name());
        })+
    };
}

scenario!(
    creation,
    stream,
    resend,
    two_epochs,
    coalesced_group,
    flush,
    keys,
    quarantine,
    replay,
    alter,
    drop_and_create_again,
    restore,
    compaction_and_vacuum,
    view,
    shutdown,
);

/// `DELTAPLANE_TEST_CRASH_SEEDS` asks for more of them, `DELTAPLANE_TEST_CRASH_SEED` for one.
#[test]
fn random_lives() {
    let asked = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let (first, last) = match asked("DELTAPLANE_TEST_CRASH_SEED") {
        Some(one) => (one, one),
        None => (1, asked("DELTAPLANE_TEST_CRASH_SEEDS").unwrap_or(40)),
    };
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let live_them = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed > last {
                return;
            }
            let why = match std::panic::catch_unwind(|| random::life(seed)) {
                Ok(Ok(())) => continue,
                Ok(Err(why)) => why,
                Err(_) => "a panic, above".to_owned(),
            };
            // Told at once: a hundred thousand of them take hours.
            println!("seed {seed}: {why}");
            failed.lock().push(seed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(live_them);
        }
    });
    assert_eq!(
        failed.into_inner(),
        [0; 0],
        "seeds that failed, of {first} to {last}"
    );
}
