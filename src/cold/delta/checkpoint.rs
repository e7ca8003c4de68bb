//! Delta checkpoints and the end of old log entries. Both are made from an immutable version, beside the commits and without
//! their lock: a reader needs them to start fast, no commit waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use deltalake::DeltaTable;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::super::{Error, Lake, store_error};
use super::table::{ColdTable, version_of};
use crate::config::size::parse_interval;

/// The property by which a table says how long its log entries are kept.
pub const LOG_RETENTION: &str = "delta.logRetentionDuration";
/// The property by which a table says how long removed files are kept.
pub const FILE_RETENTION: &str = "delta.deletedFileRetentionDuration";

/// The version that the table's newest checkpoint is of, as `_last_checkpoint` tells; 0 if there is none.
pub(super) async fn newest(lake: &Lake, folder: &str) -> i64 {
    let read = async {
        let path =
            Path::parse(format!("{}/_delta_log/_last_checkpoint", lake.path(folder))).ok()?;
        let bytes = lake.store().get(&path).await.ok()?.bytes().await.ok()?;
        let hint: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        hint["version"].as_i64()
    };
    // Unreadable or absent: the next checkpoint comes a little early.
    read.await.unwrap_or(0)
}

impl ColdTable {
    /// A checkpoint that is due, to be written without the commit lock; none before `every` versions since the last.
    pub fn checkpoint_due(&self, every: i64) -> Option<Checkpointer> {
        let previous = self.checkpointed.load(Ordering::Relaxed);
        (self.version() - previous >= every).then(|| Checkpointer {
            folder: self.folder.clone(),
            delta: self.delta.clone(),
            previous,
            checkpointed: self.checkpointed.clone(),
            log_retention: self.interval(LOG_RETENTION),
        })
    }

    /// What the table itself says of a retention.
    pub fn interval(&self, property: &str) -> Option<Duration> {
        self.properties()
            .get(property)
            .and_then(|v| parse_interval(v))
    }
}

/// One checkpoint of one version.
pub struct Checkpointer {
    folder: String,
    delta: DeltaTable,
    previous: i64,
    checkpointed: Arc<AtomicI64>,
    log_retention: Option<Duration>,
}

impl Checkpointer {
    pub fn version(&self) -> i64 {
        version_of(&self.delta)
    }

    /// Writes the checkpoint, then removes log entries that are older than the table's retention, or else `log_retention`.
    /// Returns how many. Entries from the checkpoint before this one on stay: the table's handle may still read them.
    ///
    /// # Errors
    /// `Store`: the log is as it was, or has its checkpoint already; the next one tries again.
    pub async fn write(self, log_retention: Duration) -> Result<usize, Error> {
        let runtime = tokio::runtime::Handle::current();
        // deltalake writes it on the thread that asks.
        let work = move || runtime.block_on(self.written(log_retention));
        tokio::task::spawn_blocking(work)
            .await
            .map_err(store_error)?
    }

    async fn written(self, log_retention: Duration) -> Result<usize, Error> {
        deltalake::checkpoints::create_checkpoint(&self.delta, None)
            .await
            .map_err(store_error)?;
        self.checkpointed
            .fetch_max(self.version(), Ordering::Relaxed);
        if self.previous <= 0 {
            return Ok(0);
        }
        let retention = self.log_retention.unwrap_or(log_retention);
        let retention = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let removed = deltalake::checkpoints::cleanup_expired_logs_for(
            u64::try_from(self.previous).unwrap_or(0),
            self.delta.log_store().as_ref(),
            crate::clock::utc_now()
                .timestamp_millis()
                .saturating_sub(retention),
            None,
        )
        .await
        .map_err(store_error)?;
        tracing::debug!(folder = %self.folder, version = self.version(), removed, "checkpoint written");
        Ok(removed)
    }
}
