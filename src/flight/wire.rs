//! What clients make the server hold before it is admitted, counted from the socket on: bytes that wait in HTTP/2's buffers,
//! messages that are half there, messages that are being taken, dictionaries. One budget for all connections
//! (`memory.wire_bytes_max`), a share for each (`limits.connection_bytes_max`).
//!
//! A message is charged with its declared length before its body is read ([`Connection::charge`]). While there is no room its
//! bytes are not read either, so that flow control holds back the client. This module knows bytes and time, and nothing of
//! gRPC or Flight.

#![deny(clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::Config;
use crate::fault::{Fault, Kind};

/// What a connection may have in HTTP/2's buffers while all others together have spent the budget: two frames.
pub const FLOOR_BYTES: u64 = 32 * 1024;

/// Limits of all connections.
#[derive(Clone, Debug)]
pub struct Limits {
    /// All connections together.
    pub bytes_max: u64,
    pub connection_bytes_max: u64,
    /// How long a message waits for room.
    pub wait: Duration,
    /// How long a message may stand still.
    pub message_idle: Duration,
    /// How long a connection without calls stays open.
    pub connection_idle: Duration,
    pub connections_max: usize,
    pub streams_max: u32,
    /// One message of an ingest stream, and of any other call.
    pub message_bytes_max: u64,
    pub request_bytes_max: u64,
}

impl Limits {
    pub fn of(config: &Config) -> Self {
        let limits = &config.limits;
        Limits {
            bytes_max: config.memory.wire_bytes_max.get(),
            connection_bytes_max: limits.connection_bytes_max.get(),
            wait: config.log.admission_timeout,
            message_idle: limits.message_idle,
            connection_idle: limits.connection_idle,
            connections_max: limits.connections_max,
            streams_max: u32::try_from(limits.connection_streams_max).unwrap_or(u32::MAX),
            message_bytes_max: limits.message_bytes_max.get(),
            request_bytes_max: limits.request_bytes_max.get(),
        }
    }
}

/// The budget of all connections.
#[derive(Debug)]
pub struct Wire {
    pub limits: Limits,
    held: AtomicU64,
    connections: AtomicUsize,
    calls: AtomicUsize,
    /// Rung when bytes are given back, if somebody waits.
    freed: Notify,
    waiting: AtomicUsize,
}

/// Which limit was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Full {
    Wire,
    Connection,
}

/// Counts a limit that a client met; `limit` is the setting's name.
pub fn met(limit: &'static str) {
    metrics::counter!("deltaplane_wire_limits_met_total", "limit" => limit).increment(1);
}

impl Wire {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Wire {
            limits,
            held: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            freed: Notify::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    pub fn held_bytes(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// A new connection; none if there are too many.
    pub fn connect(self: &Arc<Self>) -> Option<Arc<Connection>> {
        if self.connections.fetch_add(1, Ordering::Relaxed) >= self.limits.connections_max {
            self.connections.fetch_sub(1, Ordering::Relaxed);
            met("limits.connections_max");
            return None;
        }
        Some(Arc::new(Connection {
            wire: self.clone(),
            charged: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            due: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            opened: AtomicU64::new(0),
            surfaced: AtomicU64::new(0),
            calls: AtomicUsize::new(0),
            greeted: AtomicBool::new(false),
            quiet_since: Mutex::new(Instant::now()),
        }))
    }

    /// What connections with as many bytes of their own may charge. The last quarter is for those that hold little, and the
    /// less they hold, the more of it: messages which never end leave room for everybody else's smaller ones.
    fn cap(&self, own: u64) -> u64 {
        let all = self.limits.bytes_max;
        if own <= (all / 128).min(FLOOR_BYTES) {
            all
        } else if own <= all / 1024 {
            all / 16 * 15
        } else if own <= all / 128 {
            all / 8 * 7
        } else {
            all / 4 * 3
        }
    }

    /// What all may hold while a connection that waits for room is still read. Those that wait may be many, and each could
    /// fill its window with bytes that nobody can take: together they leave room for whole messages of the largest size.
    fn cap_of_waiting(&self) -> u64 {
        self.limits.bytes_max / 2
    }

    fn give_back(&self, bytes: u64) {
        self.held.fetch_sub(bytes, Ordering::AcqRel);
        self.ring();
    }

    fn ring(&self) {
        if self.waiting.load(Ordering::Acquire) > 0 {
            self.freed.notify_waiters();
        }
    }

    /// Waits until `ready` gives something, which it is asked again whenever bytes are given back.
    async fn until<T>(&self, mut ready: impl FnMut() -> Option<T>) -> T {
        struct Waiting<'a>(&'a AtomicUsize);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::AcqRel);
            }
        }
        self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        loop {
            let freed = self.freed.notified();
            let mut freed = std::pin::pin!(freed);
            freed.as_mut().enable();
            if let Some(value) = ready() {
                return value;
            }
            freed.await;
        }
    }
}

