//! The gate as the SCRAM server of its client.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::Digest;

use super::attributes::{Attributes, bounded, is_printable};
use super::keys::{self, ClientKey, Key, ProvenKeys};
use super::{
    MAX_CLIENT_MESSAGE_LENGTH, Malformed, Mechanism, ScramServerError, Verifier, plus_binding,
};

/// What the gate can bind a client's login to.
#[derive(Clone, Copy)]
pub enum ChannelBindingOffer {
    /// The tls-server-end-point of the leaf that this connection was served.
    TlsServerEndPoint(Digest),
    /// Nothing: there is no TLS, or the leaf has no tls-server-end-point (T13).
    None,
}

/// An exchange with a client, before its first message.
#[must_use]
pub struct ScramServer {
    verifier: Arc<Verifier>,
    offer: ChannelBindingOffer,
}

/// The client has chosen a mechanism.
#[must_use]
pub struct MechanismChosen {
    verifier: Arc<Verifier>,
    choice: Choice,
}

/// The client has been sent the server-first-message, and owes a proof.
#[must_use]
pub struct ProofAwaited {
    verifier: Arc<Verifier>,
    mechanism: Mechanism,
    /// The only good value of `c=`.
    channel_binding: Vec<u8>,
    /// The client's nonce and ours.
    nonce: Vec<u8>,
    /// The AuthMessage as far as it is known: the first two messages, a comma after each.
    auth_message: Vec<u8>,
}

/// The client has proved that it knows the password.
pub struct Authenticated {
    /// The server-final-message, for AuthenticationSASLFinal.
    pub server_final: Vec<u8>,
    /// What to log in to the backend with.
    pub keys: ProvenKeys,
}

/// A mechanism with what its messages are checked against.
#[derive(Clone, Copy)]
enum Choice {
    Plus(Digest),
    Plain { was_plus_offered: bool },
}

impl ScramServer {
    /// Begins an exchange. A user without a verifier gets a [mock](Verifier::or_mock).
    pub fn new(verifier: impl Into<Arc<Verifier>>, offer: ChannelBindingOffer) -> Self {
        Self {
            verifier: verifier.into(),
            offer,
        }
    }

    /// The mechanisms to offer, best first, for AuthenticationSASL.
    #[must_use]
    pub const fn mechanisms(&self) -> &'static [Mechanism] {
        match self.offer {
            ChannelBindingOffer::TlsServerEndPoint(_) => {
                &[Mechanism::ScramSha256Plus, Mechanism::ScramSha256]
            }
            ChannelBindingOffer::None => &[Mechanism::ScramSha256],
        }
    }

    /// Takes the mechanism that SASLInitialResponse names.
    ///
    /// A client may leave its first message out there: it is then to be sent an empty
    /// AuthenticationSASLContinue, and its answer is the client-first-message.
    ///
    /// # Errors
    /// When it was not offered.
    pub fn choose(self, mechanism: &[u8]) -> Result<MechanismChosen, ScramServerError> {
        let plus = Mechanism::ScramSha256Plus.name().as_bytes();
        let plain = Mechanism::ScramSha256.name().as_bytes();
        let choice = match self.offer {
            ChannelBindingOffer::TlsServerEndPoint(digest) if mechanism == plus => {
                Choice::Plus(digest)
            }
            offer @ (ChannelBindingOffer::TlsServerEndPoint(_) | ChannelBindingOffer::None)
                if mechanism == plain =>
            {
                Choice::Plain {
                    was_plus_offered: matches!(offer, ChannelBindingOffer::TlsServerEndPoint(_)),
                }
            }
            ChannelBindingOffer::TlsServerEndPoint(_) | ChannelBindingOffer::None => {
                return Err(ScramServerError::InvalidMechanism);
            }
        };
        Ok(MechanismChosen {
            verifier: self.verifier,
            choice,
        })
    }

    /// Takes the mechanism and the client-first-message of a SASLInitialResponse; gives the
    /// server-first-message, for AuthenticationSASLContinue.
    ///
    /// # Errors
    /// As [`choose`](Self::choose) and [`MechanismChosen::client_first`].
    pub fn client_first(
        self,
        mechanism: &[u8],
        message: &[u8],
    ) -> Result<(Vec<u8>, ProofAwaited), ScramServerError> {
        self.choose(mechanism)?.client_first(message)
    }
}

