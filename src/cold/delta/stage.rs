//! Rows on their way into a version: encoded, written and synced, in no version yet. It needs no commit lock: files that
//! nobody speaks of are in nobody's way.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::kernel::Add;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::super::files::pins::{Hold, Staging};
use super::super::mapping::Mapping;
use super::super::{Columns, Error, Lake, store_error};
use super::encode::{Effort, EncodedFile, Slices};

/// Files of one table that are on their way to the store at the same time.
const PUTS_MAX: usize = 8;

/// Files that are written and synced but in no version yet. Dropped without a commit they are orphans.
#[derive(Clone, Debug)]
pub struct Staged {
    pub(super) adds: Vec<Add>,
    /// Of each file.
    rows: Vec<u64>,
    since: Instant,
    /// Vacuum leaves them alone for as long as these live.
    holds: Vec<Arc<Hold>>,
}

impl Staged {
    /// Nothing yet.
    pub fn empty() -> Self {
        Staged {
            adds: Vec::new(),
            rows: Vec::new(),
            since: Instant::now(),
            holds: Vec::new(),
        }
    }

    /// Files of an older version, which are there already.
    pub(super) fn again(adds: Vec<Add>) -> Self {
        Staged {
            rows: vec![0; adds.len()],
            adds,
            ..Staged::empty()
        }
    }

    /// What a note about the files has to keep for [`Staged::from_note`].
    ///
    /// # Errors
    /// `Encode`: a file's entry cannot be written as JSON.
    pub fn note(&self) -> Result<serde_json::Value, Error> {
        serde_json::to_value(&self.adds).map_err(|e| Error::Encode(e.to_string()))
    }

    /// Files that an earlier run staged. Vacuum knows of them by their age alone.
    ///
    /// # Errors
    /// `Store`: this is no note.
    pub fn from_note(note: serde_json::Value) -> Result<Self, Error> {
        serde_json::from_value(note)
            .map(Staged::again)
            .map_err(store_error)
    }

    /// The files of both become one version.
    pub fn append(&mut self, other: Staged) {
        self.adds.extend(other.adds);
        self.rows.extend(other.rows);
        self.since = self.since.min(other.since);
        self.holds.extend(other.holds);
    }

    /// What is left of it without the files of these paths.
    pub fn without(&self, paths: &BTreeSet<String>) -> Staged {
        let mut left = self.clone();
        let files = self.adds.iter().zip(&self.rows);
        let (adds, rows) = files
            .filter(|(add, _)| !paths.contains(&add.path))
            .map(|(add, rows)| (add.clone(), *rows))
            .unzip();
        (left.adds, left.rows) = (adds, rows);
        left
    }

    pub fn paths(&self) -> Vec<String> {
        self.adds.iter().map(|a| a.path.clone()).collect()
    }

    pub fn files(&self) -> usize {
        self.adds.len()
    }

    pub fn rows(&self) -> u64 {
        self.rows.iter().sum()
    }

    pub fn bytes(&self) -> u64 {
        let sizes = self.adds.iter().map(|a| u64::try_from(a.size).unwrap_or(0));
        sizes.sum()
    }

    /// How long it is since staging began.
    pub fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }
}

/// Stages files for one table. Cheap to clone, and good for as long as the table's columns stay.
#[derive(Clone, Debug)]
pub struct Stager {
    pub(super) lake: Lake,
    pub(super) folder: String,
    pub(super) schema: SchemaRef,
    pub(super) partition_by: Vec<String>,
    pub(super) mapping: Arc<Mapping>,
    pub(super) staging: Staging,
}

impl Stager {
    /// Writes the rows as Parquet files, one a partition.
    pub async fn stage(&self, batches: Vec<RecordBatch>) -> Result<Staged, Error> {
        let mut slicer = self.slicer(Effort::Quick, usize::MAX)?;
        slicer.work(batches, true).await?;
        Ok(slicer.done())
    }

    /// Deletes staged files that will not be committed. What cannot be deleted is an orphan, which vacuum takes.
    pub async fn discard(&self, staged: Staged) {
        let root = self.lake.path(&self.folder);
        for add in &staged.adds {
            let Ok(path) = Path::parse(format!("{root}/{}", add.path)) else {
                continue;
            };
            if let Err(error) = self.lake.store().delete(&path).await {
                tracing::debug!(%path, %error, "a staged file was left behind");
            }
        }
    }

    /// Stages rows as they come, and ends a file when it has about `target_bytes`.
    pub fn slicer(&self, effort: Effort, target_bytes: usize) -> Result<Slicer, Error> {
        let slices = Slices::new(
            Columns {
                schema: &self.schema,
                partition_by: &self.partition_by,
                mapping: &self.mapping,
            },
            effort,
            target_bytes,
        )?;
        Ok(Slicer {
            staged: Staged::empty(),
            hold: self.staging.hold(),
            stager: self.clone(),
            slices: Some(slices),
        })
    }
}

/// Rows become files slice by slice: memory holds one file a partition, encoded.
pub struct Slicer {
    stager: Stager,
    /// None only while it is at work, or after that failed.
    slices: Option<Slices>,
    staged: Staged,
    hold: Hold,
}

impl Slicer {
    pub async fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        self.work(vec![batch], false).await
    }

    pub async fn finish(mut self) -> Result<Staged, Error> {
        self.work(Vec::new(), true).await?;
        Ok(self.done())
    }

    fn done(mut self) -> Staged {
        self.staged.holds.push(Arc::new(self.hold));
        self.staged
    }

    async fn work(&mut self, batches: Vec<RecordBatch>, last: bool) -> Result<(), Error> {
        let mut batches = batches.into_iter();
        loop {
            let mut slices = self
                .slices
                .take()
                .ok_or_else(|| Error::Encode("an earlier batch failed".to_owned()))?;
            // A job hands over what it has as soon as that is much: others wait for the encoders too.
            let work = move || {
                let mut files = Vec::new();
                while !slices.is_full()
                    && let Some(batch) = batches.next()
                {
                    files.extend(slices.push(batch)?);
                }
                let done = batches.len() == 0;
                let mut more = !done;
                let at_end = last && done;
                if slices.is_full() || at_end {
                    files.extend(slices.drain(at_end)?);
                    more |= slices.is_full() || (at_end && !slices.is_empty());
                }
                Ok::<_, Error>((slices, batches, files, more))
            };
            let (slices, left, files, more) = self.stager.lake.encoders.run(work).await?;
            self.slices = Some(slices);
            batches = left;
            let mut files = files.into_iter();
            while files.len() > 0 {
                let some: Vec<EncodedFile> = files.by_ref().take(PUTS_MAX).collect();
                // Known before they can be listed.
                some.iter().for_each(|file| self.hold.add(&file.add.path));
                let put = some.into_iter().map(|file| put(&self.stager, file));
                let put = futures::future::try_join_all(put).await?;
                for (rows, add) in put {
                    self.staged.rows.push(rows);
                    self.staged.adds.push(add);
                }
            }
            if !more {
                return Ok(());
            }
        }
    }
}

/// Writes one file; it is noted in what is staged by the caller.
async fn put(stager: &Stager, file: EncodedFile) -> Result<(u64, Add), Error> {
    let root = stager.lake.path(&stager.folder);
    let path = Path::parse(format!("{root}/{}", file.add.path)).map_err(store_error)?;
    let store = stager.lake.store();
    store
        .put(&path, file.bytes.into())
        .await
        .map_err(store_error)?;
    Ok((file.rows, file.add))
}
