//! The gate as the SCRAM client of a backend. A backend is as hostile as any peer (T20).
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod challenge;

use std::fmt;

use aws_lc_rs::digest::Digest;
use zeroize::Zeroizing;

use self::challenge::{Greeting, ServerFirst};
use super::attributes::{Attributes, bounded};
use super::keys::{self, Key, PasswordKeys, ProvenKeys};
use super::prepare::prepare;
use super::{
    Iterations, MAX_BACKEND_MESSAGE_LENGTH, Malformed, Mechanism, PLUS_GS2_HEADER, Salt,
    ScramClientError, plus_binding,
};

/// The most iterations that are done for a password, about a quarter of a second of the processor's
/// time: a backend could otherwise hold a thread for as long as it likes.
pub const MAX_PASSWORD_ITERATIONS: u32 = 1_000_000;

/// What a login to a backend can be bound to.
#[derive(Clone, Copy)]
pub enum ClientBinding {
    /// TLS, and the tls-server-end-point of the backend's leaf.
    TlsServerEndPoint(Digest),
    /// TLS that is verified, by a leaf that has no tls-server-end-point, as an Ed25519 one (T13): the
    /// login is done without channel binding, as by a client that does not know it. Who is at the
    /// other end is known by the certificate.
    Verified,
    /// TLS by such a leaf, and nobody has verified it. Whoever is in the middle could choose to show
    /// one, so it must not be a way around channel binding: as with libpq, SCRAM-SHA-256-PLUS that is
    /// offered ends the login, and where it is not, the proof says that it was looked for.
    Unbindable,
    /// No TLS: a plaintext leg or a Unix-domain socket.
    NoTls,
}

pub use challenge::{Asked, Challenge};

/// What to log in with.
pub enum Credential {
    /// Keys that the client's own proof revealed.
    Keys(ProvenKeys),
    /// A password, as [`Credential::password`] makes it.
    Password(PreparedPassword),
}

/// A password as its keys are derived from it.
pub struct PreparedPassword(Zeroizing<Vec<u8>>);

/// An exchange with a backend, before its first message.
#[must_use]
pub struct ScramClient {
    credential: Credential,
    binding: ClientBinding,
}

/// What SASLInitialResponse is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The client-first-message.
    pub message: Vec<u8>,
}

/// The backend owes a server-first-message.
#[must_use]
pub struct NonceSent {
    credential: Credential,
    greeting: Greeting,
}

/// The backend owes a server-final-message.
#[must_use]
pub struct ProofSent {
    mechanism: Mechanism,
    server_signature: Key,
}

/// The backend has proved that it knows the verifier. Without this, an AuthenticationOk of it
/// is worth nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendVerified {
    mechanism: Mechanism,
}

impl Credential {
    /// The credential of a password.
    #[must_use]
    pub fn password(password: &[u8]) -> Self {
        Self::Password(PreparedPassword(prepare(password)))
    }

    /// The ClientKey and the ServerKey for the backend's salt and iteration count.
    fn keys(self, salt: &Salt, iterations: Iterations) -> Result<PasswordKeys, ScramClientError> {
        match self {
            Self::Keys(keys) => {
                let verifier = keys.verifier();
                if verifier.salt() != salt || verifier.iterations() != iterations {
                    return Err(ScramClientError::VerifierChanged);
                }
                Ok(PasswordKeys {
                    client_key: keys.client_key().clone(),
                    server_key: verifier.server_key().clone(),
                })
            }
            Self::Password(password) => {
                if iterations.count().get() > MAX_PASSWORD_ITERATIONS {
                    return Err(ScramClientError::TooManyIterations);
                }
                Ok(PasswordKeys::derive(&password.0, salt, iterations))
            }
        }
    }
}

impl From<ProvenKeys> for Credential {
    fn from(keys: ProvenKeys) -> Self {
        Self::Keys(keys)
    }
}

impl ScramClient {
    /// Begins an exchange.
    pub fn new(credential: impl Into<Credential>, binding: ClientBinding) -> Self {
        Self {
            credential: credential.into(),
            binding,
        }
    }

    /// Chooses among the mechanisms that the backend's AuthenticationSASL offers, by libpq's rules;
    /// gives what SASLInitialResponse is made of.
    ///
    /// # Errors
    /// When there is none that can be used; when SCRAM-SHA-256-PLUS is offered without TLS, which
    /// can only mean that somebody took the TLS off; when it can't be done, and nothing else says who
    /// is at the other end.
    pub fn choose<'a>(
        self,
        offered: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(ClientFirst, NonceSent), ScramClientError> {
        self.choose_with(offered, keys::nonce()?)
    }

    pub(super) fn choose_with<'a>(
        self,
        offered: impl IntoIterator<Item = &'a [u8]>,
        nonce: String,
    ) -> Result<(ClientFirst, NonceSent), ScramClientError> {
        let (first, greeting) = self.binding.greet(offered, nonce)?;
        let sent = NonceSent {
            credential: self.credential,
            greeting,
        };
        Ok((first, sent))
    }
}

/// Which of our mechanisms a backend offers.
#[derive(Clone, Copy, Default)]
struct Offer {
    plus: bool,
    plain: bool,
}

