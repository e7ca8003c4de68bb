//! What a client sends in DoPut: messages, and the account that they are charged to.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use arrow_flight::FlightData;
use futures::stream::{BoxStream, Peekable, Stream, StreamExt};
use tonic::{Request, Status, Streaming};

use super::status;
use super::wire::{Charge, Connection};
use crate::fault::Fault;

/// A DoPut stream whose first message has been looked at.
pub struct PutInput {
    messages: Peekable<BoxStream<'static, Result<FlightData, Status>>>,
    connection: Arc<Connection>,
}

impl PutInput {
    /// # Errors
    /// Internal: the request did not come through the counted door.
    pub fn new(request: Request<Streaming<FlightData>>) -> Result<Self, Fault> {
        let connection = request.extensions().get::<Arc<Connection>>().cloned();
        let connection =
            connection.ok_or_else(|| Fault::internal("a stream without a connection"))?;
        Ok(PutInput {
            messages: request.into_inner().boxed().peekable(),
            connection,
        })
    }

    /// Messages that come without a network.
    #[cfg(test)]
    pub fn over(
        messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
        connection: Arc<Connection>,
    ) -> Self {
        PutInput {
            messages: messages.boxed().peekable(),
            connection,
        }
    }

    /// The first message; none if there is none.
    ///
    /// # Errors
    /// What the stream ended with.
    pub async fn first(&mut self) -> Result<Option<&FlightData>, Fault> {
        match Pin::new(&mut self.messages).peek().await {
            Some(Ok(first)) => Ok(Some(first)),
            Some(Err(status)) => Err(status::broken(status)),
            None => Ok(None),
        }
    }

    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }
}

impl Stream for PutInput {
    type Item = Result<FlightData, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.messages.poll_next_unpin(cx)
    }
}

/// Room for what a message becomes: what goes beyond its own bytes, for which there is room as long as the next message has
/// not been asked for.
///
/// # Errors
/// RESOURCE_EXHAUSTED `wire_full`.
pub(super) async fn room(
    connection: &Arc<Connection>,
    message: &FlightData,
    becomes: u64,
) -> Result<Option<Charge>, Fault> {
    let more = becomes.saturating_sub(message.data_body.len() as u64);
    if more == 0 {
        return Ok(None);
    }
    connection.charge(more).await.map(Some)
}
