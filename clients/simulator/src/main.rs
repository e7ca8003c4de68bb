//! `deltaplane-sim`: a dataset's devices, at any rate, with faults on request.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use chrono::{DateTime, NaiveDate, Utc};
use clap::{Parser, Subcommand};
use deltaplane_client::protocol::AckLevel;
use deltaplane_simulator::faults::Faults;
use deltaplane_simulator::files::Rows;
use deltaplane_simulator::reactor::Source;
use deltaplane_simulator::{Dataset, Options, Progress, run, run_fleet};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::watch;

#[derive(Parser)]
#[command(
    name = "deltaplane-sim",
    version,
    about = "Streams a dataset's simulated telemetry to deltaplane, exactly once",
    after_help = "Examples:
  deltaplane-sim reactor                          ten rows a second, until Ctrl-C
  deltaplane-sim satellite --rate 0 --for 10      as fast as the server takes them, ten seconds long
  deltaplane-sim building --rate 1000 --faults nulls=.01,range=.02,duplicates=.01
  deltaplane-sim energy --date 2025-08-01 --rate 0
  deltaplane-sim vehicle --start 2026-03-29T00:59:00Z --rows 2000 --rate 0
  deltaplane-sim satellite --satellites 3 --files DIR    no server: writes sat0.csv, sat1.csv, sat2.csv

Tables are those of `deltaplane apply DATASET`. Each run is a producer of its own, unless --producer names one:
then it goes on where that one's rows end."
)]
struct Cli {
    #[command(subcommand)]
    dataset: Command,
}

#[derive(Subcommand)]
enum Command {
    /// A reactor's power block: AT, V, AP, RH, PE
    Reactor {
        /// standin: rows as correlated as the plant's; sampler: each column by itself, as today; csv:FILE: the rows of a
        /// file with columns AT, V, AP, RH, PE, once
        #[arg(long, default_value = "standin")]
        source: Source,
        #[command(flatten)]
        common: Arguments,
    },
    /// A fleet of satellites: temperature, battery, altitude and three sensors
    Satellite {
        /// How many; each sends 6 to 7 events a second
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
    /// Eight rooms of a building: climate, light, people, energy
    Building {
        /// The kitchen cooks now and then; without it practically always, as in the system of today
        #[arg(long)]
        kitchen_bursts: bool,
        #[command(flatten)]
        common: Arguments,
    },
    /// A day of ten batteries at five sites
    Energy {
        /// The day; yesterday if none is given
        #[arg(long)]
        date: Option<NaiveDate>,
        /// Rows of a device and day: 1440 is one a minute
        #[arg(long, default_value_t = 1440)]
        rows_per_device: usize,
        #[command(flatten)]
        common: Arguments,
    },
    /// Connected vehicles, in Berlin's local time
    Vehicle {
        /// How many; each reports every five seconds
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
            Command::Building {
                kitchen_bursts,
                common,
            } => {
                let dataset = Dataset::Building {
                    bursts: kitchen_bursts,
                };
                (dataset, common)
            }
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
    /// So many producers, each with its share of satellites, rate and rows, on a connection of its own
    #[arg(long, default_value_t = 1)]
    producers: usize,
    /// Make rows and send them nowhere: what one core can make
    #[arg(long)]
    dry_run: bool,
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
    /// Rows a batch; a tenth of a second's if none is given, 8192 at rate 0
    #[arg(long)]
    batch_rows: Option<usize>,
    /// Event times from here on (RFC 3339) at the devices' own pace, however fast they are sent
    #[arg(long)]
    start: Option<DateTime<Utc>>,
    /// Shares of rows with a fault, as nulls=.01,range=.02: nulls, range, type, duplicates, late (by up to 10 s); of batches:
    /// renamed (the batch is refused, the run ends); and seed=N
    #[arg(long, default_value = "", hide_default_value = true)]
    faults: String,
    /// Name under which rows are exactly once; a new one each run if none is given
    #[arg(long)]
    producer: Option<String>,
    /// Schema and table; the dataset's `raw` if none is given
    #[arg(long)]
    table: Option<String>,
    /// The same seed makes the same rows; 88 for satellites if none is given, 42 for the others
    #[arg(long)]
    seed: Option<u64>,
    /// When a batch counts as acked: durable (synced to the log) or committed (in a Delta version)
    #[arg(long, default_value = "durable")]
    ack: String,
    /// Seconds to go on trying when the server is away
    #[arg(long, default_value_t = 60.0)]
    give_up_after: f64,
    /// Stream nothing: write the files that the original system has to this folder. Satellites: a CSV each; energy:
    /// yyyy/mm/dd/site/device.jsonl; others: --rows rows as JSON lines
    #[arg(long, value_name = "DIR")]
    files: Option<PathBuf>,
    /// Stream nothing: write --rows rows, faults included, to this CSV file, as `deltaplane ingest` takes it
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    csv: Option<PathBuf>,
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
    let seed = a.seed.unwrap_or_else(|| dataset.seed());
    let faults: Faults = a.faults.parse()?;
    let start = a.start.map(|t| t.timestamp_micros());
    if a.files.is_some() || a.csv.is_some() {
        let rows = Rows {
            seed,
            start,
            faults,
            rows: a.rows,
        };
        if let Some(dir) = &a.files {
            let rows = rows.files(&dataset, dir)?;
            println!("{rows} rows written below {}", dir.display());
        }
        if let Some(path) = &a.csv {
            let rows = rows.csv(&dataset, path)?;
            println!("{rows} rows written to {}", path.display());
        }
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
        start,
        faults,
        seed,
        ack: match a.ack.as_str() {
            "durable" => AckLevel::Durable,
            "committed" => AckLevel::Committed,
            other => anyhow::bail!("--ack is durable or committed, got {other}"),
        },
        give_up_after: Duration::from_secs_f64(a.give_up_after),
    };
    if a.dry_run {
        let made = deltaplane_simulator::dry_run(options)?;
        println!(
            "{} rows made in {:.2} s, {:.0} rows/s",
            made.sent, made.seconds, made.rows_per_second
        );
        return Ok(());
    }
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
    let report = |p: &Progress| {
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
    };
    let summary = match a.producers {
        0 | 1 => run(options, stop, report).await?,
        many => run_fleet(options, many, stop, report).await?,
    };
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
