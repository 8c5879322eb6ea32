//! The PostgreSQL server behind a project: dialling it, and TLS towards it.
//!
//! A [`Backend`] is built once from the configuration and dialled once per client connection, and
//! once more for each CancelRequest. What [`Backend::dial`] gives back has finished TLS as the project
//! demands; nothing of the session has been said yet.

mod dial;
mod error;
mod stream;
mod tls;
mod verifier;
mod version1;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use crate::address::{BackendAddr, Host};

pub use error::{DialError, InvalidBackend};
pub use stream::{BackendConnection, BackendPeer};
pub use tls::{BackendTls, InvalidSslMode, SslMode};

/// A project's backend. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Backend {
    addr: BackendAddr,
    way: Way,
    is_trusted: bool,
    connect_timeout: Duration,
}

/// How it is reached: all that can be known before dialling.
#[derive(Debug, Clone)]
enum Way {
    Unix {
        socket: PathBuf,
    },
    Tcp {
        host: Host,
        port: u16,
        tls: Option<Tls>,
    },
}

/// The demands on its TLS, and the name that SNI and verification go by.
#[derive(Debug, Clone)]
struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Backend {
    /// Puts an address and the demands on its TLS together. `connect_timeout` is for everything that
    /// [`Self::dial`] does: resolving, connecting and TLS.
    ///
    /// # Errors
    /// TLS over a Unix socket, which PostgreSQL doesn't speak; a wildcard in the place of a host.
    pub fn new(
        addr: BackendAddr,
        tls: &BackendTls,
        connect_timeout: Duration,
    ) -> Result<Self, InvalidBackend> {
        let way = match &addr {
            BackendAddr::Unix { .. } if tls.config().is_some() => {
                return Err(InvalidBackend::TlsOverUnix { addr });
            }
            BackendAddr::Unix { directory, port } => Way::Unix {
                socket: directory.join(format!(".s.PGSQL.{port}")),
            },
            BackendAddr::Tcp { host, port } => {
                let name = server_name(host);
                let name = name.ok_or_else(|| InvalidBackend::Wildcard { host: host.clone() })?;
                let tls = tls.config().map(|config| Tls {
                    config: Arc::clone(config),
                    name,
                });
                Way::Tcp {
                    host: host.clone(),
                    port: *port,
                    tls,
                }
            }
        };
        let is_trusted = match tls {
            BackendTls::VerifyCa(_) | BackendTls::VerifyFull(_) => true,
            BackendTls::Disable | BackendTls::Require(_) => matches!(way, Way::Unix { .. }),
        };
        Ok(Self {
            addr,
            way,
            is_trusted,
            connect_timeout,
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn addr(&self) -> &BackendAddr {
        &self.addr
    }

    /// Whether nobody but the backend can be at the other end of what [`Self::dial`] gives, so that
    /// a password can be said there: verified TLS, or a Unix socket.
    #[must_use]
    pub const fn is_trusted(&self) -> bool {
        self.is_trusted
    }

    /// Connects, and finishes TLS as the project demands. A name is resolved anew each time, and all
    /// its addresses are tried in turn, each with its share of the time that is left.
    ///
    /// # Errors
    /// [`DialError`], whose text is for the operator's log and not for the client.
    pub async fn dial(&self) -> Result<BackendConnection, DialError> {
        dial::dial(self, None).await
    }

    /// Connects to the address that an earlier [`Self::dial`] reached, with the same TLS: where a
    /// cancel must go, whatever the name resolves to by now.
    ///
    /// # Errors
    /// As [`Self::dial`].
    pub async fn dial_again(&self, peer: &BackendPeer) -> Result<BackendConnection, DialError> {
        dial::dial(self, Some(peer)).await
    }
}

fn server_name(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).ok(),
        Host::Address(ip) => Some(ServerName::IpAddress((*ip).into())),
    }
}

#[cfg(test)]
mod tests;
