//! The Flight service: each call decoded once into a command, and handed to the part that knows it: `statements`, `actions`,
//! `ingest`, `put`, `metadata`.
//!
//! arrow-flight's own blanket implementation leaves out GetSchema, PollFlightInfo, sessions and cancels, and cannot take a path
//! descriptor or a command that is plain text, so the service stands here whole.

use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{Command, DoPutUpdateResult};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{self, BoxStream};
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Request, Response, Status, Streaming};

use super::command::{self, Request as Asked};
use super::encode::{DataStream, ipc};
use super::guarded::guarded;
use super::ingest::Ingest;
use super::put_input::PutInput;
use super::server::FlightSqlServer;
use super::status::not_supported;
use super::{actions, status};
use crate::auth::Principal;
use crate::fault::Fault;
use crate::query::QueryContext;

/// How often what is idle is looked for.
const EXPIRY: Duration = Duration::from_secs(10);

type Reply<T> = Result<Response<T>, Status>;
type PutStream = BoxStream<'static, Result<PutResult, Status>>;

impl FlightSqlServer {
    /// Has to be called within a runtime: transactions and sessions that are idle for too long are ended from now on.
    pub fn into_service(self) -> FlightServiceServer<Self> {
        let limit = self.limits.message_bytes_max.as_usize();
        let transactions = Arc::downgrade(&self.transactions);
        let sessions = Arc::downgrade(&self.sessions);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(EXPIRY).await;
                let (Some(transactions), Some(sessions)) =
                    (transactions.upgrade(), sessions.upgrade())
                else {
                    return;
                };
                sessions.expire();
                transactions.expire();
            }
        });
        FlightServiceServer::new(self)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX)
    }

    /// # Errors
    /// UNAUTHENTICATED: the session that the request names has ended.
    fn caller(&self, headers: &MetadataMap) -> Result<QueryContext, Fault> {
        let principal = Principal::of(headers);
        self.sessions.caller(principal.name(), headers)
    }

    /// The caller of an action. Those that end a session or begin one can be called in none.
    fn caller_of_action(&self, action: &str, headers: &MetadataMap) -> Result<QueryContext, Fault> {
        match action {
            "SetSessionOptions" | "CloseSession" => {
                Ok(QueryContext::new(Principal::of(headers).name()))
            }
            _ => self.caller(headers),
        }
    }

    async fn ingest(
        &self,
        caller: &QueryContext,
        command: arrow_flight::sql::CommandStatementIngest,
        headers: &MetadataMap,
        input: PutInput,
    ) -> Result<u64, Fault> {
        let asked = Ingest::new(command, headers, caller)?;
        let put = self.put.clone();
        let transaction = asked.transaction.clone();
        if let Some(id) = &transaction {
            self.transactions.touch(id)?;
        }
        // Rows of a temporary table are no part of a transaction.
        match transaction.filter(|_| !asked.temporary) {
            None => {
                // A call that the client cancels is dropped, here as well; its stream may have ended before.
                let abandoned = CancellationToken::new();
                let _waiting = abandoned.clone().drop_guard();
                guarded(async move { put.ingest(asked, input, abandoned).await }).await
            }
            Some(id) => {
                let table = asked.table.clone();
                let staged = async move { put.stage(&asked, input).await };
                match guarded(staged).await? {
                    Some(rows) => self.transactions.add(&id, table, rows).await,
                    None => Ok(0),
                }
            }
        }
    }

    /// A DoPut whose descriptor is a command.
    async fn put_command(
        &self,
        command: Command,
        headers: &MetadataMap,
        input: PutInput,
    ) -> Result<PutStream, Fault> {
        let caller = self.caller(headers)?;
        let written = match command {
            Command::CommandStatementUpdate(c) => {
                let nothing = crate::statement::Bound::NOTHING;
                let caller = self
                    .in_transaction(caller, c.transaction_id.as_deref())
                    .await;
                self.update(&caller, &c.query, c.transaction_id, nothing)
                    .await?
            }
            Command::CommandPreparedStatementUpdate(c) => {
                self.prepared_update(&c.prepared_statement_handle, input, caller)
                    .await?
            }
            Command::CommandPreparedStatementQuery(c) => {
                self.bind(&c.prepared_statement_handle, input).await?;
                return Ok(stream::empty().boxed());
            }
            Command::CommandStatementIngest(c) => self.ingest(&caller, c, headers, input).await?,
            _ => return Err(not_supported("this command in DoPut")),
        };
        // DDL changes no rows; at -1 the JDBC driver would run it again.
        let result = DoPutUpdateResult {
            record_count: i64::try_from(written).unwrap_or(i64::MAX),
        };
        let result = PutResult {
            app_metadata: result.encode_to_vec().into(),
        };
        Ok(stream::iter([Ok(result)]).boxed())
    }
}

