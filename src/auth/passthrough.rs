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
    /// The backend asks for a proof, in a login in which nobody has one to give: not to be passed on.
    AskedInVain,
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
    /// The gate's own certificate is all the proof that the backend gets.
    Certified,
    /// The backend has sent AuthenticationSASL: SASLInitialResponse comes next.
    SaslOffered {
        /// With a mechanism that binds to the TLS channel.
        plus: bool,
    },
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

    /// Looks on at a login for which the gate's own certificate towards the backend is the proof: the
    /// backend has nothing to ask, and the client nothing to say, before AuthenticationOk.
    #[must_use]
    pub const fn certified() -> Self {
        Self {
            binding: ChannelBinding::Holds,
            phase: Phase::Certified,
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
            BackendMessage::Authentication(_) if self.phase == Phase::Certified => {
                return Ok(Event::AskedInVain);
            }
            BackendMessage::Authentication(Authentication::Sasl { mechanisms }) => {
                let plus = mechanisms.contains("SCRAM-SHA-256-PLUS");
                self.phase = Phase::SaslOffered { plus };
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
        let Phase::SaslOffered { plus } = self.phase else {
            return Ok(());
        };
        self.phase = Phase::Asking;
        if self.binding == ChannelBinding::Holds {
            return Ok(());
        }
        // A mechanism without a first message is none of SCRAM's, and the backend's to judge.
        let Some(response) = SaslInitialResponse::parse(message)?.response else {
            return Ok(());
        };
        match Gs2Flag::parse(response)? {
            Gs2Flag::Used(_) => Err(ClientMessageError::ChannelBindingBroken),
            // A lie only if it was offered; a pooler with TLS and without PLUS takes it for true.
            Gs2Flag::NotOffered if plus => Err(ClientMessageError::ChannelBindingBroken),
            Gs2Flag::NotOffered | Gs2Flag::NotSupported => Ok(()),
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::wire::encode::{FatalResponse, authentication_sasl, fatal};
    use crate::wire::message::take_message;

    fn message(raw: &[u8]) -> Message {
        take_message(&mut BytesMut::from(raw), 10_000)
            .unwrap()
            .unwrap()
    }

    fn sasl_initial_response(response: &[u8]) -> Message {
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        body.extend(u32::try_from(response.len()).unwrap().to_be_bytes());
        body.extend(response);
        let mut raw = vec![b'p'];
        raw.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        raw.extend(body);
        message(&raw)
    }

    /// A login in which the backend has offered SCRAM.
    fn offered(binding: ChannelBinding) -> Passthrough {
        let mut login = Passthrough::new(binding);
        let sasl = message(&authentication_sasl(&[
            "SCRAM-SHA-256-PLUS",
            "SCRAM-SHA-256",
        ]));
        assert!(matches!(login.backend_message(&sasl), Ok(Event::None)));
        login
    }

    #[test]
    fn t19_a_client_that_binds_to_another_leaf_than_the_backends_is_stopped() {
        for flag in [&b"p=tls-server-end-point,,n=,r=x"[..], b"y,,n=,r=x"] {
            let answer = sasl_initial_response(flag);
            let broken = offered(ChannelBinding::Broken).client_message(&answer);
            assert!(
                matches!(broken, Err(ClientMessageError::ChannelBindingBroken)),
                "{flag:?}"
            );
            offered(ChannelBinding::Holds)
                .client_message(&answer)
                .unwrap();
        }
    }

    #[test]
    fn t19_a_client_that_wants_no_channel_binding_passes() {
        let answer = sasl_initial_response(b"n,,n=,r=x");
        offered(ChannelBinding::Broken)
            .client_message(&answer)
            .unwrap();
    }

    #[test]
    fn t19_a_backend_that_offers_no_channel_binding_takes_a_client_that_says_so() {
        let mut login = Passthrough::new(ChannelBinding::Broken);
        let sasl = message(&authentication_sasl(&["SCRAM-SHA-256"]));
        login.backend_message(&sasl).unwrap();
        let answer = sasl_initial_response(b"y,,n=,r=x");
        login.client_message(&answer).unwrap();
    }

    #[test]
    fn a_password_that_looks_like_scram_is_not_taken_for_it() {
        let mut login = Passthrough::new(ChannelBinding::Broken);
        login
            .backend_message(&message(b"R\0\0\0\x08\0\0\0\x03"))
            .unwrap();
        login
            .client_message(&sasl_initial_response(b"y,,n=,r=x"))
            .unwrap();
    }

    #[test]
    fn only_authentication_ok_lets_the_client_say_what_it_likes() {
        let mut login = offered(ChannelBinding::Holds);
        assert!(!login.is_authenticated());
        login
            .backend_message(&message(b"R\0\0\0\x08\0\0\0\0"))
            .unwrap();
        assert!(login.is_authenticated());
        let ready = login.backend_message(&message(b"Z\0\0\0\x05I"));
        assert!(matches!(ready, Ok(Event::Ready)));
    }

    #[test]
    fn a_login_by_the_gates_certificate_passes_on_no_question_and_everything_else() {
        let questions = [
            authentication_sasl(&["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]).to_vec(),
            b"R\0\0\0\x08\0\0\0\x03".to_vec(),
            b"R\0\0\0\x0c\0\0\0\x05salt".to_vec(),
            b"R\0\0\0\x08\0\0\0\x07".to_vec(),
        ];
        for question in questions {
            let asked = Passthrough::certified().backend_message(&message(&question));
            assert!(matches!(asked, Ok(Event::AskedInVain)), "{question:x?}");
        }
        let mut login = Passthrough::certified();
        let ok = login.backend_message(&message(b"R\0\0\0\x08\0\0\0\0"));
        assert!(matches!(ok, Ok(Event::None)) && login.is_authenticated());
    }

    #[test]
    fn t21_the_backends_sqlstate_is_noted() {
        let mut login = Passthrough::new(ChannelBinding::Holds);
        let response = FatalResponse {
            sqlstate: "28P01",
            message: "no",
            detail: None,
            hint: None,
        };
        login.backend_message(&message(&fatal(&response))).unwrap();
        assert_eq!(login.error(), Some("28P01"));
    }
}
