//! Statements as they come in over Flight SQL: described, executed, bound, prepared. Queries run when they are fetched; what
//! changes something runs once, when it is asked for.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, Any, Command, CommandPreparedStatementQuery,
};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket as FlightTicket};
use bytes::Bytes;
use prost::Message;

use super::command::{self, Request as Asked};
use super::encode::{self, DataStream, ipc};
use super::guarded::guarded;
use super::metadata;
use super::prepared::PreparedStatement;
use super::put_input::PutInput;
use super::server::FlightSqlServer;
use super::status::not_supported;
use super::ticket::{Ticket, What, from_hex, hex};
use super::timestamps;
use crate::fault::{Fault, Kind};
use crate::query::QueryContext;
use crate::statement::{Bound, Change, Done};

/// A CreatePreparedStatement's result. arrow-flight 59 lacks the last field, by which drivers tell queries from updates.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Prepared {
    #[prost(bytes = "bytes", tag = "1")]
    pub handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub parameter_schema: Bytes,
    #[prost(bool, optional, tag = "4")]
    pub is_update: Option<bool>,
}

impl Prepared {
    pub(super) fn as_any(&self) -> Any {
        Any {
            type_url:
                "type.googleapis.com/arrow.flight.protocol.sql.ActionCreatePreparedStatementResult"
                    .to_owned(),
            value: self.encode_to_vec().into(),
        }
    }
}

/// One statement, and all that its execution depends on.
struct Execution {
    sql: String,
    caller: QueryContext,
    transaction: Option<Bytes>,
    bound: Bound,
    /// Handle of the prepared statement that it is, and how often that was bound.
    prepared: Option<(Bytes, u64)>,
}

fn some(id: Option<Bytes>) -> Option<Bytes> {
    id.filter(|id| !id.is_empty())
}

impl FlightSqlServer {
    /// The statement that a command asks for; none: it asks the catalogue.
    fn execution(&self, asked: &Asked, caller: QueryContext) -> Result<Option<Execution>, Fault> {
        let plain = |sql: &str, transaction: Option<Bytes>| Execution {
            sql: sql.to_owned(),
            caller: caller.clone(),
            transaction: some(transaction),
            bound: Bound::default(),
            prepared: None,
        };
        Ok(match asked {
            Asked::Text(sql) => Some(plain(sql, None)),
            Asked::Command(Command::CommandStatementQuery(c)) => {
                Some(plain(&c.query, c.transaction_id.clone()))
            }
            Asked::Command(Command::CommandPreparedStatementQuery(c)) => {
                Some(self.prepared_execution(c, caller)?)
            }
            Asked::Command(_) => None,
        })
    }

    /// Answers that come from the catalogue alone.
    fn catalogue(&self, caller: &QueryContext, command: Command) -> Result<RecordBatch, Fault> {
        metadata::answer(&self.engine, caller, self.transactions.idle(), command)
    }

    fn prepared_execution(
        &self,
        command: &CommandPreparedStatementQuery,
        mut caller: QueryContext,
    ) -> Result<Execution, Fault> {
        let handle = &command.prepared_statement_handle;
        let statement = self.prepared.get(handle)?;
        caller.schema = statement.schema;
        Ok(Execution {
            sql: statement.sql.to_string(),
            caller,
            transaction: statement.transaction,
            bound: statement.bound,
            prepared: Some((handle.clone(), statement.binds)),
        })
    }

    /// What a statement changes; none if it is a query. Its text is bounded, and it is read away from the streams.
    async fn read(&self, caller: &QueryContext, sql: &str) -> Result<Option<Change>, Fault> {
        let caller = caller.clone();
        let read = move |sql: &str| Change::parse(&caller, sql);
        self.engine.understand(sql, read).await
    }

    /// The schema that a command's stream will have. Runs nothing.
    pub(super) async fn schema_of(
        &self,
        asked: &Asked,
        caller: QueryContext,
    ) -> Result<SchemaRef, Fault> {
        match (self.execution(asked, caller.clone())?, asked) {
            (Some(execution), _) => self.statement_schema(&execution).await,
            (None, Asked::Command(other)) => Ok(self.catalogue(&caller, other.clone())?.schema()),
            (None, Asked::Text(_)) => Ok(Arc::new(Schema::empty())),
        }
    }

    async fn statement_schema(&self, execution: &Execution) -> Result<SchemaRef, Fault> {
        let caller = &execution.caller;
        match self.read(caller, &execution.sql).await? {
            // Tools send DDL as a query; its result has mostly no columns.
            Some(change) => Ok(change.schema()),
            None => self.columns(caller, &execution.sql, &execution.bound).await,
        }
    }