impl Offer {
    fn read<'a>(offered: impl IntoIterator<Item = &'a [u8]>) -> Self {
        offered
            .into_iter()
            .fold(Self::default(), |offer, name| Self {
                plus: offer.plus || name == Mechanism::ScramSha256Plus.name().as_bytes(),
                plain: offer.plain || name == Mechanism::ScramSha256.name().as_bytes(),
            })
    }
}

impl ClientBinding {
    /// Begins an exchange before it is known with what to log in. Otherwise as
    /// [`ScramClient::choose`].
    ///
    /// # Errors
    /// The same.
    pub fn ask<'a>(
        self,
        offered: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(ClientFirst, Asked), ScramClientError> {
        let (first, greeting) = self.greet(offered, keys::nonce()?)?;
        Ok((first, Asked(greeting)))
    }

    fn greet<'a>(
        self,
        offered: impl IntoIterator<Item = &'a [u8]>,
        nonce: String,
    ) -> Result<(ClientFirst, Greeting), ScramClientError> {
        let (mechanism, gs2_header, channel_binding) = self.answer(Offer::read(offered))?;
        // The backend takes the user's name from StartupMessage; libpq leaves it empty here too.
        let bare = format!("n=,r={nonce}");
        let first = ClientFirst {
            mechanism,
            message: [gs2_header, bare.as_bytes()].concat(),
        };
        let greeting = Greeting {
            mechanism,
            channel_binding,
            nonce,
            bare,
        };
        Ok((first, greeting))
    }

    /// The mechanism, its gs2-header, and the value of `c=`.
    fn answer(self, offer: Offer) -> Result<(Mechanism, &'static [u8], String), ScramClientError> {
        let plain = |header: &'static [u8]| (Mechanism::ScramSha256, header, keys::encode(header));
        match self {
            Self::NoTls if offer.plus => Err(ScramClientError::PlusWithoutTls),
            Self::TlsServerEndPoint(digest) if offer.plus => Ok((
                Mechanism::ScramSha256Plus,
                PLUS_GS2_HEADER,
                plus_binding(digest.as_ref()),
            )),
            Self::Unbindable if offer.plus => Err(ScramClientError::Unbindable),
            // The proof covers it, so a backend that did offer PLUS finds out (RFC 5802 section 6).
            Self::TlsServerEndPoint(_) | Self::Unbindable if offer.plain => Ok(plain(b"y,,")),
            Self::Verified | Self::NoTls if offer.plain => Ok(plain(b"n,,")),
            Self::TlsServerEndPoint(_) | Self::Unbindable | Self::Verified | Self::NoTls => {
                Err(ScramClientError::NoMechanism)
            }
        }
    }
}

impl NonceSent {
    /// How many iterations [`server_first`](Self::server_first) will do for this message: none with a
    /// client's keys, and none if the message is going to be refused.
    #[must_use]
    pub fn work(&self, message: &[u8]) -> u32 {
        match &self.credential {
            Credential::Keys(_) => 0,
            Credential::Password(_) => ServerFirst::read(message, self.greeting.nonce.as_bytes())
                .map(|first| first.iterations.count().get())
                .ok()
                .filter(|count| *count <= MAX_PASSWORD_ITERATIONS)
                .unwrap_or_default(),
        }
    }

    /// Takes the backend's server-first-message; gives the client-final-message, for
    /// SASLResponse.
    ///
    /// With a password this takes the processor's time in proportion to the iteration count that the
    /// backend asks for, a quarter of a second at most; 4096 are about a millisecond.
    ///
    /// # Errors
    /// When the message is malformed, does not go on from our nonce, or asks for too many iterations;
    /// with a client's keys also when it is of another verifier than theirs.
    pub fn server_first(self, message: &[u8]) -> Result<(Vec<u8>, ProofSent), ScramClientError> {
        self.greeting.challenged(message)?.answer(self.credential)
    }
}

impl ProofSent {
    /// Takes the backend's server-final-message.
    ///
    /// # Errors
    /// When the backend ends the exchange with `e=`, or when its signature is not good: it does not
    /// know the verifier, so it is not the server.
    pub fn server_final(self, message: &[u8]) -> Result<BackendVerified, ScramClientError> {
        let message = bounded(message, MAX_BACKEND_MESSAGE_LENGTH)?;
        let mut attributes = Attributes::new(message);
        if message.starts_with(b"e=") {
            return Err(ScramClientError::Refused);
        }
        let signature = Key::parse(attributes.take(b'v')?).ok_or(Malformed::ServerSignature)?;
        if !attributes.rest().is_empty() {
            Err(Malformed::GarbageAfterSignature)?;
        }
        if !signature.equals(&self.server_signature) {
            return Err(ScramClientError::WrongServerSignature);
        }
        Ok(BackendVerified {
            mechanism: self.mechanism,
        })
    }
}

impl BackendVerified {
    /// The mechanism that it was done by: whether the login is bound to the backend's leaf.
    #[must_use]
    pub const fn mechanism(self) -> Mechanism {
        self.mechanism
    }
}

impl fmt::Debug for Credential {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Keys(_) => "Keys(..)",
            Self::Password(_) => "Password(..)",
        })
    }
}

impl fmt::Debug for PreparedPassword {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PreparedPassword(..)")
    }
}

impl fmt::Debug for ScramClient {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramClient").finish_non_exhaustive()
    }
}

impl fmt::Debug for NonceSent {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonceSent").finish_non_exhaustive()
    }
}

impl fmt::Debug for ProofSent {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofSent").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
