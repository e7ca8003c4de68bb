//! Versions that take files out and put others in: a day replaced, rows deleted or changed, small files made into large ones.
//! All of it happens in one commit, or none of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use deltalake::kernel::Action;
use deltalake::kernel::transaction::CommitBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::super::{Error, Mapping, PinnedFiles, store_error};
use super::commit::{ATTEMPTS, properties_of};
use super::error::commit_error;
use super::stage::Staged;
use super::table::{ColdTable, OWNER, table_with};

/// Counts versions that were written past the log, so that the outcome of an unclear commit can be told.
const STATEMENT: &str = "deltaplane/statement";

/// Which files a version takes out.
#[derive(Clone, Debug)]
pub enum Removal {
    Nothing,
    /// Those whose partition has all of these (column, value as Delta writes it).
    Partitions(Vec<(String, String)>),
    /// Those of these paths, relative to the table. Each must still be there.
    Files(BTreeSet<String>),
}

impl Removal {
    fn is_nothing(&self) -> bool {
        match self {
            Removal::Nothing => true,
            Removal::Partitions(_) => false,
            Removal::Files(paths) => paths.is_empty(),
        }
    }
}

/// What the Delta log says that a version did.
#[derive(Clone, Debug)]
pub enum Reason {
    Append,
    Replace {
        predicate: String,
    },
    Delete {
        predicate: Option<String>,
    },
    Update {
        predicate: Option<String>,
    },
    Merge {
        predicate: String,
    },
    /// An older version's files.
    Restore {
        version: i64,
    },
    /// Same rows, other files: readers of changes see nothing.
    Optimize {
        target_bytes: i64,
    },
}

impl Reason {
    fn changes_rows(&self) -> bool {
        !matches!(self, Reason::Optimize { .. })
    }

    /// Are rows of the files that go among those that come, whole or changed?
    fn keeps_rows(&self) -> bool {
        match self {
            Reason::Delete { .. }
            | Reason::Update { .. }
            | Reason::Merge { .. }
            | Reason::Optimize { .. } => true,
            // Other rows take their place, or files come back as they were.
            Reason::Append | Reason::Replace { .. } | Reason::Restore { .. } => false,
        }
    }

    fn operation(&self, partition_by: &[String]) -> DeltaOperation {
        let write = |mode, predicate| DeltaOperation::Write {
            mode,
            partition_by: (!partition_by.is_empty()).then(|| partition_by.to_vec()),
            predicate,
        };
        match self.clone() {
            Reason::Append => write(SaveMode::Append, None),
            Reason::Replace { predicate } => write(SaveMode::Overwrite, Some(predicate)),
            Reason::Delete { predicate } => DeltaOperation::Delete { predicate },
            Reason::Update { predicate } => DeltaOperation::Update { predicate },
            Reason::Merge { predicate } => DeltaOperation::Merge {
                predicate: Some(predicate.clone()),
                merge_predicate: Some(predicate),
                matched_predicates: Vec::new(),
                not_matched_predicates: Vec::new(),
                not_matched_by_source_predicates: Vec::new(),
            },
            Reason::Restore { version } => DeltaOperation::Restore {
                version: u64::try_from(version).ok(),
                datetime: None,
            },
            Reason::Optimize { target_bytes } => DeltaOperation::Optimize {
                predicate: None,
                target_size: target_bytes,
            },
        }
    }
}

/// Has the file's partition all of these values?
fn in_partitions(
    mapping: &Mapping,
    values: &HashMap<String, Option<String>>,
    matching: &[(String, String)],
) -> bool {
    matching.iter().all(|(column, value)| {
        let found = mapping.in_files(column).and_then(|name| values.get(name));
        found.and_then(|v| v.as_ref()) == Some(value)
    })
}

