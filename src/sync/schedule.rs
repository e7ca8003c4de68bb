//! Threads of which one runs at a time, chosen by chance from a seed: the same seed, the same order. The chooser is asked at each
//! call of a lock of [`crate::sync`], and wherever a model says [`pause`].
//!
//! Nothing of a model waits for the kernel: whoever has to wait asks again when others have gone on. So a model in which nobody
//! gets on takes steps for ever, and is found by their number.
//!
//! The crate shuttle does this with cheaper switches. It is not used because it turns on a feature of smallvec, on which nearly
//! every dependency is built, so that tests and the server would each have all dependencies compiled for them.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use parking_lot::{Condvar, Mutex};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Handle;

/// Steps of one schedule. The models that there are take some hundred.
const STEPS_MAX: usize = 50_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Goes,
    Ended,
}

struct State {
    threads: Vec<Life>,
    /// Whose turn it is.
    turn: usize,
    steps: usize,
    /// Another thread goes on at one in so many points: few switches and many find different faults.
    rarely: u32,
    random: StdRng,
    /// A thread has failed: all others end at their next point.
    broken: bool,
}

struct Schedule {
    state: Mutex<State>,
    turns: Condvar,
}

/// A thread's place in its schedule.
#[derive(Clone)]
struct Place {
    schedule: Arc<Schedule>,
    number: usize,
}

thread_local! {
    static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) };
}

/// With what a thread ends whose schedule is broken by another one.
struct Broken;

impl Place {
    fn here() -> Option<Place> {
        PLACE.with_borrow(Clone::clone)
    }

    /// Waits for this thread's turn.
    fn wait(&self) {
        let mut state = self.schedule.state.lock();
        while state.turn != self.number && !state.broken {
            self.schedule.turns.wait(&mut state);
        }
        let broken = state.broken;
        drop(state);
        if broken && !std::thread::panicking() {
            resume_unwind(Box::new(Broken));
        }
    }

    /// Gives the turn to a thread that goes on, maybe to this one. `others`: this one has nothing to do.
    fn pass(&self, others: bool) {
        let mut state = self.schedule.state.lock();
        state.steps += 1;
        let over = state.steps > STEPS_MAX && !state.broken;
        state.broken |= over;
        let rarely = state.rarely;
        if others || state.random.random_range(0..rarely) == 0 {
            let goes = |(number, life): (usize, &Life)| {
                (*life == Life::Goes && !(others && number == self.number)).then_some(number)
            };
            let ready: Vec<usize> = state.threads.iter().enumerate().filter_map(goes).collect();
            if !ready.is_empty() {
                let at = state.random.random_range(0..ready.len());
                state.turn = ready[at];
            }
        }
        self.schedule.turns.notify_all();
        drop(state);
        assert!(!over, "nobody gets on: {STEPS_MAX} steps");
    }

    fn run<T>(self, work: impl FnOnce() -> T) -> std::thread::Result<T> {
        PLACE.set(Some(self.clone()));
        let done = catch_unwind(AssertUnwindSafe(|| {
            self.wait();
            work()
        }));
        {
            let mut state = self.schedule.state.lock();
            state.threads[self.number] = Life::Ended;
            state.broken |= done.is_err();
        }
        self.pass(true);
        PLACE.set(None);
        done
    }
}

/// Is the present thread one of a model?
pub fn is_model() -> bool {
    PLACE.with_borrow(Option::is_some)
}

/// Another thread may go on here.
pub fn pause() {
    if let Some(place) = Place::here() {
        place.pass(false);
        place.wait();
    }
}

/// Another thread goes on, if there is one.
pub fn give_way() {
    if let Some(place) = Place::here() {
        place.pass(true);
        place.wait();
    }
}

/// What `try_it` gives, as soon as it gives something.
pub fn until<T>(mut try_it: impl FnMut() -> Option<T>) -> T {
    pause();
    loop {
        if let Some(got) = try_it() {
            return got;
        }
        give_way();
    }
}

pub struct JoinHandle<T>(std::thread::JoinHandle<std::thread::Result<T>>, Place);

/// A thread of the model that the present one is a thread of.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let schedule = Place::here().expect("in a model").schedule;
    let number = {
        let mut state = schedule.state.lock();
        state.threads.push(Life::Goes);
        state.threads.len() - 1
    };
    let place = Place { schedule, number };
    let of = place.clone();
    let clock = Handle::try_current().ok();
    let thread = std::thread::spawn(move || {
        let _clock = clock.as_ref().map(Handle::enter);
        of.run(work)
    });
    JoinHandle(thread, place)
}

