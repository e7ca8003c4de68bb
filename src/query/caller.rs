//! Who asks, and in which schema names without one are looked for. Carried along the task of a request, because each
//! statement that the request leads to (the query inside an INSERT, too) shares it. Work that the server does for itself has
//! no caller.

use std::sync::{Arc, Weak};

use arrow::array::RecordBatch;
use arrow::datatypes::TimeUnit;

use super::PUBLIC;
use crate::catalog::view::Snapshot;
use crate::hot::Chunk;
use crate::types::TableName;

#[derive(Clone, Debug)]
pub struct Caller {
    pub principal: Arc<str>,
    /// Where unqualified names are looked for.
    pub schema: Arc<str>,
    /// The id that the client knows its query by; none: the engine gives one.
    pub query: Option<Arc<str>>,
    /// Rows of its open transaction, which it sees before others do.
    pub own: Option<Arc<OwnRows>>,
    /// What it opens in its session ends with the session.
    pub session: OfSession,
    /// In which its results have timestamps.
    pub timestamps: TimeUnit,
}

/// A client's session. It lasts until the last `Arc` of this goes.
#[derive(Debug)]
pub struct SessionLife;

/// The session that something was opened in, if it was opened in one.
#[derive(Clone, Debug, Default)]
pub struct OfSession(Option<Weak<SessionLife>>);

impl OfSession {
    pub fn new(session: &Arc<SessionLife>) -> Self {
        OfSession(Some(Arc::downgrade(session)))
    }

    /// It was closed, has expired, or made room for another.
    pub fn is_over(&self) -> bool {
        let session = self.0.as_ref();
        session.is_some_and(|session| session.strong_count() == 0)
    }
}

/// Rows that are held for one table, in the table's schema.
#[derive(Debug)]
pub struct OwnRows {
    pub table: TableName,
    pub rows: Vec<RecordBatch>,
}

impl OwnRows {
    /// The snapshot with these rows in their table. Of a table that has changed since, they are not seen before they are
    /// written.
    pub fn over(&self, snapshot: &Snapshot) -> Snapshot {
        let mut tables = (*snapshot.tables).clone();
        if let Some(view) = tables.get_mut(&self.table.folded()) {
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
            read_point: snapshot.read_point,
            tables: Arc::new(tables),
        }
    }
}

impl Caller {
    pub fn new(principal: &str) -> Self {
        Caller {
            principal: principal.into(),
            schema: PUBLIC.into(),
            query: None,
            own: None,
            session: OfSession::default(),
            timestamps: TimeUnit::Microsecond,
        }
    }

    /// Runs a future, and everything that it awaits, in this caller's name.
    pub async fn run<F: Future>(self, work: F) -> F::Output {
        CALLER.scope(self, work).await
    }

    /// The caller of the present task: the server itself outside of a request.
    pub fn current() -> Caller {
        CALLER
            .try_with(Clone::clone)
            .unwrap_or_else(|_| Caller::new("server"))
    }
}

tokio::task_local! {
    static CALLER: Caller;
}

/// The schema of names that are written without one.
pub fn default_schema() -> Arc<str> {
    CALLER
        .try_with(|c| c.schema.clone())
        .unwrap_or_else(|_| PUBLIC.into())
}
