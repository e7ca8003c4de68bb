//! `deltaplane demo`: a server, the five datasets' simulators and the query that each one's users ask first, in one process.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::Context;
use deltaplane_client::SqlClient;
use deltaplane_client::protocol::AckLevel;
use deltaplane_simulator::reactor::Source;
use deltaplane_simulator::{Dataset, Options, Progress, Summary, run as simulate};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::Outcome;
use super::apply::fill;
use super::bundled;
use super::sql::render;
use crate::config::Resolved;
use crate::dataset::Question;
use crate::server::Server;

/// The wanted address, or a free port if it is taken.
fn free(address: SocketAddr) -> SocketAddr {
    if TcpListener::bind(address).is_ok() {
        return address;
    }
    let any = SocketAddr::new(address.ip(), 0);
    TcpListener::bind(any)
        .and_then(|l| l.local_addr())
        .unwrap_or(any)
}

pub(super) async fn run(
    resolved: Resolved,
    dir_given: bool,
    duration: Option<Duration>,
    rate: f64,
) -> anyhow::Result<Outcome> {
    let fresh = std::env::temp_dir().join(format!("deltaplane-demo-{}", std::process::id()));
    let dir = if dir_given {
        resolved.config.server.data_dir.clone()
    } else {
        fresh
    };
    let (listen, http) = (
        free(resolved.config.server.listen),
        free(resolved.config.server.http),
    );
    let interval =
        if resolved.origins.get("commit.interval") == Some(&crate::config::Origin::Default) {
            "2s".to_owned()
        } else {
            format!("{}ms", resolved.config.commit.interval.as_millis())
        };
    let resolved = resolved.with(&[
        ("server.data_dir", &dir.to_string_lossy()),
        ("server.listen", &listen.to_string()),
        ("server.http", &http.to_string()),
        ("commit.interval", &interval),
    ])?;
    let running = Server::start(resolved).await?;
    let uri = format!("http://{}", running.flight_addr());
    let mut client = SqlClient::connect(&uri).await?;
    let mut questions = Vec::new();
    for name in bundled::names() {
        let loaded = bundled::load(name)?;
        for contract in &loaded.dataset.tables {
            let ddl = contract
                .to_ddl()
                .replacen("CREATE TABLE", "CREATE TABLE IF NOT EXISTS", 1);
            client.update(&ddl).await?;
        }
        for (table, text) in &loaded.files {
            fill(&uri, &mut client, table, text).await?;
        }
        for view in &loaded.dataset.views {
            let ddl = view.to_ddl().replacen("VIEW", "VIEW IF NOT EXISTS", 1);
            client.update(&ddl).await?;
        }
        for alert in &loaded.dataset.alerts {
            let ddl = alert.to_ddl().replacen("ALERT", "ALERT IF NOT EXISTS", 1);
            client.update(&ddl).await?;
        }
        questions.extend(loaded.dataset.queries);
    }
    println!(
        "deltaplane demo: five datasets stream into {}",
        dir.display()
    );
    println!(
        "  DBeaver, JDBC  jdbc:arrow-flight-sql://{}/?useEncryption=false",
        running.flight_addr()
    );
    println!(
        "  Python ADBC    adbc_driver_flightsql.dbapi.connect(\"grpc://{}\")",
        running.flight_addr()
    );
    println!(
        "  pyarrow        pyarrow.flight.connect(\"grpc://{}\")",
        running.flight_addr()
    );
    println!(
        "  shell          deltaplane sql --uri http://{}",
        running.flight_addr()
    );
    println!(
        "  console        http://{}/        Ctrl-C ends",
        running.http_addr()
    );
    println!(
        "One row in a hundred or so is broken on purpose: deltaplane quarantine list building.raw --uri http://{}\n",
        running.flight_addr()
    );

    let (stop_tx, stop) = watch::channel(false);
    let mut streams = start_streams(&uri, rate, &stop)?;
    let started = Instant::now();
    let mut tick = tokio::time::interval(Duration::from_secs(3));
    tick.tick().await;
    let mut lines = 0;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        let end = duration.map_or(Duration::from_secs(u64::from(u32::MAX)), |d| {
            d.saturating_sub(started.elapsed())
        });
        tokio::select! {
            _ = tick.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
            () = tokio::time::sleep(end) => break,
        }
        for stream in &mut streams {
            stream.check().await?;
        }
        let shown = results(&mut client, &streams, &questions).await?;
        if std::io::stdout().is_terminal() && lines > 0 {
            // Back over the last results, and clear what is below.
            print!("\x1b[{lines}A\x1b[J");
        }
        println!("{shown}");
        lines = shown.lines().count();
    }
    stop_tx.send_replace(true);
    if lines == 0 {
        println!("{}", results(&mut client, &streams, &questions).await?);
    }
    let (mut acked, mut accepted, mut quarantined) = (0, 0, 0);
    for stream in streams {
        let summary = stream.end().await?;
        acked += summary.acked;
        accepted += summary.accepted;
        quarantined += summary.quarantined;
    }
    running.shutdown().await?;
    println!(
        "{acked} rows sent and acked, {accepted} accepted, {quarantined} quarantined; all of it is in Delta tables under {}\n\
         deltaplane serve --data-dir {} serves them again",
        dir.join("tables").display(),
        dir.display()
    );
    Ok(Outcome::Done)
}

