//! Memory counted where it is allocated: every allocation bears the account that it was made for, whoever frees it later.
//!
//! The allocator (`tracking-allocator` around jemalloc) keeps a group's number beside each allocation. A group can be entered
//! by one thread at a time, so an [`Account`] owns as many groups as threads have worked for it at once, and its bytes are
//! the sum of theirs. Groups come from a pool and go back to it; what outlives its account (a cache that a query has filled)
//! is the next owner's starting point, and not its debt.

#[cfg(test)]
mod peaks;
mod resident;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;
use tracking_allocator::{
    AllocationGroupId, AllocationGroupToken, AllocationRegistry, AllocationTracker, Allocator,
};

#[cfg(test)]
pub use peaks::peak;
pub use resident::{Watch, give_back_above};

/// Batches of half a megabyte come and go thousands of times a second: the system's allocator hands each back to the kernel
/// and has its pages zeroed again, a fifth of the ingest path's time. jemalloc keeps them, and gives back what is free: its
/// settings are in `.cargo/config.toml`, the reasons in docs/performance.md, "Memory".
pub type Counting = Allocator<tikv_jemallocator::Jemalloc>;

/// The binary's allocator.
pub const fn allocator() -> Counting {
    Allocator::from_allocator(tikv_jemallocator::Jemalloc)
}

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: Counting = allocator();

/// Groups that are counted. Beyond, work goes on uncounted: some hundred threads at once need some hundred groups.
const GROUPS_MAX: usize = 1 << 14;

/// One group's bytes, on a cache line of its own.
#[repr(align(64))]
struct Bytes(AtomicI64);

static BYTES: [Bytes; GROUPS_MAX] = [const { Bytes(AtomicI64::new(0)) }; GROUPS_MAX];

/// Groups without an owner, the one that has rested longest first: what it was left with has had time to go.
static RESTING: Mutex<VecDeque<Group>> = Mutex::new(VecDeque::new());

struct Tracker;

impl AllocationTracker for Tracker {
    fn allocated(&self, _: usize, _: usize, size: usize, group: AllocationGroupId) {
        add(&group, i64::try_from(size).unwrap_or(i64::MAX));
    }

    fn deallocated(
        &self,
        _: usize,
        _: usize,
        size: usize,
        source: AllocationGroupId,
        _: AllocationGroupId,
    ) {
        add(&source, -i64::try_from(size).unwrap_or(i64::MAX));
    }
}

fn add(group: &AllocationGroupId, bytes: i64) {
    if *group != AllocationGroupId::ROOT
        && let Some(counter) = BYTES.get(group.as_usize().get())
    {
        counter.0.fetch_add(bytes, Ordering::Relaxed);
        #[cfg(test)]
        peaks::note(group, counter.0.load(Ordering::Relaxed));
    }
}

/// Begins to count. Again, it does nothing.
pub fn count() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    if !BEGUN.swap(true, Ordering::AcqRel)
        && AllocationRegistry::set_global_tracker(Tracker).is_ok()
    {
        AllocationRegistry::enable_tracking();
    }
}

struct Group {
    token: AllocationGroupToken,
    at: usize,
}

impl Group {
    fn bytes(at: usize) -> i64 {
        BYTES.get(at).map_or(0, |b| b.0.load(Ordering::Relaxed))
    }

    fn new() -> Option<Group> {
        if let Some(group) = RESTING.lock().pop_front() {
            return Some(group);
        }
        let token = AllocationGroupToken::register()?;
        let at = token.id().as_usize().get();
        (at < GROUPS_MAX).then_some(Group { token, at })
    }
}

#[derive(Default)]
struct Groups {
    idle: Vec<Group>,
    /// Every group that is or was lent: its number, and its bytes before.
    owned: Vec<(usize, i64)>,
}

/// What one piece of work, on however many threads, has allocated and not freed.
#[derive(Default)]
pub struct Account(Mutex<Groups>);

impl Account {
    pub fn bytes(&self) -> u64 {
        let groups = self.0.lock();
        let bytes: i64 = groups
            .owned
            .iter()
            .map(|(at, before)| Group::bytes(*at) - before)
            .sum();
        u64::try_from(bytes).unwrap_or(0)
    }

