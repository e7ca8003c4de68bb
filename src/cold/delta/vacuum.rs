//! Which files in a table's folder nobody needs any more, and their end.
//!
//! A file is needed if it is in the newest version, if a view is alive that has it (a query may read it), or if it is staged
//! for a commit under way. What is left goes when it was taken out of the table long enough ago; a file that the log does
//! not speak of (a staged file of a crash, or one that was taken out so long ago that the log has forgotten) goes by its age.
//!
//! deltalake's own vacuum knows nothing of this server's queries and staged files, and deletes without the commit lock, so
//! that a file which a RESTORE puts back meanwhile would be lost.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use deltalake::DeltaTable;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;

use super::super::files::pins::Staging;
use super::super::{Error, Lake, PinnedFiles, store_error};
use super::table::ColdTable;

/// A file in the folder.
#[derive(Clone, Debug)]
pub struct Found {
    /// Relative to the table.
    pub path: String,
    pub bytes: u64,
    pub modified_ms: i64,
}

/// What is to go.
#[derive(Clone, Debug, Default)]
pub struct Sweep {
    pub files: Vec<Found>,
    /// Not needed, but too young, by the newest time at which one of them was.
    pub kept: usize,
}

/// How long files stay that the newest version does not have.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// Since the version that took a file out.
    pub removed: Duration,
    /// Since a file that the log does not speak of was written; at least `removed`.
    pub orphans: Duration,
    /// The clock, in milliseconds since 1970.
    pub now_ms: i64,
}

/// Looks through a table's folder without its commit lock.
#[derive(Clone)]
pub struct Sweeper {
    lake: Lake,
    folder: String,
    delta: DeltaTable,
}

/// May this be a file of ours at all? Names that start with `_` or `.` belong to others (a partition `_day=..` does not);
/// an unfinished write of ours is `_.name.tmp`. A name with `%` could be spelled in two ways and is left alone.
fn is_ours(path: &str) -> bool {
    let mut parts = path.split('/').rev();
    let Some(name) = parts.next() else {
        return false;
    };
    let folders_fine = parts.all(|part| !part.starts_with(['_', '.']) || part.contains('='));
    let unfinished = name.starts_with("_.") && name.ends_with(".tmp");
    let data = name.ends_with(".parquet") && !name.starts_with(['_', '.']);
    folders_fine && (data || unfinished) && !path.contains('%')
}

impl Sweeper {
    /// Data files, and unfinished ones.
    pub async fn list(&self) -> Result<Vec<Found>, Error> {
        let root = self.lake.path(&self.folder);
        let prefix = format!("{root}/");
        let log = format!("{prefix}_delta_log/");
        let store = self.lake.store();
        let found = store.list(Some(&root)).try_filter_map(|meta| {
            let full = meta.location.as_ref();
            let relative = full
                .strip_prefix(&prefix)
                .filter(|_| !full.starts_with(&log));
            let found = relative.filter(|path| is_ours(path)).map(|path| Found {
                path: path.to_owned(),
                bytes: meta.size,
                modified_ms: meta.last_modified.timestamp_millis(),
            });
            futures::future::ready(Ok(found))
        });
        found.try_collect().await.map_err(store_error)
    }

    /// When each file was taken out of the table, in milliseconds since 1970, as far as the log still tells.
    async fn removals(&self) -> Result<HashMap<String, i64>, Error> {
        let snapshot = self.delta.snapshot().map_err(store_error)?;
        let log = self.delta.log_store();
        let mut out: HashMap<String, i64> = HashMap::new();
        let mut tombstones = snapshot.all_tombstones(log.as_ref());
        while let Some(tombstone) = tombstones.next().await {
            let tombstone = tombstone.map_err(store_error)?;
            if let Some(at) = tombstone.deletion_timestamp().filter(|at| *at > 0) {
                let newest = out.entry(tombstone.path().into_owned()).or_default();
                *newest = at.max(*newest);
            }
        }
        Ok(out)
    }

    /// Of the files that were listed *before* `needed` was asked for, those that may go.
    pub async fn sweep(
        &self,
        listed: Vec<Found>,
        needed: &HashSet<String>,
        keep: Keep,
    ) -> Result<Sweep, Error> {
        let removals = self.removals().await?;
        Ok(choose(listed, needed, &removals, keep))
    }
}

