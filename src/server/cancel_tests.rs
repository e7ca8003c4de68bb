//! A bulk ingest that its client cancels over the network, at the last moment at which that can be done.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{Any, CommandStatementIngest, ProstMessageExt};
use arrow_flight::{Empty, FlightDescriptor};
use futures::StreamExt;
use prost::Message;

use super::*;
use crate::catalog::ddl_lock::Patience;
use crate::catalog::lifecycle;
use crate::dataset::{Column, ColumnType, Contract};
use crate::ingest::bulk::waiting_bytes;
use crate::types::TableName;

/// More than other tests ingest at the same time.
const ROWS: usize = 1 << 18;

fn command() -> FlightDescriptor {
    let mut command = CommandStatementIngest {
        table: "t".to_owned(),
        ..CommandStatementIngest::default()
    };
    let definition = command.table_definition_options.get_or_insert_default();
    // Fails without a table, appends to one.
    (definition.if_not_exist, definition.if_exists) = (2, 2);
    FlightDescriptor::new_cmd(Any::encode_to_vec(&command.as_any()))
}

async fn rows_in(table: &crate::catalog::table::Table) -> Option<usize> {
    table.files(|cold| cold.main.view().rows()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bulk_ingest_that_is_cancelled_while_it_waits_for_its_commit_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let resolved = Resolved::default()
        .with(&[
            ("server.data_dir", &dir.path().to_string_lossy()),
            ("server.listen", "127.0.0.1:0"),
            ("server.http", "127.0.0.1:0"),
            ("commit.interval", "1h"),
        ])
        .unwrap();
    let running = Server::start(resolved).await.unwrap();
    let name = TableName::new("public", "t").unwrap();
    let contract = Contract::plain(name.clone(), vec![Column::new("id", ColumnType::Long)]);
    lifecycle::create(&running.shared, contract, false)
        .await
        .unwrap();
    let table = running.shared.table(&name).unwrap();
    let ids = Arc::new(Int64Array::from_iter_values(
        0..i64::try_from(ROWS).unwrap(),
    )) as ArrayRef;
    let rows = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    let mut messages =
        arrow_flight::utils::batches_to_flight_data(&rows.schema(), vec![rows]).unwrap();
    messages[0].flight_descriptor = Some(command());
    let uri = format!("http://{}", running.flight_addr());
    let channel = tonic::transport::Endpoint::new(uri).unwrap();
    let mut client = FlightServiceClient::new(channel.connect().await.unwrap());
    for cancelled in [true, false] {
        let mut caller = client.clone();
        let (send, input) = tokio::sync::mpsc::channel(16);
        let input = tokio_stream::wrappers::ReceiverStream::new(input);
        let call = tokio::spawn(async move {
            let answers = caller.do_put(input).await?.into_inner();
            Ok::<_, tonic::Status>(answers.count().await)
        });
        for message in messages.clone() {
            send.send(message).await.unwrap();
        }
        while waiting_bytes() < 8 * ROWS {
            tokio::task::yield_now().await;
        }
        // All rows are there; now the stream ends, and it asks for the commit with the keys in its hand.
        let held = table.commit_lock().await;
        drop(send);
        let patience = Patience::of_statement(&running.shared.config);
        let brief = Patience {
            wait: Duration::from_millis(1),
            ..patience
        };
        loop {
            let gate = table.open_gate(patience).await.unwrap();
            if gate.keys(brief).await.is_err() {
                break;
            }
        }
        if cancelled {
            call.abort();
            assert!(call.await.unwrap_err().is_cancelled());
            // What comes later on the connection is answered: the server has read the cancel.
            for _ in 0..20 {
                client.list_actions(Empty {}).await.unwrap();
            }
            drop(held);
        } else {
            drop(held);
            assert_eq!(call.await.unwrap().unwrap(), 1);
        }
        // Whoever has the keys now comes after the ingest.
        let gate = table.open_gate(patience).await.unwrap();
        drop(gate.keys(patience).await.unwrap());
        let expected = if cancelled { 0 } else { ROWS };
        assert_eq!(rows_in(&table).await, Some(expected));
    }
}
