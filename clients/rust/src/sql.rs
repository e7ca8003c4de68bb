//! A small Flight SQL client: one connection, statements in, batches out.

use anyhow::Context;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use arrow_flight::sql::client::FlightSqlServiceClient;
use futures::TryStreamExt;
use tonic::transport::{Channel, Endpoint};

pub struct SqlClient(FlightSqlServiceClient<Channel>);

impl SqlClient {
    /// # Errors
    /// The address does not parse or nobody answers there.
    pub async fn connect(uri: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(uri.to_owned())
            .with_context(|| format!("not an address: {uri}"))?;
        let channel = endpoint.connect().await.with_context(|| {
            format!("cannot connect to {uri}; is `deltaplane serve` running there?")
        })?;
        Ok(SqlClient(FlightSqlServiceClient::new(channel)))
    }

    /// Runs a statement of any kind and collects its rows; DDL has none.
    ///
    /// # Errors
    /// The server's, with its gRPC code and text.
    pub async fn query(&mut self, sql: &str) -> anyhow::Result<(SchemaRef, Vec<RecordBatch>)> {
        let info = self.0.execute(sql.to_owned(), None).await?;
        let schema = std::sync::Arc::new(info.clone().try_decode_schema()?);
        let mut batches = Vec::new();
        for endpoint in info.endpoint {
            let ticket = endpoint
                .ticket
                .context("the server sent an endpoint without a ticket")?;
            let stream = self.0.do_get(ticket).await?;
            batches.extend(stream.try_collect::<Vec<_>>().await?);
        }
        Ok((schema, batches))
    }

    /// Runs a statement that changes something.
    pub async fn update(&mut self, sql: &str) -> anyhow::Result<i64> {
        Ok(self.0.execute_update(sql.to_owned(), None).await?)
    }
}
