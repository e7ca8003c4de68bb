//! DoAction: prepared statements, transactions, cancels, sessions. Bodies of Flight SQL actions are wrapped in `Any`, those of
//! Flight's own are not.

use arrow_flight::sql::{
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionEndTransactionRequest, Any, ProstMessageExt,
};
use arrow_flight::{
    Action, ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
    RenewFlightEndpointRequest,
};
use bytes::Bytes;
use prost::Message;
use tonic::metadata::MetadataMap;

use super::server::FlightSqlServer;
use super::session::{self, CloseSessionResult, SetSessionOptionsRequest};
use super::status::not_supported;
use super::ticket::Ticket;
use crate::fault::{Fault, Kind};
use crate::query::{CancelOutcome, QueryContext};
use crate::types::SameName;

/// Every action that is answered, with what goes in and comes out.
pub(super) const ACTIONS: [(&str, &str); 10] = [
    (
        "CreatePreparedStatement",
        "Any(ActionCreatePreparedStatementRequest) -> Any(ActionCreatePreparedStatementResult)",
    ),
    (
        "ClosePreparedStatement",
        "Any(ActionClosePreparedStatementRequest) -> nothing",
    ),
    (
        "BeginTransaction",
        "Any(ActionBeginTransactionRequest) -> Any(ActionBeginTransactionResult)",
    ),
    (
        "EndTransaction",
        "Any(ActionEndTransactionRequest) -> nothing",
    ),
    (
        "CancelQuery",
        "Any(ActionCancelQueryRequest) -> Any(ActionCancelQueryResult); CancelFlightInfo is its successor",
    ),
    (
        "CancelFlightInfo",
        "CancelFlightInfoRequest -> CancelFlightInfoResult",
    ),
    (
        "RenewFlightEndpoint",
        "RenewFlightEndpointRequest -> FlightEndpoint",
    ),
    (
        "SetSessionOptions",
        "SetSessionOptionsRequest -> SetSessionOptionsResult; options catalog, schema, deltaplane.timestamp_unit",
    ),
    (
        "GetSessionOptions",
        "GetSessionOptionsRequest -> GetSessionOptionsResult",
    ),
    ("CloseSession", "CloseSessionRequest -> CloseSessionResult"),
];

pub(super) fn list() -> impl Iterator<Item = ActionType> {
    ACTIONS.iter().map(|(name, about)| ActionType {
        r#type: (*name).to_owned(),
        description: (*about).to_owned(),
    })
}

/// How long a renewed endpoint is said to live. Our tickets hold what they ask for and do not end by themselves.
const RENEWED_SECONDS: i64 = 3600;

/// An action's results, and the cookie that goes back with them.
pub(super) struct Outcome {
    pub bodies: Vec<Bytes>,
    pub cookie: Option<String>,
}

impl Outcome {
    fn body(message: &impl Message) -> Self {
        Outcome {
            bodies: vec![message.encode_to_vec().into()],
            cookie: None,
        }
    }

    fn nothing() -> Self {
        Outcome {
            bodies: Vec::new(),
            cookie: None,
        }
    }
}

fn malformed(error: impl std::fmt::Display) -> Fault {
    Fault::invalid("invalid_action", error.to_string())
}

/// The message in an `Any`.
fn unpack<T: ProstMessageExt>(body: &[u8]) -> Result<T, Fault> {
    let any = Any::decode(body).map_err(malformed)?;
    any.unpack()
        .map_err(malformed)?
        .ok_or_else(|| malformed(format!("the body is another message, {}", any.type_url)))
}

