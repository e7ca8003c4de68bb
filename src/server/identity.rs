//! Which log a data directory has: `log.identity` in it, with the log's uuid. So a log's folder that is empty (its disk is not
//! mounted, somebody removed it) is told from a first start, and another server's log from our own.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use crate::config::Config;
use crate::fault::{Fault, Kind};
use crate::wal::{FileIndex, RealDisk};

const KEY: &str = "uuid";

pub(crate) struct Identity {
    file: FileIndex,
    log_dir: String,
}

impl Identity {
    pub(crate) fn of(config: &Config) -> Self {
        let path = config.server.data_dir.join("log.identity");
        Identity {
            file: FileIndex::new(path, Arc::new(RealDisk)),
            log_dir: config.log_dir().display().to_string(),
        }
    }

    /// `found`: the log that the folder holds; none if it holds none.
    ///
    /// # Errors
    /// DATA_LOSS `log_missing`: the data directory has another log.
    pub(crate) fn check(&self, found: Option<Uuid>) -> Result<(), Fault> {
        let file = self.file.path().display();
        let refused = |problem: String| Fault::new(Kind::Corrupt, "log_missing", problem);
        let known: BTreeMap<String, String> = match (self.file.entries(), found) {
            (Ok(known), _) => known,
            // The log is there and says itself which it is.
            (Err(problem), Some(_)) => {
                tracing::warn!("{file} cannot be read and is made anew: {problem}");
                return Ok(());
            }
            (Err(problem), None) => {
                return Err(refused(format!(
                    "the log's folder {} is empty, and {file}, which says whether there was a log, cannot be read: {problem}; bring the log back, or, if there never was one, delete {file}",
                    self.log_dir
                )));
            }
        };
        match (known.get(KEY), found) {
            (None, _) => Ok(()),
            (Some(known), Some(found)) if *known == found.to_string() => Ok(()),
            (Some(known), Some(found)) => Err(refused(format!(
                "the folder {} holds the log {found}, but this data directory has the log {known} ({file}); check log.dir, bring that log back, or delete {file} to go on with the one that is there",
                self.log_dir
            ))),
            (Some(known), None) => Err(refused(format!(
                "the log's folder {} is empty, but this data directory has the log {known} ({file}): is its disk mounted, is log.dir right? Bring it back; or delete {file} to begin a new log, which knows none of the tables, rows and producers of the old one",
                self.log_dir
            ))),
        }
    }

    /// On `Ok` it is synced.
    ///
    /// # Errors
    /// UNAVAILABLE: the disk refused.
    pub(crate) fn record(&self, uuid: Uuid) -> Result<(), Fault> {
        let entries = BTreeMap::from([(KEY.to_owned(), uuid.to_string())]);
        if self.file.entries().is_ok_and(|known| known == entries) {
            return Ok(());
        }
        self.file.write(&entries, true).map_err(|e| {
            let file = self.file.path().display();
            Fault::new(
                Kind::Unavailable,
                "data_dir_unusable",
                format!("cannot write {file}: {e}"),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn an_empty_folder_or_another_log_is_told_from_a_first_start() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.server.data_dir = dir.path().to_owned();
        let identity = Identity::of(&config);
        let (ours, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        identity.check(None).unwrap();
        identity.check(Some(ours)).unwrap();
        identity.record(ours).unwrap();
        identity.check(Some(ours)).unwrap();
        let missing = identity.check(None).unwrap_err();
        assert!(missing.message.contains("is empty"), "{missing}");
        let foreign = identity.check(Some(other)).unwrap_err();
        assert!(foreign.message.contains("check log.dir"), "{foreign}");
        std::fs::write(dir.path().join("log.identity"), "nonsense of some length").unwrap();
        identity.check(None).unwrap_err();
        identity.check(Some(ours)).unwrap();
        identity.record(ours).unwrap();
        identity.check(None).unwrap_err();
    }
}
