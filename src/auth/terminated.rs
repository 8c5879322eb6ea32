//! A login that the gate takes part in, sans-IO: the client proves itself to the gate, and with what
//! that revealed the gate logs in to the backend.
//!
//! Either leg is bound to its own leaf (T19), both peers are hostile (T20), and from
//! AuthenticationOk on the backend's messages are the client's again.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

mod backend;
mod client;
mod error;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use zeroize::Zeroizing;

use backend::{Ask, Owed, Proof};
use client::{Exchange, Said};

pub use backend::BackendLeg;
pub use client::Demand;
pub use error::{LoginError, Method, Unanswerable};

use super::scram::{Asked, ChannelBindingOffer, Iterations, Salt, ScramServer, Verifier};
use crate::wire::backend::{Authentication, BackendMessage};
use crate::wire::message::Message;
use crate::wire::secret::SecretMessage;

/// One login, from StartupMessage, which the backend has as it came, to AuthenticationOk.
#[derive(Debug)]
pub struct Terminated {
    user: Box<[u8]>,
    leg: BackendLeg,
    state: State,
}

enum State {
    /// The backend has not said yet what it asks for.
    Waiting(Demand),
    /// The backend is to show which verifier it has.
    Asked(Asked, ChannelBindingOffer),
    /// The verifier by which the client is to prove itself is being looked up.
    Seeking(ChannelBindingOffer, Ask),
    /// The client is proving itself.
    Client(Exchange, Ask),
    /// The backend is to take the proof, and to prove itself. The client's last words are held back
    /// until it has.
    Backend(Owed, Bytes),
    /// The login has ended, one way or the other.
    Over,
}

/// What to send, and what to read next.
pub struct Step {
    /// For the client.
    pub to_client: Bytes,
    /// For the backend; wiped when dropped.
    pub to_backend: Zeroizing<Vec<u8>>,
    /// What comes next.
    pub then: Then,
}

/// What comes next in a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The client's message, whose length field is at most this.
    ReadClient {
        /// In bytes.
        max: usize,
    },
    /// The backend's message.
    ReadBackend,
    /// [`Terminated::verifier`] is to be told the user's verifier: the one that the backend has
    /// shown, if it asks for a proof at all.
    FindVerifier(Option<Shown>),
    /// AuthenticationOk was the last message: what follows is between client and backend.
    Authenticated,
    /// The backend's own ErrorResponse was the last message (T21).
    Refused {
        /// Its SQLSTATE, if it has one.
        sqlstate: Option<Box<str>>,
    },
}

/// What a backend's server-first-message shows of a verifier: as good as its name, for the salt is
/// drawn anew with each password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its salt.
    pub salt: Salt,
    /// Its iteration count.
    pub iterations: Iterations,
}

impl Shown {
    /// Whether it is this verifier that is shown.
    #[must_use]
    pub fn is(&self, verifier: &Verifier) -> bool {
        self.salt == *verifier.salt() && self.iterations == verifier.iterations()
    }
}

impl Terminated {
    /// A login of `user`, who is to meet `demand`, at a backend that is reached by `leg`.
    #[must_use]
    pub fn new(user: &[u8], demand: Demand, leg: BackendLeg) -> Self {
        Self {
            user: user.into(),
            leg,
            state: State::Waiting(demand),
        }
    }

    /// The user, as StartupMessage names it.
    #[must_use]
    pub const fn user(&self) -> &[u8] {
        &self.user
    }

    /// How many iterations of PBKDF2 [`backend_message`](Self::backend_message) will do for this
    /// message: some ten thousand take longer than a thread should that serves others too.
    #[must_use]
    pub fn work(&self, message: &Message) -> u32 {
        match (&self.state, BackendMessage::parse(message)) {
            (State::Backend(owed, _), Ok(BackendMessage::Authentication(said))) => owed.work(&said),
            _ => 0,
        }
    }

    /// Takes a message of the backend.
    ///
    /// # Errors
    /// The login has come to nothing.
    pub fn backend_message(&mut self, message: &Message) -> Result<Step, LoginError> {
        let parsed = BackendMessage::parse(message).map_err(LoginError::BackendViolation)?;
        match (parsed, &self.state) {
            (BackendMessage::Authentication(said), _) => self.authentication(&said, message),
            (BackendMessage::ErrorResponse(fields), _) => {
                self.state = State::Over;
                Ok(Step::pass(
                    message,
                    Then::Refused {
                        sqlstate: fields.sqlstate().map(Box::from),
                    },
                ))
            }
            (BackendMessage::NegotiateProtocolVersion, State::Waiting(_)) => {
                Ok(Step::pass(message, Then::ReadBackend))
            }
            // A NoticeResponse may come at any time.
            (BackendMessage::Other, _) if message.tag() == b'N' => {
                Ok(Step::pass(message, Then::ReadBackend))
            }
            (
                BackendMessage::BackendKeyData { .. }
                | BackendMessage::ReadyForQuery(_)
                | BackendMessage::NegotiateProtocolVersion
                | BackendMessage::Other,
                _,
            ) => Err(LoginError::BackendViolation(message.unexpected())),
        }
    }