/// One connection's account.
#[derive(Debug)]
pub struct Connection {
    wire: Arc<Wire>,
    /// Charges that are held.
    charged: AtomicU64,
    /// Bytes of calls' bodies that came off the socket and that no call has taken yet. Never more than HTTP/2's window.
    unread: AtomicU64,
    /// Bytes of admitted messages that are still to come.
    due: AtomicU64,
    /// Messages that wait for room.
    waiting: AtomicUsize,
    /// Calls that began on the socket, and those that became one here.
    opened: AtomicU64,
    surfaced: AtomicU64,
    /// Calls that are open.
    calls: AtomicUsize,
    /// The client has said that it speaks HTTP/2.
    greeted: AtomicBool,
    /// When the last call ended.
    quiet_since: Mutex<Instant>,
}

impl Connection {
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    pub fn limits(&self) -> &Limits {
        &self.wire.limits
    }

    fn try_charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, Full> {
        // What does not fit is never added: taking it back would wake those who wait, the caller among them.
        let share = self.limits().connection_bytes_max;
        let within = |most: u64| move |held: u64| held.checked_add(bytes).filter(|n| *n <= most);
        let before = self
            .charged
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, within(share))
            .map_err(|_| Full::Connection)?;
        let cap = self.wire.cap(before + bytes);
        let room = self
            .wire
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, within(cap));
        if room.is_err() {
            self.charged.fetch_sub(bytes, Ordering::AcqRel);
            return Err(Full::Wire);
        }
        Ok(Charge {
            connection: self.clone(),
            bytes,
        })
    }

    /// Room for these bytes if there is some now.
    pub fn charge_at_once(self: &Arc<Self>, bytes: u64) -> Option<Charge> {
        self.try_charge(bytes).ok()
    }

    /// As [`Connection::charge_at_once`].
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED `wire_full`.
    pub fn charge_now(self: &Arc<Self>, bytes: u64) -> Result<Charge, Fault> {
        self.try_charge(bytes)
            .map_err(|full| self.full(full, bytes))
    }

    /// Room for these bytes, waiting for it as long as a batch waits for room in the log.
    ///
    /// # Errors
    /// RESOURCE_EXHAUSTED `wire_full`, which names the limit.
    pub async fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge, Fault> {
        let mut met = match self.try_charge(bytes) {
            Ok(charge) => return Ok(charge),
            Err(full) => full,
        };
        let _waits = Waits::new(self);
        let room = self.wire.until(|| match self.try_charge(bytes) {
            Ok(charge) => Some(charge),
            Err(full) => {
                met = full;
                None
            }
        });
        match tokio::time::timeout(self.limits().wait, room).await {
            Ok(charge) => Ok(charge),
            Err(_) => Err(self.full(met, bytes)),
        }
    }

    fn full(&self, full: Full, bytes: u64) -> Fault {
        let limits = self.limits();
        let message = match full {
            Full::Wire => {
                met("memory.wire_bytes_max");
                format!(
                    "no room for a message, bytes={bytes}, all connections hold {} of {}; send again later, or raise memory.wire_bytes_max",
                    self.wire.held_bytes(),
                    limits.bytes_max
                )
            }
            Full::Connection => {
                met("limits.connection_bytes_max");
                format!(
                    "no room for a message, bytes={bytes}, this connection holds {} of {}; send fewer at a time, or raise limits.connection_bytes_max",
                    self.charged.load(Ordering::Relaxed),
                    limits.connection_bytes_max
                )
            }
        };
        Fault::new(Kind::Exhausted, "wire_full", message)
    }

    /// The client has begun to speak HTTP/2.
    pub fn greeted(&self) {
        self.greeted.store(true, Ordering::Relaxed);
    }

    pub fn is_greeted(&self) -> bool {
        self.greeted.load(Ordering::Relaxed)
    }

    /// Bytes of bodies came off the socket; `window` is the most that HTTP/2 holds.
    pub fn received(&self, bytes: u64, window: u64) {
        let unread = self.unread.load(Ordering::Relaxed);
        let more = bytes.min(window.saturating_sub(unread));
        self.unread.fetch_add(more, Ordering::AcqRel);
        self.wire.held.fetch_add(more, Ordering::AcqRel);
    }

    /// Calls began on the socket.
    pub fn calls_opened(&self, calls: u64) {
        self.opened.fetch_add(calls, Ordering::AcqRel);
    }

    /// A call took bytes out of HTTP/2's buffers.
    pub fn taken(&self, bytes: u64) {
        let took = |unread: u64| Some(unread.saturating_sub(bytes));
        let before = self
            .unread
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, took)
            .unwrap_or(0);
        self.wire.give_back(before.min(bytes));
    }

    /// The socket has nothing more to read. Without a call, and with none on its way here, HTTP/2 holds no bodies: what was
    /// not taken belonged to calls that have ended.
    pub fn drained(&self) {
        if self.unread.load(Ordering::Acquire) > 0
            && self.calls.load(Ordering::Acquire) == 0
            && self.opened.load(Ordering::Acquire) == self.surfaced.load(Ordering::Acquire)
        {
            let left = self.unread.swap(0, Ordering::AcqRel);
            self.wire.give_back(left);
        }
    }

    /// Whether more may be read off the socket: the budget has room, or what is unread is little, or belongs to messages that
    /// were admitted and have to be read to their end.
    fn may_read(&self) -> bool {
        let unread = self.unread.load(Ordering::Acquire);
        let cap = || match self.waiting.load(Ordering::Acquire) {
            0 => self.wire.cap(unread),
            _ => self.wire.cap_of_waiting(),
        };
        unread <= FLOOR_BYTES + self.due.load(Ordering::Acquire) || self.wire.held_bytes() < cap()
    }

    /// Resolves once more may be read off the socket; none if that is so now.
    pub fn room_to_read(
        self: &Arc<Self>,
    ) -> Option<impl Future<Output = std::io::Result<()>> + Send + use<>> {
        if self.may_read() {
            return None;
        }
        let connection = self.clone();
        Some(async move {
            let wire = &connection.wire;
            let room = wire.until(|| connection.may_read().then_some(()));
            tokio::time::timeout(wire.limits.message_idle, room)
                .await
                .map_err(|_| {
                    met("memory.wire_bytes_max");
                    std::io::Error::from(std::io::ErrorKind::TimedOut)
                })
        })
    }

    /// Admitted bytes that are still to come: `more` than before, or `less`.
    pub fn due(&self, more: u64, less: u64) {
        if more > less {
            self.due.fetch_add(more - less, Ordering::AcqRel);
            self.wire.ring();
        } else if less > more {
            let took = |due: u64| Some(due.saturating_sub(less - more));
            let _ = self
                .due
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, took);
        }
    }

    /// A call that is open until this is dropped.
    pub fn call(self: &Arc<Self>) -> Call {
        self.calls.fetch_add(1, Ordering::AcqRel);
        self.surfaced.fetch_add(1, Ordering::AcqRel);
        self.wire.calls.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }

    /// How long there has been no call, and whether the connection is of no use to anyone: nothing was said in time, or nothing
    /// was asked for too long, or it holds bytes that belong to no call.
    pub fn idle(&self) -> Idle {
        if self.calls.load(Ordering::Acquire) > 0 {
            return Idle::Busy;
        }
        let limits = self.limits();
        let quiet = self.quiet_since.lock().elapsed();
        let strays = self.unread.load(Ordering::Acquire) > FLOOR_BYTES;
        let most = if strays || !self.greeted.load(Ordering::Relaxed) {
            limits.message_idle.min(limits.connection_idle)
        } else {
            limits.connection_idle
        };
        match most.checked_sub(quiet) {
            Some(left) if !left.is_zero() => Idle::For(left),
            _ => Idle::TooLong,
        }
    }
}

