//! How much one stream may bring.

use crate::config::Limits;

/// Elements of one column at any level of nesting. A column without buffers has as many as it says; others meet the limit on
/// bytes first.
pub(super) const ELEMENTS_MAX: u64 = 16 * 1024 * 1024;

/// What one stream may bring.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// One batch or one dictionary, decoded.
    pub bytes: u64,
    /// The setting that `bytes` comes from.
    pub bytes_setting: &'static str,
    /// Rows of one batch.
    pub rows: u64,
    /// All dictionaries, decoded.
    pub dictionary_bytes: u64,
    pub columns: usize,
    pub nesting: usize,
}

impl Bounds {
    /// For a stream whose batches are frames of the log.
    pub fn of_batches(limits: &Limits) -> Self {
        Bounds {
            bytes: limits.batch_bytes_max.get(),
            bytes_setting: "limits.batch_bytes_max",
            rows: limits.batch_rows_max as u64,
            ..Bounds::of_messages(limits)
        }
    }

    /// For a stream whose batches are taken as large as a message may be: bulk ingest and parameters.
    pub fn of_messages(limits: &Limits) -> Self {
        Bounds {
            bytes: limits.message_bytes_max.get(),
            bytes_setting: "limits.message_bytes_max",
            rows: ELEMENTS_MAX,
            dictionary_bytes: limits.dictionary_bytes_max.get(),
            columns: limits.columns_max,
            nesting: limits.nesting_max,
        }
    }
}
