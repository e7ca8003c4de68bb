//! Which files are worth being made into one: pure, over what the file list says.
//!
//! While a partition fills, files of about one size wait until there are `min_files` of them, and become one of the next
//! size: so a row is written again once a size, not once a merge, and a partition has at most `min_files` files of each
//! size. Once it is left alone (`settle`), or when somebody asks, all its small files become one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::cold::{ColdFile, large_enough};

/// Bytes that one job reads at most, in targets.
const JOB_TARGETS: u64 = 8;
/// Files that one job reads at most.
const JOB_FILES: usize = 2000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub target_bytes: usize,
    pub min_files: usize,
    pub settle: Duration,
    /// The clock, in milliseconds since 1970.
    pub now_ms: i64,
    /// Somebody asked: do not wait for more.
    pub all: bool,
}

/// Files of one partition, to be made into fewer.
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The partition's values, for people and for telling jobs apart.
    pub partition: String,
    pub files: Vec<Arc<ColdFile>>,
}

/// By partition: its name, and its files.
pub(super) fn partitions(files: &[Arc<ColdFile>]) -> BTreeMap<String, Vec<Arc<ColdFile>>> {
    let mut out: BTreeMap<String, Vec<Arc<ColdFile>>> = BTreeMap::new();
    for file in files {
        let values = file.partition();
        let name: Vec<String> = values
            .into_iter()
            .map(|v| v.map_or_else(|| "null".to_owned(), |v| format!("'{v}'")))
            .collect();
        out.entry(name.join(",")).or_default().push(file.clone());
    }
    out
}

/// The sizes apart: 0 is just below the target, each next one `min_files` times smaller.
fn size_class(bytes: u64, rules: &Rules) -> u32 {
    let step = u64::try_from(rules.min_files).unwrap_or(2).max(2);
    let mut bound = u64::try_from(rules.target_bytes).unwrap_or(u64::MAX) / step;
    let mut class = 0;
    while bound > bytes && bound > 0 {
        bound /= step;
        class += 1;
    }
    class
}

/// The jobs that are worth their while, those with the most files first.
pub(super) fn jobs(files: &[Arc<ColdFile>], rules: &Rules) -> Vec<Job> {
    let mut jobs: Vec<Job> = partitions(files)
        .into_iter()
        .filter_map(|(partition, files)| {
            let files = job(files, rules)?;
            Some(Job { partition, files })
        })
        .collect();
    jobs.sort_by_key(|job| std::cmp::Reverse(job.files.len()));
    jobs
}

/// A job for each partition, with all of its files.
pub(super) fn whole(files: &[Arc<ColdFile>]) -> Vec<Job> {
    partitions(files)
        .into_iter()
        .map(|(partition, files)| Job { partition, files })
        .collect()
}

