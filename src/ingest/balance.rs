//! Whether a stream's batches are compressed in the log.

use std::time::{Duration, Instant};

use crate::records::{Encoded, Stored};

/// Below this a batch is compressed without asking: its time is nothing beside the sync's.
const SMALL: usize = 64 * 1024;
/// So many batches go by uncompressed before the next one is tried again.
const TRY_AGAIN: u32 = 64;

/// Whether LZ4 pays on a stream: the time that it takes against the time in which the disk would write what it saves. On a slow
/// disk it does, on a fast one the core has better things to do; noise in floats seldom shrinks at all.
#[derive(Debug, Default)]
pub(super) struct Balance {
    /// Nanoseconds a byte of input, and bytes saved a byte of input, at the last try.
    cost: f64,
    saved: f64,
    skipped: u32,
}

impl Balance {
    /// The batch as the log gets it. `disk_ns_per_byte`: what the log's disk takes for a byte, 0 if unknown.
    pub(super) fn store(&mut self, batch: &Encoded, disk_ns_per_byte: f64) -> Stored {
        if self.wants(batch.len(), disk_ns_per_byte) {
            let began = Instant::now();
            let block = batch.compressed();
            self.measured(batch.len(), block.len(), began.elapsed());
            if block.len() < batch.len() {
                return block;
            }
        }
        batch.stored()
    }

    fn wants(&mut self, bytes: usize, disk_ns_per_byte: f64) -> bool {
        if bytes == 0 {
            return false;
        }
        let unknown = self.cost == 0.0 || disk_ns_per_byte == 0.0;
        if bytes < SMALL || unknown || self.cost < self.saved * disk_ns_per_byte {
            return true;
        }
        self.skipped += 1;
        if self.skipped < TRY_AGAIN {
            return false;
        }
        self.skipped = 0;
        true
    }

    fn measured(&mut self, input: usize, output: usize, took: Duration) {
        if input >= SMALL {
            self.cost = took.as_nanos() as f64 / input as f64;
            self.saved = 1.0 - (output as f64 / input as f64).min(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lz4_is_used_where_the_disk_is_slower_than_it() {
        let mut balance = Balance::default();
        let bytes = 1 << 20;
        assert!(balance.wants(bytes, 0.0), "nothing is known yet");
        // Half of it saved at 2 ns a byte: worth it above 4 ns a byte of disk.
        balance.measured(bytes, bytes / 2, Duration::from_nanos(2 * bytes as u64));
        assert!(balance.wants(bytes, 5.0));
        assert!(!balance.wants(bytes, 3.0));
        assert!(balance.wants(1000, 3.0), "small batches always");
        assert!(
            (0..TRY_AGAIN).any(|_| balance.wants(bytes, 3.0)),
            "tried again after a while"
        );
    }
}