    /// What `work` allocates on this thread is counted here.
    pub fn count<R>(&self, work: impl FnOnce() -> R) -> R {
        let Some(group) = self.lend() else {
            return work();
        };
        let mut lent = Lent {
            account: self,
            group: Some(group),
        };
        let entered = lent.group.as_mut().map(|g| g.token.enter());
        let made = work();
        drop(entered);
        made
    }

    fn lend(&self) -> Option<Group> {
        let mut groups = self.0.lock();
        if let Some(group) = groups.idle.pop() {
            return Some(group);
        }
        let group = Group::new()?;
        groups.owned.push((group.at, Group::bytes(group.at)));
        Some(group)
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        RESTING.lock().extend(self.0.get_mut().idle.drain(..));
    }
}

/// A group while a thread works for it; it goes back also from a panic.
struct Lent<'a> {
    account: &'a Account,
    group: Option<Group>,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        if let Some(group) = self.group.take() {
            self.account.0.lock().idle.push(group);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::sync::Arc;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn an_allocation_is_counted_until_it_is_freed_wherever_that_is() {
        count();
        let account = Arc::new(Account::default());
        let kept = account.count(|| vec![1u8; 8 << 20]);
        assert!((8 * MIB..9 * MIB).contains(&account.bytes()));
        // Others' allocations are not, nor what others do with these.
        let other = vec![2u8; 4 << 20];
        assert!(account.bytes() < 9 * MIB);
        let grown = std::thread::spawn({
            let account = account.clone();
            move || account.count(|| [kept, vec![3u8; 8 << 20]].concat())
        });
        let grown = grown.join().unwrap();
        assert!((16 * MIB..17 * MIB).contains(&account.bytes()));
        drop((grown, other));
        assert!(account.bytes() < MIB);
    }

    #[test]
    fn accounts_within_each_other_and_on_many_threads_do_not_mix() {
        count();
        let (outer, inner) = (Account::default(), Account::default());
        let kept = outer.count(|| (inner.count(|| vec![1u8; 2 << 20]), vec![1u8; 1 << 20]));
        assert!((MIB..2 * MIB).contains(&outer.bytes()), "{}", outer.bytes());
        assert!((2 * MIB..3 * MIB).contains(&inner.bytes()));
        let all: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let work = |_| scope.spawn(|| inner.count(|| vec![0u8; 1 << 20]));
            let threads: Vec<_> = (0..8).map(work).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert!((10 * MIB..11 * MIB).contains(&inner.bytes()));
        drop((kept, all));
        assert!(inner.bytes() < MIB && outer.bytes() < MIB);
    }

    #[test]
    fn what_outlives_its_account_is_not_the_next_ones_debt() {
        count();
        let first = Account::default();
        let kept = first.count(|| vec![1u8; 64 << 20]);
        drop(first);
        // However many of the resting groups they take.
        let next: Vec<Account> = (0..40).map(|_| Account::default()).collect();
        let small: Vec<Vec<u8>> = next
            .iter()
            .map(|a| a.count(|| vec![1u8; 1 << 20]))
            .collect();
        assert!(next.iter().all(|a| a.bytes() < 2 * MIB));
        // A group may have rested with bytes of another test, which are freed meanwhile.
        let full = next.iter().filter(|a| a.bytes() >= MIB).count();
        assert!(full > next.len() / 2, "{full}");
        drop((kept, small));
        // Freed since, it makes the account no less than nothing.
        assert!(next.iter().all(|a| a.bytes() < MIB));
    }

    #[test]
    fn a_panic_ends_the_counting_of_its_work() {
        count();
        let account = Account::default();
        // Without the hook: what it keeps to print a backtrace would be counted.
        let panic = || account.count(|| std::panic::resume_unwind(Box::new("meant")));
        let work = std::panic::AssertUnwindSafe(panic);
        assert!(std::panic::catch_unwind(work).is_err());
        let _after = vec![1u8; 4 << 20];
        assert!(account.bytes() < MIB);
        assert_eq!(account.0.lock().idle.len(), 1);
    }
}