    fn authentication(
        &mut self,
        said: &Authentication<'_>,
        message: &Message,
    ) -> Result<Step, LoginError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Waiting(demand) => {
                let ask = Ask::read(said, message)?;
                demand.refuse_unanswerable(&ask, self.leg)?;
                self.demand(demand, ask)
            }
            State::Asked(asked, offer) => match said {
                Authentication::SaslContinue(data) => {
                    let challenge = asked.server_first(data)?;
                    Ok(self.seek(offer, Ask::Scram(challenge)))
                }
                Authentication::Ok => Err(LoginError::BackendUnproved),
                Authentication::CleartextPassword
                | Authentication::Md5Password { .. }
                | Authentication::Sasl { .. }
                | Authentication::SaslFinal(_)
                | Authentication::Other(_) => {
                    Err(LoginError::BackendViolation(message.unexpected()))
                }
            },
            State::Backend(owed, last_words) => {
                let (to_backend, owed) = owed.take(said, message)?;
                match owed {
                    Some(owed) => {
                        self.state = State::Backend(owed, last_words);
                        Ok(Step::to_backend(to_backend))
                    }
                    None => Ok(Step::authenticated(&last_words, message.raw())),
                }
            }
            State::Seeking(..) | State::Client(..) | State::Over => {
                Err(LoginError::BackendViolation(message.unexpected()))
            }
        }
    }

    fn demand(&mut self, demand: Demand, ask: Ask) -> Result<Step, LoginError> {
        let ((exchange, said), ask) = match (demand, ask) {
            // Nobody would check the password, so nobody is asked for one.
            (Demand::Password, Ask::Nothing(ok)) => return Ok(Step::authenticated(&[], &ok)),
            (Demand::Sought(offer), Ask::Sasl(mechanisms)) => {
                let (to_backend, asked) = self.leg.ask(&mechanisms)?;
                self.state = State::Asked(asked, offer);
                return Ok(Step::to_backend(to_backend));
            }
            (Demand::Sought(offer), ask) => return Ok(self.seek(offer, ask)),
            (Demand::Scram(server), ask) => (Exchange::scram(server), ask),
            (Demand::Password, ask) => (Exchange::password(), ask),
        };
        Ok(self.await_client(exchange, ask, said))
    }

    fn seek(&mut self, offer: ChannelBindingOffer, ask: Ask) -> Step {
        let shown = match &ask {
            Ask::Scram(challenge) => Some(Shown {
                salt: challenge.salt().clone(),
                iterations: challenge.iterations(),
            }),
            Ask::Nothing(_) | Ask::Sasl(_) | Ask::Password(..) => None,
        };
        self.state = State::Seeking(offer, ask);
        Step::then(Then::FindVerifier(shown))
    }

    /// Takes the verifier that [`Then::FindVerifier`] asked for.
    ///
    /// # Errors
    /// It was not asked for.
    pub fn verifier(&mut self, verifier: Arc<Verifier>) -> Result<Step, LoginError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Seeking(offer, ask) => {
                let (exchange, said) = Exchange::scram(ScramServer::new(verifier, offer));
                Ok(self.await_client(exchange, ask, said))
            }
            State::Waiting(_)
            | State::Asked(..)
            | State::Client(..)
            | State::Backend(..)
            | State::Over => Err(LoginError::ClientViolation(SecretMessage::UNEXPECTED)),
        }
    }

    fn await_client(&mut self, exchange: Exchange, ask: Ask, to_client: Bytes) -> Step {
        let max = exchange.max_length();
        self.state = State::Client(exchange, ask);
        Step {
            to_client,
            to_backend: Zeroizing::default(),
            then: Then::ReadClient { max },
        }
    }

    /// Takes a message of the client.
    ///
    /// # Errors
    /// The login has come to nothing.
    pub fn client_message(&mut self, message: &SecretMessage) -> Result<Step, LoginError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Client(exchange, ask) => match exchange.take(message)? {
                Said::Next(exchange, to_client) => Ok(self.await_client(exchange, ask, to_client)),
                Said::Proved(proof, last_words) => self.log_in(ask, proof, last_words),
            },
            State::Waiting(_)
            | State::Asked(..)
            | State::Seeking(..)
            | State::Backend(..)
            | State::Over => Err(LoginError::ClientViolation(SecretMessage::UNEXPECTED)),
        }
    }

    fn log_in(&mut self, ask: Ask, proof: Proof, last_words: Bytes) -> Result<Step, LoginError> {
        if let Ask::Nothing(ok) = &ask {
            return Ok(Step::authenticated(&last_words, ok));
        }
        let (to_backend, owed) = self.leg.answer(&self.user, ask, proof)?;
        self.state = State::Backend(owed, last_words);
        Ok(Step::to_backend(to_backend))
    }
}

impl Step {
    /// Passes a message of the backend on as it came.
    fn pass(message: &Message, then: Then) -> Self {
        Self {
            to_client: message.raw().clone(),
            to_backend: Zeroizing::default(),
            then,
        }
    }

    /// Says nothing.
    fn then(then: Then) -> Self {
        Self {
            to_client: Bytes::new(),
            to_backend: Zeroizing::default(),
            then,
        }
    }

    fn to_backend(to_backend: Zeroizing<Vec<u8>>) -> Self {
        Self {
            to_client: Bytes::new(),
            to_backend,
            then: Then::ReadBackend,
        }
    }

    fn authenticated(last_words: &[u8], ok: &[u8]) -> Self {
        Self {
            to_client: [last_words, ok].concat().into(),
            to_backend: Zeroizing::default(),
            then: Then::Authenticated,
        }
    }
}

impl std::fmt::Debug for Step {
    /// Shows no payload (T34).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("then", &self.then)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for State {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Waiting(_) => "Waiting",
            Self::Asked(..) => "Asked",
            Self::Seeking(..) => "Seeking",
            Self::Client(..) => "Client",
            Self::Backend(..) => "Backend",
            Self::Over => "Over",
        })
    }
}

impl std::fmt::Debug for BackendLeg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendLeg")
            .field("is_trusted", &self.is_trusted)
            .finish_non_exhaustive()
    }
}
