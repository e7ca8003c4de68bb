//! The Flight service: each call decoded once into a command, and matched.
//!
//! arrow-flight's own blanket implementation leaves out GetSchema and PollFlightInfo and cannot take a path descriptor or a
//! command that is plain text, so the service stands here whole.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, Any, Command, DoPutUpdateResult, ProstMessageExt,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, IpcMessage, PollInfo, PutResult, SchemaAsIpc,
    SchemaResult, Ticket,
};
use arrow_ipc::writer::IpcWriteOptions;
use bytes::Bytes;
use datafusion::common::ScalarValue;
use futures::stream::{self, BoxStream, Peekable};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::command::{self, Request as Asked};
use super::decode::{Decoded, Decoder};
use super::prepared::{PreparedStatement, PreparedStatements};
use super::{metadata, status};
use crate::auth::Principal;
use crate::fault::{Fault, Kind};
use crate::query::Engine;
use crate::statement::{Change, TableAdmin};

/// A DoPut stream whose first message has been looked at.
pub type PutInput = Peekable<Streaming<FlightData>>;

/// Takes DoPut streams whose descriptor names a table.
pub trait PutHandler: Send + Sync {
    fn put(
        &self,
        descriptor: FlightDescriptor,
        input: PutInput,
    ) -> BoxStream<'static, Result<PutResult, Status>>;
}

/// Below gRPC's default limit of 4 MiB; the encoder estimates, so there is room for its error.
const MESSAGE_BYTES: usize = 2 * 1024 * 1024;

/// Bytes that a statement's bound parameters may take.
const PARAMETER_BYTES_MAX: u64 = 16 * 1024 * 1024;

pub struct FlightSqlServer {
    engine: Arc<Engine>,
    admin: Arc<dyn TableAdmin>,
    put: Arc<dyn PutHandler>,
    prepared: PreparedStatements,
    message_bytes_max: usize,
}

type Reply<T> = Result<Response<T>, Status>;
type DataStream = BoxStream<'static, Result<FlightData, Status>>;

impl FlightSqlServer {
    pub fn new(
        engine: Arc<Engine>,
        admin: Arc<dyn TableAdmin>,
        put: Arc<dyn PutHandler>,
        message_bytes_max: usize,
    ) -> Self {
        FlightSqlServer {
            engine,
            admin,
            put,
            prepared: PreparedStatements::default(),
            message_bytes_max,
        }
    }

    pub fn into_service(self) -> FlightServiceServer<Self> {
        let limit = self.message_bytes_max;
        FlightServiceServer::new(self)
            .max_decoding_message_size(limit)
            .max_encoding_message_size(usize::MAX)
    }

    /// The schema that a command's stream will have. Runs nothing.
    async fn schema_of(&self, asked: &Asked) -> Result<SchemaRef, Fault> {
        match asked {
            Asked::Text(sql) => self.statement_schema(sql).await,
            Asked::Command(Command::CommandStatementQuery(c)) => {
                self.statement_schema(&c.query).await
            }
            Asked::Command(Command::CommandPreparedStatementQuery(c)) => {
                let statement = self.prepared.get(&c.prepared_statement_handle)?;
                self.statement_schema(&statement.sql).await
            }
            Asked::Command(other) => Ok(self.catalogue(other.clone())?.schema()),
        }
    }

    async fn statement_schema(&self, sql: &str) -> Result<SchemaRef, Fault> {
        match Change::parse(sql)? {
            // Tools send DDL as a query; its result has no columns.
            Some(_) => Ok(Arc::new(Schema::empty())),
            None => Ok(self.engine.plan(sql).await?.wire),
        }
    }

