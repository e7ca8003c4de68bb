//! What the client's producer hears of its acks.

use deltaplane_client::{AckListener, Producer, ProducerOptions, SqlClient};
use parking_lot::Mutex;

use super::*;

/// Options of the producer `edge-7`, and the seqs that it hears.
fn listening() -> (ProducerOptions, Arc<Mutex<Vec<u64>>>) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = AckListener::new({
        let heard = heard.clone();
        move |seq| heard.lock().push(seq)
    });
    let options = ProducerOptions {
        on_ack: Some(listener),
        ..ProducerOptions::new("edge-7")
    };
    (options, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_has_heard_of_every_ack_when_flush_returns() {
    let dir = tempfile::tempdir().unwrap();
    let running = start(dir.path()).await;
    let uri = format!("http://{}", running.flight_addr());
    let mut client = SqlClient::connect(&uri).await.unwrap();
    let columns =
        "reactor_id STRING, ts TIMESTAMP, AT DOUBLE, V DOUBLE, AP DOUBLE, RH DOUBLE, PE DOUBLE";
    client
        .update(&format!("CREATE TABLE reactor.raw ({columns})"))
        .await
        .unwrap();
    let table = ["reactor", "raw"];
    let (options, heard) = listening();
    let producer = Producer::connect(&uri, table, options).await.unwrap();
    for seq in 1..=20 {
        assert_eq!(producer.send(batch(seq)).await.unwrap(), seq);
        if seq == 10 {
            producer.flush().await.unwrap();
            assert_eq!(heard.lock().last(), Some(&10));
        }
    }
    producer.close().await.unwrap();
    assert!(heard.lock().is_sorted(), "{heard:?}");
    assert_eq!(heard.lock().last(), Some(&20));
    // The same producer on another day: it hears what the server has before it sends anything.
    let (options, heard) = listening();
    let producer = Producer::connect(&uri, table, options).await.unwrap();
    assert_eq!(*heard.lock(), [20]);
    producer.close().await.unwrap();
    running.shutdown().await.unwrap();
}
