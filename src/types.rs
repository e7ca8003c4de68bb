//! Names and positions that every layer shares. Private fields, checked constructors: a position in
//! the log never meets a batch number. What a name may be stands in `names`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

mod names;

pub use names::{
    NameError, PUBLIC, QUARANTINE_SUFFIX, SameName, TableName, check_name, check_word, is_word,
    join_names, quote_name, shown_name, split_names, without_mark,
};

/// A position in the write-ahead log: dense, rising from 1, never reused. `Lsn::ZERO` is "before the first".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Lsn(u64);

impl Lsn {
    pub const ZERO: Lsn = Lsn(0);

    pub const fn new(value: u64) -> Self {
        Lsn(value)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// Behind the last number there is none: a damaged file may say any.
    pub const fn next(self) -> Self {
        Lsn(self.0.saturating_add(1))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One life of a table name, from create to drop. Rises by one with each create on this server, never reused.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(u64);

impl Incarnation {
    pub const fn new(value: u64) -> Self {
        Incarnation(value)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an alteration does to the columns that were there. All of it happens at once: two columns may change places.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnMoves {
    /// From the name before to the name after.
    pub renamed: BTreeMap<String, String>,
    /// A new column may bear the name of one of these.
    pub dropped: BTreeSet<String>,
}

impl ColumnMoves {
    pub fn is_empty(&self) -> bool {
        self.renamed.is_empty() && self.dropped.is_empty()
    }

    /// The columns that do not stay what they were, under their names before.
    pub fn touched(&self) -> impl Iterator<Item = &str> {
        self.renamed.keys().chain(&self.dropped).map(String::as_str)
    }

    /// What a column was called before, if it was there.
    pub fn origin<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        let renamed = self.renamed.iter().find(|(_, to)| *to == name);
        match renamed {
            Some((from, _)) => Some(from),
            None if self.touched().any(|gone| gone == name) => None,
            None => Some(name),
        }
    }
}
