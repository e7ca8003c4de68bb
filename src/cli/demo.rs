//! `deltaplane demo`: a server, the reactor's simulator and three queries that tell what goes on, in one process.

use std::io::IsTerminal;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use deltaplane_client::SqlClient;
use deltaplane_client::protocol::AckLevel;
use deltaplane_simulator::reactor::Source;
use deltaplane_simulator::{Options, run as simulate};
use tokio::sync::watch;

use super::Outcome;
use super::apply::{BUNDLED, load};
use super::sql::render;
use crate::config::Resolved;
use crate::server::Server;

const QUERIES: [(&str, &str); 3] = [
    (
        "Rows that can be queried, and how old the newest is",
        "SELECT count(*) AS rows, max(ts) AS newest, round(max(\"PE\"), 2) AS max_mw FROM reactor.raw",
    ),
    (
        "Power against ambient temperature, in 10-second steps",
        "SELECT date_bin(INTERVAL '10 seconds', ts) AS t, count(*) AS n, round(avg(PE), 2) AS avg_mw, round(avg(AT), 2) AS avg_degc, \
         round(regr_slope(PE, AT), 3) AS mw_per_degc FROM reactor.raw GROUP BY 1 ORDER BY 1 DESC LIMIT 4",
    ),
    (
        "What was rejected, and by which rule",
        "SELECT array_to_string(rules, ', ') AS rules, count(*) AS rows, max(reason) AS for_example FROM reactor.raw_quarantine GROUP BY 1 ORDER BY 2 DESC LIMIT 4",
    ),
];

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

pub async fn run(
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
    for (name, _) in BUNDLED {
        for contract in load(name)?.tables {
            client
                .update(&contract.to_ddl().replacen(
                    "CREATE TABLE",
                    "CREATE TABLE IF NOT EXISTS",
                    1,
                ))
                .await?;
        }
    }
    println!(
        "deltaplane demo: a reactor streams {rate} rows/s into {}",
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
        "  console        http://{}/        Ctrl-C ends\n",
        running.http_addr()
    );

    let (stop_tx, stop) = watch::channel(false);
    let options = Options {
        uri: uri.clone(),
        table: ["reactor".to_owned(), "raw".to_owned()],
        producer: "demo-reactor".to_owned(),
        rate,
        rows: None,
        duration: None,
        batch_rows: None,
        source: Source::StandIn,
        faults: "nulls=.005,range=.01,late=.02".parse()?,
        seed: 42,
        ack: AckLevel::Durable,
        give_up_after: Duration::from_secs(10),
    };
    let mut simulator = tokio::spawn(simulate(options, stop, |_| {}));
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
            ended = &mut simulator => {
                ended??;
                anyhow::bail!("the simulator ended by itself");
            }
        }
        let shown = results(&mut client).await?;
        if std::io::stdout().is_terminal() && lines > 0 {
            // Back over the last results, and clear what is below.
            print!("\x1b[{lines}A\x1b[J");
        }
        println!("{shown}");
        lines = shown.lines().count();
    }
    stop_tx.send_replace(true);
    let summary = simulator.await??;
    if lines == 0 {
        println!("{}", results(&mut client).await?);
    }
    running.shutdown().await?;
    println!(
        "\n{} rows sent and acked, {} accepted, {} quarantined; all of it is in Delta tables under {}",
        summary.acked,
        summary.accepted,
        summary.quarantined,
        dir.join("tables").display()
    );
    Ok(Outcome::Done)
}

async fn results(client: &mut SqlClient) -> anyhow::Result<String> {
    let mut out = String::new();
    for (title, sql) in QUERIES {
        let (schema, batches) = client.query(sql).await?;
        out.push_str(&format!(
            "{title}\n{}\n",
            render(&batches, &schema, "table")?
        ));
    }
    Ok(out)
}
