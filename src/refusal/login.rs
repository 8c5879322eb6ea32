//! What becomes of a login that the gate takes part in and that comes to nothing.

use super::{Reason, Refusal, Trouble};
use crate::auth::scram::{ScramClientError, ScramServerError};
use crate::auth::terminated::LoginError;

/// The row of the table for a SCRAM exchange that failed.
pub(super) const fn reason(error: ScramServerError) -> Reason {
    match error {
        ScramServerError::WrongProof => Reason::WrongPassword,
        ScramServerError::Downgrade | ScramServerError::ChannelBindingMismatch => {
            Reason::ChannelBinding
        }
        ScramServerError::InvalidMechanism
        | ScramServerError::Malformed(_)
        | ScramServerError::UnsupportedChannelBinding
        | ScramServerError::AuthorizationIdentity
        | ScramServerError::MandatoryExtension
        | ScramServerError::NonPrintableNonce
        | ScramServerError::UnexpectedChannelBinding
        | ScramServerError::NonceMismatch
        | ScramServerError::NoRandomness(_) => Reason::SaslViolation,
    }
}

impl Refusal {
    /// The refusal of `user`, whose login came to nothing.
    #[must_use]
    pub fn from_login(error: LoginError, user: &str) -> Self {
        match error {
            LoginError::Client(ScramServerError::WrongProof) => {
                Self::WrongPassword { user: user.into() }
            }
            LoginError::Client(error) => Self::Sasl(error),
            LoginError::EmptyPassword => Self::EmptyPassword,
            LoginError::ClientViolation(violation) => Self::ProtocolViolation(violation),
            LoginError::Backend(error) => Self::from_backend_scram(error, user),
            LoginError::BackendUnproved => Self::BackendUnproved(Trouble::new(error)),
            LoginError::BackendViolation(violation) => Self::backend_violation(violation),
            LoginError::Unanswerable(asked) => Self::BackendUnanswerable(asked),
        }
    }

    fn from_backend_scram(error: ScramClientError, user: &str) -> Self {
        match error {
            ScramClientError::VerifierChanged => Self::StaleVerifier { user: user.into() },
            ScramClientError::Unbindable => Self::BackendTls(Trouble::new(error)),
            ScramClientError::PlusWithoutTls
            | ScramClientError::WrongServerSignature
            | ScramClientError::NonceMismatch => Self::BackendUnproved(Trouble::new(error)),
            ScramClientError::NoMechanism
            | ScramClientError::Malformed(_)
            | ScramClientError::TooManyIterations
            | ScramClientError::Refused
            | ScramClientError::NoRandomness(_) => Self::BackendViolation(Trouble::new(error)),
        }
    }
}