impl FlightSqlServer {
    pub(super) async fn action(
        &self,
        action: Action,
        headers: &MetadataMap,
        caller: QueryContext,
    ) -> Result<Outcome, Fault> {
        let body = &*action.body;
        match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let request: ActionCreatePreparedStatementRequest = unpack(body)?;
                let prepared = self.prepare(&caller, request).await?;
                Ok(Outcome::body(&prepared.as_any()))
            }
            "ClosePreparedStatement" => {
                let request: ActionClosePreparedStatementRequest = unpack(body)?;
                self.prepared.close(&request.prepared_statement_handle);
                Ok(Outcome::nothing())
            }
            "BeginTransaction" => {
                let transaction_id = self.transactions.begin(caller.session)?.into();
                let result = ActionBeginTransactionResult { transaction_id };
                Ok(Outcome::body(&result.as_any()))
            }
            "EndTransaction" => {
                let request: ActionEndTransactionRequest = unpack(body)?;
                let commit = match request.action {
                    1 => true,
                    2 => false,
                    _ => return Err(malformed("a transaction ends with commit or rollback")),
                };
                self.transactions
                    .end(&request.transaction_id, commit, &*self.admin)
                    .await?;
                Ok(Outcome::nothing())
            }
            "CancelQuery" => {
                let request: ActionCancelQueryRequest = unpack(body)?;
                let info = FlightInfo::decode(&*request.info).map_err(malformed)?;
                let result = match self.cancel(&info)? {
                    CancelOutcome::Cancelled => 1,
                    CancelOutcome::TooLate => 3,
                };
                Ok(Outcome::body(&ActionCancelQueryResult { result }.as_any()))
            }
            "CancelFlightInfo" => {
                let request = CancelFlightInfoRequest::decode(body).map_err(malformed)?;
                let info = request
                    .info
                    .ok_or_else(|| malformed("no FlightInfo to cancel"))?;
                let status = match self.cancel(&info)? {
                    CancelOutcome::Cancelled => CancelStatus::Cancelled,
                    CancelOutcome::TooLate => CancelStatus::NotCancellable,
                };
                Ok(Outcome::body(&CancelFlightInfoResult::new(status)))
            }
            "RenewFlightEndpoint" => {
                let request = RenewFlightEndpointRequest::decode(body).map_err(malformed)?;
                let mut endpoint = request
                    .endpoint
                    .ok_or_else(|| malformed("no endpoint to renew"))?;
                let ticket = endpoint.ticket.as_ref().map(|t| t.ticket.clone());
                if ticket.and_then(|t| Ticket::decode(&t)).is_none() {
                    return Err(foreign());
                }
                let now = crate::clock::utc_now().timestamp();
                let expires = endpoint.expiration_time.get_or_insert_default();
                expires.seconds = now + RENEWED_SECONDS;
                expires.nanos = 0;
                Ok(Outcome::body(&endpoint))
            }
            "SetSessionOptions" => {
                let request = SetSessionOptionsRequest::decode(body).map_err(malformed)?;
                let schemas = super::metadata::schema_names(&self.engine.snapshot());
                let known = |name: &str| {
                    let found = schemas.iter().find(|s| s.is_same_name(name));
                    found.cloned()
                };
                let (result, made) = self
                    .sessions
                    .set(&caller.principal, headers, request, known);
                let mut outcome = Outcome::body(&result);
                outcome.cookie = made.map(|id| session::set_cookie(&id));
                Ok(outcome)
            }
            "GetSessionOptions" => Ok(Outcome::body(&session::options(&caller))),
            "CloseSession" => {
                self.sessions.close(&caller.principal, headers)?;
                // Rolled back, and their memory is given back, at once.
                self.transactions.expire();
                self.prepared.expire();
                let mut outcome = Outcome::body(&CloseSessionResult {
                    status: session::CLOSED,
                });
                outcome.cookie = Some(session::clear_cookie());
                Ok(outcome)
            }
            "BeginSavepoint" | "EndSavepoint" => Err(not_supported("a savepoint")),
            other => Err(not_supported(&format!(
                "action {}",
                other.chars().take(60).collect::<String>()
            ))),
        }
    }

    /// Cancels the query that an info's ticket stands for.
    fn cancel(&self, info: &FlightInfo) -> Result<CancelOutcome, Fault> {
        let tickets = info.endpoint.iter().filter_map(|e| e.ticket.as_ref());
        let ours = tickets
            .filter_map(|t| Ticket::decode(&t.ticket))
            .next()
            .ok_or_else(foreign)?;
        Ok(self.queries.cancel(&ours.id))
    }
}

fn foreign() -> Fault {
    Fault::new(
        Kind::NotFound,
        "query_not_found",
        "the ticket is not one of this server's queries",
    )
}
