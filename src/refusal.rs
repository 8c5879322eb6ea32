//! Why a login ended before the relay began: who is at fault, what the client reads, and under
//! which label it is counted.
//!
//! [`Refusal`] carries what was learnt about one connection; [`Reason`] is the table behind it,
//! one row per reason.

mod login;
mod reason;
mod requested;
mod trouble;

use std::fmt;
use std::io;

use bytes::Bytes;

pub use self::reason::{Fault, Reason};
pub use self::requested::Requested;
pub use self::trouble::Trouble;
use crate::address::ClientAddr;
use crate::auth::certificate::CertificateRefused;
use crate::auth::scram::{ScramServerError, VerifierError};
use crate::auth::terminated::Unanswerable;
use crate::backend::{DialError, Unavailable};
use crate::gate::limits::OverLimit;
use crate::pki::Distrust;
use crate::wire::ProtocolViolation;
use crate::wire::encode::{self, FatalResponse};

/// Why a login ended before the relay. Shown (`Display`), it is what an operator reads, which may
/// be more than the client does; never a session's data (T34).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The client connected and left without a word, as health checks do (T33): not worth one.
    Probe,
    /// The address is on the process-wide deny list: closed on before a byte was read.
    DenyListed,
    /// A StartupMessage came without TLS.
    PlaintextRefused,
    /// Bytes followed an SSLRequest before it was answered (T1).
    UnencryptedData,
    /// Direct TLS without ALPN `postgresql` (T4): an alert, nothing to read.
    DirectTlsWithoutAlpn,
    /// The TLS handshake failed; the detail is for the log.
    TlsFailed(String),
    /// The project's rules don't admit the client's address.
    AddressDenied {
        /// Where the client comes from.
        address: ClientAddr,
        /// What the client asked for, in its own words.
        project: Requested,
    },
    /// There is no such project. Reads like [`Self::AddressDenied`], word by word (T29).
    UnknownProject {
        /// Where the client comes from.
        address: ClientAddr,
        /// What the client asked for, in its own words.
        project: Requested,
    },
    /// Neither server_name nor anything else chose a project.
    NoProject,
    /// server_name and `options` choose different projects.
    ProjectConflict,
    /// The project's certificate can't be read or made.
    NoCertificate(Trouble),
    /// A limit is reached.
    TooMany(OverLimit),
    /// The client's certificate is not what the project demands.
    ClientCertificate(CertificateRefused),
    /// No backend of the project could be connected.
    BackendDown(Trouble),
    /// The backend's TLS is not what the project demands (T18).
    BackendTls(Trouble),
    /// The backend closed or broke the connection during the login.
    BackendLost(Trouble),
    /// The backend broke the protocol during the login (T20).
    BackendViolation(Trouble),
    /// The backend refused, and its own ErrorResponse was forwarded untouched (T21).
    RefusedByBackend {
        /// The SQLSTATE that it gave, if it gave one.
        sqlstate: Option<String>,
    },
    /// SCRAM would be bound to a certificate that the backend doesn't have (T19).
    ScramNeedsSameLeaf,
    /// The client's password is wrong, or there is no such user: never told apart (T20, T29).
    WrongPassword {
        /// The user, as the client names it.
        user: Box<str>,
    },
    /// The client sent an empty password.
    EmptyPassword,
    /// The client's SCRAM exchange failed otherwise.
    Sasl(ScramServerError),
    /// The client knows the password that the gate has a verifier of, and the backend has another.
    StaleVerifier {
        /// The user, as the client names it.
        user: Box<str>,
    },
    /// The client's password can't be checked, for the backend has no verifier of it; the client is told
    /// the same as with a wrong one (T29).
    UnusableVerifier {
        /// The user, as the client names it.
        user: Box<str>,
        /// What the backend has.
        why: VerifierError,
    },
    /// The backend could not be asked for the user's verifier, or the seed of mocks can't be read or made.
    NoVerifier(Trouble),
    /// The backend did not prove that it knows the user's verifier (T20).
    BackendUnproved(Trouble),
    /// The backend asks for a proof that the gate does not have, or won't give there.
    BackendUnanswerable(Unanswerable),
    /// The client broke the protocol.
    ProtocolViolation(ProtocolViolation),
    /// The login took longer than it may (T6).
    LoginTimedOut,
    /// The gate is about to stop.
    Draining,
    /// The client went away.
    ClientGone,
    /// A CancelRequest whose key is nobody's; never answered (T9).
    UnknownCancelKey,
}

