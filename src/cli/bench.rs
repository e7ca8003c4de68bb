//! `deltaplane bench ingest`: durable rows a second, beside what the machine can do at most with the same bytes, in one run.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, FlightDescriptor};
use deltaplane_client::{Producer, ProducerOptions, SqlClient};
use deltaplane_simulator::reactor::{Generator, Source};
use deltaplane_simulator::telemetry::{Clock, Telemetry};
use futures::{StreamExt, TryStreamExt};

use super::Outcome;
use super::bundled::load;
use crate::config::Resolved;
use crate::flight::blackhole;
use crate::server::Server;

const BATCH_ROWS: usize = 8192;
/// Different batches that are sent over and over: making rows would be part of the figure otherwise.
const POOL: usize = 32;
/// One write and sync of the raw disk's figure.
const SYNC_BYTES: usize = 4 * 1024 * 1024;

pub(super) async fn run(
    resolved: Resolved,
    dir: Option<std::path::PathBuf>,
    rows: usize,
) -> anyhow::Result<Outcome> {
    let dir = dir.unwrap_or_else(|| {
        std::env::temp_dir().join(format!("deltaplane-bench-{}", std::process::id()))
    });
    std::fs::create_dir_all(&dir)?;
    let batches = rows.div_ceil(BATCH_ROWS).max(POOL);
    let rows = batches * BATCH_ROWS;
    let start = 1_760_000_000_000_000;
    let mut generator = Generator::new(Source::StandIn, 1, Clock::live(start))?;
    let pool = (0..POOL)
        .map(|_| generator.batch(BATCH_ROWS, start))
        .collect::<anyhow::Result<Vec<_>>>()?;

    let raw_put = raw_put(&pool, batches).await?;
    let resolved = resolved.with(&[
        ("server.data_dir", &dir.join("data").to_string_lossy()),
        ("server.listen", "127.0.0.1:0"),
        ("server.http", "127.0.0.1:0"),
        ("commit.interval", "1s"),
    ])?;
    let running = Server::start(resolved).await?;
    let uri = format!("http://{}", running.flight_addr());
    let mut client = SqlClient::connect(&uri).await?;
    for contract in load("reactor")?.dataset.tables {
        client.update(&contract.to_ddl()).await?;
    }
    let producer =
        Producer::connect(&uri, ["reactor", "raw"], ProducerOptions::new("bench")).await?;
    let began = Instant::now();
    for n in 0..batches {
        producer.send(pool[n % POOL].clone()).await?;
    }
    producer.flush().await?;
    let durable = began.elapsed();
    let log_bytes = running.shared().log.written();
    producer.close().await?;
    running.shutdown().await?;
    let committed = began.elapsed();
    let parquet_bytes = folder_bytes(&dir.join("data/tables/reactor/raw"))?;

    let disk = synced_bytes_per_second(&dir, (log_bytes + parquet_bytes) as usize)?;
    std::fs::remove_dir_all(&dir)?;

    let per_second = |time: Duration| rows as f64 / time.as_secs_f64();
    let row_bytes = (log_bytes + parquet_bytes) as f64 / rows as f64;
    let disk_rows = disk / row_bytes;
    let bound = raw_put.min(disk_rows);
    println!(
        "{rows} rows of reactor.raw, batches of {BATCH_ROWS}, rules on, {} cores",
        std::thread::available_parallelism().map_or(1, usize::from)
    );
    println!("raw DoPut, nothing done with it        {raw_put:>12.0} rows/s");
    println!(
        "raw append + fdatasync, the same bytes {disk_rows:>12.0} rows/s  ({:.0} MB/s, {:.1} log + {:.1} Parquet bytes a row)",
        disk / 1e6,
        log_bytes as f64 / rows as f64,
        parquet_bytes as f64 / rows as f64
    );
    println!(
        "deltaplane, acked durable              {:>12.0} rows/s",
        per_second(durable)
    );
    println!(
        "deltaplane, all of it in Delta         {:>12.0} rows/s",
        per_second(committed)
    );
    println!(
        "durable / min(raw DoPut, raw disk)     {:>12.2}",
        per_second(durable) / bound
    );
    Ok(Outcome::Done)
}

/// The same batches by the same encoder to a Flight server that drops them.
async fn raw_put(pool: &[RecordBatch], batches: usize) -> anyhow::Result<f64> {
    let (address, server) = blackhole::start().await?;
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{address}"))?
        .connect()
        .await?;
    let mut client = FlightServiceClient::new(channel);
    // The encoder wants a stream of its own.
    let owned = Vec::from(pool);
    let encoded: Vec<FlightData> = FlightDataEncoderBuilder::new()
        .with_max_flight_data_size(usize::MAX)
        .with_flight_descriptor(Some(FlightDescriptor::new_path(vec!["raw".to_owned()])))
        .build(futures::stream::iter(owned.into_iter().map(Ok)))
        .try_collect()
        .await?;
    let (schema, data) = encoded.split_at(1);
    let messages: Vec<FlightData> = schema
        .iter()
        .cloned()
        .chain((0..batches).map(|n| data[n % data.len()].clone()))
        .collect();
    let began = Instant::now();
    let mut answers = client
        .do_put(futures::stream::iter(messages))
        .await?
        .into_inner();
    while answers.next().await.is_some() {}
    let rate = (batches * BATCH_ROWS) as f64 / began.elapsed().as_secs_f64();
    server.abort();
    Ok(rate)
}

fn folder_bytes(dir: &std::path::Path) -> std::io::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        total += if meta.is_dir() {
            folder_bytes(&entry.path())?
        } else {
            meta.len()
        };
    }
    Ok(total)
}

/// Append and fdatasync to a preallocated file, incompressible bytes.
fn synced_bytes_per_second(dir: &std::path::Path, bytes: usize) -> anyhow::Result<f64> {
    let path = dir.join("raw");
    let file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .open(&path)?;
    let bytes = bytes
        .clamp(SYNC_BYTES, 1 << 30)
        .next_multiple_of(SYNC_BYTES);
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes as u64)?;
    file.sync_all()?;
    let mut state = 88u64;
    let block: Vec<u8> = (0..SYNC_BYTES / 8)
        .flat_map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state.to_le_bytes()
        })
        .collect();
    let began = Instant::now();
    for n in 0..bytes / SYNC_BYTES {
        file.write_all_at(&block, (n * SYNC_BYTES) as u64)?;
        file.sync_data()?;
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}
