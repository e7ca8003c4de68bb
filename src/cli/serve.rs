//! `deltaplane serve`.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Outcome;
use crate::config::Resolved;
use crate::server::Server;

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn recv(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) async fn run(resolved: Resolved) -> anyhow::Result<Outcome> {
    // Before anything is opened: a signal during the start is not lost.
    let mut signals = Signals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    for warning in &resolved.warnings {
        tracing::warn!("{warning}");
    }
    let running = tokio::select! {
        running = Server::start(resolved) => running?,
        () = signals.recv() => anyhow::bail!("ended by a signal while starting"),
    };
    println!(
        "deltaplane is ready: jdbc:arrow-flight-sql://{}/?useEncryption=false  console http://{}/",
        running.flight_addr(),
        running.http_addr()
    );
    signals.recv().await;
    tracing::info!("shutting down: acks out, commits, empty log; a second signal ends at once");
    tokio::select! {
        done = running.shutdown() => done?,
        () = signals.recv() => anyhow::bail!(
            "ended at once by a second signal; what was acked is safe in the log and is committed after the next start"
        ),
    }
    Ok(Outcome::Done)
}
