//! Why a login that the gate takes part in came to nothing.

use std::fmt;

use crate::auth::scram::{ScramClientError, ScramServerError};
use crate::backend::CertificateAlert;
use crate::wire::ProtocolViolation;

/// Why a login came to nothing. The text shows nothing of what a peer sent (T34).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoginError {
    /// The client's exchange failed, in PostgreSQL's words.
    #[error("{0}")]
    Client(ScramServerError),
    /// The client sent a password of no characters.
    #[error("empty password returned by client")]
    EmptyPassword,
    /// The client broke the protocol.
    #[error("{0}")]
    ClientViolation(ProtocolViolation),
    /// The exchange with the backend failed.
    #[error("{0}")]
    Backend(ScramClientError),
    /// The backend let the client in before it had proved that it knows the verifier (T20).
    #[error("the backend sent AuthenticationOk before it had proved who it is")]
    BackendUnproved,
    /// The backend broke the protocol.
    #[error("{0}")]
    BackendViolation(ProtocolViolation),
    /// The backend asks for what the gate can't give, or won't.
    #[error("{0}")]
    Unanswerable(Unanswerable),
}

/// What a backend asks for in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unanswerable {
    /// A password, where the gate has nothing but the keys that a SCRAM proof revealed.
    #[error("the database server asks for {0}, which auth = \"scram\" doesn't have")]
    KeysOnly(Method),
    /// A password that could be read or guessed, on a leg that somebody could be in the middle of.
    #[error("the database server asks for {0}, which is given only over TLS that is verified")]
    Unverified(Method),
    /// Any proof, where the gate has shown the certificate that is to be all of it.
    #[error("the database server does not take the gate's certificate for the user's proof")]
    CertificateOnly,
    /// It has ended TLS because of the gate's certificate.
    #[error("the database server refuses the gate's certificate ({})", .0.name())]
    CertificateRefused(CertificateAlert),
    /// Kerberos, GSSAPI, SSPI, or mechanisms of SASL that are not SCRAM-SHA-256.
    #[error("the database server asks for a kind of authentication that the gate doesn't know")]
    Unknown,
}

impl Unanswerable {
    /// What to do about it; none if that depends on more than what was asked for.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::CertificateOnly => Some(
                "In the database server's pg_hba.conf, above the lines that match as well: hostssl all all GATE_ADDRESS/32 cert; with ssl_ca_file in postgresql.conf naming the project's ca.crt.",
            ),
            Self::CertificateRefused(alert) => Some(alert.advice()),
            Self::KeysOnly(_) | Self::Unverified(_) | Self::Unknown => None,
        }
    }
}

/// A way of asking for a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// AuthenticationMD5Password.
    Md5,
    /// AuthenticationCleartextPassword.
    Cleartext,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Md5 => "an MD5 hash of the password",
            Self::Cleartext => "the password in clear",
        })
    }
}

impl From<ScramServerError> for LoginError {
    fn from(error: ScramServerError) -> Self {
        Self::Client(error)
    }
}

impl From<ScramClientError> for LoginError {
    fn from(error: ScramClientError) -> Self {
        match error {
            ScramClientError::NoMechanism => Self::Unanswerable(Unanswerable::Unknown),
            error @ (ScramClientError::PlusWithoutTls
            | ScramClientError::Unbindable
            | ScramClientError::Malformed(_)
            | ScramClientError::NonceMismatch
            | ScramClientError::TooManyIterations
            | ScramClientError::VerifierChanged
            | ScramClientError::Refused
            | ScramClientError::WrongServerSignature
            | ScramClientError::NoRandomness(_)) => Self::Backend(error),
        }
    }
}
