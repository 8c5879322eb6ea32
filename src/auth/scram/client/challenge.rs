//! What a backend asks: its server-first-message, and the answer to it.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;

use super::{Credential, ProofSent};
use crate::auth::scram::attributes::{Attributes, bounded, is_printable};
use crate::auth::scram::keys::ClientKey;
use crate::auth::scram::{
    Iterations, MAX_BACKEND_MESSAGE_LENGTH, Malformed, Mechanism, Salt, ScramClientError,
};

/// The backend owes a server-first-message to a client that does not know yet with what it is going
/// to log in.
#[must_use]
pub struct Asked(pub(super) Greeting);

/// A backend's server-first-message, to be answered. It tells which verifier the backend has.
#[must_use]
pub struct Challenge {
    greeting: Greeting,
    message: Vec<u8>,
    salt: Salt,
    iterations: Iterations,
    nonce: Vec<u8>,
}

/// What was said in the client-first-message.
pub(super) struct Greeting {
    pub(super) mechanism: Mechanism,
    /// The value of `c=`.
    pub(super) channel_binding: String,
    pub(super) nonce: String,
    /// The client-first-message-bare.
    pub(super) bare: String,
}

impl Asked {
    /// Takes the backend's server-first-message.
    ///
    /// # Errors
    /// When the message is malformed, or does not go on from our nonce.
    pub fn server_first(self, message: &[u8]) -> Result<Challenge, ScramClientError> {
        self.0.challenged(message)
    }
}

impl Greeting {
    pub(super) fn challenged(self, message: &[u8]) -> Result<Challenge, ScramClientError> {
        let message = bounded(message, MAX_BACKEND_MESSAGE_LENGTH)?;
        let first = ServerFirst::read(message, self.nonce.as_bytes())?;
        Ok(Challenge {
            message: message.to_vec(),
            nonce: first.nonce.to_vec(),
            salt: first.salt,
            iterations: first.iterations,
            greeting: self,
        })
    }
}

impl Challenge {
    /// The salt of the backend's verifier.
    #[must_use]
    pub const fn salt(&self) -> &Salt {
        &self.salt
    }

    /// The iteration count of the backend's verifier.
    #[must_use]
    pub const fn iterations(&self) -> Iterations {
        self.iterations
    }

    /// The client-final-message, for SASLResponse.
    ///
    /// # Errors
    /// When the keys are of another verifier than the backend's, or a password would take too many
    /// iterations.
    pub fn answer(
        self,
        credential: impl Into<Credential>,
    ) -> Result<(Vec<u8>, ProofSent), ScramClientError> {
        let greeting = self.greeting;
        let keys = credential.into().keys(&self.salt, self.iterations)?;
        let binding = greeting.channel_binding.as_bytes();
        let without_proof = [b"c=", binding, b",r=", &self.nonce].concat();
        let bare = greeting.bare.as_bytes();
        let auth_message = [bare, b",", &self.message, b",", &without_proof].concat();
        let proof = prove(&keys.client_key, &auth_message);
        let sent = ProofSent {
            mechanism: greeting.mechanism,
            server_signature: keys.server_key.sign(&auth_message),
        };
        Ok((
            [&without_proof, &b",p="[..], proof.as_bytes()].concat(),
            sent,
        ))
    }
}

/// The ClientProof in base64.
fn prove(client_key: &ClientKey, auth_message: &[u8]) -> String {
    let signature = client_key.stored_key().sign(auth_message);
    client_key.proof(&signature).encode()
}

/// The parts of a server-first-message.
pub(super) struct ServerFirst<'a> {
    nonce: &'a [u8],
    salt: Salt,
    pub(super) iterations: Iterations,
}

impl<'a> ServerFirst<'a> {
    pub(super) fn read(message: &'a [u8], our_nonce: &[u8]) -> Result<Self, ScramClientError> {
        let mut attributes = Attributes::new(message);
        let nonce = attributes.take(b'r')?;
        let server_nonce = nonce.strip_prefix(our_nonce).unwrap_or_default();
        if server_nonce.is_empty() {
            return Err(ScramClientError::NonceMismatch);
        }
        if !is_printable(server_nonce) {
            Err(Malformed::ServerNonce)?;
        }
        let salt = Salt::parse(attributes.take(b's')?).ok_or(Malformed::Salt)?;
        let iterations = Iterations::parse(attributes.take(b'i')?).ok_or(Malformed::Iterations)?;
        if !attributes.rest().is_empty() {
            Err(Malformed::GarbageAfterIterations)?;
        }
        Ok(Self {
            nonce,
            salt,
            iterations,
        })
    }
}

impl fmt::Debug for Asked {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

impl fmt::Debug for Challenge {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").finish_non_exhaustive()
    }
}