fn as_status<T>(result: Result<T, Fault>) -> Reply<T> {
    result.map(Response::new).map_err(status::of)
}

#[tonic::async_trait]
impl FlightService for FlightSqlServer {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = DataStream;
    type DoPutStream = PutStream;
    type DoExchangeStream = DataStream;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;

    /// On loopback everyone is welcome; drivers insist on a handshake and on a token in answer.
    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Reply<Self::HandshakeStream> {
        let principal = Principal::of(request.metadata());
        let answer = HandshakeResponse {
            protocol_version: 0,
            payload: Bytes::new(),
        };
        let mut response = Response::new(stream::iter([Ok(answer)]).boxed());
        let token = format!("Bearer {}", principal.name());
        if let Ok(token) = MetadataValue::try_from(token) {
            response.metadata_mut().insert("authorization", token);
        }
        Ok(response)
    }

    async fn list_flights(&self, _: Request<Criteria>) -> Reply<Self::ListFlightsStream> {
        Err(status::of(not_supported("ListFlights; use GetTables")))
    }

    async fn get_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<FlightInfo> {
        let caller = self.caller(request.metadata()).map_err(status::of)?;
        as_status(self.info(request.into_inner(), caller).await)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<PollInfo> {
        let caller = self.caller(request.metadata()).map_err(status::of)?;
        // No query runs before DoGet, so the first answer is the last.
        let info = self.info(request.into_inner(), caller).await;
        as_status(info.map(|info| PollInfo {
            info: Some(info),
            flight_descriptor: None,
            progress: Some(1.0),
            expiration_time: None,
        }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        let caller = self.caller(request.metadata()).map_err(status::of)?;
        let schema = async {
            let asked = command::decode(&request.into_inner().cmd)?;
            ipc(&*self.schema_of(&asked, caller).await?)
        };
        as_status(schema.await.map(|schema| SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<Self::DoGetStream> {
        let caller = self.caller(request.metadata()).map_err(status::of)?;
        as_status(self.fetch(&request.into_inner().ticket, caller).await)
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        let headers = request.metadata().clone();
        let mut input = PutInput::new(request).map_err(status::of)?;
        let Some(first) = input.first().await.map_err(status::of)? else {
            return Err(status::of(Fault::invalid(
                "empty_stream",
                "the stream ended before anything came (some clients send nothing at all when there are no rows); send a descriptor and a schema",
            )));
        };
        let Some(descriptor) = first.flight_descriptor.clone() else {
            return Err(status::of(Fault::invalid(
                "invalid_descriptor",
                "the first message has no descriptor; its path names the table, as in [\"reactor\",\"raw\"]",
            )));
        };
        if !descriptor.path.is_empty() {
            self.caller(&headers).map_err(status::of)?;
            return Ok(Response::new(self.put.put(descriptor, input)));
        }
        as_status(match command::decode(&descriptor.cmd) {
            Ok(Asked::Command(command)) => self.put_command(command, &headers, input).await,
            Ok(Asked::Text(_)) => Err(Fault::invalid(
                "invalid_descriptor",
                "DoPut takes a path that names a table, or a Flight SQL update",
            )),
            Err(fault) => Err(fault),
        })
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Reply<Self::DoExchangeStream> {
        Err(status::of(not_supported("DoExchange")))
    }

    async fn do_action(&self, request: Request<Action>) -> Reply<Self::DoActionStream> {
        let headers = request.metadata().clone();
        let action = request.into_inner();
        let caller = self
            .caller_of_action(&action.r#type, &headers)
            .map_err(status::of)?;
        let outcome = self.action(action, &headers, caller).await;
        let outcome = outcome.map_err(status::of)?;
        let bodies = outcome.bodies.into_iter();
        let results = bodies.map(|body| Ok(arrow_flight::Result { body }));
        let mut response = Response::new(stream::iter(results.collect::<Vec<_>>()).boxed());
        if let Some(cookie) = outcome.cookie.and_then(|c| MetadataValue::try_from(c).ok()) {
            response.metadata_mut().insert("set-cookie", cookie);
        }
        Ok(response)
    }

    async fn list_actions(&self, _: Request<Empty>) -> Reply<Self::ListActionsStream> {
        Ok(Response::new(stream::iter(actions::list().map(Ok)).boxed()))
    }
}
