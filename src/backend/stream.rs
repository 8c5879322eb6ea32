//! A connected backend.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Backend, DialError, Endpoint};
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

/// A reset, or an end of TLS without a word, says the same as a close. An alert doesn't, nor does a
/// record that can't be opened.
fn is_close(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_none_or(|inner| !inner.is::<rustls::Error>())
}

/// Where a session reached its backend, and how: a cancel goes the same way.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Which address of the backend, as configured.
    pub endpoint: Arc<Endpoint>,
    /// At which of its own addresses.
    pub peer: BackendPeer,
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

    /// The same place, by what `backend` says of it now: the CA that it is verified by and the gate's
    /// own certificate may have been replaced since. As it was, if that address is no more in it.
    #[must_use]
    pub fn by(&self, backend: &Backend) -> Self {
        let mut endpoints = backend.endpoints().iter();
        let current = endpoints.find(|endpoint| endpoint.addr() == self.addr());
        Self {
            endpoint: Arc::clone(current.unwrap_or(&self.endpoint)),
            peer: self.peer.clone(),
        }
    }

    /// Carries a CancelRequest, `request`, there, and waits until the backend has closed: then the signal
    /// is sent (T9). PostgreSQL asks who may log in only of sessions, so no user's certificate is shown.
    ///
    /// # Errors
    /// The backend can't be reached, or it ends TLS without having taken the request.
    pub async fn cancel(&self, request: &[u8]) -> Result<(), DialError> {
        let mut stream = self.endpoint.dial_again(&self.peer).await?.stream;
        let sent = async {
            stream.write_all(request).await?;
            stream.flush().await?;
            // The backend says nothing; it closes when the signal is sent.
            stream.read(&mut [0]).await
        };
        match sent.await {
            Ok(_) => Ok(()),
            Err(source) if is_close(&source) => Ok(()),
            Err(source) => Err(DialError::Tls {
                peer: self.peer.clone(),
                source,
            }),
        }
    }
}
