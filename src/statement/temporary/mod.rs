//! Statements about temporary tables: those of the caller's session, kept in memory (`catalog/temporary`). `routed` tells them
//! from statements about stored tables (`route`), `run` does what they say. They take effect at once, also in a transaction, and no
//! rollback takes them back.
//!
//! A name without a schema means a temporary table before a stored one, but where a table is created: there the word TEMP says it.

mod route;
mod run;

pub(super) use route::{creation, routed};
pub use run::run;

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use super::create::{Creation, Origin};
use super::insert::Insert;
use super::{dml, values};
use crate::dataset::TEMPORARY_SCHEMA;
use crate::fault::{Fault, Kind};
use crate::query::{Engine, QueryContext};
use crate::types::TableName;

/// A statement about a temporary table of the caller's session.
#[derive(Clone, Debug, PartialEq)]
pub enum Temporary {
    Create(Box<Creation>),
    Insert(Box<Insert>),
    Rows(Box<dml::Dml>),
    Drop { name: TableName, if_exists: bool },
}

impl Temporary {
    /// The statement's first word, for messages.
    pub fn verb(&self) -> &'static str {
        match self {
            Temporary::Create(_) => "CREATE",
            Temporary::Insert(_) => "INSERT",
            Temporary::Rows(dml) => dml.verb(),
            Temporary::Drop { .. } => "DROP",
        }
    }
}

impl Temporary {
    /// As [`Change::parameters`](super::Change::parameters).
    ///
    /// # Errors
    /// FAILED_PRECONDITION `no_session`; as those.
    pub(super) async fn parameters(
        &self,
        engine: &Engine,
        caller: &QueryContext,
    ) -> Result<SchemaRef, Fault> {
        let tables = caller.session.temporary();
        let is_there = |name: &TableName| match &tables {
            Some(tables) => tables.get(name).map(|_| ()),
            None => Err(no_session()),
        };
        match self {
            Temporary::Insert(insert) => {
                is_there(&insert.table)?;
                values::parameters(engine, caller, insert).await
            }
            Temporary::Rows(dml) => {
                is_there(&dml.table)?;
                dml::parameters(engine, caller, dml).await
            }
            Temporary::Create(creation) => match &creation.origin {
                Origin::Query(sql) => Ok(engine.plan(caller, sql).await?.parameters),
                Origin::Columns | Origin::Like(_) => Ok(Arc::new(Schema::empty())),
            },
            Temporary::Drop { .. } => Ok(Arc::new(Schema::empty())),
        }
    }
}

/// What a call is told that is in no session.
pub fn no_session() -> Fault {
    Fault::new(
        Kind::Precondition,
        "no_session",
        "a temporary table belongs to a session and this call is in none: a client is in one from its first SetSessionOptions on, if it sends the cookie of the answer with its later calls (JDBC: add catalog=deltaplane to the URL; ADBC: set adbc.flight.sql.rpc.with_cookie_middleware to true, then the connection's current schema, in Python adbc_current_db_schema = 'public'; pyarrow: a middleware that keeps cookies, then the action SetSessionOptions)",
    )
}

pub(super) fn is_in_schema(name: &TableName) -> bool {
    name.schema().eq_ignore_ascii_case(TEMPORARY_SCHEMA)
}

/// Has the caller's session this temporary table?
pub(super) fn is_own(caller: &QueryContext, name: &TableName) -> bool {
    let own = caller.session.temporary();
    own.is_some_and(|own| own.is_there(name))
}

#[cfg(test)]
mod tests;