impl ColdTable {
    /// A partition column with one of these values of which a staged file has another one, and that; none: each file has all of
    /// them.
    pub fn outside<'a>(
        &self,
        staged: &'a Staged,
        matching: &'a [(String, String)],
    ) -> Option<(&'a (String, String), Option<&'a str>)> {
        staged.adds.iter().find_map(|add| {
            matching.iter().find_map(|one| {
                let values = &add.partition_values;
                let found = self.mapping.in_files(&one.0).and_then(|n| values.get(n));
                let found = found.and_then(|v| v.as_deref());
                (found != Some(one.1.as_str())).then_some((one, found))
            })
        })
    }

    /// Takes `removal` out and puts the staged files in, in one version. `txns`: recorded with it, beside the count of
    /// statements.
    ///
    /// # Errors
    /// - `Fenced`: another server has claimed the table; nothing was committed.
    /// - `Changed`: a file to take out is not in the newest version any more, or a version has come that was given up before, and rows
    ///   are not only added; nothing was committed.
    /// - `OtherColumns`: the new files lack a column whose values are in the old ones; nothing was committed.
    /// - `Store`: after any outcome but Ok the log was read again, and the commit is not in it.
    pub async fn rewrite(
        &mut self,
        removal: &Removal,
        staged: Staged,
        reason: &Reason,
        txns: &[(String, i64)],
    ) -> Result<i64, Error> {
        self.make_sure().await?;
        let mut last = None;
        // Of this call's first try. A later one may find it in the log.
        let mut first = None;
        for _ in 0..ATTEMPTS {
            let theirs = self.read_txn(OWNER).await?.unwrap_or(0);
            if theirs != self.owner {
                return Err(Error::Fenced {
                    ours: self.owner,
                    theirs,
                });
            }
            if reason.keeps_rows() && !removal.is_nothing() && staged.files() > 0 {
                self.all_columns_known()?;
            }
            // Never that of another try. A caller that goes away in the middle of its commit does not stop it, and the version may
            // come at any time: with the number of this one it would be taken for this one.
            let known = self.read_txn(STATEMENT).await?.unwrap_or(0);
            let number = known.max(self.numbered) + 1;
            self.numbered = number;
            let first = *first.get_or_insert(number);
            let actions = self.actions(removal, &staged, reason)?;
            let removed = actions.len() - staged.files();
            self.unclear = true;
            match self.try_rewrite(actions, reason, txns, number).await {
                Ok(()) => {
                    self.unclear = false;
                    let operation = reason.operation(&self.partition_by);
                    self.note(&operation, &staged, removed);
                    self.unlogged = self.version();
                    return Ok(self.version());
                }
                Err(error) => {
                    tracing::debug!(folder = %self.folder, %error, "rewrite outcome not ok, reading the log again");
                    last = Some(error);
                    self.refresh().await?;
                    // Nobody else counts statements while the table is ours, and earlier calls have lower numbers.
                    let newest = self.read_txn(STATEMENT).await?;
                    if newest.is_some_and(|newest| newest >= first) {
                        self.unlogged = self.version();
                        return Ok(self.version());
                    }
                    // A version of ours that was given up has come. What is not only added was decided by the files before it.
                    if newest.unwrap_or(0) > known && !matches!(reason, Reason::Append) {
                        return Err(Error::Changed {
                            path: format!("_delta_log/{:020}.json", self.version()),
                        });
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| Error::Store("not tried".to_owned())))
    }

    /// The rows of the newest version that a removal of partitions leaves.
    ///
    /// # Errors
    /// `Store`: the version cannot be read.
    pub fn view_without(&self, removal: &Removal) -> Result<Arc<PinnedFiles>, Error> {
        let view = self.view();
        let gone: BTreeSet<String> = match removal {
            Removal::Nothing => return Ok(view),
            Removal::Files(paths) => paths.clone(),
            Removal::Partitions(matching) => {
                let snapshot = self.delta.snapshot().map_err(store_error)?;
                let data = snapshot.log_data();
                let mut gone = BTreeSet::new();
                for file in data.iter() {
                    if in_partitions(&self.mapping, &file.partition_values_map(), matching) {
                        gone.insert(file.path().to_string());
                    }
                }
                gone
            }
        };
        let files = view.files().iter();
        let left = files.filter(|file| !gone.contains(file.path()));
        Ok(Arc::new(view.with_files(left.cloned().collect())))
    }

    /// Deletes files that will be in no version. Best effort: what is left is an orphan, which vacuum takes.
    pub async fn discard(&self, staged: &Staged) {
        let root = self.lake.path(&self.folder);
        for add in &staged.adds {
            let Ok(path) = Path::parse(format!("{root}/{}", add.path)) else {
                continue;
            };
            if let Err(error) = self.lake.store().delete(&path).await {
                tracing::debug!(%path, %error, "a staged file was not deleted");
            }
        }
    }

    /// Are all columns of the Delta table among those that are read here? Files that are written anew would lose the others.
    ///
    /// # Errors
    /// `OtherColumns` names one.
    pub fn all_columns_known(&self) -> Result<(), Error> {
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let theirs = snapshot.snapshot().arrow_schema();
        let other = theirs
            .fields()
            .iter()
            .find(|f| self.schema.field_with_name(f.name()).is_err());
        match other {
            Some(field) => Err(Error::OtherColumns {
                column: field.name().clone(),
            }),
            None => Ok(()),
        }
    }

    fn actions(
        &self,
        removal: &Removal,
        staged: &Staged,
        reason: &Reason,
    ) -> Result<Vec<Action>, Error> {
        let changes_rows = reason.changes_rows();
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let mut actions = Vec::new();
        let mut found = BTreeSet::new();
        for file in snapshot.log_data().iter() {
            let goes = match removal {
                Removal::Nothing => false,
                Removal::Partitions(matching) => {
                    in_partitions(&self.mapping, &file.partition_values_map(), matching)
                }
                Removal::Files(paths) => paths.contains(&*file.path()),
            };
            if goes {
                found.insert(file.path().to_string());
                actions.push(Action::Remove(file.remove_action(changes_rows)));
            }
        }
        if let Removal::Files(paths) = removal
            && let Some(path) = paths.difference(&found).next()
        {
            return Err(Error::Changed { path: path.clone() });
        }
        actions.extend(staged.adds.iter().cloned().map(|mut add| {
            add.data_change = changes_rows;
            Action::Add(add)
        }));
        Ok(actions)
    }

    async fn try_rewrite(
        &mut self,
        actions: Vec<Action>,
        reason: &Reason,
        txns: &[(String, i64)],
        number: i64,
    ) -> Result<(), Error> {
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let mut txns = txns.to_vec();
        txns.push((STATEMENT.to_owned(), number));
        let operation = reason.operation(&self.partition_by);
        let (actions, at) = self.timed(actions, &operation);
        let finalized = CommitBuilder::from(
            properties_of(txns)
                .with_metadata(HashMap::new())
                .with_max_retries(0),
        )
        .with_actions(actions)
        .build(Some(snapshot), self.delta.log_store(), operation)
        .await
        .map_err(commit_error)?;
        self.committed_at(at);
        self.delta = table_with(&self.delta, finalized.snapshot());
        self.reload()
    }
}
