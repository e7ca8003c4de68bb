//! What a dataset's devices have in common: rows in batches, and a clock for their event times.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, TimeUnit};

/// A dataset's devices. Rows come with their event time in a column `ts`, so that faults can move it.
pub trait Telemetry: Send {
    /// Rows that there are; none for a source without an end.
    fn len(&self) -> Option<u64> {
        None
    }

    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Rows a second when nothing hurries them.
    fn natural_rate(&self) -> f64;

    /// Rows that the devices send at once, at their own pace: a tenth of a second's, unless they come in rounds.
    fn burst(&self) -> usize {
        ((self.natural_rate() / 10.0) as usize).clamp(1, 8192)
    }

    /// The next rows. `now`: microseconds since 1970.
    ///
    /// # Errors
    /// The columns do not fit together, which is a bug.
    fn batch(&mut self, rows: usize, now: i64) -> anyhow::Result<RecordBatch>;

    /// The batch as the devices send it: their form of time, their names.
    ///
    /// # Errors
    /// As [`Telemetry::batch`].
    fn wire(&mut self, batch: RecordBatch) -> anyhow::Result<RecordBatch> {
        Ok(batch)
    }
}

/// Event times, each above the one before, so that (device, time) is a key.
#[derive(Clone, Debug)]
pub struct Clock {
    last: i64,
    /// Between two ticks at least, microseconds.
    step: i64,
    /// Follows the wall clock; a simulated one goes on by `step` alone.
    live: bool,
}

impl Clock {
    /// From `start` (microseconds since 1970) on, and never behind the wall clock.
    pub fn live(start: i64) -> Self {
        Clock {
            last: start - 1,
            step: 1,
            live: true,
        }
    }

    /// As [`Clock::live`], with ticks in whole milliseconds.
    pub fn live_millis(start: i64) -> Self {
        Clock {
            last: start - start.rem_euclid(1000) - 1000,
            step: 1000,
            live: true,
        }
    }

    /// `start`, `start + step`, .. whatever the wall clock says.
    pub fn simulated(start: i64, step: i64) -> Self {
        Clock {
            last: start - step,
            step,
            live: false,
        }
    }

    pub fn tick(&mut self, now: i64) -> i64 {
        let next = self.last + self.step;
        self.last = if self.live {
            next.max(now - now.rem_euclid(self.step))
        } else {
            next
        };
        self.last
    }
}

/// Rounds to so many decimals.
pub fn round(value: f64, decimals: i32) -> f64 {
    let scale = 10f64.powi(decimals);
    (value * scale).round() / scale
}

pub fn ts_field() -> Field {
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Field::new("ts", utc, false)
}

pub fn times_array(times: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
}
