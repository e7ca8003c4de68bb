//! What batches take in memory between their judgement and the moment when their rows are visible: counted with the hot rows
//! against `memory.hot_bytes_max`, before it is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    bytes: Arc<AtomicUsize>,
    freed: Arc<Notify>,
}

impl InFlight {
    /// `freed` is told when a batch gives back what it took.
    pub fn new(freed: Arc<Notify>) -> Self {
        InFlight {
            bytes: Arc::default(),
            freed,
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Acquire)
    }

    /// Counts `bytes` if less than `limit` is taken now, `held` included: so that all together pass the limit by one batch at
    /// most, and a batch that is larger than the limit can still be taken when it is alone.
    pub fn charge(&self, bytes: usize, held: usize, limit: usize) -> Option<Charge> {
        let fits =
            |now: usize| (now.saturating_add(held) < limit).then(|| now.saturating_add(bytes));
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .ok()?;
        Some(Charge {
            of: self.clone(),
            bytes,
        })
    }
}

/// One batch's part, given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    of: InFlight,
    bytes: usize,
}

impl Charge {
    /// What the batch has come to.
    pub fn set(&mut self, bytes: usize) {
        if bytes >= self.bytes {
            self.of
                .bytes
                .fetch_add(bytes - self.bytes, Ordering::AcqRel);
        } else {
            self.of
                .bytes
                .fetch_sub(self.bytes - bytes, Ordering::AcqRel);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_batches_together_pass_the_limit_by_one_at_most() {
        let all = InFlight::default();
        let first = all.charge(80, 10, 100);
        let mut second = all.charge(80, 10, 100);
        assert!(first.is_some() && second.is_some());
        assert!(all.charge(1, 10, 100).is_none(), "170 of 100 are taken");
        assert!(all.charge(1, 100, 100).is_none());
        if let Some(second) = &mut second {
            second.set(5);
        }
        assert_eq!(all.bytes(), 85);
        drop((first, second));
        assert_eq!(all.bytes(), 0);
        assert!(all.charge(1000, 0, 100).is_some(), "alone, of any size");
    }
}