/// A message that waits for room, until this is dropped.
struct Waits<'a>(&'a Connection);

impl<'a> Waits<'a> {
    fn new(connection: &'a Connection) -> Self {
        connection.waiting.fetch_add(1, Ordering::AcqRel);
        Waits(connection)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        // Its socket may be read again.
        self.0.wire.ring();
    }
}

/// What a connection without calls waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    Busy,
    /// It may be idle for so long.
    For(Duration),
    TooLong,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Charges hold the connection, so none is left.
        self.wire.connections.fetch_sub(1, Ordering::Relaxed);
        let unread = self.unread.load(Ordering::Acquire);
        self.wire.give_back(unread);
    }
}

/// An open call.
#[derive(Debug)]
pub struct Call(Arc<Connection>);

impl Drop for Call {
    fn drop(&mut self) {
        *self.0.quiet_since.lock() = Instant::now();
        self.0.calls.fetch_sub(1, Ordering::AcqRel);
        self.0.wire.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes that are held, given back on drop.
#[derive(Debug)]
pub struct Charge {
    connection: Arc<Connection>,
    bytes: u64,
}

impl Charge {
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn add(&mut self, mut other: Charge) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Gives back what goes beyond `bytes`.
    pub fn shrink_to(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        if less > 0 {
            self.bytes -= less;
            self.connection.charged.fetch_sub(less, Ordering::AcqRel);
            self.connection.wire.give_back(less);
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
