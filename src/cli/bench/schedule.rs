//! When the open loop sends which batch, and how batches are shared among streams. No clock.

use std::time::Duration;

/// Batches at even distances, the streams in turn: batch `n` is due `n * batch_rows / rate` seconds after the start, whatever
/// became of those before it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// Rows a second of all streams together.
    pub rate: f64,
    pub batch_rows: usize,
}

impl Schedule {
    /// When batch `n` is due, from 0.
    pub(super) fn due(&self, n: u64) -> Duration {
        Duration::from_secs_f64(n as f64 * self.batch_rows as f64 / self.rate)
    }

    /// Batches that are due within so long a time; one at least.
    pub(super) fn batches_within(&self, time: Duration) -> u64 {
        let batches = time.as_secs_f64() * self.rate / self.batch_rows as f64;
        (batches.ceil() as u64).max(1)
    }

    /// Microseconds between two rows of one of the streams, as their event times have it; one at least.
    pub(super) fn micros_a_row(&self, streams: usize) -> i64 {
        ((1e6 * streams as f64 / self.rate) as i64).max(1)
    }
}

/// How many of `batches` are those of one stream, where streams take them in turn.
pub(super) fn share(batches: u64, streams: u64, stream: u64) -> u64 {
    batches.saturating_sub(stream).div_ceil(streams)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_due_at_even_distances_by_the_rate_alone() {
        let schedule = Schedule {
            rate: 10_000.0,
            batch_rows: 250,
        };
        let due: Vec<u128> = (0..4).map(|n| schedule.due(n).as_micros()).collect();
        assert_eq!(due, [0, 25_000, 50_000, 75_000]);
        // No drift: a day later the distance is the same.
        let day = 40 * 86_400;
        assert_eq!(schedule.due(day), Duration::from_secs(86_400));
        assert_eq!(
            schedule.due(day + 1) - schedule.due(day),
            schedule.due(1) - schedule.due(0)
        );
    }

    #[test]
    fn all_batches_that_are_due_before_the_end_are_sent() {
        let schedule = Schedule {
            rate: 1000.0,
            batch_rows: 100,
        };
        for (millis, batches) in [(1, 1), (100, 1), (101, 2), (1000, 10), (1050, 11)] {
            let time = Duration::from_millis(millis);
            assert_eq!(schedule.batches_within(time), batches, "{millis} ms");
            assert!(schedule.due(batches - 1) < time && schedule.due(batches) >= time);
        }
        let slow = Schedule {
            rate: 0.001,
            batch_rows: 1,
        };
        assert_eq!(slow.batches_within(Duration::from_secs(1)), 1);
    }

    #[test]
    fn event_times_of_a_stream_go_at_the_pace_of_its_rows() {
        let schedule = |rate| Schedule {
            rate,
            batch_rows: 10,
        };
        assert_eq!(schedule(1000.0).micros_a_row(1), 1000);
        assert_eq!(schedule(1000.0).micros_a_row(4), 4000);
        assert_eq!(schedule(1e9).micros_a_row(1), 1);
    }

    #[test]
    fn the_shares_of_all_streams_are_all_batches() {
        for (batches, streams) in [(0, 3), (1, 3), (3, 3), (10, 4), (7, 64)] {
            let shares: Vec<u64> = (0..streams).map(|s| share(batches, streams, s)).collect();
            assert_eq!(shares.iter().sum::<u64>(), batches, "{shares:?}");
            assert!(
                shares.is_sorted_by(|a, b| a >= b && a - b <= 1),
                "{shares:?}"
            );
        }
    }
}
