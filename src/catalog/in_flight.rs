//! What batches take in memory between their judgement and the moment when their rows are visible: counted with the hot rows
//! against `memory.hot_bytes_max`, before it is made.
//!
//! A table that fills the memory holds up itself: the last part is kept for tables that hold little of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// This part of the memory is kept for tables that hold less than as much themselves.
const KEPT_PART: usize = 8;

/// Bytes of hot rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct HotBytes {
    pub all: usize,
    /// Of tables that cannot commit.
    pub failing: usize,
    /// Of the table that is asked about.
    pub own: usize,
}

/// Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct InFlight {
    bytes: Arc<AtomicUsize>,
    freed: Arc<Notify>,
}

/// What batches of one table take.
#[derive(Clone, Debug, Default)]
pub struct OfTable(Arc<AtomicUsize>);

impl InFlight {
    /// `freed` is told when a batch gives back what it took.
    pub fn new(freed: Arc<Notify>) -> Self {
        InFlight {
            bytes: Arc::default(),
            freed,
        }
    }

    /// Is there memory for a batch of the table now? `hot`: what rows hold that are visible. Batches pass the limit by one at
    /// most, so that one which is larger than the limit can still be taken when it is alone.
    pub fn has_room(&self, table: &OfTable, bytes: usize, hot: HotBytes, limit: usize) -> bool {
        let now = self.bytes.load(Ordering::Acquire);
        now.saturating_add(hot.all) < table.limit(bytes, hot, limit)
    }

    /// Counts `bytes`, if [`InFlight::has_room`] for them.
    pub fn charge(
        &self,
        table: &OfTable,
        bytes: usize,
        hot: HotBytes,
        limit: usize,
    ) -> Option<Charge> {
        let limit = table.limit(bytes, hot, limit);
        let fits =
            |now: usize| (now.saturating_add(hot.all) < limit).then(|| now.saturating_add(bytes));
        self.bytes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, fits)
            .ok()?;
        table.0.fetch_add(bytes, Ordering::AcqRel);
        Some(Charge {
            of: self.clone(),
            table: table.clone(),
            bytes,
        })
    }
}

impl OfTable {
    /// What all tables together may hold before the table's next batch.
    fn limit(&self, bytes: usize, hot: HotBytes, limit: usize) -> usize {
        let kept = limit / KEPT_PART;
        let own = hot.own.saturating_add(self.0.load(Ordering::Acquire));
        if own.saturating_add(bytes) < kept {
            limit
        } else {
            limit - kept
        }
    }
}

/// One batch's part, given back when it is dropped.
#[derive(Debug)]
pub struct Charge {
    of: InFlight,
    table: OfTable,
    bytes: usize,
}

impl Charge {
    /// What the batch has come to.
    pub fn set(&mut self, bytes: usize) {
        for counter in [&self.of.bytes, &self.table.0] {
            if bytes >= self.bytes {
                counter.fetch_add(bytes - self.bytes, Ordering::AcqRel);
            } else {
                counter.fetch_sub(self.bytes - bytes, Ordering::AcqRel);
            }
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        self.table.0.fetch_sub(self.bytes, Ordering::AcqRel);
        self.of.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hot(all: usize, own: usize) -> HotBytes {
        HotBytes {
            all,
            failing: 0,
            own,
        }
    }

    #[test]
    fn all_batches_together_pass_the_limit_by_one_at_most() {
        let (all, table) = (InFlight::default(), OfTable::default());
        let first = all.charge(&table, 80, hot(0, 0), 100);
        let mut second = all.charge(&table, 80, hot(0, 0), 100);
        assert!(first.is_some() && second.is_some());
        assert!(
            all.charge(&table, 1, hot(0, 0), 100).is_none(),
            "160 of 100 are taken"
        );
        if let Some(second) = &mut second {
            second.set(5);
        }
        assert!(all.charge(&table, 1, hot(10, 0), 100).is_none());
        drop((first, second));
        assert!(
            all.charge(&table, 1000, hot(0, 0), 100).is_some(),
            "alone, of any size"
        );
        assert_eq!(table.0.load(Ordering::Acquire), 0);
    }

    #[test]
    fn a_table_that_fills_the_memory_leaves_a_part_to_the_others() {
        let (all, greedy, modest) = (InFlight::default(), OfTable::default(), OfTable::default());
        let mut taken = Vec::new();
        while let Some(charge) = all.charge(&greedy, 50, hot(0, 0), 800) {
            taken.push(charge);
        }
        assert_eq!(taken.len(), 14, "seven eighths of 800");
        assert!(!all.has_room(&greedy, 1, hot(0, 0), 800));
        assert!(all.has_room(&modest, 99, hot(0, 0), 800));
        let small = all.charge(&modest, 60, hot(0, 0), 800);
        assert!(small.is_some());
        assert!(
            !all.has_room(&modest, 60, hot(0, 0), 800),
            "with what is on its way it holds an eighth"
        );
        assert!(
            !all.has_room(&modest, 10, hot(0, 90), 800),
            "hot rows count"
        );
        taken.clear();
        assert!(all.has_room(&greedy, 50, hot(0, 0), 800));
    }
}