fn choose(
    listed: Vec<Found>,
    needed: &HashSet<String>,
    removals: &HashMap<String, i64>,
    keep: Keep,
) -> Sweep {
    let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let removed_before = keep.now_ms.saturating_sub(millis(keep.removed));
    let written_before = keep
        .now_ms
        .saturating_sub(millis(keep.orphans.max(keep.removed)));
    let mut sweep = Sweep::default();
    for file in listed {
        if needed.contains(&file.path) {
            continue;
        }
        let goes = match removals.get(&file.path) {
            Some(at) => *at <= removed_before,
            None => file.modified_ms <= written_before,
        };
        if goes {
            sweep.files.push(file);
        } else {
            sweep.kept += 1;
        }
    }
    sweep
}

/// [`ColdTable::needed`] of a table whose newest version is `newest`.
pub(in crate::cold) fn needed(staging: &Staging, newest: &PinnedFiles) -> HashSet<String> {
    let mut needed = staging.paths();
    needed.extend(newest.pins().paths());
    needed.extend(newest.files().iter().map(|f| f.path().to_owned()));
    needed
}

impl ColdTable {
    pub fn sweeper(&self) -> Sweeper {
        Sweeper {
            lake: self.lake.clone(),
            folder: self.folder.clone(),
            delta: self.delta.clone(),
        }
    }

    /// Files that may not go now. Those staged are asked first: one that becomes a version in between is then in the newest.
    pub fn needed(&self) -> HashSet<String> {
        needed(&self.staging, &self.view)
    }

    /// Deletes those of the files that are still not needed; returns their number and bytes. With the commit lock held, so
    /// that no statement puts one of them back meanwhile: give it a few hundred at a time.
    ///
    /// # Errors
    /// `Store`: some are gone and some are not; the next sweep finds the rest.
    pub async fn remove_unneeded(&self, files: &[Found]) -> Result<(usize, u64), Error> {
        let needed = self.needed();
        let root = self.lake.path(&self.folder);
        let free = files.iter().filter(|f| !needed.contains(&f.path));
        let going = self.view.pins().let_go(free.map(|f| f.path.clone()));
        let sizes: HashMap<&str, u64> = files.iter().map(|f| (f.path.as_str(), f.bytes)).collect();
        let bytes = going
            .paths
            .iter()
            .filter_map(|p| sizes.get(p.as_str()))
            .sum();
        let paths = going.paths.iter();
        let paths = paths.map(|p| Path::parse(format!("{root}/{p}")).map_err(store_error));
        let paths = paths.collect::<Result<Vec<_>, _>>()?;
        let count = paths.len();
        let locations = futures::stream::iter(paths.into_iter().map(Ok)).boxed();
        let mut gone = self.lake.store().delete_stream(locations);
        while let Some(deleted) = gone.next().await {
            match deleted {
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(store_error(error)),
            }
        }
        Ok((count, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, modified_ms: i64) -> Found {
        Found {
            path: path.to_owned(),
            bytes: 1,
            modified_ms,
        }
    }

    fn chosen(needed: &[&str], removals: &[(&str, i64)]) -> Vec<String> {
        let listed = vec![found("a.parquet", 0), found("b.parquet", 900)];
        let needed = needed.iter().map(|s| (*s).to_owned()).collect();
        let removals = removals.iter().map(|(p, at)| ((*p).to_owned(), *at));
        let keep = Keep {
            removed: Duration::from_millis(100),
            orphans: Duration::from_millis(500),
            now_ms: 1000,
        };
        let sweep = choose(listed, &needed, &removals.collect(), keep);
        sweep.files.into_iter().map(|f| f.path).collect()
    }

    #[test]
    fn a_removed_file_goes_by_the_time_of_its_removal_and_an_unknown_one_by_its_age() {
        assert_eq!(chosen(&[], &[]), ["a.parquet"]);
        assert_eq!(
            chosen(&[], &[("b.parquet", 900)]),
            ["a.parquet", "b.parquet"]
        );
        assert_eq!(chosen(&[], &[("b.parquet", 901)]), ["a.parquet"]);
        assert_eq!(chosen(&[], &[("a.parquet", 901)]), [""; 0]);
        assert_eq!(chosen(&["a.parquet"], &[("a.parquet", 1)]), [""; 0]);
    }

    #[test]
    fn only_files_of_our_making_are_looked_at() {
        for (path, ours) in [
            ("part-0.parquet", true),
            ("event_date=2026-01-01/part-0.parquet", true),
            ("_day=1/part-0.parquet", true),
            ("_change_data/part-0.parquet", false),
            ("day=1/_.part-0.parquet.77.0.tmp", true),
            ("_hidden.parquet", false),
            ("readme.md", false),
            ("a%20b.parquet", false),
        ] {
            assert_eq!(is_ours(path), ours, "{path}");
        }
    }
}
