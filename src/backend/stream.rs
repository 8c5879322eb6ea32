//! A connected backend.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;

use super::{ClientIdentity, DialError, Endpoint};
use crate::address::BackendAddr;
use crate::relay::BackendStream;

/// A backend that is connected and, where demanded, has finished TLS; nothing of PostgreSQL's
/// protocol beyond SSLRequest has been said yet.
#[derive(Debug)]
pub struct BackendConnection {
    /// The way to it.
    pub stream: BackendStream,
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

impl BackendPeer {
    /// Whether what is sent there stays on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for BackendPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => fmt::Display::fmt(address, f),
            Self::Unix(socket) => fmt::Display::fmt(&socket.display(), f),
        }
    }
}

/// Where a session reached its backend, and how: a cancel goes the same way.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Which address of the backend, as configured.
    pub endpoint: Arc<Endpoint>,
    /// At which of its own addresses.
    pub peer: BackendPeer,
    /// The client certificate that was made for this session.
    pub identity: Option<ClientIdentity>,
}

impl Reached {
    /// The address, as configured.
    #[must_use]
    pub fn addr(&self) -> &BackendAddr {
        self.endpoint.addr()
    }

    /// Whether the backend that was reached need not prove who it is by the login: nobody else can be
    /// there, or it is on this machine.
    #[must_use]
    pub fn is_vouched_for(&self) -> bool {
        self.endpoint.is_trusted() || self.peer.is_local()
    }

    /// Goes there once more.
    ///
    /// # Errors
    /// As [`Endpoint::dial`].
    pub async fn dial(&self) -> Result<BackendConnection, DialError> {
        let identity = self.identity.as_ref();
        self.endpoint.dial_again(&self.peer, identity).await
    }
}
