//! The running gate, asked over its control socket. The only file that names hyper.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::config::{Config, ControlSocket};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// The longest answer that is read, in bytes.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// The gate that runs with a configuration, if one does.
#[derive(Debug)]
pub(super) struct RunningGate {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// The configuration has no control socket.
    #[error("the gate has no control socket ([admin] socket = \"off\")")]
    Off,
    /// Nobody listens there.
    #[error("no gate answers at {}", .0.display())]
    Absent(PathBuf),
    /// The gate runs with another configuration.
    #[error("the running gate has no such project in force")]
    NoProject,
    /// Anything else.
    #[error("the gate at {} can't be asked: {why}", socket.display())]
    Failed {
        /// The socket.
        socket: PathBuf,
        /// What went wrong.
        why: String,
    },
}

impl RunningGate {
    /// The gate of a configuration; whether it runs is seen when it is asked.
    pub(super) fn of(config: &Config) -> Result<Self, Unanswered> {
        match &config.control {
            ControlSocket::Off => Err(Unanswered::Off),
            ControlSocket::At(path) => Ok(Self {
                socket: path.clone(),
            }),
        }
    }

    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Unanswered> {
        self.ask(Method::GET, path, Bytes::new())
    }

    pub(super) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Unanswered> {
        let body = serde_json::to_vec(body).map_err(|error| self.failed(error))?;
        self.ask(Method::POST, path, body.into())
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, Unanswered> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "gate")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.failed(error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| self.failed(error))?;
        // The timeout's clock is the runtime's, so it is made inside.
        let answer = runtime.block_on(async { timeout(PATIENCE, self.exchange(request)).await });
        let (status, body) = answer.map_err(|_| self.failed("it takes too long"))??;
        match status {
            StatusCode::OK => serde_json::from_slice(&body).map_err(|error| self.failed(error)),
            StatusCode::NOT_FOUND => Err(Unanswered::NoProject),
            status => {
                let said = String::from_utf8_lossy(&body);
                Err(self.failed(format!("{status}: {}", said.trim_end())))
            }
        }
    }

    async fn exchange(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|error| self.unreached(&error))?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| self.failed(error))?;
        let connection = tokio::spawn(connection);
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| self.failed(error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await;
        connection.abort();
        body.map(|body| (status, body.to_bytes()))
            .map_err(|error| self.failed(error))
    }

    fn unreached(&self, error: &io::Error) -> Unanswered {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        if absent.contains(&error.kind()) {
            Unanswered::Absent(shown(&self.socket))
        } else {
            self.failed(error)
        }
    }

    fn failed(&self, why: impl ToString) -> Unanswered {
        Unanswered::Failed {
            socket: shown(&self.socket),
            why: why.to_string(),
        }
    }
}

/// A path as people write it: from the working directory if it lies there.
pub(super) fn shown(path: &Path) -> PathBuf {
    let here = std::env::current_dir().ok();
    let relative = here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf));
    relative.unwrap_or_else(|| path.to_path_buf())
}
