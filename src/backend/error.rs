//! What can be wrong with a backend.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{BackendPeer, CertificateAlert, SslMode};
use crate::address::{BackendAddr, Host};

/// Why a backend's configuration can't be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBackend {
    /// The root file can't be read.
    #[error("cannot read sslrootcert {}: {source}", path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// The system's own words.
        source: io::Error,
    },
    /// The root file holds something else.
    #[error("sslrootcert {} holds no usable certificate: {what}", path.display())]
    BadRoots {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The system's own roots can't be had.
    #[error("sslrootcert = \"system\": this system has no usable root certificates: {what}")]
    NoSystemRoots {
        /// What is wrong.
        what: String,
    },
    /// Roots that would not be used.
    #[error(
        "sslrootcert = \"system\" goes with sslmode=verify-full only, as with libpq: anybody can have a certificate of a public CA"
    )]
    WeakSystemRoots,
    /// A backend at no address.
    #[error("a backend has at least one address")]
    NoAddress,
    /// Verification against nothing.
    #[error("sslmode={mode} needs sslrootcert, the CA that signs the backend's certificate")]
    NoRoots {
        /// The mode.
        mode: SslMode,
    },
    /// Roots that would not be used.
    #[error("sslmode={mode} does not look at sslrootcert: leave it out, or use verify-full")]
    SurplusRoots {
        /// The mode.
        mode: SslMode,
    },
    /// TLS where PostgreSQL has none.
    #[error("{addr} is a Unix socket, over which PostgreSQL has no TLS: set sslmode to disable")]
    TlsOverUnix {
        /// The backend.
        addr: BackendAddr,
    },
    /// A wildcard can't be dialled.
    #[error("{host} is no host that can be dialled")]
    Wildcard {
        /// The host.
        host: Host,
    },
}

/// Why a backend could not be dialled. The texts are for the operator's log, never for the client:
/// they tell of the network behind the gate. None quotes what the backend said before TLS (T18).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DialError {
    /// It has failed before, and another login is finding out whether it can be had again.
    #[error("{addr} has failed before, and another login is trying it now")]
    SetAside {
        /// The backend.
        addr: BackendAddr,
    },
    /// Its name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: Host,
        /// The resolver's own words.
        source: io::Error,
    },
    /// It can't be connected to: of several addresses, the last one tried.
    #[error("cannot connect to {peer}: {source}")]
    Unreachable {
        /// Which address.
        peer: BackendPeer,
        /// The system's own words.
        source: io::Error,
    },
    /// It did not do its part in time.
    #[error("{addr} did not finish {doing} within {within:?}")]
    Timeout {
        /// The backend.
        addr: BackendAddr,
        /// What was waited for.
        doing: &'static str,
        /// How long was waited in all.
        within: Duration,
    },
    /// It did not do its part in less time than that takes some: the login had no more.
    #[error(
        "{addr} did not finish {doing} in the {within:?} that were left to it of the login's time"
    )]
    Hurried {
        /// The backend.
        addr: BackendAddr,
        /// What was waited for.
        doing: &'static str,
        /// How long was waited in all.
        within: Duration,
    },
    /// It closed or broke the connection instead of answering.
    #[error(
        "{peer} ended the connection instead of answering {instead_of}: {source}{}",
        hint(source)
    )]
    Ended {
        /// Which address.
        peer: BackendPeer,
        /// SSLRequest or StartupMessage.
        instead_of: &'static str,
        /// The system's own words.
        source: io::Error,
    },
    /// It answered SSLRequest with an ErrorResponse, which nobody has vouched for.
    #[error("{peer} answered SSLRequest with an error; its log says which")]
    Errored {
        /// Which address.
        peer: BackendPeer,
    },
    /// It is starting up, shutting down or recovering.
    #[error("{peer} takes no logins now (SQLSTATE 57P03)")]
    NotReady {
        /// Which address.
        peer: BackendPeer,
    },
    /// Direct TLS without ALPN.
    #[error(
        "{peer} does TLS without ALPN \"postgresql\": it is no PostgreSQL from 17 on; set sslnegotiation = \"postgres\""
    )]
    NoAlpn {
        /// Which address.
        peer: BackendPeer,
    },
    /// It answered SSLRequest with `N`.
    #[error("{peer} has no TLS, and the project demands it: set ssl = on there")]
    TlsRefused {
        /// Which address.
        peer: BackendPeer,
    },
    /// What answered SSLRequest is no PostgreSQL.
    #[error("{peer} answered SSLRequest with byte {answer:#04x}: it is no PostgreSQL server")]
    NotPostgres {
        /// Which address.
        peer: BackendPeer,
        /// The byte.
        answer: u8,
    },
    /// Bytes behind the answer to SSLRequest: somebody in between injects them (T1).
    #[error("{peer} sent more than its answer to SSLRequest before TLS: refused")]
    BytesBeforeTls {
        /// Which address.
        peer: BackendPeer,
    },
    /// The handshake failed, or the certificate is not as demanded.
    #[error("TLS with {peer} failed: {source}{}", hint(source))]
    Tls {
        /// Which address.
        peer: BackendPeer,
        /// What rustls or the system says.
        source: io::Error,
    },
}

impl DialError {
    /// Whether the backend answers, but its TLS is not as the project demands.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        match self {
            Self::TlsRefused { .. }
            | Self::NotPostgres { .. }
            | Self::BytesBeforeTls { .. }
            | Self::NoAlpn { .. }
            | Self::Tls { .. } => true,
            Self::SetAside { .. }
            | Self::Resolve { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Hurried { .. }
            | Self::Ended { .. }
            | Self::NotReady { .. }
            | Self::Errored { .. } => false,
        }
    }

    /// Whether it says nothing about the backend, for there was no time.
    #[must_use]
    pub const fn is_hurried(&self) -> bool {
        matches!(self, Self::Hurried { .. })
    }
}

/// What to do about a certificate of ours that the backend doesn't take, and about one of its own that
/// OpenSSL would take and rustls doesn't: PostgreSQL's own instructions lead to such ones.
fn hint(error: &io::Error) -> Cow<'static, str> {
    use rustls::{CertificateError as C, Error as E};
    if let Some(alert) = CertificateAlert::of(error) {
        let advice = alert.advice();
        return format!("; it refuses the gate's certificate. {advice}").into();
    }
    let Some(E::InvalidCertificate(error)) = error.get_ref().and_then(|e| e.downcast_ref()) else {
        return "".into();
    };
    if matches!(error, C::NotValidForNameContext { presented, .. } if presented.is_empty()) {
        return "; the certificate needs subjectAltName, its common name does not count".into();
    }
    if matches!(error, C::Revoked) {
        return "; the project's CA has revoked it: make another with `portcullis ca issue --backend`"
            .into();
    }
    if matches!(error, C::UnknownIssuer) {
        return "; sslrootcert must hold the CA that signed it".into();
    }
    if format!("{error:?}").contains("UnsupportedCertVersion") {
        return "; issue it as X.509 version 3 with subjectAltName (openssl x509 -req -extfile ..)"
            .into();
    }
    "".into()
}
