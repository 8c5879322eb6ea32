//! Authentication that is the client's and the backend's own business: every message passes as it
//! came, and the gate only looks on. It looks for three things: the end of the login, the cancel
//! key, and a SCRAM exchange that can't succeed (T19).

use crate::wire::ProtocolViolation;
use crate::wire::backend::{Authentication, BackendMessage};
use crate::wire::frontend::{Gs2Flag, SaslInitialResponse};
use crate::wire::message::Message;
use crate::wire::startup::CancelKey;

/// Whether SCRAM's channel binding (RFC 5802 section 6) can hold from the client to the backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// The backend has no TLS towards us and so offers none, or it shows the very leaf that the
    /// client saw.
    Holds,
    /// The backend's leg is TLS with another leaf than the client saw: the backend refuses a
    /// client that binds to ours, and one that says the server offered no binding (auth-scram.c).
    Broken,
}

/// What a message of the backend means for the login.
#[derive(Debug)]
pub enum Event {
    /// Nothing: it is passed on.
    None,
    /// BackendKeyData: what a CancelRequest for this session will carry.
    CancelKey {
        /// The process id.
        process_id: i32,
        /// The secret.
        key: CancelKey,
    },
    /// ReadyForQuery: the login is over.
    Ready,
}

/// Why the client's message can't be passed on.
#[derive(Debug, thiserror::Error)]
pub enum ClientMessageError {
    /// The client's SCRAM exchange is sure to fail.
    #[error("SCRAM channel binding can't hold: the backend shows another certificate")]
    ChannelBindingBroken,
    /// The message is malformed.
    #[error(transparent)]
    Violation(#[from] ProtocolViolation),
}

/// The gate's view of one login.
#[derive(Debug)]
pub struct Passthrough {
    binding: ChannelBinding,
    phase: Phase,
    error: Option<Box<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The backend has asked for nothing that we watch.
    Asking,
    /// The backend has sent AuthenticationSASL: SASLInitialResponse comes next.
    SaslOffered,
    /// AuthenticationOk was sent: what the client says now is no longer about authentication.
    Authenticated,
}

impl Passthrough {
    /// Looks on at a login whose legs are bound as `binding` says.
    #[must_use]
    pub const fn new(binding: ChannelBinding) -> Self {
        Self {
            binding,
            phase: Phase::Asking,
            error: None,
        }
    }

    /// Looks on at the end of a login, from behind AuthenticationOk.
    #[must_use]
    pub const fn authenticated() -> Self {
        Self {
            binding: ChannelBinding::Holds,
            phase: Phase::Authenticated,
            error: None,
        }
    }

    /// Notes what the backend says.
    ///
    /// # Errors
    /// The message is malformed, or asks for a proof of identity when that is over (T20).
    pub fn backend_message(&mut self, message: &Message) -> Result<Event, ProtocolViolation> {
        match BackendMessage::parse(message)? {
            BackendMessage::Authentication(_) if self.is_authenticated() => {
                return Err(message.unexpected());
            }
            BackendMessage::Authentication(Authentication::Ok) => {
                self.phase = Phase::Authenticated;
            }
            BackendMessage::Authentication(Authentication::Sasl { .. }) => {
                self.phase = Phase::SaslOffered;
            }
            BackendMessage::ErrorResponse(fields) => {
                self.error = Some(fields.sqlstate().unwrap_or_default().into());
            }
            BackendMessage::BackendKeyData { process_id, key } => {
                return Ok(Event::CancelKey { process_id, key });
            }
            BackendMessage::ReadyForQuery(_) => return Ok(Event::Ready),
            BackendMessage::Authentication(_)
            | BackendMessage::NegotiateProtocolVersion
            | BackendMessage::Other => {}
        }
        Ok(Event::None)
    }

    /// Judges what the client says before it is authenticated.
    ///
    /// # Errors
    /// The message must not be passed on.
    pub fn client_message(&mut self, message: &Message) -> Result<(), ClientMessageError> {
        if self.phase != Phase::SaslOffered {
            return Ok(());
        }
        self.phase = Phase::Asking;
        if self.binding == ChannelBinding::Holds {
            return Ok(());
        }
        // A mechanism without a first message is none of SCRAM's, and the backend's to judge.
        let Some(response) = SaslInitialResponse::parse(message)?.response else {
            return Ok(());
        };
        match Gs2Flag::parse(response)? {
            Gs2Flag::NotOffered | Gs2Flag::Used(_) => Err(ClientMessageError::ChannelBindingBroken),
            Gs2Flag::NotSupported => Ok(()),
        }
    }

    /// Whether the client may say what it likes.
    #[must_use]
    pub fn is_authenticated(&self) -> bool {
        self.phase == Phase::Authenticated
    }

    /// The SQLSTATE of the last ErrorResponse.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}
