//! The gate as the client of a backend, once it knows with what.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::error::{LoginError, Method, Unanswerable};
use crate::auth::md5;
use crate::auth::scram::{
    Asked, Challenge, ClientBinding, Credential, NonceSent, ProofSent, ProvenKeys, ScramClient,
};
use crate::pki::tls_server_end_point;
use crate::wire::backend::Authentication;
use crate::wire::message::Message;
use crate::wire::secret;

/// What is known of the leg to the backend.
#[derive(Clone, Copy)]
pub struct BackendLeg {
    /// What SCRAM can be bound to.
    pub binding: ClientBinding,
    /// Whether nobody but the backend can be at its other end, so that a password can be said there:
    /// verified TLS or a Unix socket.
    pub is_trusted: bool,
    /// Whether the backend need not prove by the login that it is the one that was meant: as
    /// `is_trusted`, or it is on this machine.
    pub is_vouched_for: bool,
}

/// What a backend asks for.
pub(super) enum Ask {
    /// Nothing: its AuthenticationOk, held back until the client has proved itself.
    Nothing(Bytes),
    /// SASL, by one of these mechanisms.
    Sasl(Vec<Box<[u8]>>),
    /// The answer to its server-first-message, with the mechanism that was chosen.
    Scram(Challenge),
    /// A password.
    Password(Method, [u8; 4]),
}

/// What the client has proved itself with.
pub(super) enum Proof {
    Keys(ProvenKeys),
    Password(Zeroizing<Vec<u8>>),
}

/// What the backend owes.
pub(super) enum Owed {
    /// A server-first-message.
    ServerFirst(NonceSent),
    /// A server-final-message.
    ServerFinal(ProofSent),
    /// AuthenticationOk: it has proved itself, or was not asked to.
    Ok,
}

impl Ask {
    pub(super) fn read(
        authentication: &Authentication<'_>,
        message: &Message,
    ) -> Result<Self, LoginError> {
        match authentication {
            Authentication::Ok => Ok(Self::Nothing(message.raw().clone())),
            Authentication::CleartextPassword => Ok(Self::Password(Method::Cleartext, [0; 4])),
            Authentication::Md5Password { salt } => Ok(Self::Password(Method::Md5, *salt)),
            Authentication::Sasl { mechanisms } => {
                Ok(Self::Sasl(mechanisms.iter().map(Box::from).collect()))
            }
            Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => {
                Err(LoginError::BackendViolation(message.unexpected()))
            }
            Authentication::Other(_) => Err(LoginError::Unanswerable(Unanswerable::Unknown)),
        }
    }
}

impl BackendLeg {
    /// The leg to a backend that showed `leaf`, DER; none without TLS.
    #[must_use]
    pub fn new(leaf: Option<&[u8]>, is_trusted: bool, is_vouched_for: bool) -> Self {
        let binding = match leaf.map(tls_server_end_point) {
            None => ClientBinding::NoTls,
            Some(Some(end_point)) => ClientBinding::TlsServerEndPoint(end_point),
            Some(None) if is_trusted => ClientBinding::Verified,
            Some(None) => ClientBinding::Unbindable,
        };
        Self {
            binding,
            is_trusted,
            is_vouched_for,
        }
    }

    /// Answers what the backend asks for; gives the message, and what is owed for it. `proof` is the
    /// one that [`Ask`] was found to need.
    pub(super) fn answer(
        self,
        user: &[u8],
        ask: Ask,
        proof: Proof,
    ) -> Result<(Zeroizing<Vec<u8>>, Owed), LoginError> {
        match (ask, proof) {
            (Ask::Nothing(_), _) => Ok((Zeroizing::default(), Owed::Ok)),
            (Ask::Sasl(offered), Proof::Keys(keys)) => self.begin_scram(&offered, keys.into()),
            (Ask::Sasl(offered), Proof::Password(password)) => {
                self.begin_scram(&offered, Credential::password(&password))
            }
            (Ask::Scram(challenge), proof) => answer(challenge, proof),
            (Ask::Password(method, _), Proof::Keys(_)) => {
                Err(LoginError::Unanswerable(Unanswerable::KeysOnly(method)))
            }
            (Ask::Password(Method::Cleartext, _), Proof::Password(password)) => {
                Ok((secret::password_message(&password), Owed::Ok))
            }
            (Ask::Password(Method::Md5, salt), Proof::Password(password)) => {
                let response = md5::response(user, &password, salt);
                Ok((secret::password_message(response.as_bytes()), Owed::Ok))
            }
        }
    }

