//! The HTTP edge: `/healthz`, `/readyz`, `/metrics`, and the console: one static page that reads `/status.json`. Everything is
//! read only.

mod door;
mod metrics;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use door::Limits;

use crate::flight::wire::Wire;
use crate::server_state::Status;

const SHUTTING_DOWN: &str = "shutting_down";

/// Whether the server takes rows, and if not, why.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<watch::Sender<Option<&'static str>>>);

impl Readiness {
    pub fn starting() -> Self {
        Readiness(Arc::new(watch::channel(Some("starting")).0))
    }

    pub fn set_ready(&self) {
        self.set(None);
    }

    pub fn set_unready(&self, why: &'static str) {
        self.set(Some(why));
    }

    /// For good: what is learned of the log from now on changes nothing.
    pub fn set_shutting_down(&self) {
        self.set(Some(SHUTTING_DOWN));
    }

    fn set(&self, problem: Option<&'static str>) {
        self.0.send_if_modified(|now| {
            let news = *now != Some(SHUTTING_DOWN) && *now != problem;
            if news {
                *now = problem;
            }
            news
        });
    }

    pub fn problem(&self) -> Option<&'static str> {
        *self.0.borrow()
    }
}

/// What the pages show, and how the door is kept.
pub struct Parts {
    pub status: Arc<Status>,
    pub wire: Arc<Wire>,
    pub readiness: Readiness,
    pub flight: SocketAddr,
    pub limits: Limits,
}

pub fn spawn(listener: TcpListener, parts: Parts, closing: CancellationToken) -> JoinHandle<()> {
    metrics::install();
    let Parts {
        status,
        wire,
        readiness,
        flight,
        limits,
    } = parts;
    let problem = readiness.clone();
    let ready = move || {
        let problem = readiness.problem();
        async move {
            match problem {
                None => (StatusCode::OK, "ready\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
            }
        }
    };
    let state = status.clone();
    let json = move || {
        let body = state.console(flight, problem.problem());
        async move { axum::Json(body) }
    };
    let counted = move || {
        let text = metrics::render(&status, &wire);
        async move {
            let form = "text/plain; version=0.0.4; charset=utf-8";
            ([(axum::http::header::CONTENT_TYPE, form)], text).into_response()
        }
    };
    let app = Router::new()
        .route("/", get(|| async { Html(include_str!("console.html")) }))
        .route("/status.json", get(json))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(counted));
    let upkeep = closing.clone();
    tokio::spawn(async move {
        // Nobody may be scraping; samples are to be let go of all the same.
        let mut tick = tokio::time::interval(std::time::Duration::from_secs(30));
        loop {
            tokio::select! {
                _ = tick.tick() => metrics::upkeep(),
                () = upkeep.cancelled() => return,
            }
        }
    });
    tokio::spawn(door::serve(listener, app, limits, closing))
}
