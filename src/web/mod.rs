//! The HTTP edge: `/healthz`, `/readyz`, and a page that says what runs and how to reach it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::Html;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::server_state::Status;

/// Whether the server takes rows, and if not, why.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Option<&'static str>>>);

impl Readiness {
    pub fn starting() -> Self {
        Readiness(Arc::new(watch::channel(Some("starting")).0))
    }

    pub fn set_ready(&self) {
        self.0.send_replace(None);
    }

    pub fn set_unready(&self, why: &'static str) {
        self.0.send_replace(Some(why));
    }

    pub fn problem(&self) -> Option<&'static str> {
        *self.0.borrow()
    }
}

pub fn spawn(
    listener: TcpListener,
    status: Arc<Status>,
    readiness: Readiness,
    flight: SocketAddr,
    closing: CancellationToken,
) -> JoinHandle<()> {
    let ready = move || {
        let problem = readiness.problem();
        async move {
            match problem {
                None => (StatusCode::OK, "ready\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    let page = move || {
        let html = console(&status, flight);
        async move { Html(html) }
    };
    let app = Router::new()
        .route("/", get(page))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready));
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app)
            .with_graceful_shutdown(closing.cancelled_owned())
            .await
        {
            tracing::error!(%error, "HTTP server ended");
        }
    })
}

/// Names are `[A-Za-z0-9_.]` and everything else is a number: nothing here needs escaping.
fn console(status: &Status, flight: SocketAddr) -> String {
    let rows = status.tables().into_iter().map(|t| {
        format!(
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            t.name,
            t.version,
            t.rows_cold
                .map_or_else(|| "?".to_owned(), |n| n.to_string()),
            t.rows_hot,
            t.committed,
            t.producers
        )
    });
    let rows: String = rows.collect();
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=2><title>deltaplane</title>\
         <style>body{{font:15px/1.5 system-ui,sans-serif;margin:2rem;max-width:60rem}}table{{border-collapse:collapse}}\
         td,th{{padding:.3rem .8rem;border-bottom:1px solid #ddd;text-align:right}}td:first-child,th:first-child{{text-align:left}}\
         code{{background:#f3f3f3;padding:.1rem .3rem}}</style>\
         <h1>deltaplane {version}</h1>\
         <p>JDBC, DBeaver: <code>jdbc:arrow-flight-sql://{flight}/?useEncryption=false</code><br>\
         Python ADBC: <code>adbc_driver_flightsql.dbapi.connect(\"grpc://{flight}\")</code><br>\
         pyarrow: <code>pyarrow.flight.connect(\"grpc://{flight}\")</code></p>\
         <table><tr><th>table</th><th>version</th><th>rows committed</th><th>rows hot</th><th>committed offset</th><th>producers</th></tr>{rows}</table></html>"
    )
}
