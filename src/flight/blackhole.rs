//! A Flight server that reads DoPut streams and does nothing: what the network alone costs, for `deltaplane bench`.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::{FlightDescriptor, PutResult};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::ingest::Ingest;
use super::wire::{self, Wire};
use super::{FlightSqlServer, Parts, PutHandler, PutInput, Sessions, session};
use crate::catalog::view::Snapshot;
use crate::dataset::Contract;
use crate::fault::Fault;
use crate::query::{Engine, EngineConfig, SnapshotSource};
use crate::statement::transaction::{self, Transactions};
use crate::statement::{Bound, Insert, TableAdmin};
use crate::types::{Lsn, TableName};

struct Nothing;

#[async_trait]
impl PutHandler for Nothing {
    fn put(
        &self,
        _: FlightDescriptor,
        mut input: PutInput,
    ) -> BoxStream<'static, Result<PutResult, Status>> {
        let drained = async move {
            while input.next().await.is_some() {}
            Ok(PutResult::default())
        };
        futures::stream::once(drained).boxed()
    }

    async fn ingest(&self, _: Ingest, _: PutInput, _: CancellationToken) -> Result<u64, Fault> {
        Err(not_real())
    }

    async fn stage(&self, _: &Ingest, _: PutInput) -> Result<Option<RecordBatch>, Fault> {
        Err(not_real())
    }
}

fn not_real() -> Fault {
    Fault::internal("not a real server")
}

#[async_trait]
impl TableAdmin for Nothing {
    async fn create(&self, _: Contract, _: bool) -> Result<bool, Fault> {
        Ok(false)
    }

    async fn create_from(
        &self,
        _: crate::statement::create::Creation,
        _: &Bound,
    ) -> Result<u64, Fault> {
        Err(not_real())
    }

    async fn rename(&self, _: &TableName, _: &TableName) -> Result<(), Fault> {
        Err(not_real())
    }

    async fn define(&self, _: crate::statement::define::Define) -> Result<(), Fault> {
        Err(not_real())
    }

    async fn drop(&self, _: &TableName, _: bool, _: bool) -> Result<bool, Fault> {
        Ok(false)
    }

    async fn alter(&self, _: &TableName, _: &crate::catalog::alter::Plan<'_>) -> Result<(), Fault> {
        Err(not_real())
    }

    async fn view(&self, _: crate::statement::ViewChange) -> Result<u64, Fault> {
        Err(not_real())
    }

    async fn alert(&self, _: crate::statement::AlertChange) -> Result<Option<RecordBatch>, Fault> {
        Err(not_real())
    }

    async fn insert(&self, _: Insert, _: &Bound) -> Result<u64, Fault> {
        Err(not_real())
    }

    async fn stage(&self, _: &Insert, _: &Bound) -> Result<Option<RecordBatch>, Fault> {
        Err(not_real())
    }

    async fn append(&self, _: &TableName, _: Vec<RecordBatch>) -> Result<u64, Fault> {
        Err(not_real())
    }

    async fn change_rows(&self, _: crate::statement::dml::Dml, _: &Bound) -> Result<u64, Fault> {
        Err(not_real())
    }

    async fn hold(
        &self,
        _: crate::statement::dml::Dml,
        _: &Bound,
        _: Vec<RecordBatch>,
        _: Option<Arc<crate::statement::dml::Held>>,
    ) -> Result<(u64, crate::statement::dml::Held), Fault> {
        Err(not_real())
    }

    async fn commit(
        &self,
        _: Arc<crate::statement::dml::Held>,
        _: Vec<RecordBatch>,
    ) -> Result<(), Fault> {
        Err(not_real())
    }

    async fn restore(&self, _: crate::statement::restore::Restore) -> Result<(), Fault> {
        Err(not_real())
    }

    async fn replay(
        &self,
        _: crate::statement::Replay,
    ) -> Result<crate::ingest::replay::Outcome, Fault> {
        Err(Fault::internal("not a real server"))
    }

    async fn upkeep(
        &self,
        _: crate::statement::Upkeep,
    ) -> Result<arrow::array::RecordBatch, Fault> {
        Err(Fault::internal("not a real server"))
    }
}

impl SnapshotSource for Nothing {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            read_point: Lsn::ZERO,
            tables: Arc::default(),
            defined: Arc::default(),
        }
    }

    fn system_tables(&self) -> Vec<(&'static str, SchemaRef)> {
        Vec::new()
    }
}

/// Starts it on a free port of this machine.
pub async fn start() -> anyhow::Result<(SocketAddr, JoinHandle<()>)> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let config = EngineConfig {
        threads: 1,
        memory_bytes: 1 << 20,
        upkeep_bytes: 1 << 20,
        timeout: std::time::Duration::from_secs(1),
        spill_dir: std::env::temp_dir(),
        spill_bytes: 1,
        value_bytes: 64 << 20,
        batch_bytes: 256 << 20,
    };
    let engine = Arc::new(Engine::new(config, Arc::new(Nothing))?);
    let idle = std::time::Duration::from_secs(60);
    let service = FlightSqlServer::new(Parts {
        engine,
        admin: Arc::new(Nothing),
        put: Arc::new(Nothing),
        sessions: Arc::new(Sessions::new(session::Limits { count: 1, idle })),
        transactions: Arc::new(Transactions::new(transaction::Limits {
            count: 1,
            bytes: 1,
            idle,
        })),
        queries: crate::query::Queries::default(),
        limits: crate::config::Config::default().limits,
        prepared_bytes_max: crate::config::Config::default().memory.prepared_bytes_max,
    })
    .into_service();
    let wire = Wire::new(wire::Limits::of(&crate::config::Config::default()));
    let closing = tokio_util::sync::CancellationToken::new();
    let task = tokio::spawn(super::transport::serve(listener, service, wire, closing));
    Ok((address, task))
}
