//! One address of a backend.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::names::Names;
use super::standing::Standing;
use super::{
    BackendConnection, BackendPeer, BackendTls, ClientIdentity, DialError, Dialling,
    InvalidBackend, Live, NameCaching, SslNegotiation, dial,
};
use crate::address::{BackendAddr, Host};
use crate::relay::TcpTuning;

/// One address of a backend, how it is dialled, and how it has done so far.
#[derive(Debug)]
pub struct Endpoint {
    addr: BackendAddr,
    pub(super) way: Way,
    verifies: bool,
    pub(super) connect_timeout: Duration,
    pub(super) tcp: TcpTuning,
    pub(super) caching: NameCaching,
    pub(super) names: Arc<Names>,
    pub(super) standing: Arc<Standing>,
}

/// How it is reached: all that can be known before dialling.
#[derive(Debug, Clone)]
pub(super) enum Way {
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
pub(super) struct Tls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) name: ServerName<'static>,
    pub(super) negotiation: SslNegotiation,
}

impl Endpoint {
    /// Whether there can be one of that address.
    ///
    /// # Errors
    /// A wildcard in the place of a host.
    pub(super) fn check(addr: &BackendAddr) -> Result<(), InvalidBackend> {
        match addr {
            BackendAddr::Tcp { host, .. } if server_name(host).is_none() => {
                Err(InvalidBackend::Wildcard { host: host.clone() })
            }
            BackendAddr::Tcp { .. } | BackendAddr::Unix { .. } => Ok(()),
        }
    }

    /// An address of which nothing is known yet.
    ///
    /// # Errors
    /// A wildcard in the place of a host.
    pub fn new(addr: BackendAddr, dialling: &Dialling) -> Result<Self, InvalidBackend> {
        let way = match &addr {
            BackendAddr::Unix { directory, port } => Way::Unix {
                socket: directory.join(format!(".s.PGSQL.{port}")),
            },
            BackendAddr::Tcp { host, port } => {
                let name = server_name(host);
                let name = name.ok_or_else(|| InvalidBackend::Wildcard { host: host.clone() })?;
                Way::Tcp {
                    host: host.clone(),
                    port: *port,
                    tls: tls(&dialling.tls, name.to_owned()),
                }
            }
        };
        Ok(Self {
            addr,
            way,
            verifies: dialling.tls.mode().verifies(),
            connect_timeout: dialling.connect_timeout,
            tcp: dialling.tcp,
            caching: dialling.names,
            names: Arc::default(),
            standing: Arc::default(),
        })
    }

    pub(super) fn with_standing_of(&self, other: &Self) -> Self {
        Self {
            addr: self.addr.clone(),
            way: self.way.clone(),
            verifies: self.verifies,
            connect_timeout: self.connect_timeout,
            tcp: self.tcp,
            caching: self.caching,
            names: Arc::clone(&other.names),
            standing: Arc::clone(&other.standing),
        }
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
        match self.way {
            Way::Unix { .. } => true,
            Way::Tcp { .. } => self.verifies,
        }
    }

    /// How many sessions it has through this process, logins included.
    #[must_use]
    pub fn live(&self) -> usize {
        self.standing.live()
    }

    /// Counts one session more for as long as the guard lives.
    pub(super) fn enter(&self) -> Live {
        Live::new(&self.standing)
    }

    /// Connects, and finishes TLS as the project demands. All addresses of a name are tried in turn,
    /// each with its share of the time that is left; how old the answer of the resolver may be that
    /// tells them, [`NameCaching`] says. To a backend
    /// that asks for a client certificate `identity` is shown, else the project's own if it has one.
    ///
    /// # Errors
    /// [`DialError`], whose text is for the operator's log and not for the client.
    pub async fn dial(
        &self,
        identity: Option<&ClientIdentity>,
    ) -> Result<BackendConnection, DialError> {
        self.dial_within(self.connect_timeout, identity).await
    }

    /// The same, with another timeout than its own.
    pub(super) async fn dial_within(
        &self,
        within: Duration,
        identity: Option<&ClientIdentity>,
    ) -> Result<BackendConnection, DialError> {
        dial::dial(self, within, identity, None).await
    }

    /// Connects to the address that an earlier [`Self::dial`] reached, showing no certificate but the
    /// project's own: where a cancel must go, whatever the name resolves to by now.
    ///
    /// # Errors
    /// As [`Self::dial`].
    pub async fn dial_again(&self, peer: &BackendPeer) -> Result<BackendConnection, DialError> {
        dial::dial(self, self.connect_timeout, None, Some(peer)).await
    }
}

fn tls(tls: &BackendTls, name: ServerName<'static>) -> Option<Tls> {
    tls.config().map(|config| Tls {
        config: Arc::clone(config),
        name,
        negotiation: tls.negotiation(),
    })
}

fn server_name(host: &Host) -> Option<ServerName<'_>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.as_str()).ok(),
        Host::Address(ip) => Some(ServerName::IpAddress((*ip).into())),
    }
}