/// One dataset's devices, on their way.
struct Stream {
    name: &'static str,
    progress: watch::Receiver<Progress>,
    task: Option<JoinHandle<anyhow::Result<Summary>>>,
    ended: Option<Summary>,
}

impl Stream {
    /// Takes the summary of a stream that has come to its end.
    async fn check(&mut self) -> anyhow::Result<()> {
        if let Some(task) = self.task.take_if(|t| t.is_finished()) {
            self.ended = Some(task.await?.with_context(|| self.name.to_owned())?);
        }
        Ok(())
    }

    async fn end(self) -> anyhow::Result<Summary> {
        match (self.ended, self.task) {
            (Some(summary), _) => Ok(summary),
            (None, Some(task)) => task.await?.with_context(|| self.name.to_owned()),
            (None, None) => Ok(Summary::default()),
        }
    }

    fn line(&self) -> String {
        if let Some(s) = &self.ended {
            return format!(
                "  {:<10}{:>9} rows, {} quarantined, done",
                self.name, s.sent, s.quarantined
            );
        }
        let p = self.progress.borrow();
        format!(
            "  {:<10}{:>9} rows, {} quarantined, ack {:.1} ms",
            self.name, p.sent, p.quarantined, p.ack_ms
        )
    }
}

fn start_streams(
    uri: &str,
    rate: f64,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<Stream>> {
    let yesterday = crate::clock::utc_now()
        .date_naive()
        .pred_opt()
        .unwrap_or_default();
    let datasets = [
        Dataset::Reactor {
            source: Source::StandIn,
        },
        Dataset::Satellite {
            first: 0,
            satellites: 100,
            rows_per_profile: 1000,
        },
        Dataset::Building { bursts: true },
        Dataset::Energy {
            date: yesterday,
            rows_per_device: 1440,
        },
        Dataset::Vehicle { entities: 200 },
    ];
    let start = |dataset: Dataset| {
        let name = dataset.name();
        let options = Options {
            uri: uri.to_owned(),
            table: [name.to_owned(), "raw".to_owned()],
            producer: format!("demo-{name}"),
            // A day of the batteries in seconds, so that there is a day to look at.
            rate: Some(if name == "energy" { rate * 20.0 } else { rate }),
            rows: None,
            duration: None,
            batch_rows: None,
            dataset,
            start: None,
            // Bronze refuses nothing, and a value out of all bounds would stand in its totals.
            faults: if name == "energy" {
                "nulls=.005,duplicates=.005".parse()?
            } else {
                "nulls=.005,range=.01".parse()?
            },
            seed: 42,
            ack: AckLevel::Durable,
            give_up_after: Duration::from_secs(10),
        };
        let (tell, progress) = watch::channel(Progress::default());
        let stop = stop.clone();
        let task = tokio::spawn(async move {
            simulate(options, stop, |p| {
                tell.send_replace(p.clone());
            })
            .await
        });
        Ok(Stream {
            name,
            progress,
            task: Some(task),
            ended: None,
        })
    };
    datasets.into_iter().map(start).collect()
}

async fn results(
    client: &mut SqlClient,
    streams: &[Stream],
    questions: &[Question],
) -> anyhow::Result<String> {
    let mut out: String = streams.iter().map(|s| s.line() + "\n").collect();
    for question in questions {
        let (schema, batches) = client.query(&question.sql).await?;
        out.push_str(&format!(
            "{}\n{}\n",
            question.title,
            render(&batches, &schema, "table")?
        ));
    }
    Ok(out)
}