    /// Begins SCRAM before it is known with what to log in.
    pub(super) fn ask(
        self,
        offered: &[Box<[u8]>],
    ) -> Result<(Zeroizing<Vec<u8>>, Asked), LoginError> {
        let (first, asked) = self.binding.ask(offered.iter().map(AsRef::as_ref))?;
        let message = secret::sasl_initial_response(first.mechanism.name(), &first.message);
        Ok((message, asked))
    }

    fn begin_scram(
        self,
        offered: &[Box<[u8]>],
        credential: Credential,
    ) -> Result<(Zeroizing<Vec<u8>>, Owed), LoginError> {
        let offered = offered.iter().map(AsRef::as_ref);
        let (first, sent) = ScramClient::new(credential, self.binding).choose(offered)?;
        let message = secret::sasl_initial_response(first.mechanism.name(), &first.message);
        Ok((message, Owed::ServerFirst(sent)))
    }
}

fn answer(challenge: Challenge, proof: Proof) -> Result<(Zeroizing<Vec<u8>>, Owed), LoginError> {
    let credential = match proof {
        Proof::Keys(keys) => keys.into(),
        Proof::Password(password) => Credential::password(&password),
    };
    let (answer, sent) = challenge.answer(credential)?;
    let answer = secret::sasl_response(&Zeroizing::new(answer));
    Ok((answer, Owed::ServerFinal(sent)))
}

impl Owed {
    /// Takes the backend's next word; gives the answer to it, and what is owed then. Nothing is owed
    /// any more once AuthenticationOk has come when it was due.
    pub(super) fn take(
        self,
        authentication: &Authentication<'_>,
        message: &Message,
    ) -> Result<(Zeroizing<Vec<u8>>, Option<Self>), LoginError> {
        match (self, authentication) {
            (Self::ServerFirst(sent), Authentication::SaslContinue(data)) => {
                let (answer, sent) = sent.server_first(data)?;
                let answer = secret::sasl_response(&Zeroizing::new(answer));
                Ok((answer, Some(Self::ServerFinal(sent))))
            }
            (Self::ServerFinal(sent), Authentication::SaslFinal(data)) => {
                sent.server_final(data)?;
                Ok((Zeroizing::default(), Some(Self::Ok)))
            }
            (Self::Ok, Authentication::Ok) => Ok((Zeroizing::default(), None)),
            (Self::ServerFirst(_) | Self::ServerFinal(_), Authentication::Ok) => {
                Err(LoginError::BackendUnproved)
            }
            (
                Self::ServerFirst(_) | Self::ServerFinal(_) | Self::Ok,
                Authentication::CleartextPassword
                | Authentication::Md5Password { .. }
                | Authentication::Sasl { .. }
                | Authentication::SaslContinue(_)
                | Authentication::SaslFinal(_)
                | Authentication::Other(_),
            ) => Err(LoginError::BackendViolation(message.unexpected())),
        }
    }

    /// How many iterations [`take`](Self::take) will do.
    pub(super) fn work(&self, authentication: &Authentication<'_>) -> u32 {
        match (self, authentication) {
            (Self::ServerFirst(sent), Authentication::SaslContinue(data)) => sent.work(data),
            _ => 0,
        }
    }
}
