//! A small Flight SQL client: one connection, statements in, batches out.

use std::time::{Duration, Instant};

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::Action;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::client::FlightSqlServiceClient;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

/// One row may be as large as this; messages of many rows are far smaller.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Before the second time that the same is asked; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(50);

pub struct SqlClient {
    inner: FlightSqlServiceClient<Channel>,
    /// The session that it is in, as the server wants to be told of it. It begins with the first statement that needs one.
    cookie: Option<String>,
}

/// What a statement gives.
pub struct Answer {
    /// Without fields: the statement changed something and has no rows to show.
    pub schema: SchemaRef,
    /// Rows that it wrote; none for a query.
    pub written: Option<u64>,
    pub batches: BoxStream<'static, anyhow::Result<RecordBatch>>,
}

impl SqlClient {
    /// # Errors
    /// The address does not parse or nobody answers there.
    pub async fn connect(uri: &str) -> anyhow::Result<Self> {
        let channel = address(uri)?.connect().await.with_context(|| {
            format!("cannot connect to {uri}; is `deltaplane serve` running there?")
        })?;
        let inner = FlightServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(SqlClient {
            inner: FlightSqlServiceClient::new_from_inner(inner),
            cookie: None,
        })
    }

    /// Runs a statement of any kind, once. Rows come as they are read. The first statement about a temporary table begins a
    /// session, to which all later ones belong.
    ///
    /// # Errors
    /// The server's, with its gRPC code and text; later ones end the stream.
    pub async fn run(&mut self, sql: &str) -> anyhow::Result<Answer> {
        match self.once(sql).await {
            // Nothing was done.
            Err(error) if self.cookie.is_none() && says(&error, "no_session: ") => {
                self.begin_session().await?;
                self.once(sql).await
            }
            Err(error) if says(&error, "session_ended: ") => {
                self.forget_session();
                Err(error)
            }
            done => done,
        }
    }

    async fn begin_session(&mut self) -> anyhow::Result<()> {
        let answer = self.act("SetSessionOptions").await?;
        let cookie = answer.metadata().get("set-cookie");
        let cookie = cookie.and_then(|cookie| cookie.to_str().ok()?.split(';').next());
        let cookie = cookie.context("the server began no session")?.to_owned();
        self.inner.set_header("cookie", cookie.clone());
        self.cookie = Some(cookie);
        Ok(())
    }

    fn forget_session(&mut self) {
        self.cookie = None;
        self.inner.set_header("cookie", "");
    }

    /// Ends the session, if one has begun, and with it the temporary tables. Without this they last as long as the server lets
    /// a silent session.
    pub async fn end_session(&mut self) {
        if self.cookie.is_some() {
            // What cannot be ended ends by itself.
            let _ = self.act("CloseSession").await;
            self.forget_session();
        }
    }

    /// An action of Flight's own with an empty body.
    async fn act(
        &mut self,
        name: &str,
    ) -> anyhow::Result<tonic::Response<tonic::Streaming<arrow_flight::Result>>> {
        let mut request = tonic::Request::new(Action {
            r#type: name.to_owned(),
            body: Bytes::new(),
        });
        if let Some(cookie) = &self.cookie {
            request.metadata_mut().insert("cookie", cookie.parse()?);
        }
        Ok(self.inner.inner_mut().do_action(request).await?)
    }

    async fn once(&mut self, sql: &str) -> anyhow::Result<Answer> {
        let info = self.inner.execute(sql.to_owned(), None).await?;
        let schema = std::sync::Arc::new(info.clone().try_decode_schema()?);
        let mut parts = Vec::new();
        for endpoint in info.endpoint {
            let ticket = endpoint
                .ticket
                .context("the server sent an endpoint without a ticket")?;
            parts.push(self.inner.do_get(ticket).await?);
        }
        let batches = futures::stream::iter(parts).flatten();
        Ok(Answer {
            written: u64::try_from(info.total_records)
                .ok()
                .filter(|_| schema.fields().is_empty()),
            schema,
            batches: batches.map_err(anyhow::Error::from).boxed(),
        })
    }

    /// Runs a statement of any kind and collects its rows; DDL has none.
    ///
    /// # Errors
    /// The server's, with its gRPC code and text.
    pub async fn query(&mut self, sql: &str) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
        let answer = self.run(sql).await?;
        Ok((answer.schema, answer.batches.try_collect().await?))
    }

    /// The rows of a statement that only reads. It is asked again on a new connection while nobody answers, or the connection
    /// was cut, until so much time has passed.
    ///
    /// # Errors
    /// The server's, with its gRPC code and text; the last one if the server did not come back in time.
    pub async fn read_again(
        uri: &str,
        sql: &str,
        patience: Duration,
    ) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
        address(uri)?;
        let since = Instant::now();
        let mut pause = PAUSE_MIN;
        loop {
            let asked = async { Self::connect(uri).await?.query(sql).await };
            let error = match asked.await {
                Ok(rows) => return Ok(rows),
                Err(error) => error,
            };
            if code(&error).is_some_and(|c| !may_pass(c)) || since.elapsed() + pause > patience {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }

    /// Runs a statement that changes something.
    pub async fn update(&mut self, sql: &str) -> anyhow::Result<i64> {
        Ok(self.inner.execute_update(sql.to_owned(), None).await?)
    }
}

/// Is it the server's error of this reason?
fn says(error: &anyhow::Error, reason: &str) -> bool {
    format!("{error:#}").contains(reason)
}

fn address(uri: &str) -> anyhow::Result<Endpoint> {
    Endpoint::from_shared(uri.to_owned()).with_context(|| format!("not an address: {uri}"))
}

/// The gRPC code of an error; none if nobody answered.
pub(crate) fn code(error: &anyhow::Error) -> Option<Code> {
    error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<FlightError>() {
            Some(FlightError::Tonic(status)) => Some(status.code()),
            _ => cause
                .downcast_ref::<tonic::Status>()
                .map(tonic::Status::code),
        })
}

/// May the same question have an answer later?
pub(crate) fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
    )
}
