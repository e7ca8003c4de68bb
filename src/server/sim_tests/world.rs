//! What outlives a server: the disk, the object store, and who decides when the power goes.

use std::fmt::Display;
use std::sync::Arc;

use object_store::memory::InMemory;
use parking_lot::Mutex;

use super::disk::Files;

/// What happens to one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// The power goes before it has done anything.
    Before,
    /// The power goes when it has done a part: a prefix of the bytes, and of an object all or nothing.
    Torn,
    /// It has done its work, and the power goes before it says so.
    After,
    /// It has done nothing and says that it failed.
    Fails,
    /// It has done its work and says that it failed.
    FailsAfter,
    /// There is no room for it, nor for the next two.
    NoRoom,
}

impl How {
    fn ends_power(self) -> bool {
        matches!(self, How::Before | How::Torn | How::After)
    }
}

/// One call, counted from the begin of a life's cuts, and what happens to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) at: u64,
    pub(super) how: How,
}

/// What becomes of a call.
pub(super) enum Fate {
    Done,
    Meets(How),
    /// The power is out, or this is the call of a server that has ended.
    NoPower,
}

/// The generator of Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug)]
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

struct Power {
    /// Servers that were started. Calls of an earlier one do nothing.
    life: u64,
    is_out: bool,
    /// None: calls are not counted.
    calls: Option<u64>,
    cuts: Vec<Cut>,
    met: bool,
    full: u32,
    random: Random,
    trace: Vec<String>,
}

pub(super) struct World {
    power: Mutex<Power>,
    pub(super) files: Mutex<Files>,
    pub(super) objects: Arc<InMemory>,
}

impl World {
    pub(super) fn new(seed: u64) -> Arc<Self> {
        Arc::new(World {
            power: Mutex::new(Power {
                life: 0,
                is_out: false,
                calls: None,
                cuts: Vec::new(),
                met: false,
                full: 0,
                random: Random(seed),
                trace: Vec::new(),
            }),
            files: Mutex::default(),
            objects: Arc::default(),
        })
    }

    /// Another server has the power from now on. Its number.
    pub(super) fn begin_life(&self) -> u64 {
        let mut power = self.power.lock();
        power.life += 1;
        power.is_out = false;
        power.calls = None;
        power.cuts.clear();
        power.full = 0;
        let begun = format!("-- life {}", power.life);
        power.trace.push(begun);
        power.life
    }

    /// From now on calls are counted and cut.
    pub(super) fn cut(&self, cuts: &[Cut]) {
        let mut power = self.power.lock();
        power.calls = Some(0);
        power.cuts = cuts.to_vec();
        power.met = false;
    }

    /// Has any of the cuts been met?
    pub(super) fn has_met(&self) -> bool {
        self.power.lock().met
    }

    pub(super) fn has_power(&self) -> bool {
        !self.power.lock().is_out
    }

    /// The power goes, and what was not synced with it, as chance has it.
    pub(super) fn lose_power(&self) {
        let mut power = self.power.lock();
        power.is_out = true;
        self.files.lock().lose_power(&mut power.random);
    }

    /// One bit of the disk changes.
    pub(super) fn damage(&self) {
        let mut power = self.power.lock();
        let what = self.files.lock().damage(&mut power.random);
        power.trace.push(what);
    }

    /// The process ends and the machine goes on: what was written stays.
    pub(super) fn kill(&self) {
        self.power.lock().is_out = true;
        self.files.lock().keep_all();
    }

    pub(super) fn random(&self, below: u64) -> u64 {
        self.power.lock().random.below(below)
    }

    /// A call that changes something, of the server of this life. `writes`: it needs room.
    pub(super) fn call(&self, life: u64, writes: bool, what: &dyn Display) -> Fate {
        let mut power = self.power.lock();
        if power.life != life || power.is_out {
            return Fate::NoPower;
        }
        let Some(calls) = power.calls.map(|calls| calls + 1) else {
            return Fate::Done;
        };
        power.calls = Some(calls);
        power.trace.push(format!("{calls} {what}"));
        let Some(cut) = power.cuts.iter().find(|cut| cut.at == calls).copied() else {
            if writes && power.full > 0 {
                power.full -= 1;
                return Fate::Meets(How::NoRoom);
            }
            return Fate::Done;
        };
        power.met = true;
        power.is_out = cut.how.ends_power();
        if cut.how == How::NoRoom {
            power.full = 2;
        }
        power.trace.push(format!("   {:?}", cut.how));
        Fate::Meets(cut.how)
    }

    pub(super) fn is_alive(&self, life: u64) -> bool {
        let power = self.power.lock();
        power.life == life && !power.is_out
    }

    /// The calls so far, for who looks for the cause.
    pub(super) fn trace(&self) -> String {
        self.power.lock().trace.join("\n")
    }
}
