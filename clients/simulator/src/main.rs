//! `deltaplane-sim`: a dataset's devices, at any rate, with faults on request.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Parser, Subcommand};
use deltaplane_client::protocol::AckLevel;
use deltaplane_simulator::reactor::Source;
use deltaplane_simulator::{Dataset, Options, run};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

#[derive(Parser)]
#[command(
    name = "deltaplane-sim",
    version,
    about = "Streams a dataset's simulated telemetry to deltaplane, exactly once"
)]
struct Cli {
    #[command(subcommand)]
    dataset: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A reactor's power block: AT, V, AP, RH, PE
    Reactor {
        /// sampler, standin or csv:FILE
        #[arg(long, default_value = "standin")]
        source: Source,
        #[command(flatten)]
        common: Arguments,
    },
    /// A fleet of satellites: temperature, battery, altitude and three sensors
    Satellite {
        #[arg(long, default_value_t = 1000)]
        satellites: usize,
        /// Number of the first satellite
        #[arg(long, default_value_t = 0)]
        first: usize,
        /// Events of a satellite before its profile begins anew
        #[arg(long, default_value_t = 1000)]
        rows_per_profile: usize,
        #[command(flatten)]
        common: Arguments,
    },
    /// Eight rooms of a building
    Building {
        #[command(flatten)]
        common: Arguments,
    },
    /// A day of ten batteries at five sites
    Energy {
        /// The day; yesterday if none is given
        #[arg(long)]
        date: Option<NaiveDate>,
        #[arg(long, default_value_t = 1440)]
        rows_per_device: usize,
        #[command(flatten)]
        common: Arguments,
    },
    /// Connected vehicles, in Berlin's local time
    Vehicle {
        #[arg(long, default_value_t = 200)]
        entities: usize,
        #[command(flatten)]
        common: Arguments,
    },
}

impl Command {
    fn split(self) -> (Dataset, Arguments) {
        match self {
            Command::Reactor { source, common } => (Dataset::Reactor { source }, common),
            Command::Satellite {
                satellites,
                first,
                rows_per_profile,
                common,
            } => {
                let dataset = Dataset::Satellite {
                    first,
                    satellites,
                    rows_per_profile,
                };
                (dataset, common)
            }
            Command::Building { common } => (Dataset::Building, common),
            Command::Energy {
                date,
                rows_per_device,
                common,
            } => {
                let yesterday = || Utc::now().date_naive().pred_opt().unwrap_or_default();
                let dataset = Dataset::Energy {
                    date: date.unwrap_or_else(yesterday),
                    rows_per_device,
                };
                (dataset, common)
            }
            Command::Vehicle { entities, common } => (Dataset::Vehicle { entities }, common),
        }
    }
}

#[derive(clap::Args)]
struct Arguments {
    /// The server's Flight address
    #[arg(long, env = "DELTAPLANE_URI", default_value = "http://127.0.0.1:32010")]
    uri: String,
    /// Rows a second; 0: as fast as possible; the devices' own pace if none is given
    #[arg(long)]
    rate: Option<f64>,
    /// End after this many rows
    #[arg(long)]
    rows: Option<u64>,
    /// End after this many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    seconds: Option<f64>,
    #[arg(long)]
    batch_rows: Option<usize>,
    /// Event times from here on (RFC 3339) at the devices' own pace, however fast they are sent
    #[arg(long)]
    start: Option<DateTime<Utc>>,
    /// Shares of rows with a fault: nulls, range, type, duplicates, late; and seed
    #[arg(long, default_value = "")]
    faults: String,
    /// Name under which rows are exactly once
    #[arg(long)]
    producer: Option<String>,
    /// Schema and table; the dataset's `raw` if none is given
    #[arg(long)]
    table: Option<String>,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// durable or committed
    #[arg(long, default_value = "durable")]
    ack: String,
    /// Seconds to go on trying when the server is away
    #[arg(long, default_value_t = 60.0)]
    give_up_after: f64,
    /// Write the files that the original system writes to this folder, and stream nothing
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Print the summary as JSON, and no progress
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_env("DELTAPLANE_LOG"))
        .with_writer(std::io::stderr)
        .init();
    let (dataset, arguments) = Cli::parse().dataset.split();
    if let Err(error) = stream(dataset, arguments).await {
        eprintln!("deltaplane-sim: {error:#}");
        std::process::exit(1);
    }
}

async fn stream(dataset: Dataset, a: Arguments) -> anyhow::Result<()> {
    if let Some(dir) = &a.files {
        let rows = deltaplane_simulator::files::write(&dataset, a.seed, dir)?;
        println!("{rows} rows written below {}", dir.display());
        return Ok(());
    }
    let table = a.table.unwrap_or_else(|| format!("{}.raw", dataset.name()));
    let (schema, table) = table.split_once('.').context("--table is schema.table")?;
    let options = Options {
        uri: a.uri,
        table: [schema.to_owned(), table.to_owned()],
        producer: a
            .producer
            .unwrap_or_else(|| format!("sim-{}-{}", dataset.name(), std::process::id())),
        rate: a.rate,
        rows: a.rows,
        duration: a.seconds.map(Duration::from_secs_f64),
        batch_rows: a.batch_rows,
        dataset,
        start: a.start.map(|t| t.timestamp_micros()),
        faults: a.faults.parse()?,
        seed: a.seed,
        ack: match a.ack.as_str() {
            "durable" => AckLevel::Durable,
            "committed" => AckLevel::Committed,
            other => anyhow::bail!("--ack is durable or committed, got {other}"),
        },
        give_up_after: Duration::from_secs_f64(a.give_up_after),
    };
    let (stop_tx, stop) = watch::channel(false);
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop_tx.send_replace(true);
        std::future::pending::<()>().await;
    });
    let bar = if a.json {
        ProgressBar::hidden()
    } else {
        ProgressBar::new_spinner()
    };
    bar.set_style(ProgressStyle::with_template("{spinner} {elapsed} {msg}")?);
    let started = std::time::Instant::now();
    let summary = run(options, stop, |p| {
        let rate = p.sent as f64 / started.elapsed().as_secs_f64().max(1e-9);
        bar.set_message(format!(
            "{} rows sent, {rate:.0} rows/s, ack {:.1} ms, {} accepted, {} quarantined{}",
            p.sent,
            p.ack_ms,
            p.accepted,
            p.quarantined,
            if p.reconnects > 0 {
                format!(", {} reconnects", p.reconnects)
            } else {
                String::new()
            }
        ));
        bar.tick();
    })
    .await?;
    bar.finish_and_clear();
    if a.json {
        println!("{}", serde_json::to_string(&summary)?);
        return Ok(());
    }
    println!(
        "{} rows acked in {:.1} s, {:.0} rows/s, ack p50 {:.1} ms, p99 {:.1} ms",
        summary.acked,
        summary.seconds,
        summary.rows_per_second,
        summary.ack_p50_ms,
        summary.ack_p99_ms
    );
    println!(
        "producer {} (epoch {}, seq {}): {} accepted, {} quarantined, {} duplicates, {} reconnects",
        summary.producer,
        summary.epoch,
        summary.seq,
        summary.accepted,
        summary.quarantined,
        summary.duplicates,
        summary.reconnects
    );
    for reject in &summary.rejects {
        println!("  {reject}");
    }
    Ok(())
}