    /// Where to fetch what was asked for. A tool that sends DDL as a query may not wait for DoGet before its next statement:
    /// what changes something is done here, once, and the ticket stands for its empty result.
    pub(super) async fn info(
        &self,
        descriptor: FlightDescriptor,
        caller: QueryContext,
    ) -> Result<FlightInfo, Fault> {
        let asked = command::decode(&descriptor.cmd)?;
        let mut rows = -1;
        let (schema, ticket): (SchemaRef, Bytes) = match self.execution(&asked, caller.clone())? {
            None => {
                let Asked::Command(command) = asked else {
                    return Err(not_supported("this descriptor"));
                };
                (
                    self.catalogue(&caller, command)?.schema(),
                    descriptor.cmd.clone(),
                )
            }
            Some(execution) => {
                let transaction = execution.transaction.as_deref();
                let caller = self
                    .in_transaction(execution.caller.clone(), transaction)
                    .await;
                let (sql, bound) = (&execution.sql, &execution.bound);
                match self.read(&caller, sql).await? {
                    Some(change) => {
                        let change = self.change(&caller, sql, change, transaction, bound);
                        let done = change.await?;
                        let (wire, what) = match &done.rows {
                            Some(said) => (said.schema(), What::rows(said)?),
                            None => {
                                rows = i64::try_from(done.written).unwrap_or(i64::MAX);
                                (Arc::new(Schema::empty()), What::Done)
                            }
                        };
                        (wire, Ticket::new(&caller.schema, what).encode())
                    }
                    None => {
                        if let Some(id) = transaction {
                            self.transactions.touch(id)?;
                        }
                        let what = match &execution.prepared {
                            Some((handle, binds)) => What::Prepared {
                                handle: hex(handle),
                                binds: *binds,
                            },
                            None => What::Sql(sql.clone()),
                        };
                        let mut ticket = Ticket::new(&caller.schema, what);
                        ticket.transaction = transaction.map(hex);
                        let unit = timestamps::name_of(caller.timestamps);
                        ticket.timestamps = Some(unit.to_owned());
                        let told = self.columns_told(&caller, &ticket.id, sql, bound);
                        (told.await?, ticket.encode())
                    }
                }
            }
        };
        let info = FlightInfo::new()
            .try_with_schema(&schema)
            .map_err(|e| Fault::internal(e.to_string()))?;
        Ok(info
            .with_endpoint(FlightEndpoint::new().with_ticket(FlightTicket::new(ticket)))
            .with_total_records(rows)
            .with_descriptor(descriptor))
    }

    pub(super) async fn fetch(
        &self,
        ticket: &[u8],
        caller: QueryContext,
    ) -> Result<DataStream, Fault> {
        let asked = command::decode(ticket)?;
        if let Asked::Command(Command::TicketStatementQuery(t)) = &asked {
            let ticket = Ticket::from_handle(&t.statement_handle)?;
            let mut caller = caller;
            caller.query = Some(ticket.id.into());
            caller.schema = ticket.schema.into();
            // As its FlightInfo announced them.
            let unit = ticket.timestamps.as_deref().and_then(timestamps::unit_of);
            caller.timestamps = unit.unwrap_or(caller.timestamps);
            let transaction = ticket.transaction.as_deref().and_then(from_hex);
            let caller = self.in_transaction(caller, transaction.as_deref()).await;
            return match ticket.what {
                What::Done => Ok(encode::nothing()),
                What::Rows(_) => {
                    let rows = guarded(async move { ticket.what.into_rows() }).await;
                    Ok(encode::one(rows.map_err(|_| {
                        Fault::invalid("invalid_ticket", "the ticket is not one of ours")
                    })?))
                }
                What::Sql(sql) => self.query(&caller, &sql, &Bound::default()).await,
                What::Prepared { handle, binds } => {
                    let handle = from_hex(&handle).unwrap_or_default();
                    let statement = self.prepared.get(&handle)?;
                    // A ticket from before anything was bound waits for values.
                    if binds != 0 && binds != statement.binds {
                        return Err(Fault::new(
                            Kind::Precondition,
                            "bound_anew",
                            "other values were bound to the prepared statement since this ticket was given; execute it again",
                        ));
                    }
                    self.query(&caller, &statement.sql, &statement.bound).await
                }
            };
        }
        match (self.execution(&asked, caller.clone())?, asked) {
            (Some(execution), _) => {
                let transaction = execution.transaction.as_deref();
                let caller = self
                    .in_transaction(execution.caller.clone(), transaction)
                    .await;
                let (sql, bound) = (&execution.sql, &execution.bound);
                match self.read(&caller, sql).await? {
                    Some(change) => {
                        let change = self.change(&caller, sql, change, transaction, bound);
                        let done = change.await?;
                        Ok(done.rows.map_or_else(encode::nothing, encode::one))
                    }
                    None => self.query(&caller, sql, bound).await,
                }
            }
            (None, Asked::Command(other)) => Ok(encode::one(self.catalogue(&caller, other)?)),
            (None, Asked::Text(_)) => Err(not_supported("this ticket")),
        }
    }

