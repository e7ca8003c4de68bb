//! The ingest streams that are open: what `system.streams` shows. Each stream keeps its own entry; who reads them holds no
//! stream up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sync::Mutex;

use crate::clock::Micros;
use crate::types::TableName;

/// One open stream. Its fields are written by the stream alone.
pub struct OpenStream {
    pub table: TableName,
    pub since: Micros,
    producer: Mutex<Option<Arc<str>>>,
    /// Newest batch that was taken.
    seq: AtomicU64,
    sent: AtomicU64,
    done: AtomicU64,
}

impl OpenStream {
    /// None: a plain stream.
    pub fn producer(&self) -> Option<Arc<str>> {
        self.producer.lock().clone()
    }

    pub fn set_producer(&self, name: Option<Arc<str>>) {
        *self.producer.lock() = name;
    }

    pub fn seq(&self) -> u64 {
        self.seq.load(Ordering::Relaxed)
    }

    /// Batches that were taken and are not durable yet.
    pub fn inflight(&self) -> u64 {
        let done = self.done.load(Ordering::Relaxed);
        self.sent.load(Ordering::Relaxed).saturating_sub(done)
    }

    pub fn took(&self, seq: u64) {
        self.seq.store(seq, Ordering::Relaxed);
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub fn finished(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

#[derive(Default)]
struct Inner {
    next: u64,
    open: BTreeMap<u64, Arc<OpenStream>>,
}

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Streams(Arc<Mutex<Inner>>);

impl Streams {
    /// Notes a stream until the guard is dropped.
    pub fn open(&self, table: TableName, since: Micros) -> StreamGuard {
        let stream = Arc::new(OpenStream {
            table,
            since,
            producer: Mutex::default(),
            seq: AtomicU64::default(),
            sent: AtomicU64::default(),
            done: AtomicU64::default(),
        });
        let mut inner = self.0.lock();
        inner.next += 1;
        let id = inner.next;
        inner.open.insert(id, stream.clone());
        StreamGuard {
            streams: self.clone(),
            id,
            stream,
        }
    }

    pub fn list(&self) -> Vec<Arc<OpenStream>> {
        self.0.lock().open.values().cloned().collect()
    }
}

pub struct StreamGuard {
    streams: Streams,
    id: u64,
    stream: Arc<OpenStream>,
}

impl StreamGuard {
    pub fn stream(&self) -> Arc<OpenStream> {
        self.stream.clone()
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.streams.0.lock().open.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_stream_is_listed_while_it_is_open() {
        let streams = Streams::default();
        let guard = streams.open(TableName::new("public", "t").unwrap(), 7);
        guard.stream().set_producer(Some("edge".into()));
        guard.stream().took(41);
        guard.stream().took(42);
        guard.stream().finished();
        let listed = streams.list();
        assert_eq!((listed[0].seq(), listed[0].inflight()), (42, 1));
        assert_eq!(listed[0].producer().as_deref(), Some("edge"));
        drop(guard);
        assert!(streams.list().is_empty());
    }
}
