//! The controls, over HTTP: metrics and health for whoever operates the gate, on TCP; and on a
//! Unix-domain socket what the command line asks of the running process, for its owner alone. The
//! only module that names axum.

mod bounded;
pub mod control;
mod crl;
pub mod socket;

use std::fmt::Write as _;
use std::io;
use std::time::SystemTime;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::bounded::BoundedListener;
pub use self::bounded::Bounds;
use crate::metrics::Metrics;
use crate::pki::Keystore;

/// Whether new connections should be sent here, and what the operator should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Readiness {
    /// Where in its life the process is.
    pub phase: Phase,
    /// What is not as it should be though sessions are served, such as a reload that failed; one
    /// line each.
    pub notes: Vec<String>,
    /// The certificates that could not be renewed; one line each.
    pub certificates: Vec<String>,
}

/// Where in its life the process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Listeners are not bound yet.
    Starting,
    /// Connections are served.
    Ready,
    /// Sessions end, and new connections are refused (T32).
    Draining,
}

impl Readiness {
    /// A phase without notes.
    #[must_use]
    pub const fn new(phase: Phase) -> Self {
        Self {
            phase,
            notes: Vec::new(),
            certificates: Vec::new(),
        }
    }

    const fn status(&self) -> StatusCode {
        match self.phase {
            Phase::Ready => StatusCode::OK,
            Phase::Starting | Phase::Draining => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn body(&self) -> String {
        let mut body = String::from(match self.phase {
            Phase::Starting => "starting\n",
            Phase::Ready => "ready\n",
            Phase::Draining => "draining\n",
        });
        for note in self.notes.iter().chain(&self.certificates) {
            writeln!(body, "{note}").expect("a String takes any text");
        }
        body
    }
}

/// What the controls show.
#[derive(Clone)]
pub struct Admin {
    /// Shown at `/metrics`.
    pub metrics: Metrics,
    /// Shown at `/readyz`, as it is at that moment.
    pub readiness: watch::Receiver<Readiness>,
    /// Where the revocation lists are that are shown at `/crl/`.
    pub keystore: Keystore,
    /// What one client of the controls may take up.
    pub bounds: Bounds,
}

impl Admin {
    /// Serves `GET /metrics`, `/healthz`, `/readyz` and `/crl/PROJECT` until `shutdown` comes; then answers what
    /// is under way, within the bounds.
    ///
    /// # Errors
    /// When the listener fails for good.
    pub async fn serve(
        self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let listener = BoundedListener::new(listener, self.bounds);
        axum::serve(listener, self.router())
            .with_graceful_shutdown(shutdown)
            .await
    }

    fn router(self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .route("/crl/{project}", get(crl::crl))
            .fallback(|| async { (StatusCode::NOT_FOUND, "not found\n") })
            .with_state(self)
    }
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    let rendered = tokio::task::spawn_blocking(move || admin.metrics.render(SystemTime::now()));
    match rendered.await {
        Ok(text) => Ok((
            [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")],
            text,
        )),
        Err(_) => Err((
            StatusCode::INTERNAL_SERVER_ERROR,
            "metrics could not be rendered\n",
        )),
    }
}

async fn readyz(State(admin): State<Admin>) -> impl IntoResponse {
    let readiness = admin.readiness.borrow();
    (readiness.status(), readiness.body())
}

#[cfg(test)]
mod tests;