impl MechanismChosen {
    /// Takes the client-first-message; gives the server-first-message, for
    /// AuthenticationSASLContinue.
    ///
    /// # Errors
    /// When PostgreSQL would refuse the message, and as it would.
    pub fn client_first(self, message: &[u8]) -> Result<(Vec<u8>, ProofAwaited), ScramServerError> {
        let server_nonce = keys::nonce()?;
        self.client_first_with(message, &server_nonce)
    }

    pub(super) fn client_first_with(
        self,
        message: &[u8],
        server_nonce: &str,
    ) -> Result<(Vec<u8>, ProofAwaited), ScramServerError> {
        let message = bounded(message, MAX_CLIENT_MESSAGE_LENGTH)?;
        let (channel_binding, bare) = self.choice.read_gs2_header(message)?;
        let nonce = [read_bare(bare)?, server_nonce.as_bytes()].concat();
        let (salt, iterations) = (self.verifier.salt().encode(), self.verifier.iterations());
        let parameters = format!(",s={salt},i={iterations}");
        let server_first = [b"r=", nonce.as_slice(), parameters.as_bytes()].concat();
        let awaited = ProofAwaited {
            verifier: self.verifier,
            mechanism: self.choice.mechanism(),
            channel_binding,
            nonce,
            auth_message: [bare, b",", &server_first, b","].concat(),
        };
        Ok((server_first, awaited))
    }
}

impl Choice {
    const fn mechanism(self) -> Mechanism {
        match self {
            Self::Plus(_) => Mechanism::ScramSha256Plus,
            Self::Plain { .. } => Mechanism::ScramSha256,
        }
    }

    /// Cuts the gs2-header off; gives the value of `c=` that it calls for, and the
    /// client-first-message-bare.
    fn read_gs2_header(self, message: &[u8]) -> Result<(Vec<u8>, &[u8]), ScramServerError> {
        let (channel_binding, rest) = match (self, message) {
            (Self::Plus(_), [b'n' | b'y', ..]) => Err(Malformed::PlusWithoutBinding)?,
            (Self::Plain { .. }, [b'p', ..]) => Err(Malformed::BindingWithoutPlus)?,
            (
                Self::Plain {
                    was_plus_offered: true,
                },
                [b'y', ..],
            ) => {
                return Err(ScramServerError::Downgrade);
            }
            (Self::Plain { .. }, [flag @ (b'n' | b'y'), b',', rest @ ..]) => {
                (keys::encode(&[*flag, b',', b',']), rest)
            }
            (Self::Plain { .. }, [b'n' | b'y', ..]) => Err(Malformed::CommaExpected)?,
            (Self::Plus(digest), [b'p', ..]) => {
                (plus_binding(digest.as_ref()), read_plus_flag(message)?)
            }
            (Self::Plus(_) | Self::Plain { .. }, _) => Err(Malformed::ChannelBindingFlag)?,
        };
        match rest {
            [b'a', ..] => Err(ScramServerError::AuthorizationIdentity),
            [b',', bare @ ..] => Ok((channel_binding.into_bytes(), bare)),
            _ => Err(Malformed::Gs2Header)?,
        }
    }
}

/// Cuts `p=tls-server-end-point,` off.
fn read_plus_flag(message: &[u8]) -> Result<&[u8], ScramServerError> {
    let mut attributes = Attributes::new(message);
    if attributes.take(b'p')? != b"tls-server-end-point" {
        return Err(ScramServerError::UnsupportedChannelBinding);
    }
    Ok(attributes.rest())
}

