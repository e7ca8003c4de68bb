//! What the machine does at most with the same bytes: a Flight server that drops them, and a file that is appended to and synced.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use tokio::task::JoinSet;

use super::machine::Usage;
use super::percentiles::Percentiles;
use crate::flight::blackhole;

/// One write and sync of the disk's speed, where the size of a group does not matter.
pub(super) const SYNC_BYTES: usize = 4 << 20;
/// How long batches are sent.
const PUT_TIME: Duration = Duration::from_secs(1);
const APPEND_TIME_MAX: Duration = Duration::from_secs(5);
const APPEND_BYTES_MAX: u64 = 1 << 30;
const GROUP_BYTES_MAX: usize = 64 << 20;
/// Client and server are one process here, which has two files open for each stream.
const STREAMS_MAX: usize = 256;

/// The next state of a generator of numbers that compress badly.
pub(super) fn next_random(state: u64) -> u64 {
    state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407)
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct DoPut {
    pub streams: usize,
    pub rows_per_second: f64,
    pub bytes_per_second: f64,
    /// Client and server together.
    pub cpu_ns_per_row: Option<f64>,
}

/// The batches, encoded once, again and again for a second, to a Flight server that drops them.
///
/// # Errors
/// A connection's.
pub(super) async fn do_put(pool: Vec<RecordBatch>, streams: usize) -> anyhow::Result<DoPut> {
    let streams = streams.min(STREAMS_MAX);
    let rows = pool.first().map_or(0, RecordBatch::num_rows) as f64;
    let (address, server) = blackhole::start().await?;
    let mut encoded: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_max_flight_data_size(usize::MAX)
        .with_flight_descriptor(Some(FlightDescriptor::new_path(vec!["raw".to_owned()])))
        .build(futures::stream::iter(pool.into_iter().map(Ok)))
        .try_collect()
        .await?;
    let schema = encoded.remove(0);
    let data: Arc<[FlightData]> = encoded.into();
    let mut clients = Vec::with_capacity(streams);
    for _ in 0..streams {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?;
        clients.push(FlightServiceClient::new(endpoint.connect().await?));
    }
    let (sent, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let cpu_before = Usage::of(std::process::id()).cpu;
    let began = Instant::now();
    let mut running = JoinSet::new();
    for mut client in clients {
        let (sent, bytes, data) = (sent.clone(), bytes.clone(), data.clone());
        let messages = std::iter::from_fn(move || {
            if began.elapsed() > PUT_TIME {
                return None;
            }
            let n = sent.fetch_add(1, Ordering::Relaxed);
            let message = data[n as usize % data.len()].clone();
            let size = message.data_header.len() + message.data_body.len();
            bytes.fetch_add(size as u64, Ordering::Relaxed);
            Some(message)
        });
        let messages = futures::stream::iter([schema.clone()].into_iter().chain(messages));
        running.spawn(async move {
            let mut answers = client.do_put(messages).await?.into_inner();
            while answers.next().await.is_some() {}
            anyhow::Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    let seconds = began.elapsed().as_secs_f64();
    server.abort();
    let sent = sent.load(Ordering::Relaxed) as f64 * rows;
    let cpu = Usage::of(std::process::id()).cpu.zip(cpu_before);
    Ok(DoPut {
        streams,
        rows_per_second: sent / seconds,
        bytes_per_second: bytes.load(Ordering::Relaxed) as f64 / seconds,
        cpu_ns_per_row: cpu.map(|(now, before)| (now - before).as_nanos() as f64 / sent),
    })
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct Append {
    /// Bytes of each write, behind which is a sync.
    pub group_bytes: usize,
    pub bytes_per_second: f64,
    /// The syncs alone.
    pub fdatasync_ns: Option<Percentiles>,
}

/// Appends so many bytes, or fewer if that takes too long, to a preallocated file, with fdatasync behind each group. The bytes do
/// not compress.
///
/// # Errors
/// The file's.
pub(super) fn append(dir: &Path, group_bytes: usize, bytes: u64) -> anyhow::Result<Append> {
    let group_bytes = group_bytes.clamp(1, GROUP_BYTES_MAX);
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(dir.join("raw"))?;
    let group = group_bytes as u64;
    let groups = bytes.clamp(group, APPEND_BYTES_MAX).div_ceil(group);
    rustix::fs::fallocate(
        &file,
        rustix::fs::FallocateFlags::empty(),
        0,
        groups * group,
    )?;
    file.sync_all()?;
    let mut state = 88u64;
    let block: Vec<u8> = std::iter::repeat_with(|| {
        state = next_random(state);
        state.to_le_bytes()
    })
    .flatten()
    .take(group_bytes)
    .collect();
    let mut syncs = Vec::new();
    let began = Instant::now();
    for n in 0..groups {
        file.write_all_at(&block, n * group)?;
        let written = Instant::now();
        file.sync_data()?;
        syncs.push(u64::try_from(written.elapsed().as_nanos())?);
        if began.elapsed() > APPEND_TIME_MAX {
            break;
        }
    }
    let bytes = syncs.len() as f64 * group_bytes as f64;
    Ok(Append {
        group_bytes,
        bytes_per_second: bytes / began.elapsed().as_secs_f64(),
        fdatasync_ns: Percentiles::of(syncs),
    })
}