    /// Answers that come from the catalogue alone.
    fn catalogue(&self, command: Command) -> Result<RecordBatch, Fault> {
        match command {
            Command::CommandGetCatalogs(_) => metadata::catalogs(),
            Command::CommandGetDbSchemas(c) => metadata::schemas(&self.engine, c),
            Command::CommandGetTables(c) => metadata::tables(&self.engine, c),
            Command::CommandGetTableTypes(_) => metadata::table_types(),
            Command::CommandGetPrimaryKeys(c) => {
                metadata::primary_keys(&self.engine.snapshot(), &c)
            }
            Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_) => metadata::no_foreign_keys(),
            Command::CommandGetSqlInfo(c) => metadata::sql_info(c.info),
            Command::CommandGetXdbcTypeInfo(c) => metadata::xdbc_types(c.data_type),
            _ => Err(not_supported("this command")),
        }
    }

    /// Where to fetch what was asked for: the command itself is the ticket, so that any channel may use it.
    async fn info(&self, descriptor: FlightDescriptor) -> Result<FlightInfo, Fault> {
        let asked = command::decode(&descriptor.cmd)?;
        let ticket = |sql: &str| TicketStatementQuery {
            statement_handle: Bytes::copy_from_slice(sql.as_bytes()),
        };
        let sql = match &asked {
            Asked::Text(sql) => Some(sql.clone()),
            Asked::Command(Command::CommandStatementQuery(c)) => Some(c.query.clone()),
            Asked::Command(Command::CommandPreparedStatementQuery(c)) => {
                let statement = self.prepared.get(&c.prepared_statement_handle)?;
                Some(statement.sql.to_string())
            }
            Asked::Command(_) => None,
        };
        // A tool that sends DDL as a query may not wait for DoGet before its next statement: it is done here, once, and
        // the ticket stands for its empty result.
        let change = sql.as_deref().map(Change::parse).transpose()?.flatten();
        let (schema, ticket): (SchemaRef, Bytes) = if let Some(change) = change {
            change.run(&*self.admin).await?;
            let done = ticket("").as_any().encode_to_vec().into();
            (Arc::new(Schema::empty()), done)
        } else {
            let schema = self.schema_of(&asked).await?;
            let ticket = match (&asked, &sql) {
                (Asked::Command(Command::CommandPreparedStatementQuery(_)), _) | (_, None) => {
                    descriptor.cmd.clone()
                }
                (_, Some(sql)) => ticket(sql).as_any().encode_to_vec().into(),
            };
            (schema, ticket)
        };
        let info = FlightInfo::new()
            .try_with_schema(&schema)
            .map_err(|e| Fault::internal(e.to_string()))?;
        Ok(info
            .with_endpoint(FlightEndpoint::new().with_ticket(Ticket::new(ticket)))
            .with_descriptor(descriptor))
    }

    async fn fetch(&self, ticket: &[u8]) -> Result<DataStream, Fault> {
        match command::decode(ticket)? {
            Asked::Text(sql) => self.run(&sql, None).await,
            Asked::Command(Command::TicketStatementQuery(t)) => {
                let sql = std::str::from_utf8(&t.statement_handle).map_err(|_| {
                    Fault::invalid("invalid_ticket", "the ticket is not one of ours")
                })?;
                self.run(sql, None).await
            }
            Asked::Command(Command::CommandStatementQuery(c)) => self.run(&c.query, None).await,
            Asked::Command(Command::CommandPreparedStatementQuery(c)) => {
                let PreparedStatement { sql, bound } =
                    self.prepared.get(&c.prepared_statement_handle)?;
                self.run(&sql, parameters(bound.as_ref())?).await
            }
            Asked::Command(other) => {
                let batch = self.catalogue(other)?;
                Ok(encode(batch.schema(), stream::iter([Ok(batch)]).boxed()))
            }
        }
    }

    async fn run(
        &self,
        sql: &str,
        parameters: Option<Vec<ScalarValue>>,
    ) -> Result<DataStream, Fault> {
        if sql.is_empty() {
            return Ok(encode(Arc::new(Schema::empty()), stream::empty().boxed()));
        }
        if let Some(change) = Change::parse(sql)? {
            change.run(&*self.admin).await?;
            return Ok(encode(Arc::new(Schema::empty()), stream::empty().boxed()));
        }
        let result = self.engine.query(sql, parameters).await?;
        let batches = tokio_stream::wrappers::ReceiverStream::new(result.batches);
        Ok(encode(result.wire, batches.boxed()))
    }

    async fn update(
        &self,
        sql: &str,
    ) -> Result<BoxStream<'static, Result<PutResult, Status>>, Fault> {
        let written = match Change::parse(sql)? {
            Some(change) => change.run(&*self.admin).await?,
            None => {
                // A query sent as an update: say what is wrong with it, or that it is none.
                self.engine.plan(sql).await?;
                return Err(Fault::invalid(
                    "not_an_update",
                    "this is a query; execute it as one",
                ));
            }
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

    async fn bind(
        &self,
        handle: &[u8],
        mut input: PutInput,
    ) -> Result<BoxStream<'static, Result<PutResult, Status>>, Fault> {
        let mut decoder = Decoder::new(PARAMETER_BYTES_MAX);
        let mut bound: Option<RecordBatch> = None;
        while let Some(data) = input.next().await {
            let data = data.map_err(|s| {
                Fault::new(Kind::Cancelled, "stream_broken", s.message().to_owned())
            })?;
            if let Decoded::Batch(batch) = decoder.message(&data)? {
                if bound.is_some() || batch.num_rows() > 1 {
                    return Err(Fault::new(
                        Kind::Unimplemented,
                        "not_implemented",
                        "a query takes one row of parameters at a time",
                    ));
                }
                bound = Some(batch);
            }
        }
        self.prepared.bind(handle, bound)?;
        Ok(stream::empty().boxed())
    }

    async fn prepare(&self, sql: &str) -> Result<ActionCreatePreparedStatementResult, Fault> {
        let (dataset, parameters) = match Change::parse(sql)? {
            // JDBC takes an empty schema for an update.
            Some(_) => (Bytes::new(), Bytes::new()),
            None => {
                let planned = self.engine.plan(sql).await?;
                let parameters = if planned.parameters.fields().is_empty() {
                    Bytes::new()
                } else {
                    ipc(&planned.parameters)?
                };
                (ipc(&planned.wire)?, parameters)
            }
        };
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: self.prepared.add(sql),
            dataset_schema: dataset,
            parameter_schema: parameters,
        })
    }

    async fn action(&self, action: Action) -> Result<Vec<Bytes>, Fault> {
        let unpack = || {
            Any::decode(&*action.body).map_err(|e| Fault::invalid("invalid_action", e.to_string()))
        };
        match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let request: ActionCreatePreparedStatementRequest =
                    unpack()?.unpack().ok().flatten().ok_or_else(|| {
                        Fault::invalid("invalid_action", "not a CreatePreparedStatement request")
                    })?;
                let result = self.prepare(&request.query).await?;
                Ok(vec![result.as_any().encode_to_vec().into()])
            }
            "ClosePreparedStatement" => {
                let request: Option<ActionClosePreparedStatementRequest> =
                    unpack()?.unpack().ok().flatten();
                if let Some(request) = request {
                    self.prepared.close(&request.prepared_statement_handle);
                }
                Ok(Vec::new())
            }
            other => Err(not_supported(&format!(
                "action {}",
                other.chars().take(60).collect::<String>()
            ))),
        }
    }
}

