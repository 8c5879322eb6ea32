//! Why an exchange ended, by PostgreSQL's words and codes.

use super::Malformed;
use super::keys::NoRandomness;

/// Why a client is not let in. The text is PostgreSQL's message; of what the client sent it shows
/// nothing (T34).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramServerError {
    /// A mechanism that was not offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    InvalidMechanism,
    /// A message that is none.
    #[error("malformed SCRAM message")]
    Malformed(#[from] Malformed),
    /// The flag `y` although SCRAM-SHA-256-PLUS was offered: somebody took it off the list (T19).
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// A channel binding other than tls-server-end-point.
    #[error("unsupported SCRAM channel-binding type")]
    UnsupportedChannelBinding,
    /// An authorization identity.
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    /// An extension that must be understood.
    #[error("client requires an unsupported SCRAM extension")]
    MandatoryExtension,
    /// A nonce with characters that can't be printed.
    #[error("non-printable characters in SCRAM nonce")]
    NonPrintableNonce,
    /// The client saw another leaf than the one that was served: somebody is in the middle.
    #[error("SCRAM channel binding check failed")]
    ChannelBindingMismatch,
    /// `c=` is not the gs2-header that the exchange began with.
    #[error("unexpected SCRAM channel-binding attribute in client-final-message")]
    UnexpectedChannelBinding,
    /// The nonce is not the one of this exchange.
    #[error("invalid SCRAM response")]
    NonceMismatch,
    /// A wrong password, or a user that does not exist: never told apart (T20, T29).
    #[error("password authentication failed")]
    WrongProof,
    /// The system gave no random bytes.
    #[error("could not generate random nonce")]
    NoRandomness(#[from] NoRandomness),
}

impl ScramServerError {
    /// The SQLSTATE that PostgreSQL says it with.
    #[must_use]
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::InvalidMechanism
            | Self::Malformed(_)
            | Self::UnsupportedChannelBinding
            | Self::NonPrintableNonce
            | Self::UnexpectedChannelBinding
            | Self::NonceMismatch => "08P01",
            Self::AuthorizationIdentity | Self::MandatoryExtension => "0A000",
            Self::Downgrade | Self::ChannelBindingMismatch => "28000",
            Self::WrongProof => "28P01",
            Self::NoRandomness(_) => "XX000",
        }
    }

    /// The detail that PostgreSQL adds, for the client to read.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Malformed(malformed) => Some(malformed.to_string()),
            Self::Downgrade => Some(
                "The client supports SCRAM channel binding but thinks the server does not.  \
                 However, this server does support channel binding."
                    .to_owned(),
            ),
            Self::NonceMismatch => Some("Nonce does not match.".to_owned()),
            Self::InvalidMechanism
            | Self::UnsupportedChannelBinding
            | Self::AuthorizationIdentity
            | Self::MandatoryExtension
            | Self::NonPrintableNonce
            | Self::ChannelBindingMismatch
            | Self::UnexpectedChannelBinding
            | Self::WrongProof
            | Self::NoRandomness(_) => None,
        }
    }
}

/// Why the gate does not log in to a backend. Of what the backend sent the text shows nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramClientError {
    /// No mechanism that can be used.
    #[error("none of the backend's SASL authentication mechanisms are supported")]
    NoMechanism,
    /// SCRAM-SHA-256-PLUS on a leg without TLS: somebody took the TLS off.
    #[error("backend offered SCRAM-SHA-256-PLUS authentication over a connection without TLS")]
    PlusWithoutTls,
    /// SCRAM-SHA-256-PLUS by a leaf that it can't be bound to, on a leg that is not verified.
    #[error(
        "the backend's certificate is signed by an algorithm that SCRAM can't be bound to, such as \
         Ed25519, and nothing is verified: set sslmode = \"verify-full\" and sslrootcert, or give the \
         backend a certificate that is signed by ECDSA or RSA with SHA-256"
    )]
    Unbindable,
    /// A message that is none.
    #[error("malformed SCRAM message from the backend: {0}")]
    Malformed(#[from] Malformed),
    /// The nonce does not go on from ours.
    #[error("invalid SCRAM response from the backend: nonce mismatch")]
    NonceMismatch,
    /// More iterations than are done for a password.
    #[error("the backend's SCRAM iteration count exceeds {max}", max = super::MAX_PASSWORD_ITERATIONS)]
    TooManyIterations,
    /// The backend's salt or iteration count is not of the verifier that the client proved itself
    /// by: the password was changed, and the verifier is to be read anew.
    #[error("the backend's SCRAM verifier is not the one that the gate knows")]
    VerifierChanged,
    /// The backend ended the exchange with `e=`.
    #[error("the backend refused the SCRAM exchange")]
    Refused,
    /// The backend does not know the verifier: it is not the server that it seems to be.
    #[error("incorrect server signature from the backend")]
    WrongServerSignature,
    /// The system gave no random bytes.
    #[error("could not generate nonce")]
    NoRandomness(#[from] NoRandomness),
}

impl ScramClientError {
    /// The SQLSTATE to tell the client.
    #[must_use]
    pub const fn sqlstate(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::NonceMismatch | Self::TooManyIterations => "08P01",
            Self::Unbindable => "08001",
            Self::NoMechanism | Self::PlusWithoutTls | Self::WrongServerSignature => "28000",
            Self::VerifierChanged | Self::Refused => "28P01",
            Self::NoRandomness(_) => "XX000",
        }
    }
}
