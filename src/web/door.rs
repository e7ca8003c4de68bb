//! The HTTP door: a bounded number of connections, each of which sends its request's head in time, and lives for a bounded
//! time. Heads are small, and no page reads a body. A probe gets in also where one client holds all places: see [`Places`].

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
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
    let mut places = Places::default();
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                if places.make_room(limits.connections_max) {
                    crate::flight::wire::met("limits.http_connections_max");
                }
                let serving = connection(
                    stream,
                    app.clone(),
                    builder.clone(),
                    limits.connection_age,
                    closing.clone(),
                );
                places.take(peer.ip(), connections.spawn(serving));
            }
            Err(error) => {
                tracing::debug!(%error, "HTTP connection not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Who holds the door's connections, the oldest first.
#[derive(Default)]
struct Places(VecDeque<(IpAddr, AbortHandle)>);

impl Places {
    fn take(&mut self, peer: IpAddr, task: AbortHandle) {
        self.0.push_back((peer, task));
    }

    /// Where all places are taken, ends the oldest connection of the address that has most of them: a page is answered in milliseconds, so
    /// that one waits for its client. Says whether it did.
    fn make_room(&mut self, most: usize) -> bool {
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() < most {
            return false;
        }
        let mut held: HashMap<IpAddr, usize> = HashMap::new();
        for (peer, _) in &self.0 {
            *held.entry(*peer).or_default() += 1;
        }
        let greatest = held.values().copied().max();
        let oldest = self
            .0
            .iter()
            .position(|(peer, _)| held.get(peer).copied() == greatest);
        if let Some((_, task)) = oldest.and_then(|oldest| self.0.remove(oldest)) {
            task.abort();
        }
        true
    }
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test]
    async fn a_newcomer_takes_the_place_of_the_client_that_holds_most() {
        let [one, other]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|ip| ip.parse().unwrap());
        let mut tasks = JoinSet::new();
        let mut places = Places::default();
        let mut take = |places: &mut Places, peer| {
            let task = tasks.spawn(std::future::pending::<()>());
            places.take(peer, task.clone());
            task
        };
        let first = take(&mut places, other);
        let oldest = take(&mut places, one);
        let newer = take(&mut places, one);
        assert!(!places.make_room(4));
        assert!(places.make_room(3));
        tokio::task::yield_now().await;
        assert_eq!(
            [&first, &oldest, &newer].map(AbortHandle::is_finished),
            [false, true, false]
        );
        assert!(!places.make_room(3), "a place is free");
    }
}