impl Refusal {
    /// The row of the table.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Probe => Reason::Probe,
            Self::DenyListed => Reason::DenyListed,
            Self::PlaintextRefused => Reason::PlaintextRefused,
            Self::UnencryptedData => Reason::UnencryptedData,
            Self::DirectTlsWithoutAlpn => Reason::DirectTlsWithoutAlpn,
            Self::TlsFailed(_) => Reason::TlsFailed,
            Self::AddressDenied { .. } => Reason::AddressDenied,
            Self::UnknownProject { .. } => Reason::UnknownProject,
            Self::NoProject => Reason::NoProject,
            Self::ProjectConflict => Reason::ProjectConflict,
            Self::NoCertificate(_) => Reason::NoCertificate,
            Self::TooMany(_) => Reason::TooMany,
            Self::ClientCertificate(refused) => match refused {
                CertificateRefused::Missing => Reason::ClientCertificateMissing,
                CertificateRefused::Distrusted { .. } => Reason::ClientCertificateDistrusted,
                CertificateRefused::OtherUser { .. } => Reason::ClientCertificateOfOther,
            },
            Self::BackendDown(_) => Reason::BackendDown,
            Self::BackendTls(_) => Reason::BackendTls,
            Self::BackendLost(_) => Reason::BackendLost,
            Self::BackendViolation(_) => Reason::BackendViolation,
            Self::RefusedByBackend { .. } => Reason::RefusedByBackend,
            Self::ScramNeedsSameLeaf => Reason::ScramNeedsSameLeaf,
            Self::WrongPassword { .. } | Self::EmptyPassword => Reason::WrongPassword,
            Self::Sasl(error) => login::reason(*error),
            Self::StaleVerifier { .. } => Reason::StaleVerifier,
            Self::UnusableVerifier { .. } => Reason::UnusableVerifier,
            Self::NoVerifier(_) => Reason::NoVerifier,
            Self::BackendUnproved(_) => Reason::BackendUnproved,
            Self::BackendUnanswerable(_) => Reason::BackendUnanswerable,
            Self::ProtocolViolation(ProtocolViolation::UnsupportedVersion { .. }) => {
                Reason::UnsupportedProtocol
            }
            Self::ProtocolViolation(_) => Reason::ProtocolViolation,
            Self::LoginTimedOut => Reason::LoginTimedOut,
            Self::Draining => Reason::Draining,
            Self::ClientGone => Reason::ClientGone,
            Self::UnknownCancelKey => Reason::UnknownCancelKey,
        }
    }

    /// The refusal of whoever could not finish TLS: by a fault of its own, or because it left.
    #[must_use]
    pub fn from_tls(error: &io::Error) -> Self {
        let left = [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
        ];
        if left.contains(&error.kind()) {
            Self::ClientGone
        } else {
            Self::TlsFailed(error.to_string())
        }
    }

    /// The refusal of a client whose backend can't be had.
    #[must_use]
    pub fn from_dial(error: &DialError) -> Self {
        let trouble = Trouble::new(error);
        if error.is_tls() {
            Self::BackendTls(trouble)
        } else {
            Self::BackendDown(trouble)
        }
    }

    /// The refusal of a client for whom no address of a backend can be had.
    #[must_use]
    pub fn from_unavailable(error: &Unavailable) -> Self {
        if error.is_out_of_time() {
            return Self::LoginTimedOut;
        }
        let trouble = Trouble::new(error);
        if error.is_tls() {
            Self::BackendTls(trouble)
        } else {
            Self::BackendDown(trouble)
        }
    }

    /// The refusal of a client whose backend breaks the protocol.
    #[must_use]
    pub fn backend_violation(violation: ProtocolViolation) -> Self {
        Self::BackendViolation(Trouble::new(violation))
    }

    /// See [`Reason::sqlstate`]; of SCRAM's own errors, PostgreSQL's.
    #[must_use]
    pub const fn sqlstate(&self) -> Option<&'static str> {
        if let Self::Sasl(error) = self {
            return Some(error.sqlstate());
        }
        self.reason().sqlstate()
    }

    /// What more the client may read.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        if let Self::Sasl(error) = self {
            return error.detail();
        }
        None
    }

    /// See [`Reason::label`].
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.reason().label()
    }

    /// See [`Reason::fault`].
    #[must_use]
    pub const fn fault(&self) -> Fault {
        // What all together take is the operator's to see; what one takes is its own affair.
        if matches!(
            self,
            Self::TooMany(OverLimit::Sessions(_) | OverLimit::Logins(_))
        ) {
            return Fault::Gate;
        }
        if let Self::ClientCertificate(CertificateRefused::Distrusted {
            why: Distrust::StaleRevocations | Distrust::NoRevocations,
            ..
        }) = self
        {
            return Fault::Gate;
        }
        self.reason().fault()
    }

    /// See [`Reason::hint`]; of a certificate that isn't taken, what to do about that.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        if let Self::BackendUnanswerable(asked) = self
            && let Some(hint) = asked.hint()
        {
            return Some(hint);
        }
        self.reason().hint()
    }

    /// What the client may read, in one line.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::AddressDenied { address, project }
            | Self::UnknownProject { address, project } => {
                format!(
                    "connections from {} are not allowed to \"{project}\"",
                    address.ip()
                )
            }
            Self::TooMany(over) => over.to_string(),
            Self::NoCertificate(trouble) => {
                format!("the gate has no certificate for this project {trouble}")
            }
            Self::ClientCertificate(refused) => refused.to_string(),
            Self::BackendDown(trouble) => {
                format!("the database server can't be reached {trouble}")
            }
            Self::BackendTls(trouble) | Self::BackendUnproved(trouble) => {
                format!("the database server can't be trusted {trouble}")
            }
            Self::BackendLost(trouble) => {
                format!("the database server closed the connection {trouble}")
            }
            Self::BackendViolation(trouble) => {
                format!("the database server broke the protocol {trouble}")
            }
            Self::NoVerifier(trouble) => {
                format!("the password can't be checked now {trouble}")
            }
            Self::WrongPassword { user }
            | Self::StaleVerifier { user }
            | Self::UnusableVerifier { user, .. } => {
                format!("password authentication failed for user \"{user}\"")
            }
            Self::EmptyPassword => "empty password returned by client".into(),
            Self::Sasl(error) => error.to_string(),
            Self::BackendUnanswerable(asked) => asked.to_string(),
            Self::ProtocolViolation(violation) => violation.to_string(),
            Self::Probe
            | Self::DenyListed
            | Self::PlaintextRefused
            | Self::UnencryptedData
            | Self::DirectTlsWithoutAlpn
            | Self::TlsFailed(_)
            | Self::NoProject
            | Self::ProjectConflict
            | Self::RefusedByBackend { .. }
            | Self::ScramNeedsSameLeaf
            | Self::LoginTimedOut
            | Self::Draining
            | Self::ClientGone
            | Self::UnknownCancelKey => self.reason().summary().into(),
        }
    }

    /// The ErrorResponse to send, if this refusal is one that the client gets to read.
    #[must_use]
    pub fn fatal(&self) -> Option<Bytes> {
        let (sqlstate, message) = (self.sqlstate()?, self.message());
        let (detail, hint) = (self.detail(), self.hint());
        Some(encode::fatal(&FatalResponse {
            sqlstate,
            message: &message,
            detail: detail.as_deref(),
            hint,
        }))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match self {
            Self::TlsFailed(detail) => write!(f, ": {detail}"),
            Self::UnknownProject { .. } => f.write_str(": there is no such project"),
            Self::NoCertificate(trouble)
            | Self::BackendDown(trouble)
            | Self::BackendTls(trouble)
            | Self::BackendLost(trouble)
            | Self::BackendViolation(trouble)
            | Self::NoVerifier(trouble)
            | Self::BackendUnproved(trouble) => write!(f, ": {}", trouble.detail()),
            Self::ClientCertificate(CertificateRefused::Distrusted { certificate, .. }) => {
                write!(f, ": {certificate}")
            }
            Self::UnusableVerifier { why, .. } => write!(f, ": {why}"),
            Self::StaleVerifier { .. } => f.write_str(": the backend has another verifier"),
            Self::Sasl(error) => match error.detail() {
                Some(detail) => write!(f, ": {detail}"),
                None => Ok(()),
            },
            Self::RefusedByBackend {
                sqlstate: Some(sqlstate),
            } => write!(f, ": {sqlstate}"),
            Self::Probe
            | Self::DenyListed
            | Self::PlaintextRefused
            | Self::UnencryptedData
            | Self::DirectTlsWithoutAlpn
            | Self::AddressDenied { .. }
            | Self::NoProject
            | Self::ProjectConflict
            | Self::TooMany(_)
            | Self::ClientCertificate(
                CertificateRefused::Missing | CertificateRefused::OtherUser { .. },
            )
            | Self::RefusedByBackend { sqlstate: None }
            | Self::ScramNeedsSameLeaf
            | Self::WrongPassword { .. }
            | Self::EmptyPassword
            | Self::BackendUnanswerable(_)
            | Self::ProtocolViolation(_)
            | Self::LoginTimedOut
            | Self::Draining
            | Self::ClientGone
            | Self::UnknownCancelKey => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

impl From<ProtocolViolation> for Refusal {
    fn from(violation: ProtocolViolation) -> Self {
        Self::ProtocolViolation(violation)
    }
}

#[cfg(test)]
mod tests;