fn not_supported(what: &str) -> Fault {
    Fault::new(
        Kind::Unimplemented,
        "not_implemented",
        format!("{what} is not supported"),
    )
}

/// One row of bound values.
fn parameters(bound: Option<&RecordBatch>) -> Result<Option<Vec<ScalarValue>>, Fault> {
    let Some(batch) = bound.filter(|b| b.num_rows() == 1) else {
        return Ok(None);
    };
    let values = batch
        .columns()
        .iter()
        .map(|c| ScalarValue::try_from_array(c, 0));
    let values = values.collect::<Result<Vec<_>, _>>();
    values
        .map(Some)
        .map_err(|e| Fault::invalid("parameters", e.strip_backtrace()))
}

fn ipc(schema: &Schema) -> Result<Bytes, Fault> {
    let options = IpcWriteOptions::default();
    let message: IpcMessage = SchemaAsIpc::new(schema, &options)
        .try_into()
        .map_err(|e| Fault::internal(format!("schema: {e}")))?;
    Ok(message.0)
}

/// Batches as messages; a fault on the way ends the stream with its own code.
fn encode(
    schema: SchemaRef,
    batches: BoxStream<'static, Result<RecordBatch, Fault>>,
) -> DataStream {
    let batches = batches.map_err(|fault| FlightError::Tonic(Box::new(status::of(fault))));
    FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .with_max_flight_data_size(MESSAGE_BYTES)
        .build(batches)
        .map_err(|e| match e {
            FlightError::Tonic(status) => *status,
            other => status::of(Fault::internal(format!("result encoding: {other}"))),
        })
        .boxed()
}

