//! [`Facts`]: what is known of a connection so far. They travel with it from stage to stage, and
//! the spine makes its one log line of them.

use std::time::{Duration, Instant};

use crate::address::{BackendAddr, ClientAddr, HostName};
use crate::auth::certificate::{CertificateResult, Identification};
use crate::gate::rule::Source;
use crate::id::ProjectName;
use crate::wire::startup::StartupMessage;

/// What is known of a connection so far. Metadata only: never a byte of its data (T34).
#[derive(Debug)]
pub(super) struct Facts {
    /// When it was accepted.
    pub(super) accepted: Instant,
    /// Who dialled us.
    pub(super) client: ClientAddr,
    /// How TLS began.
    pub(super) negotiation: Option<Negotiation>,
    /// The name that the ClientHello asked for.
    pub(super) server_name: Option<HostName>,
    /// The project it is for.
    pub(super) project: Option<ProjectName>,
    /// Whom the rule is about that admitted it, or that denied it.
    pub(super) rule: Option<Source>,
    /// The rules would have denied it, and the project only observes them.
    pub(super) observed: bool,
    /// What TLS agreed on.
    pub(super) tls: Option<TlsFacts>,
    /// How long the TLS handshake took, from the ClientHello on.
    pub(super) handshake: Option<Duration>,
    /// How long it took to connect the backend, its TLS included.
    pub(super) connect: Option<Duration>,
    /// What came of its certificate, where the project asks for one.
    pub(super) certificate: Option<CertificateResult>,
    /// Whose certificate it is, if it is trusted.
    pub(super) who: Identification,
    /// It carries a CancelRequest, not a session.
    pub(super) is_cancel: bool,
    /// The role that the StartupMessage names.
    pub(super) user: Option<Box<str>>,
    /// The database that the StartupMessage names.
    pub(super) database: Option<Box<str>>,
    /// Where the session goes.
    pub(super) backend: Option<BackendAddr>,
    /// What came of the backend's addresses that were tried before.
    pub(super) passed_over: Option<String>,
}

/// How TLS began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Negotiation {
    /// By SSLRequest.
    SslRequest,
    /// With the first byte.
    Direct,
}

impl Negotiation {
    /// As it stands in the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::SslRequest => "SSLRequest",
            Self::Direct => "direct",
        }
    }
}

/// What TLS agreed on, in the names of the TLS registries.
#[derive(Debug, Clone, Copy)]
pub(super) struct TlsFacts {
    /// Such as `TLSv1_3`.
    pub(super) version: Option<rustls::ProtocolVersion>,
    /// Such as `X25519MLKEM768`.
    pub(super) group: Option<rustls::NamedGroup>,
}

/// PostgreSQL cuts names to this length, in bytes (`NAMEDATALEN` less its terminator).
const NAME_LENGTH: usize = 63;

impl Facts {
    /// Those of a connection just accepted.
    pub(super) fn new(client: ClientAddr) -> Self {
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
            certificate: None,
            who: Identification::default(),
            is_cancel: false,
            user: None,
            database: None,
            backend: None,
            passed_over: None,
        }
    }

    /// Notes whose session it is to be, as text: a role's name may be any bytes (T11).
    pub(super) fn name_session(&mut self, startup: &StartupMessage) {
        let text = |name: &[u8]| {
            let kept = name.get(..NAME_LENGTH).unwrap_or(name);
            String::from_utf8_lossy(kept).into()
        };
        self.user = startup.user().map(text);
        self.database = startup.database().map(text);
    }
}
