//! The locks of `parking_lot`, and within a model check points at which another thread may go on. What is held is tried again
//! there when others have gone on.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::schedule::{give_way, is_model, until};

#[derive(Debug, Default)]
pub struct Mutex<T>(parking_lot::Mutex<T>);

pub struct MutexGuard<'a, T> {
    of: &'a Mutex<T>,
    /// None: given back while its thread waits for a bell.
    held: Option<parking_lot::MutexGuard<'a, T>>,
}

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Mutex(parking_lot::Mutex::new(value))
    }

    pub fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard {
            of: self,
            held: Some(self.hold()),
        }
    }

    fn hold(&self) -> parking_lot::MutexGuard<'_, T> {
        if is_model() {
            until(|| self.0.try_lock())
        } else {
            self.0.lock()
        }
    }

    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.held.as_ref().expect("held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.held.as_mut().expect("held")
    }
}

#[derive(Debug, Default)]
pub struct RwLock<T>(parking_lot::RwLock<T>);

impl<T> RwLock<T> {
    pub const fn new(value: T) -> Self {
        RwLock(parking_lot::RwLock::new(value))
    }

    pub fn read(&self) -> parking_lot::RwLockReadGuard<'_, T> {
        if is_model() {
            until(|| self.0.try_read())
        } else {
            self.0.read()
        }
    }

    pub fn write(&self) -> parking_lot::RwLockWriteGuard<'_, T> {
        if is_model() {
            until(|| self.0.try_write())
        } else {
            self.0.write()
        }
    }
}

#[derive(Debug, Default)]
pub struct Condvar {
    bell: parking_lot::Condvar,
    /// How often it rang, for models.
    rung: AtomicU64,
}

/// How a wait ended.
pub struct Waited {
    timed_out: bool,
}

impl Waited {
    pub fn timed_out(&self) -> bool {
        self.timed_out
    }
}

/// A wait within a model is over when others have gone on so often: which may be before the bell, or long after it.
const TURNS: u32 = 20;

impl Condvar {
    pub fn notify_one(&self) {
        self.rung.fetch_add(1, Ordering::SeqCst);
        self.bell.notify_one();
    }

    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, limit: Duration) -> Waited {
        if !is_model() {
            let held = guard.held.as_mut().expect("held");
            let timed_out = self.bell.wait_for(held, limit).timed_out();
            return Waited { timed_out };
        }
        let before = self.rung.load(Ordering::SeqCst);
        guard.held = None;
        let is_over = |_: &u32| {
            give_way();
            self.rung.load(Ordering::SeqCst) != before
        };
        let timed_out = !(0..TURNS).any(|turn| is_over(&turn));
        guard.held = Some(guard.of.hold());
        Waited { timed_out }
    }
}
