//! A connected backend.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::CertificateDer;

use crate::address::BackendAddr;
use crate::relay::BackendStream;

/// A backend that is connected and, where demanded, has finished TLS; nothing of PostgreSQL's
/// protocol beyond SSLRequest has been said yet.
#[derive(Debug)]
pub struct BackendConnection {
    /// The way to it.
    pub stream: BackendStream,
    /// Which backend it is, as configured.
    pub addr: BackendAddr,
    /// Which of its addresses was reached: a cancel goes to the very same.
    pub peer: BackendPeer,
    /// The leaf that the backend showed, DER; none without TLS. Channel binding compares it (T19).
    pub leaf_der: Option<CertificateDer<'static>>,
}

/// The address at which a backend was tried.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendPeer {
    /// One of the addresses of its host.
    Tcp(SocketAddr),
    /// Its socket.
    Unix(PathBuf),
}

impl fmt::Display for BackendPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Unix(socket) => fmt::Display::fmt(&socket.display(), f),
        }
    }
}