    /// The caller as it is within its transaction: it sees the rows that this holds.
    pub(super) async fn in_transaction(
        &self,
        mut caller: QueryContext,
        transaction: Option<&[u8]>,
    ) -> QueryContext {
        if let Some(id) = transaction {
            caller.own = self.transactions.own_rows(id).await;
        }
        caller
    }

    /// Runs what changes something, by itself or in a transaction.
    async fn change(
        &self,
        caller: &QueryContext,
        sql: &str,
        change: Change,
        transaction: Option<&[u8]>,
        bound: &Bound,
    ) -> Result<Done, Fault> {
        let caller = &caller.clone().stating(sql);
        match transaction {
            Some(id) => {
                let admin = (&*self.admin, caller);
                self.transactions.run(id, change, admin, bound).await
            }
            None => change.run(&*self.admin, caller, bound).await,
        }
    }

    /// An update. Returns how many rows it wrote.
    pub(super) async fn update(
        &self,
        caller: &QueryContext,
        sql: &str,
        transaction: Option<Bytes>,
        bound: &Bound,
    ) -> Result<u64, Fault> {
        match self.read(caller, sql).await? {
            Some(change) => {
                let transaction = some(transaction);
                let change = self.change(caller, sql, change, transaction.as_deref(), bound);
                Ok(change.await?.written)
            }
            None => {
                // A query sent as an update: say what is wrong with it, or that it is none.
                self.engine.plan(caller, sql).await?;
                Err(Fault::invalid(
                    "not_an_update",
                    "this is a query; execute it as one",
                ))
            }
        }
    }

    /// An update of a prepared statement, bound to the rows that come with it.
    pub(super) async fn prepared_update(
        &self,
        handle: &[u8],
        input: PutInput,
        mut caller: QueryContext,
    ) -> Result<u64, Fault> {
        let statement = self.prepared.get(handle)?;
        let given = self.rows(input).await?;
        // None came with it: those that were bound before.
        let bound = if given.batch().is_some() {
            given
        } else {
            statement.bound
        };
        caller.schema = statement.schema;
        let caller = self
            .in_transaction(caller, statement.transaction.as_deref())
            .await;
        self.update(&caller, &statement.sql, statement.transaction, &bound)
            .await
    }

    pub(super) async fn prepare(
        &self,
        caller: &QueryContext,
        request: ActionCreatePreparedStatementRequest,
    ) -> Result<Prepared, Fault> {
        let transaction = some(request.transaction_id);
        if let Some(id) = &transaction {
            self.transactions.touch(id)?;
        }
        let change = self.read(caller, &request.query).await?;
        let (dataset_schema, parameters) = match &change {
            // JDBC takes an empty schema for an update.
            Some(change) => {
                let schema = change.schema();
                let said = (!schema.fields().is_empty()).then(|| ipc(&schema));
                (
                    said.transpose()?.unwrap_or_default(),
                    change.parameters(&self.engine, caller).await?,
                )
            }
            None => {
                let planned = self.engine.plan(caller, &request.query).await?;
                let wire = timestamps::announced(planned.wire, caller.timestamps);
                (ipc(&wire)?, planned.parameters)
            }
        };
        let parameter_schema = if parameters.fields().is_empty() {
            Bytes::new()
        } else {
            ipc(&parameters)?
        };
        let handle = self.prepared.add(PreparedStatement {
            sql: request.query.into(),
            schema: caller.schema.clone(),
            transaction,
            bound: Bound::default(),
            session: caller.session.clone(),
            binds: 0,
        })?;
        Ok(Prepared {
            handle,
            is_update: Some(dataset_schema.is_empty()),
            dataset_schema,
            parameter_schema,
        })
    }
}
