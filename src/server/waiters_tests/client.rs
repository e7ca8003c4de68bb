//! What a client sends and is told, without a network.

use arrow_flight::{FlightData, FlightDescriptor, PutResult};
use bytes::Bytes;
use deltaplane_client::protocol::{self, ServerMessage};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::mpsc;
use tonic::{Code, Status};

use super::{AT_MOST, Bench, SLACK, rows};
use crate::flight;

/// A client of DoPut without a network.
pub(super) struct Client {
    send: mpsc::Sender<Result<FlightData, Status>>,
    answers: BoxStream<'static, Result<PutResult, Status>>,
    seq: u64,
    named: bool,
}

impl Client {
    pub(super) async fn open(bench: &Bench, producer: Option<&str>, level: &str) -> Self {
        let (send, input) = mpsc::channel(16);
        let input = tokio_stream::wrappers::ReceiverStream::new(input);
        let descriptor = FlightDescriptor::new_path(vec!["public".to_owned(), "t".to_owned()]);
        let limits = flight::wire::Limits::of(&bench.shared().config);
        let connection = flight::wire::Wire::new(limits).connect().unwrap();
        let input = flight::PutInput::over(input, connection);
        let answers = flight::put::serve(bench.shared().clone(), descriptor, input);
        let mut client = Client {
            send,
            answers,
            seq: 0,
            named: producer.is_some(),
        };
        let schema = rows(0).schema();
        let schema = arrow_flight::utils::batches_to_flight_data(&schema, Vec::new()).unwrap();
        for data in schema {
            client.send.send(Ok(data)).await.unwrap();
        }
        if let Some(producer) = producer {
            let open =
                format!(r#"{{"open":{{"producer":"{producer}","epoch":null,"ack":"{level}"}}}}"#);
            let data = FlightData {
                app_metadata: Bytes::from(open),
                ..FlightData::default()
            };
            client.send.send(Ok(data)).await.unwrap();
            assert!(matches!(client.answer().await, Ok(ServerMessage::Ready(_))));
        }
        client
    }

    pub(super) async fn batch(&mut self, seq: u64) {
        let batch = rows(i64::try_from(seq).unwrap() * 10);
        let data = arrow_flight::utils::batches_to_flight_data(&batch.schema(), vec![batch]);
        let mut data = data.unwrap().pop().unwrap();
        if self.named {
            data.app_metadata = Bytes::from(format!(r#"{{"seq":{seq}}}"#));
        }
        self.seq = seq;
        // One that has ended says so with its answer.
        let _ = self.send.send(Ok(data)).await;
    }

    async fn answer(&mut self) -> Result<ServerMessage, Status> {
        let next = tokio::time::timeout(AT_MOST + SLACK, self.answers.next()).await;
        let result = next
            .expect("an answer in bounded time")
            .expect("an answer")?;
        Ok(protocol::decode_server(&result.app_metadata).unwrap().0)
    }

    pub(super) async fn ack(&mut self) -> protocol::Ack {
        match self.answer().await.unwrap() {
            ServerMessage::Ack(ack) => ack,
            other => panic!("no ack: {other:?}"),
        }
    }

    /// The code and reason with which the stream ends; acks of what was durable may come before.
    pub(super) async fn end(&mut self) -> (Code, String) {
        loop {
            if let Err(status) = self.answer().await {
                let reason = status.message().split(':').next().unwrap().to_owned();
                return (status.code(), reason);
            }
        }
    }
}
