//! Commits staged files with the `txn`s that make the commit happen exactly once, and takes a table over from its former owner.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use object_store::ObjectStoreExt;

use super::super::files::file::is_in_one_form;
use super::super::{ColdFile, Described, Error, store_error};
use super::error::commit_error;
use super::recent::CommitNote;
use super::stage::Staged;
use super::table::{ColdTable, OWNER, table_with};

/// How often a commit is tried against other writers' versions before it is given back.
pub(super) const ATTEMPTS: usize = 10;

impl ColdTable {
    pub(super) fn note(&self, operation: &DeltaOperation, staged: &Staged, files_removed: usize) {
        self.recent.note(CommitNote {
            version: self.version(),
            at_ms: self.committed_ms,
            kind: operation.name().to_owned(),
            rows: staged.rows(),
            files: staged.files(),
            bytes: staged.bytes(),
            files_removed,
            took: staged.elapsed(),
        });
    }

    /// Makes the staged files a version, once. `txns`' first entry is the log's position: if the table holds it already, the
    /// commit has happened and its version is returned.
    ///
    /// # Errors
    /// - `Fenced`: another server has claimed the table; nothing was committed.
    /// - `Store`: undecided is not possible: after any outcome but Ok the log was read again, and the commit is not in it.
    pub async fn commit(&mut self, staged: Staged, txns: Vec<(String, i64)>) -> Result<i64, Error> {
        let store = self.lake.store();
        let root = self.lake.path(&self.folder);
        for add in &staged.adds {
            let path = object_store::path::Path::parse(format!("{root}/{}", add.path))
                .map_err(store_error)?;
            store.head(&path).await.map_err(store_error)?;
        }
        let (app, position) = txns
            .first()
            .cloned()
            .ok_or_else(|| Error::Store("a commit without a txn".to_owned()))?;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.held(&app, position).await? {
                Some(version) => return Ok(version),
                None => match self.try_commit(staged.adds.clone(), txns.clone()).await {
                    Ok(()) => {
                        self.note(&self.appends(), &staged, 0);
                        return Ok(self.version());
                    }
                    // Nothing was written, and another try would end the same.
                    Err(error @ Error::Refused(_)) => return Err(error),
                    Err(error) => {
                        tracing::debug!(folder = %self.folder, %error, "commit outcome not ok, reading the log again");
                        last = Some(error);
                        self.refresh().await?;
                    }
                },
            }
        }
        if let Some(version) = self.held(&app, position).await? {
            return Ok(version);
        }
        Err(last.unwrap_or_else(|| {
            Error::Store("commit conflicts with other writers, again and again".to_owned())
        }))
    }

    /// Is the position in the table already, and is the table still ours? Asked of the snapshot that the next try commits on.
    async fn held(&self, app: &str, position: i64) -> Result<Option<i64>, Error> {
        let theirs = self.read_txn(OWNER).await?.unwrap_or(0);
        if theirs != self.owner {
            return Err(Error::Fenced {
                ours: self.owner,
                theirs,
            });
        }
        match self.read_txn(app).await? {
            Some(held) if held == position => Ok(Some(self.version())),
            Some(held) if held > position => Err(Error::Superseded {
                held,
                asked: position,
            }),
            _ => Ok(None),
        }
    }

    /// Staged files as lists of the table have them, before a version does.
    ///
    /// # Errors
    /// `Store`: what is said of a file cannot be read.
    pub fn listed(&self, staged: &Staged) -> Result<Vec<Arc<ColdFile>>, Error> {
        self.files_of(&staged.adds)
    }

    fn files_of(&self, adds: &[Add]) -> Result<Vec<Arc<ColdFile>>, Error> {
        let root = self.lake.path(&self.folder);
        let file = |a: &Add| {
            ColdFile::new(
                &root,
                Described {
                    path: &a.path,
                    size: a.size,
                    modified_ms: a.modification_time,
                    stats: a.stats.as_deref(),
                    partition_values: &a.partition_values,
                    in_one_form: is_in_one_form(a.tags.as_ref()),
                },
                self.columns(),
            )
        };
        adds.iter().map(file).collect()
    }

    async fn try_commit(&mut self, adds: Vec<Add>, txns: Vec<(String, i64)>) -> Result<(), Error> {
        let files = self.files_of(&adds)?;
        let operation = self.appends();
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let based_on = self.version();
        let adds = adds.into_iter().map(Action::Add).collect();
        let (actions, at) = self.timed(adds, &operation);
        let finalized = CommitBuilder::from(properties_of(txns).with_max_retries(0))
            .with_actions(actions)
            .build(Some(snapshot), self.delta.log_store(), operation)
            .await
            .map_err(commit_error)?;
        self.committed_at(at);
        let version = i64::try_from(finalized.version()).unwrap_or(i64::MAX);
        self.delta = table_with(&self.delta, finalized.snapshot());
        if version == based_on + 1 {
            self.view = Arc::new(self.view.appended(version, files));
        } else {
            self.reload()?;
        }
        Ok(())
    }

    fn appends(&self) -> DeltaOperation {
        DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: (!self.partition_by.is_empty()).then(|| self.partition_by.clone()),
            predicate: None,
        }
    }
    /// Takes the table over: a commit that carries the next owner epoch, after which the former owner's commits fail.
    pub async fn claim(&mut self, app: &str, epoch: i64) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let held = self.read_txn(app).await?.unwrap_or(0);
            if held >= epoch {
                return Err(Error::Fenced {
                    ours: epoch,
                    theirs: held,
                });
            }
            match self
                .try_commit(Vec::new(), vec![(app.to_owned(), epoch)])
                .await
            {
                Ok(()) => {
                    self.owner = epoch;
                    return Ok(());
                }
                Err(error) => {
                    tracing::debug!(folder = %self.folder, %error, "claim tried again");
                    self.refresh().await?;
                    if self.read_txn(app).await? == Some(epoch) {
                        self.owner = epoch;
                        return Ok(());
                    }
                }
            }
        }
        Err(Error::Store(format!(
            "cannot claim the table {}",
            self.folder
        )))
    }
}

/// No inline checkpoint and no listing of the log at each commit: both are the flush's, every so many commits.
pub(super) fn properties_of(txns: Vec<(String, i64)>) -> CommitProperties {
    let transactions = txns
        .into_iter()
        .map(|(app, version)| Transaction::new(app, version))
        .collect();
    CommitProperties::default()
        .with_application_transactions(transactions)
        .with_metadata(HashMap::from([(
            "isBlindAppend".to_owned(),
            serde_json::Value::Bool(true),
        )]))
        .with_create_checkpoint(false)
        .with_cleanup_expired_logs(Some(false))
}