impl<T> JoinHandle<T> {
    /// Its result; a panic of the thread goes on here.
    pub fn join(self) -> T {
        let JoinHandle(thread, Place { schedule, number }) = self;
        until(|| (schedule.state.lock().threads[number] == Life::Ended).then_some(()));
        let done = thread.join().unwrap_or_else(Err);
        done.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a future on the present thread of a model. It is asked again when it was woken, and not before: a waker that is lost is found.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    let bell = Arc::new(Bell(AtomicBool::new(false)));
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        until(|| bell.0.swap(false, Ordering::SeqCst).then_some(()));
    }
}

/// Runs `model` under so many schedules. One that fails is named by its seed: `DELTAPLANE_TEST_SCHEDULE=17` runs that one alone, and
/// `DELTAPLANE_TEST_SCHEDULES=100000` more of them.
pub fn check(schedules: u64, model: impl Fn() + Send + Sync + 'static) {
    let asked = |name| std::env::var(name).ok().and_then(|n| n.parse().ok());
    let first = asked("DELTAPLANE_TEST_SCHEDULE");
    let last = first.unwrap_or_else(|| asked("DELTAPLANE_TEST_SCHEDULES").unwrap_or(schedules));
    let model = Arc::new(model);
    // What has a time limit wants a clock, which stands still here: nothing in a model is late.
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let clock = clock.handle().clone();
    for seed in first.unwrap_or(1)..=last {
        let schedule = Arc::new(Schedule {
            state: Mutex::new(State {
                threads: vec![Life::Goes],
                turn: 0,
                steps: 0,
                rarely: [1, 2, 5, 20][usize::try_from(seed % 4).unwrap_or(0)],
                random: StdRng::seed_from_u64(seed),
                broken: false,
            }),
            turns: Condvar::new(),
        });
        let place = Place {
            schedule,
            number: 0,
        };
        let (model, clock) = (model.clone(), clock.clone());
        let main = std::thread::spawn(move || {
            let _clock = clock.enter();
            place.run(|| model())
        });
        let done = main.join().unwrap_or_else(Err);
        assert!(done.is_ok(), "schedule {seed} fails, see above");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync;

    /// Two threads that each read, and then write what they have read and one more.
    fn count(together: bool) -> u64 {
        let counter = Arc::new(sync::Mutex::new(0));
        let threads = [0; 2].map(|_| {
            let counter = counter.clone();
            spawn(move || {
                if together {
                    *counter.lock() += 1;
                    return;
                }
                let read = *counter.lock();
                *counter.lock() = read + 1;
            })
        });
        threads.into_iter().for_each(JoinHandle::join);
        *counter.lock()
    }

    #[test]
    fn a_lost_update_is_found_and_one_under_a_lock_is_not_lost() {
        check(200, || assert_eq!(count(true), 2));
        let found = catch_unwind(|| check(200, || assert_eq!(count(false), 2)));
        assert!(found.is_err());
    }

    #[test]
    fn threads_that_wait_for_each_other_are_found() {
        let deadlock = || {
            let locks = Arc::new([sync::Mutex::new(()), sync::Mutex::new(())]);
            let threads = [(0, 1), (1, 0)].map(|(first, second)| {
                let locks = locks.clone();
                spawn(move || {
                    let _first = locks[first].lock();
                    let _second = locks[second].lock();
                })
            });
            threads.into_iter().for_each(JoinHandle::join);
        };
        assert!(catch_unwind(|| check(200, deadlock)).is_err());
    }

    #[test]
    fn a_seed_gives_the_same_order() {
        let order = |seed: u64| {
            let seen = Arc::new(Mutex::new(Vec::new()));
            let of = seen.clone();
            // As `DELTAPLANE_TEST_SCHEDULE` does it, for one seed.
            let model = move || {
                let threads = [0u8, 1, 2].map(|name| {
                    let seen = of.clone();
                    spawn(move || {
                        for _ in 0..5 {
                            seen.lock().push(name);
                            pause();
                        }
                    })
                });
                threads.into_iter().for_each(JoinHandle::join);
            };
            check(seed, model);
            std::mem::take(&mut *seen.lock())
        };
        assert_eq!(order(20), order(20));
    }
}
