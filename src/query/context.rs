//! Who asks, and in which schema names without one are looked for. Passed by hand from a request to each statement that it leads
//! to (the query inside an INSERT, too), so that none runs in another's name because something was forgotten.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef, TimeUnit};

use super::PUBLIC;
use crate::catalog::temporary::TemporaryTables;
use crate::catalog::view::{Snapshot, TableView};
use crate::cold::{ColdFile, PinnedFiles};
use crate::dataset::Contract;
use crate::fault::{Fault, Kind};
use crate::hot::Chunk;
use crate::types::TableName;

/// What a statement and the queries that it leads to know of the request that they are part of.
#[derive(Clone, Debug)]
pub struct QueryContext {
    pub principal: Arc<str>,
    /// Where unqualified names are looked for.
    pub schema: Arc<str>,
    /// The id that the client knows its query by; none: the engine gives one.
    pub query: Option<Arc<str>>,
    /// The statement that it sent and that leads to queries of the server's own; none: its statement is the query.
    pub statement: Option<Arc<str>>,
    /// Rows of its open transaction, which it sees before others do.
    pub own: Option<Arc<OwnRows>>,
    /// What it opens in its session ends with the session.
    pub session: OfSession,
    /// In which its results have timestamps.
    pub timestamps: TimeUnit,
}

/// A client's session. It lasts until the last `Arc` of this goes.
#[derive(Debug, Default)]
pub struct SessionLife {
    temporary: Arc<TemporaryTables>,
}

impl SessionLife {
    pub fn new(temporary: TemporaryTables) -> Self {
        SessionLife {
            temporary: Arc::new(temporary),
        }
    }

    pub fn temporary(&self) -> &TemporaryTables {
        &self.temporary
    }
}

/// The session that something was opened in, if it was opened in one.
#[derive(Clone, Debug, Default)]
pub struct OfSession(Option<Weak<SessionLife>>);

/// Is it the same session?
impl PartialEq for OfSession {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => one.ptr_eq(other),
            (None, None) => true,
            _ => false,
        }
    }
}

impl OfSession {
    pub fn new(session: &Arc<SessionLife>) -> Self {
        OfSession(Some(Arc::downgrade(session)))
    }

    /// It was closed, has expired, or made room for another.
    pub fn is_over(&self) -> bool {
        let session = self.0.as_ref();
        session.is_some_and(|session| session.strong_count() == 0)
    }

    /// Its temporary tables; none outside of a session that lasts. A statement that runs while the session ends goes on with them.
    pub fn temporary(&self) -> Option<Arc<TemporaryTables>> {
        let session = self.0.as_ref()?.upgrade()?;
        Some(session.temporary.clone())
    }
}

/// What a transaction has done to one table.
#[derive(Debug)]
pub struct OwnRows {
    pub table: TableName,
    /// Which judged its rows, and says what their columns are.
    pub contract: Arc<Contract>,
    /// Rows that it holds, in the table's schema.
    pub rows: Vec<RecordBatch>,
    /// What its UPDATEs, DELETEs and MERGEs exchange.
    pub files: Option<Arc<OwnFiles>>,
}

/// Files of a table that a transaction exchanges for others, in no version yet.
#[derive(Clone, Debug)]
pub struct OwnFiles {
    schema: SchemaRef,
    /// Paths of the files that go.
    pub gone: BTreeSet<String>,
    pub come: Vec<Arc<ColdFile>>,
}

impl OwnFiles {
    pub fn none(schema: SchemaRef) -> Self {
        OwnFiles {
            schema,
            gone: BTreeSet::new(),
            come: Vec::new(),
        }
    }

    /// The table's files with these changes. Nobody can read them if the table has changed so that they do not fit it.
    fn over(&self, view: &TableView) -> PinnedFiles {
        let changed = view.cold.changed(&self.gone, &self.come);
        match changed
            .ok()
            .filter(|_| same_columns(&view.schema, &self.schema))
        {
            Some(changed) => changed,
            None => unreadable(view),
        }
    }
}

/// In the place of a table's files that do not go together with what a transaction has done.
fn unreadable(view: &TableView) -> PinnedFiles {
    view.cold.unreadable(Fault::new(
        Kind::Conflict,
        "transaction_conflict",
        format!(
            "rows that the transaction has changed, or the contract, were changed by others meanwhile, table={}; roll back, and run the transaction again",
            view.name
        ),
    ))
}

/// Have both the same columns of the same types?
pub fn same_columns(one: &Schema, other: &Schema) -> bool {
    let columns = |schema: &Schema| {
        let fields = schema.fields().iter();
        fields
            .map(|f| (f.name().clone(), f.data_type().clone()))
            .collect::<Vec<_>>()
    };
    columns(one) == columns(other)
}

impl OwnRows {
    /// The snapshot with these changes and rows in their table. A table whose contract has changed since cannot be read: what the
    /// rows' columns are there nobody knows, and they will not be written either.
    pub fn over(&self, snapshot: &Snapshot) -> Snapshot {
        let mut tables = (*snapshot.tables).clone();
        if let Some(view) = tables.get_mut(&self.table.folded()) {
            let judged_by = view.contract.as_ref();
            if judged_by.is_none_or(|now| !Arc::ptr_eq(now, &self.contract)) {
                view.cold = Arc::new(unreadable(view));
            } else if let Some(files) = &self.files {
                view.cold = Arc::new(files.over(view));
            }
            let mut hot = (*view.hot).clone();
            let fitting = self.rows.iter().filter(|r| r.schema() == view.schema);
            hot.extend(fitting.map(|batch| Chunk {
                first: snapshot.read_point,
                last: snapshot.read_point,
                batch: batch.clone(),
            }));
            view.hot = Arc::new(hot);
        }
        Snapshot {
            tables: Arc::new(tables),
            ..snapshot.clone()
        }
    }
}

impl QueryContext {
    pub fn new(principal: &str) -> Self {
        QueryContext {
            principal: principal.into(),
            schema: PUBLIC.into(),
            query: None,
            statement: None,
            own: None,
            session: OfSession::default(),
            timestamps: TimeUnit::Microsecond,
        }
    }

    /// What the server asks for itself. It names every table with its schema.
    pub fn server() -> Self {
        Self::new("server")
    }

    /// The snapshot as the caller sees and names it, but for its transaction: with the temporary tables of its session.
    pub fn sees(&self, snapshot: Snapshot) -> Snapshot {
        let snapshot = snapshot.in_schema(&self.schema);
        match self.session.temporary() {
            Some(tables) => tables.over(snapshot),
            None => snapshot,
        }
    }

    /// The caller while its statement runs, which is no query.
    pub fn stating(self, sql: &str) -> Self {
        QueryContext {
            statement: Some(sql.into()),
            ..self
        }
    }
}
