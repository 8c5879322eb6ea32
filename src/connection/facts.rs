//! [`Facts`]: what is known of a connection so far. They travel with it from stage to stage, and
//! the spine makes its one log line of them.

use std::time::{Duration, Instant};

use crate::address::{BackendAddr, ClientAddr, HostName};
use crate::gate::rule::RuleId;
use crate::id::ProjectName;
use crate::wire::startup::StartupMessage;

/// What is known of a connection so far. Metadata only: never a byte of its data (T34).
#[derive(Debug)]
pub struct Facts {
    /// When it was accepted.
    pub accepted: Instant,
    /// Who dialled us.
    pub client: ClientAddr,
    /// How TLS began.
    pub negotiation: Option<Negotiation>,
    /// The name that the ClientHello asked for.
    pub server_name: Option<HostName>,
    /// The project it is for.
    pub project: Option<ProjectName>,
    /// The rule that admitted it.
    pub rule: Option<RuleId>,
    /// The rules would have denied it, and the project only observes them.
    pub observed: bool,
    /// What TLS agreed on.
    pub tls: Option<TlsFacts>,
    /// How long the TLS handshake took, from the ClientHello on.
    pub handshake: Option<Duration>,
    /// How long it took to connect the backend, its TLS included.
    pub connect: Option<Duration>,
    /// It carries a CancelRequest, not a session.
    pub is_cancel: bool,
    /// The role that the StartupMessage names.
    pub user: Option<Box<str>>,
    /// The database that the StartupMessage names.
    pub database: Option<Box<str>>,
    /// Where the session goes.
    pub backend: Option<BackendAddr>,
}

/// How TLS began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negotiation {
    /// By SSLRequest.
    SslRequest,
    /// With the first byte.
    Direct,
}

impl Negotiation {
    /// As it stands in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SslRequest => "SSLRequest",
            Self::Direct => "direct",
        }
    }
}

/// What TLS agreed on, in the names of the TLS registries.
#[derive(Debug, Clone, Copy)]
pub struct TlsFacts {
    /// Such as `TLSv1_3`.
    pub version: Option<rustls::ProtocolVersion>,
    /// Such as `X25519MLKEM768`.
    pub group: Option<rustls::NamedGroup>,
}

impl Facts {
    /// Those of a connection just accepted.
    #[must_use]
    pub fn new(client: ClientAddr) -> Self {
        Self {
            accepted: Instant::now(),
            client,
            negotiation: None,
            server_name: None,
            project: None,
            rule: None,
            observed: false,
            tls: None,
            handshake: None,
            connect: None,
            is_cancel: false,
            user: None,
            database: None,
            backend: None,
        }
    }

    /// Notes whose session it is to be, as text: a role's name may be any bytes (T11).
    pub(super) fn name_session(&mut self, startup: &StartupMessage) {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into();
        self.user = startup.user().map(text);
        self.database = startup.database().map(text);
    }
}
