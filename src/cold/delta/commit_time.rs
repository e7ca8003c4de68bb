//! The time that a version bears. Readers find a version by it, so it never goes back, whatever the server's clock does.

use deltalake::kernel::{Action, CommitInfo};
use deltalake::protocol::DeltaOperation;

use super::super::{Error, store_error};
use super::history::entry;
use super::table::ColdTable;
use crate::clock::{Clock, SystemClock};

/// Later than the version before, in milliseconds since 1970: now, or a millisecond behind it.
fn next(now: i64, last: i64) -> i64 {
    now.max(last.saturating_add(1))
}

impl ColdTable {
    /// The actions of one version, with its time in front. Remembered by [`ColdTable::committed_at`] once it is in the log.
    pub(super) fn timed(
        &self,
        mut actions: Vec<Action>,
        operation: &DeltaOperation,
    ) -> (Vec<Action>, i64) {
        let at = next(SystemClock.now() / 1000, self.committed_ms);
        let info = CommitInfo {
            timestamp: Some(at),
            engine_info: Some(concat!("deltaplane ", env!("CARGO_PKG_VERSION")).to_owned()),
            ..operation.get_commit_info()
        };
        actions.insert(0, Action::CommitInfo(info));
        (actions, at)
    }

    /// A version of ours is in the log, or another writer's was found there.
    pub(super) fn committed_at(&mut self, at: i64) {
        self.committed_ms = self.committed_ms.max(at);
    }

    /// Reads the time of the newest version, which this handle did not write.
    ///
    /// # Errors
    /// `Store`: the log did not answer. An entry that is cleaned up already has a time long past.
    pub(super) async fn read_commit_time(&mut self) -> Result<(), Error> {
        let Ok(version) = u64::try_from(self.version()) else {
            return Ok(());
        };
        let read = self.delta.log_store().read_commit_entry(version).await;
        if let Some(bytes) = read.map_err(store_error)? {
            self.committed_at(entry(self.version(), 0, &bytes).timestamp_ms);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::next;

    #[test]
    fn a_version_is_later_than_the_one_before_it_whatever_the_clock_says() {
        assert_eq!(next(1000, 900), 1000);
        assert_eq!(next(1000, 1000), 1001);
        assert_eq!(next(-5, 4_000_000_000_000), 4_000_000_000_001);
    }
}
