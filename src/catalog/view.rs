//! What a query is given: immutable values, pinned for as long as it runs.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;

use super::defined::Defined;
use crate::cold::{FileList, PinnedFiles};
use crate::dataset::{Contract, Spans};
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::types::{Lsn, TableName};

/// One table at the read point: a committed version, and the hot rows above it.
#[derive(Clone, Debug)]
pub struct TableView {
    pub name: TableName,
    /// None for a quarantine.
    pub contract: Option<Arc<Contract>>,
    pub schema: SchemaRef,
    pub cold: Arc<PinnedFiles>,
    pub hot: Arc<Vec<Chunk>>,
    pub comment: Option<String>,
    /// Of a materialized view: which of its rows stand in `cold`. None: `cold` and `hot` are all there is.
    pub progress: Option<Arc<ViewProgress>>,
}

/// How far a materialized view's stored rows are right.
#[derive(Clone, Debug)]
pub struct ViewProgress {
    /// The source as it was when they were computed: what has changed there since may have touched them. None: nothing is
    /// known of them.
    pub source: Option<Arc<FileList>>,
    /// Windows that are stored as of a later version of the source, by a refresh that is not done: right or not, they are computed
    /// again, because what is there by then may differ from `source` elsewhere.
    pub unsettled: Spans,
    /// Windows that start before this are stored, those that start later are not.
    pub open_from: i64,
    /// Windows that start before this are never computed again: the source's retention may take their rows. It stands in
    /// Delta before it stands here, and never falls, whatever the server's clock says.
    pub frozen: i64,
}

impl ViewProgress {
    /// What is known of the stored rows over this source. One that has been put in the place of another under its name makes
    /// every window one to compute again.
    pub fn over(self: &Arc<Self>, source: &FileList) -> Arc<Self> {
        match &self.source {
            Some(seen) if !seen.is_of(source) => Arc::new(ViewProgress {
                source: None,
                ..(**self).clone()
            }),
            _ => self.clone(),
        }
    }

    /// No stored row counts.
    pub fn nothing() -> Self {
        ViewProgress {
            source: None,
            unsettled: Spans::default(),
            open_from: i64::MIN,
            frozen: i64::MIN,
        }
    }
}

/// Every table at one read point, by folded name, as one asker names them.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub read_point: Lsn,
    /// Where a name without a schema is looked for.
    pub schema: Arc<str>,
    pub tables: Arc<BTreeMap<TableName, TableView>>,
    /// Stored queries, and schemas that may hold nothing.
    pub defined: Arc<Defined>,
}

impl Snapshot {
    /// The same tables, for an asker whose names without a schema are looked for in this one.
    #[must_use]
    pub fn in_schema(mut self, schema: &Arc<str>) -> Self {
        self.schema = schema.clone();
        self
    }

    /// Why there is no table of this name: FAILED_PRECONDITION `is_a_view`, or NOT_FOUND.
    pub fn no_table(&self, name: &TableName) -> Fault {
        match self.defined.view(name) {
            Some(view) => view.no_table(),
            None => Fault::new(
                Kind::NotFound,
                "table_not_found",
                format!("no such table, table={name}"),
            ),
        }
    }
}
