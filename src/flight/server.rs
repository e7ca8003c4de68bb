//! The server of Flight SQL: what its calls share. `service` takes the calls; `statements`, `bound` and `actions` do what they ask.

use std::sync::Arc;

use arrow_flight::{FlightDescriptor, PutResult};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ingest::Ingest;
use super::prepared::PreparedStatements;
use super::put_input::PutInput;
use super::session::Sessions;
use crate::config::{ByteSize, Limits};
use crate::fault::Fault;
use crate::ingest::staged::StagedRows;
use crate::query::{Engine, Queries};
use crate::statement::TableAdmin;
use crate::statement::transaction::Transactions;

/// Takes DoPut streams that bring rows.
pub trait PutHandler: Send + Sync {
    /// A stream whose descriptor names a table.
    fn put(
        &self,
        descriptor: FlightDescriptor,
        input: PutInput,
    ) -> BoxStream<'static, Result<PutResult, Status>>;
    /// A bulk ingest that commits by itself. Returns how many rows are in the table by it. `abandoned`: nobody waits for the
    /// answer any more.
    fn ingest(
        &self,
        asked: Ingest,
        input: PutInput,
        abandoned: CancellationToken,
    ) -> BoxFuture<'_, Result<u64, Fault>>;
    /// The rows of a bulk ingest, for a transaction to write.
    fn stage<'a>(
        &'a self,
        asked: &'a Ingest,
        input: PutInput,
    ) -> BoxFuture<'a, Result<Option<StagedRows>, Fault>>;
}

/// What the service is made of.
pub struct Parts {
    pub engine: Arc<Engine>,
    pub admin: Arc<dyn TableAdmin>,
    pub put: Arc<dyn PutHandler>,
    pub sessions: Arc<Sessions>,
    pub transactions: Arc<Transactions>,
    pub queries: Queries,
    pub limits: Limits,
    /// Of all prepared statements together.
    pub prepared_bytes_max: ByteSize,
}

pub struct FlightSqlServer {
    pub(super) engine: Arc<Engine>,
    pub(super) admin: Arc<dyn TableAdmin>,
    pub(super) put: Arc<dyn PutHandler>,
    pub(super) prepared: PreparedStatements,
    pub(super) sessions: Arc<Sessions>,
    pub(super) transactions: Arc<Transactions>,
    pub(super) queries: Queries,
    pub(super) limits: Limits,
}

impl FlightSqlServer {
    pub fn new(parts: Parts) -> Self {
        FlightSqlServer {
            engine: parts.engine,
            admin: parts.admin,
            put: parts.put,
            prepared: PreparedStatements::new(parts.prepared_bytes_max),
            sessions: parts.sessions,
            transactions: parts.transactions,
            queries: parts.queries,
            limits: parts.limits,
        }
    }
}