fn job(files: Vec<Arc<ColdFile>>, rules: &Rules) -> Option<Vec<Arc<ColdFile>>> {
    let large = u64::try_from(large_enough(rules.target_bytes)).unwrap_or(u64::MAX);
    let mut small: Vec<Arc<ColdFile>> = files.into_iter().filter(|f| f.size() < large).collect();
    if small.len() < 2 {
        return None;
    }
    // Smallest first; equal ones in the order of their names, so that the same files give the same job.
    small.sort_by(|a, b| (a.size(), a.path()).cmp(&(b.size(), b.path())));
    let newest = small.iter().map(|f| f.modified_ms()).max().unwrap_or(0);
    let settle = i64::try_from(rules.settle.as_millis()).unwrap_or(i64::MAX);
    let wanted = if rules.all || rules.now_ms.saturating_sub(newest) >= settle {
        small.len()
    } else {
        // The smallest class that has enough, and everything smaller with it.
        let mut counts: BTreeMap<std::cmp::Reverse<u32>, usize> = BTreeMap::new();
        for file in &small {
            let class = std::cmp::Reverse(size_class(file.size(), rules));
            *counts.entry(class).or_default() += 1;
        }
        let mut so_far = 0;
        let mut wanted = 0;
        for count in counts.values() {
            so_far += count;
            if *count >= rules.min_files {
                wanted = so_far;
                break;
            }
        }
        wanted
    };
    let bytes_max = u64::try_from(rules.target_bytes)
        .unwrap_or(u64::MAX)
        .saturating_mul(JOB_TARGETS);
    let mut bytes = 0u64;
    let taken = small
        .into_iter()
        .take(wanted.min(JOB_FILES))
        .take_while(|file| {
            bytes = bytes.saturating_add(file.size());
            bytes <= bytes_max
        });
    let taken: Vec<Arc<ColdFile>> = taken.collect();
    (taken.len() >= 2).then_some(taken)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use std::collections::HashMap;

    use arrow::datatypes::{DataType, Field, Schema};
    use object_store::path::Path;
    use proptest::prelude::*;

    use super::*;
    use crate::cold::{Columns, Described, Mapping};

    const TARGET: usize = 1 << 20;

    fn file(name: &str, day: &str, size: i64, modified_ms: i64) -> Arc<ColdFile> {
        let schema = Arc::new(Schema::new(vec![Field::new("day", DataType::Utf8, true)]));
        let values = HashMap::from([("day".to_owned(), Some(day.to_owned()))]);
        let by = ["day".to_owned()];
        ColdFile::new(
            &Path::from("t"),
            Described {
                path: name,
                size,
                modified_ms,
                stats: None,
                partition_values: &values,
                in_one_form: false,
            },
            Columns {
                schema: &schema,
                partition_by: &by,
                mapping: &Mapping::default(),
            },
        )
        .unwrap()
    }

    fn rules(all: bool, now_ms: i64) -> Rules {
        Rules {
            target_bytes: TARGET,
            min_files: 4,
            settle: Duration::from_millis(1000),
            now_ms,
            all,
        }
    }

    #[test]
    fn a_filling_partition_waits_for_enough_files_of_one_size() {
        let few: Vec<_> = (0..3)
            .map(|n| file(&format!("a{n}"), "1", 100, 0))
            .collect();
        assert!(jobs(&few, &rules(false, 500)).is_empty());
        let enough: Vec<_> = (0..4)
            .map(|n| file(&format!("a{n}"), "1", 100, 0))
            .collect();
        assert_eq!(jobs(&enough, &rules(false, 500))[0].files.len(), 4);
        // Three of one size and three of another are no four of one size.
        let mixed: Vec<_> = (0..6)
            .map(|n| file(&format!("a{n}"), "1", if n < 3 { 100 } else { 300_000 }, 0))
            .collect();
        assert!(jobs(&mixed, &rules(false, 500)).is_empty());
    }

    #[test]
    fn a_settled_partition_is_made_whole_and_large_files_stay() {
        let files = [
            file("a", "1", 100, 0),
            file("b", "1", 300_000, 0),
            file("c", "1", 900_000, 0),
            file("d", "2", 5, 0),
        ];
        let made = jobs(&files, &rules(false, 1000));
        assert_eq!(made.len(), 1);
        let names: Vec<&str> = made[0].files.iter().map(|f| f.path()).collect();
        assert_eq!((made[0].partition.as_str(), names), ("'1'", vec!["a", "b"]));
        assert!(jobs(&files, &rules(false, 999)).is_empty());
        assert_eq!(jobs(&files, &rules(true, 0)).len(), 1);
    }

    proptest! {
        /// However files come, what is left when nothing is worth its while is bounded; and a row is written a few times only.
        #[test]
        fn files_that_come_one_by_one_stay_few_and_are_written_again_a_few_times(sizes in prop::collection::vec(1i64..5000, 1..400)) {
            let total: i64 = sizes.iter().sum();
            let mut files: Vec<Arc<ColdFile>> = Vec::new();
            let mut written = 0i64;
            for (n, size) in sizes.iter().enumerate() {
                files.push(file(&format!("f{n}"), "1", *size, 0));
                for round in 0.. {
                    let Some(job) = jobs(&files, &rules(false, 0)).into_iter().next() else { break };
                    prop_assert!(round < 10, "no end");
                    let bytes: i64 = job.files.iter().map(|f| i64::try_from(f.size()).unwrap()).sum();
                    written += bytes;
                    files.retain(|f| !job.files.iter().any(|j| j.path() == f.path()));
                    files.push(file(&format!("m{n}-{round}"), "1", bytes, 0));
                }
            }
            // Classes up to the smallest size: 1 MiB / 4^10 is 1.
            prop_assert!(files.len() <= 3 * 11, "{} files", files.len());
            prop_assert!(written <= total * 11, "{written} of {total}");
        }
    }
}
