//! `UPDATE`, `DELETE`, `MERGE`: which rows of one table change, and into what.
//!
//! A statement becomes one query over the table's committed rows, in which each row says where it stands (`cold/files/scan`, file
//! and row). The query finds the rows that change and makes the new ones; what stays in the touched files is read by place,
//! not by asking the condition again: it may be volatile. `parse` reads the text, `query` makes the query, `execute`
//! runs it under the table's commit lock, `rows` judges, holds and stages what it gives. In a transaction `held` keeps what
//! it comes to until the commit.

mod execute;
mod faults;
mod held;
mod in_memory;
mod many;
mod marks;
mod parameters;
mod parse;
mod places;
mod query;
mod rows;
mod snapshot;
mod unique;
mod visible;
mod with;

pub use execute::run;
pub use held::{Held, hold};
pub(super) use in_memory::in_memory;
pub(super) use many::executions;
pub use parameters::parameters;
pub(super) use parse::parse;

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{Expr, TableFactor};

use crate::types::TableName;

/// A statement that changes rows, its parameters numbered `$1`, `$2`, .. in the order of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Dml {
    pub table: TableName,
    /// Where its names without a schema are looked for.
    pub(super) schema: Arc<str>,
    /// What the statement calls the table.
    alias: String,
    work: Work,
    /// The text, for the Delta log.
    condition: Option<String>,
    /// How many parameters the text has.
    parameters: usize,
}

impl Dml {
    /// The statement's first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self.work {
            Work::Delete { .. } => "DELETE",
            Work::Update { .. } => "UPDATE",
            Work::Merge(_) => "MERGE",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Work {
    Delete {
        selection: Option<Expr>,
    },
    Update {
        set: Vec<(String, Expr)>,
        selection: Option<Expr>,
    },
    Merge(Box<Merge>),
}

impl Work {
    /// The statement's first word.
    fn verb(&self) -> &'static str {
        match self {
            Work::Delete { .. } => "DELETE",
            Work::Update { .. } => "UPDATE",
            Work::Merge(_) => "MERGE",
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Merge {
    source: TableFactor,
    /// What the statement calls the source.
    called: String,
    on: Expr,
    clauses: Vec<Clause>,
}

#[derive(Clone, Debug, PartialEq)]
struct Clause {
    when: When,
    condition: Option<Expr>,
    action: Action,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Matched,
    NotMatched,
    NotMatchedBySource,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Delete,
    Update(Values),
    Insert(Values),
}

#[derive(Clone, Debug, PartialEq)]
enum Values {
    /// `*`: each of the table's columns from the source's of the same name.
    All,
    /// `INSERT VALUES (..)` without a list: the table's columns in their order.
    InOrder(Vec<Expr>),
    Named(Vec<(String, Expr)>),
}
