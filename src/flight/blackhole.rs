//! A Flight server that reads DoPut streams and does nothing: what the network alone costs, for `deltaplane bench`.

use std::net::SocketAddr;
use std::sync::Arc;

use arrow_flight::{FlightDescriptor, PutResult};
use futures::StreamExt;
use futures::future::BoxFuture;
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
use crate::ingest::staged::StagedRows;
use crate::query::{Engine, EngineConfig, QueryContext, SnapshotSource};
use crate::statement::transaction::{self, Transactions};
use crate::statement::{Bound, Insert, TableAdmin};
use crate::types::{Lsn, PUBLIC, TableName};

struct Nothing;

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

    fn ingest(
        &self,
        _: Ingest,
        _: PutInput,
        _: CancellationToken,
    ) -> BoxFuture<'_, Result<u64, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn stage<'a>(
        &'a self,
        _: &'a Ingest,
        _: PutInput,
    ) -> BoxFuture<'a, Result<Option<StagedRows>, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }
}

fn not_real() -> Fault {
    Fault::internal("not a real server")
}

impl TableAdmin for Nothing {
    fn create(&self, _: Contract, _: bool) -> BoxFuture<'_, Result<bool, Fault>> {
        Box::pin(async move { Ok(false) })
    }

    fn create_from<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::create::Creation,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn rename<'a>(
        &'a self,
        _: &'a TableName,
        _: &'a TableName,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn temporary<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::Temporary,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn define<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::define::Define,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn drop<'a>(
        &'a self,
        _: &'a TableName,
        _: bool,
        _: bool,
    ) -> BoxFuture<'a, Result<bool, Fault>> {
        Box::pin(async move { Ok(false) })
    }

    fn alter<'a>(
        &'a self,
        _: &'a TableName,
        _: &'a crate::catalog::alter::Plan<'a>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn view<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::ViewChange,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn alert<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::AlertChange,
    ) -> BoxFuture<'a, Result<Option<arrow::array::RecordBatch>, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn insert<'a>(
        &'a self,
        _: &'a QueryContext,
        _: Insert,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn stage<'a>(
        &'a self,
        _: &'a QueryContext,
        _: &'a Insert,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<Option<StagedRows>, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn append<'a>(&'a self, _: &'a TableName, _: StagedRows) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn change_rows<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::dml::Dml,
        _: &'a Bound,
    ) -> BoxFuture<'a, Result<u64, Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn hold<'a>(
        &'a self,
        _: &'a QueryContext,
        _: crate::statement::dml::Dml,
        _: &'a Bound,
        _: Option<StagedRows>,
        _: Option<Arc<crate::statement::dml::Held>>,
    ) -> BoxFuture<'a, Result<(u64, crate::statement::dml::Held), Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn commit(
        &self,
        _: Arc<crate::statement::dml::Held>,
        _: Option<StagedRows>,
    ) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn restore(&self, _: crate::statement::restore::Restore) -> BoxFuture<'_, Result<(), Fault>> {
        Box::pin(async move { Err(not_real()) })
    }

    fn replay(
        &self,
        _: crate::statement::Replay,
    ) -> BoxFuture<'_, Result<crate::ingest::replay::Outcome, Fault>> {
        Box::pin(async move { Err(Fault::internal("not a real server")) })
    }

    fn upkeep(
        &self,
        _: crate::statement::Upkeep,
    ) -> BoxFuture<'_, Result<arrow::array::RecordBatch, Fault>> {
        Box::pin(async move { Err(Fault::internal("not a real server")) })
    }
}

impl SnapshotSource for Nothing {
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            read_point: Lsn::ZERO,
            schema: PUBLIC.into(),
            tables: Arc::default(),
            defined: Arc::default(),
        }
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
        sessions: Arc::new(Sessions::new(
            session::Limits { count: 1, idle },
            Arc::default(),
        )),
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