/// Reads a client-first-message-bare; gives the nonce. The user's name in it means nothing:
/// StartupMessage has it.
fn read_bare(bare: &[u8]) -> Result<&[u8], ScramServerError> {
    if bare.starts_with(b"m") {
        return Err(ScramServerError::MandatoryExtension);
    }
    let mut attributes = Attributes::new(bare);
    attributes.take(b'n')?;
    let nonce = attributes.take(b'r')?;
    if !is_printable(nonce) {
        return Err(ScramServerError::NonPrintableNonce);
    }
    while !attributes.rest().is_empty() {
        attributes.take_any()?;
    }
    Ok(nonce)
}

impl ProofAwaited {
    /// Takes the client-final-message; gives the server-final-message, for
    /// AuthenticationSASLFinal, and the keys.
    ///
    /// # Errors
    /// When PostgreSQL would refuse the message, and as it would. A wrong password and a mock
    /// verifier can't be told apart (T20).
    pub fn client_final(mut self, message: &[u8]) -> Result<Authenticated, ScramServerError> {
        let message = bounded(message, MAX_CLIENT_MESSAGE_LENGTH)?;
        let last = ClientFinal::read(message, |value| self.check_channel_binding(value))?;
        if !keys::equal(last.nonce, &self.nonce) {
            return Err(ScramServerError::NonceMismatch);
        }
        self.auth_message.extend_from_slice(last.without_proof);
        let client_key = self.verify(&last.proof)?;
        let signature = self.verifier.server_key().sign(&self.auth_message);
        Ok(Authenticated {
            server_final: format!("v={}", signature.encode()).into_bytes(),
            keys: ProvenKeys::new(client_key, self.verifier),
        })
    }

    /// A mock verifier is worked through like a real one, and only then refused.
    fn verify(&self, proof: &Key) -> Result<ClientKey, ScramServerError> {
        let signature = self.verifier.stored_key().sign(&self.auth_message);
        let client_key = ClientKey::from_proof(proof, &signature);
        let is_proof = client_key.stored_key().equals(self.verifier.stored_key());
        if is_proof & self.verifier.is_genuine() {
            Ok(client_key)
        } else {
            Err(ScramServerError::WrongProof)
        }
    }

    fn check_channel_binding(&self, value: &[u8]) -> Result<(), ScramServerError> {
        match self.mechanism {
            _ if keys::equal(value, &self.channel_binding) => Ok(()),
            Mechanism::ScramSha256Plus => Err(ScramServerError::ChannelBindingMismatch),
            Mechanism::ScramSha256 => Err(ScramServerError::UnexpectedChannelBinding),
        }
    }
}

/// The parts of a client-final-message.
struct ClientFinal<'a> {
    nonce: &'a [u8],
    proof: Key,
    without_proof: &'a [u8],
}

impl<'a> ClientFinal<'a> {
    /// Checks what comes first before what comes next is looked at, as PostgreSQL does, so that the
    /// same message ends in the same error.
    fn read(
        message: &'a [u8],
        check_channel_binding: impl FnOnce(&[u8]) -> Result<(), ScramServerError>,
    ) -> Result<Self, ScramServerError> {
        let mut attributes = Attributes::new(message);
        check_channel_binding(attributes.take(b'c')?)?;
        let nonce = attributes.take(b'r')?;
        loop {
            let without_proof = attributes.taken();
            let (name, value) = attributes.take_any()?;
            if name != b'p' {
                continue;
            }
            let proof = Key::parse(value).ok_or(Malformed::Proof)?;
            if !attributes.rest().is_empty() {
                Err(Malformed::GarbageAfterProof)?;
            }
            return Ok(Self {
                nonce,
                proof,
                without_proof,
            });
        }
    }
}

impl fmt::Debug for ChannelBindingOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsServerEndPoint(_) => "TlsServerEndPoint",
            Self::None => "None",
        })
    }
}

impl fmt::Debug for ScramServer {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramServer").finish_non_exhaustive()
    }
}

impl fmt::Debug for MechanismChosen {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MechanismChosen").finish_non_exhaustive()
    }
}

impl fmt::Debug for ProofAwaited {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProofAwaited").finish_non_exhaustive()
    }
}

impl fmt::Debug for Authenticated {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticated").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
