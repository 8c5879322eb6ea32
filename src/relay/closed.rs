//! How a session ended.

use std::fmt;
use std::io;

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
    /// The gate itself, by a [`Cut`](super::Cut).
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

impl From<&io::Error> for Why {
    fn from(error: &io::Error) -> Self {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        let kind = error.kind();
        if kind == UnexpectedEof {
            Self::Dropped
        } else if [ConnectionReset, ConnectionAborted, BrokenPipe].contains(&kind) {
            Self::Reset
        } else {
            Self::Failed(kind)
        }
    }
}
