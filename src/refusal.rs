//! Why a login ended before the relay began: who is at fault, what the client reads, and under
//! which label it is counted.
//!
//! [`Refusal`] carries what was learnt about one connection; [`Reason`] is the table behind it,
//! one row per reason.

mod reason;

use std::fmt;

use bytes::Bytes;

pub use self::reason::{Fault, Reason};
use crate::address::{ClientAddr, HostName};
use crate::id::ProjectName;
use crate::wire::ProtocolViolation;
use crate::wire::encode::{self, FatalResponse};

/// Why a login ended before the relay. Shown (`Display`), it is what an operator reads, which may
/// be more than the client does; never a session's data (T34).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
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
    /// A limit is reached.
    TooMany(Limit),
    /// No backend of the project could be connected.
    BackendDown {
        /// By what the operator finds the details in the log.
        reference: String,
    },
    /// The backend's TLS is not what the project demands (T18).
    BackendTls {
        /// By what the operator finds the details in the log.
        reference: String,
    },
    /// The backend closed or broke the connection during the login.
    BackendLost {
        /// By what the operator finds the details in the log.
        reference: String,
    },
    /// The backend broke the protocol during the login (T20).
    BackendViolation {
        /// By what the operator finds the details in the log.
        reference: String,
        /// What it did.
        violation: ProtocolViolation,
    },
    /// The backend refused, and its own ErrorResponse was forwarded untouched (T21).
    RefusedByBackend {
        /// The SQLSTATE that it gave, if it gave one.
        sqlstate: Option<String>,
    },
    /// SCRAM would be bound to a certificate that the backend doesn't have (T19).
    ScramNeedsSameLeaf,
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

/// What a client asked for, in its own words: what these words led to is not the client's to
/// learn (T29).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requested {
    /// By server_name.
    Host(HostName),
    /// By `options`, or because the listener leads there.
    Project(ProjectName),
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Sessions of the whole process.
    Sessions,
    /// Sessions of one project.
    ProjectSessions,
    /// Sessions of one source.
    SourceSessions,
    /// Logins in progress in the whole process.
    Logins,
    /// Logins in progress from one source.
    SourceLogins,
    /// New connections per second from one source.
    SourceRate,
}

impl Refusal {
    /// The row of the table.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::PlaintextRefused => Reason::PlaintextRefused,
            Self::UnencryptedData => Reason::UnencryptedData,
            Self::DirectTlsWithoutAlpn => Reason::DirectTlsWithoutAlpn,
            Self::TlsFailed(_) => Reason::TlsFailed,
            Self::AddressDenied { .. } => Reason::AddressDenied,
            Self::UnknownProject { .. } => Reason::UnknownProject,
            Self::NoProject => Reason::NoProject,
            Self::ProjectConflict => Reason::ProjectConflict,
            Self::TooMany(_) => Reason::TooMany,
            Self::BackendDown { .. } => Reason::BackendDown,
            Self::BackendTls { .. } => Reason::BackendTls,
            Self::BackendLost { .. } => Reason::BackendLost,
            Self::BackendViolation { .. } => Reason::BackendViolation,
            Self::RefusedByBackend { .. } => Reason::RefusedByBackend,
            Self::ScramNeedsSameLeaf => Reason::ScramNeedsSameLeaf,
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

    /// See [`Reason::sqlstate`].
    #[must_use]
    pub const fn sqlstate(&self) -> Option<&'static str> {
        self.reason().sqlstate()
    }

    /// See [`Reason::label`].
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.reason().label()
    }

    /// See [`Reason::fault`].
    #[must_use]
    pub const fn fault(&self) -> Fault {
        self.reason().fault()
    }

    /// See [`Reason::hint`].
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
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
            Self::TooMany(limit) => limit.message().into(),
            Self::BackendDown { reference } => {
                format!("the database server can't be reached (reference {reference})")
            }
            Self::BackendTls { reference } => {
                format!("the database server can't be trusted (reference {reference})")
            }
            Self::BackendLost { reference } => {
                format!("the database server closed the connection (reference {reference})")
            }
            Self::BackendViolation { reference, .. } => {
                format!("the database server broke the protocol (reference {reference})")
            }
            Self::ProtocolViolation(violation) => violation.to_string(),
            Self::PlaintextRefused
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
        let hint = self.hint();
        Some(encode::fatal(&FatalResponse {
            sqlstate,
            message: &message,
            detail: None,
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
            Self::BackendViolation { violation, .. } => write!(f, ": {violation}"),
            Self::RefusedByBackend {
                sqlstate: Some(sqlstate),
            } => write!(f, ": {sqlstate}"),
            Self::PlaintextRefused
            | Self::UnencryptedData
            | Self::DirectTlsWithoutAlpn
            | Self::AddressDenied { .. }
            | Self::NoProject
            | Self::ProjectConflict
            | Self::TooMany(_)
            | Self::BackendDown { .. }
            | Self::BackendTls { .. }
            | Self::BackendLost { .. }
            | Self::RefusedByBackend { sqlstate: None }
            | Self::ScramNeedsSameLeaf
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

impl From<HostName> for Requested {
    fn from(host: HostName) -> Self {
        Self::Host(host)
    }
}

impl From<ProjectName> for Requested {
    fn from(project: ProjectName) -> Self {
        Self::Project(project)
    }
}

impl fmt::Display for Requested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => fmt::Display::fmt(host, f),
            Self::Project(project) => fmt::Display::fmt(project, f),
        }
    }
}

impl Limit {
    /// What the client reads.
    #[must_use]
    pub const fn message(self) -> &'static str {
        match self {
            Self::Sessions => "too many connections to this gate",
            Self::ProjectSessions => "too many connections to this project",
            Self::SourceSessions => "too many connections from your address",
            Self::Logins => "too many logins in progress",
            Self::SourceLogins => "too many logins in progress from your address",
            Self::SourceRate => "too many new connections from your address",
        }
    }
}

#[cfg(test)]
mod tests;