fn as_status<T>(result: Result<T, Fault>) -> Reply<T> {
    result.map(Response::new).map_err(status::of)
}

#[tonic::async_trait]
impl FlightService for FlightSqlServer {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = DataStream;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
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
        as_status(self.info(request.into_inner()).await)
    }

    async fn poll_flight_info(&self, request: Request<FlightDescriptor>) -> Reply<PollInfo> {
        // Nothing runs before DoGet, so the first answer is the last.
        let info = self.info(request.into_inner()).await;
        as_status(info.map(|info| PollInfo {
            info: Some(info),
            flight_descriptor: None,
            progress: Some(1.0),
            expiration_time: None,
        }))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Reply<SchemaResult> {
        let schema = async {
            let asked = command::decode(&request.into_inner().cmd)?;
            ipc(&*self.schema_of(&asked).await?)
        };
        as_status(schema.await.map(|schema| SchemaResult { schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Reply<Self::DoGetStream> {
        as_status(self.fetch(&request.into_inner().ticket).await)
    }

    async fn do_put(&self, request: Request<Streaming<FlightData>>) -> Reply<Self::DoPutStream> {
        let mut input = request.into_inner().peekable();
        let first = match std::pin::Pin::new(&mut input).peek().await {
            Some(Ok(first)) => first,
            Some(Err(status)) => return Err(status.clone()),
            None => {
                return Err(status::of(Fault::invalid(
                    "empty_stream",
                    "the stream ended before anything came; send a descriptor and a schema",
                )));
            }
        };
        let Some(descriptor) = first.flight_descriptor.clone() else {
            return Err(status::of(Fault::invalid(
                "invalid_descriptor",
                "the first message has no descriptor; its path names the table, as in [\"reactor\",\"raw\"]",
            )));
        };
        if !descriptor.path.is_empty() {
            return Ok(Response::new(self.put.put(descriptor, input)));
        }
        let result = match command::decode(&descriptor.cmd) {
            Ok(Asked::Command(Command::CommandStatementUpdate(c))) => self.update(&c.query).await,
            Ok(Asked::Command(Command::CommandPreparedStatementUpdate(c))) => {
                match self.prepared.get(&c.prepared_statement_handle) {
                    Ok(statement) => self.update(&statement.sql).await,
                    Err(fault) => Err(fault),
                }
            }
            Ok(Asked::Command(Command::CommandPreparedStatementQuery(c))) => {
                self.bind(&c.prepared_statement_handle, input).await
            }
            Ok(Asked::Command(Command::CommandStatementIngest(_))) => Err(not_supported(
                "bulk ingest; stream to the table by DoPut with a path descriptor, it",
            )),
            Ok(Asked::Command(_)) => Err(not_supported("this command in DoPut")),
            Ok(Asked::Text(_)) => Err(Fault::invalid(
                "invalid_descriptor",
                "DoPut takes a path that names a table, or a Flight SQL update",
            )),
            Err(fault) => Err(fault),
        };
        as_status(result)
    }

    async fn do_exchange(
        &self,
        _: Request<Streaming<FlightData>>,
    ) -> Reply<Self::DoExchangeStream> {
        Err(status::of(not_supported("DoExchange")))
    }

    async fn do_action(&self, request: Request<Action>) -> Reply<Self::DoActionStream> {
        let bodies = self
            .action(request.into_inner())
            .await
            .map_err(status::of)?;
        Ok(Response::new(
            stream::iter(
                bodies
                    .into_iter()
                    .map(|body| Ok(arrow_flight::Result { body })),
            )
            .boxed(),
        ))
    }

    async fn list_actions(&self, _: Request<Empty>) -> Reply<Self::ListActionsStream> {
        let actions = [
            (
                "CreatePreparedStatement",
                "Any(ActionCreatePreparedStatementRequest) to a handle and schemas",
            ),
            (
                "ClosePreparedStatement",
                "Any(ActionClosePreparedStatementRequest)",
            ),
        ];
        let actions = actions.map(|(name, about)| {
            Ok(ActionType {
                r#type: name.to_owned(),
                description: about.to_owned(),
            })
        });
        Ok(Response::new(stream::iter(actions).boxed()))
    }
}
