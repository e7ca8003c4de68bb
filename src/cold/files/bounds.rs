//! What a version's file list tells without reading a file: between which times its rows are, and which files are in one
//! version and not in the other.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::stats::Precision;

use super::{ColdFile, FileList};

/// What one column of a file is known to be between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// No value but nulls.
    None,
    /// Both included; they hold, and need not be met.
    Between(i64, i64),
    Unknown,
}

impl Times {
    /// Unknown is everything.
    pub fn range(self) -> Option<(i64, i64)> {
        match self {
            Times::None => None,
            Times::Between(min, max) => Some((min, max)),
            // Far from the ends of i64, so that windows can be added and taken away.
            Times::Unknown => Some((i64::MIN / 4, i64::MAX / 4)),
        }
    }
}

/// Files that are in one version and not in the other.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    pub added: Vec<Arc<ColdFile>>,
    pub removed: Vec<Arc<ColdFile>>,
}

impl FileList {
    fn statistics_index(&self, column: &str) -> Option<usize> {
        let schema = self.schema();
        let mut stored = schema
            .fields()
            .iter()
            .filter(|f| !self.partition_by().contains(f.name()));
        stored.position(|f| f.name() == column)
    }

    /// Between which microseconds the file's values of a column of times are.
    pub fn times(&self, file: &ColdFile, column: &str) -> Times {
        let statistics = self
            .statistics_index(column)
            .and_then(|i| file.statistics().column_statistics.get(i));
        let Some(statistics) = statistics else {
            return Times::Unknown;
        };
        if let (Precision::Exact(nulls), Some(rows)) = (&statistics.null_count, file.rows())
            && *nulls == rows
        {
            return Times::None;
        }
        let micros = |value: &Precision<ScalarValue>| match value.get_value() {
            Some(ScalarValue::TimestampMicrosecond(at, _)) => *at,
            _ => None,
        };
        match (micros(&statistics.min_value), micros(&statistics.max_value)) {
            (Some(min), Some(max)) => Times::Between(min, max),
            _ => Times::Unknown,
        }
    }

    /// When the last of the file's rows came, microseconds; the end of time where rows do not tell.
    pub fn arrival(&self, file: &ColdFile) -> i64 {
        match self.times(file, "_ingest_ts") {
            Times::Between(_, last) => last,
            Times::None | Times::Unknown => i64::MAX,
        }
    }

    /// The one text that all of a file's rows have in a column; none if they differ or that is not known.
    pub fn only_text(&self, file: &ColdFile, column: &str) -> Option<String> {
        let index = self.statistics_index(column)?;
        let statistics = file.statistics().column_statistics.get(index)?;
        match (
            statistics.min_value.get_value()?,
            statistics.max_value.get_value()?,
            &statistics.null_count,
        ) {
            (ScalarValue::Utf8(Some(a)), ScalarValue::Utf8(Some(b)), Precision::Exact(0))
                if a == b =>
            {
                Some(a.clone())
            }
            _ => None,
        }
    }

    /// What came and what went since an older version of the same table.
    pub fn since(&self, older: &FileList) -> Difference {
        if self.version() == older.version() {
            return Difference::default();
        }
        // Appends leave what was there in its place.
        let same = self
            .files()
            .iter()
            .zip(older.files())
            .take_while(|(a, b)| Arc::ptr_eq(a, b) || a.path() == b.path())
            .count();
        let (new, old) = (&self.files()[same..], &older.files()[same..]);
        let paths = |files: &[Arc<ColdFile>]| -> HashSet<String> {
            files.iter().map(|f| f.path().to_owned()).collect()
        };
        let (new_paths, old_paths) = (paths(new), paths(old));
        Difference {
            added: new
                .iter()
                .filter(|f| !old_paths.contains(f.path()))
                .cloned()
                .collect(),
            removed: old
                .iter()
                .filter(|f| !new_paths.contains(f.path()))
                .cloned()
                .collect(),
        }
    }
}
