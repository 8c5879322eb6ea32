//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677) by PostgreSQL's rules, both ways, sans-IO.
//!
//! Towards the client the gate is the server: a [`Verifier`] and a [`ScramServer`], whose states are
//! types. A client that proves the password hands over its ClientKey with the proof, and these
//! [`ProvenKeys`] are what the gate logs in to the backend with, as a [`ScramClient`]: no password
//! is seen or stored, and each leg is bound to its own leaf (T19).
//!
//! Peers are hostile on both legs (T20). No text of an error shows what a peer sent, and no secret is
//! ever shown; secrets are zeroised when dropped (T34).

mod attributes;
mod client;
mod error;
mod keys;
mod prepare;
mod server;
mod verifier;

pub use attributes::Malformed;
pub use client::{
    Asked, BackendVerified, Challenge, ClientBinding, ClientFirst, Credential,
    MAX_PASSWORD_ITERATIONS, NonceSent, PreparedPassword, ProofSent, ScramClient,
};
pub use error::{ScramClientError, ScramServerError};
pub use keys::{ClientKey, NoRandomness, ProvenKeys};
pub use server::{Authenticated, ChannelBindingOffer, MechanismChosen, ProofAwaited, ScramServer};
pub use verifier::{Iterations, MockSecret, Salt, Verifier, VerifierError};

/// The longest SASL message of a client, as the length field of its message says it
/// (PostgreSQL's `PG_MAX_SASL_MESSAGE_LENGTH`), in bytes.
pub const MAX_CLIENT_MESSAGE_LENGTH: usize = 1024;

/// The longest SASL message of a backend that is read, in bytes: what libpq takes as an
/// AuthenticationXXX message.
pub const MAX_BACKEND_MESSAGE_LENGTH: usize = 2000;

/// What SCRAM-SHA-256-PLUS's client-first-message begins with (RFC 5802 section 7).
const PLUS_GS2_HEADER: &[u8] = b"p=tls-server-end-point,,";

/// A SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mechanism {
    /// `SCRAM-SHA-256-PLUS`: with channel binding.
    ScramSha256Plus,
    /// `SCRAM-SHA-256`.
    ScramSha256,
}

impl Mechanism {
    /// The name that IANA knows it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ScramSha256Plus => "SCRAM-SHA-256-PLUS",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }
}

/// The value of `c=` that says that SCRAM-SHA-256-PLUS is bound to this leaf.
fn plus_binding(end_point: &[u8]) -> String {
    keys::encode(&[PLUS_GS2_HEADER, end_point].concat())
}

#[cfg(test)]
mod tests;
