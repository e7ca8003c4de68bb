//! The Flight door: accepts connections, up to a number, and serves HTTP/2 on each. What comes off a socket is counted here
//! (`CountedIo`), before HTTP/2 has it; a connection without calls is let go of after a time, with a GOAWAY, so that its
//! client connects again without an error.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use futures::future::BoxFuture;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::FlightSqlServer;
use super::door;
use super::http2::Frames;
use super::wire::{self, Connection, Idle, Wire};

/// HTTP/2 as streams of 500 KB batches want it: windows that hold several of them.
const CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Headers of one call. gRPC's own default is half of it.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long a client may take to close after a GOAWAY.
const CLOSING: Duration = Duration::from_secs(10);
/// The pause after a connection that could not be accepted: most often there are no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Time between two lines in the log about connections that were refused.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// Serves until `closing`, and then until the calls under way have ended.
pub async fn serve(
    listener: TcpListener,
    service: FlightServiceServer<FlightSqlServer>,
    wire: Arc<Wire>,
    closing: CancellationToken,
) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(wire.limits.streams_max)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL);
    let mut connections = JoinSet::new();
    let mut told: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = closing.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener) => accepted,
        };
        let refused = match accepted {
            Ok(stream) => match wire.connect() {
                Some(account) => {
                    let serving = connection(
                        stream,
                        service.clone(),
                        account,
                        builder.clone(),
                        closing.clone(),
                    );
                    connections.spawn(serving);
                    None
                }
                None => Some(format!(
                    "limits.connections_max={} are open",
                    wire.limits.connections_max
                )),
            },
            Err(error) => {
                tokio::time::sleep(ACCEPT_PAUSE).await;
                Some(error.to_string())
            }
        };
        if let Some(why) = refused
            && told.is_none_or(|at| at.elapsed() > TELL_AGAIN)
        {
            told = Some(Instant::now());
            tracing::warn!(why, "connections are refused");
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A connection that sends small answers at once: one would otherwise wait up to 40 ms for the client's delayed
/// acknowledgement of the one before.
async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
    Ok(stream)
}

async fn connection(
    stream: TcpStream,
    service: FlightServiceServer<FlightSqlServer>,
    account: Arc<Connection>,
    builder: http2::Builder<TokioExecutor>,
    closing: CancellationToken,
) {
    let limits = account.limits();
    let first = limits.message_idle.min(limits.connection_idle);
    let own = account.clone();
    let calls = service_fn(move |request| {
        let (service, own) = (service.clone(), own.clone());
        async move { Ok::<_, Infallible>(door::answer(service, own, request).await) }
    });
    let io = TokioIo::new(CountedIo::new(stream, account.clone()));
    let mut serving = std::pin::pin!(builder.serve_connection(io, calls));
    let mut timer = std::pin::pin!(tokio::time::sleep(first));
    let mut ending = false;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = closing.cancelled(), if !ending => {
                ending = true;
                serving.as_mut().graceful_shutdown();
            }
            () = timer.as_mut() => {
                let again = match account.idle() {
                    Idle::Busy => account.limits().connection_idle,
                    Idle::For(left) => left,
                    // A client that has not said a word, or does not close, is not waited for.
                    Idle::TooLong if ending || !account.is_greeted() => return,
                    Idle::TooLong => {
                        wire::met("limits.connection_idle");
                        ending = true;
                        serving.as_mut().graceful_shutdown();
                        CLOSING
                    }
                };
                timer.as_mut().reset(Instant::now() + again);
            }
        }
    }
}

/// A socket whose bytes are counted as they come, and that is not read while the budget is spent.
struct CountedIo {
    stream: TcpStream,
    account: Arc<Connection>,
    frames: Frames,
    room: Option<BoxFuture<'static, io::Result<()>>>,
}

impl CountedIo {
    fn new(stream: TcpStream, account: Arc<Connection>) -> Self {
        CountedIo {
            stream,
            account,
            frames: Frames::default(),
            room: None,
        }
    }

    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut room = match self.room.take() {
            Some(room) => room,
            None => match self.account.room_to_read() {
                Some(room) => Box::pin(room),
                None => return Poll::Ready(Ok(())),
            },
        };
        let ready = room.as_mut().poll(cx);
        if ready.is_pending() {
            self.room = Some(room);
        }
        ready
    }
}

impl AsyncRead for CountedIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        ready!(io.poll_room(cx))?;
        let before = buf.filled().len();
        let read = Pin::new(&mut io.stream).poll_read(cx, buf);
        if read.is_pending() {
            io.account.drained();
            return Poll::Pending;
        }
        let seen = io.frames.read(buf.filled().get(before..).unwrap_or(&[]));
        if seen.greeted {
            io.account.greeted();
        }
        if seen.opened > 0 {
            io.account.calls_opened(seen.opened);
        }
        if seen.data > 0 {
            io.account.received(seen.data, u64::from(CONNECTION_WINDOW));
        }
        read
    }
}

impl AsyncWrite for CountedIo {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[tokio::test]
    async fn accepted_connections_send_small_answers_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (_client, accepted) = tokio::join!(TcpStream::connect(address), accept(&listener));
        assert!(accepted.unwrap().nodelay().unwrap());
    }
}
