//! Names and positions that every layer shares. Private fields, checked constructors: a position in
//! the log never meets a batch number, and no identifier becomes a path unchecked.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

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

    pub const fn next(self) -> Self {
        Lsn(self.0 + 1)
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

/// `name` is not one that a schema, table or column can bear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid name, name={name:?}, rule=[A-Za-z_][A-Za-z0-9_]* of at most 63 characters")]
pub struct NameError {
    pub name: String,
}

/// Checks `[A-Za-z_][A-Za-z0-9_]*`, at most 63 characters: what makes a name safe as SQL word and folder alike.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let mut bytes = name.bytes();
    let head_fits = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if head_fits && name.len() <= 63 && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        Ok(())
    } else {
        Err(NameError {
            name: name.chars().take(80).collect(),
        })
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

/// Ends the name of the table that keeps another one's rejected rows. Reserved.
pub const QUARANTINE_SUFFIX: &str = "_quarantine";

/// `<schema>.<table>`. Keeps its case; compare without regard to case through [`TableName::folded`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName {
    schema: Arc<str>,
    table: Arc<str>,
}

impl TableName {
    pub fn new(schema: &str, table: &str) -> Result<Self, NameError> {
        check_name(schema)?;
        check_name(table)?;
        Ok(TableName {
            schema: schema.into(),
            table: table.into(),
        })
    }

    /// As a query may spell it: also `table@mark`, as [`TableName::variant`] makes it.
    pub fn in_query(schema: &str, table: &str) -> Result<Self, NameError> {
        match table.split_once('@') {
            Some((table, mark)) if mark.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                Ok(TableName::new(schema, table)?.variant(mark))
            }
            _ => TableName::new(schema, table),
        }
    }

    /// `table@mark`: another state of the table, for one query. No table can bear the name.
    pub fn variant(&self, mark: &str) -> Self {
        TableName {
            schema: self.schema.clone(),
            table: format!("{}@{mark}", self.table).into(),
        }
    }

    pub fn schema(&self) -> &str {
        &self.schema
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// The table that keeps this one's rejected rows.
    pub fn quarantine(&self) -> TableName {
        TableName {
            schema: self.schema.clone(),
            table: format!("{}{QUARANTINE_SUFFIX}", self.table).into(),
        }
    }

    /// Lower-case form, under which no two tables of a server may be equal.
    pub fn folded(&self) -> TableName {
        TableName {
            schema: self.schema.to_ascii_lowercase().into(),
            table: self.table.to_ascii_lowercase().into(),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.to_string()
    }
}

impl TryFrom<String> for TableName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        let (schema, table) = text.split_once('.').unwrap_or(("public", &text));
        TableName::new(schema, table)
    }
}
