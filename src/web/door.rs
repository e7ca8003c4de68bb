//! The HTTP door: a bounded number of connections, each of which sends its request's head in time, and lives for a bounded
//! time. Heads are small, and no page reads a body.

use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A request's head, and no more of it is ever read.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long a client may take for the answer under way once its connection is too old.
const CLOSING: Duration = Duration::from_secs(30);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Limits of the HTTP door.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub connections_max: usize,
    /// Time for a request's head, the pause before it included.
    pub head: Duration,
    /// How long one connection is kept.
    pub connection_age: Duration,
}

/// Serves until `closing`, and then until the answers under way have ended.
pub(super) async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    closing: CancellationToken,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if connections.len() < limits.connections_max => {
                let serving = connection(
                    stream,
                    app.clone(),
                    builder.clone(),
                    limits.connection_age,
                    closing.clone(),
                );
                connections.spawn(serving);
            }
            Ok(_) => crate::flight::wire::met("limits.http_connections_max"),
            Err(error) => {
                tracing::debug!(%error, "HTTP connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn connection(
    stream: TcpStream,
    app: Router,
    builder: http1::Builder,
    age: Duration,
    closing: CancellationToken,
) {
    let service = TowerToHyperService::new(app);
    let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = serving.as_mut() => return,
        () = closing.cancelled() => {}
        () = tokio::time::sleep(age) => {}
    }
    serving.as_mut().graceful_shutdown();
    // A client that does not read its answer is not waited for.
    let _ = tokio::time::timeout(CLOSING, serving).await;
}
