//! The most that a piece of work holds at once, for tests of readers that must not allocate what their input declares.

use std::sync::atomic::{AtomicI64, Ordering};

use tracking_allocator::AllocationGroupId;

use super::{Account, GROUPS_MAX, Group};

/// The most that a group has had since it was last set.
static PEAKS: [AtomicI64; GROUPS_MAX] = [const { AtomicI64::new(0) }; GROUPS_MAX];

/// The group has so many bytes now.
pub(super) fn note(group: &AllocationGroupId, bytes: i64) {
    if let Some(peak) = PEAKS.get(group.as_usize().get()) {
        peak.fetch_max(bytes, Ordering::Relaxed);
    }
}

/// What `work` gives, and the most bytes that it held at once on this thread.
pub fn peak<R>(work: impl FnOnce() -> R) -> (R, u64) {
    let account = Account::default();
    let Some(group) = account.lend() else {
        return (work(), 0);
    };
    let (at, before) = (group.at, Group::bytes(group.at));
    // It is the one that is lent next.
    account.0.lock().idle.push(group);
    PEAKS[at].store(before, Ordering::Relaxed);
    let made = account.count(work);
    let most = PEAKS[at].load(Ordering::Relaxed) - before;
    (made, u64::try_from(most).unwrap_or(0))
}

#[test]
fn the_peak_of_work_is_what_it_held_at_once() {
    super::count();
    let ((), bytes) = peak(|| {
        for _ in 0..3 {
            drop(std::hint::black_box(vec![1u8; 2 << 20]));
        }
    });
    assert!((2 << 20..3 << 20).contains(&bytes), "{bytes}");
}
