//! `deltaplane serve`.

use tokio::signal::unix::{SignalKind, signal};

use super::Outcome;
use crate::config::Resolved;
use crate::server::Server;

pub async fn run(resolved: Resolved) -> anyhow::Result<Outcome> {
    // Before anything is opened: a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    let running = Server::start(resolved).await?;
    println!(
        "deltaplane is ready: jdbc:arrow-flight-sql://{}/?useEncryption=false  console http://{}/",
        running.flight_addr(),
        running.http_addr()
    );
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("shutting down: acks out, commits, empty log");
    running.shutdown().await?;
    Ok(Outcome::Done)
}
