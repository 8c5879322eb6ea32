//! The gate as the server of a client: what the client must prove, and how it does.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::backend::{Ask, BackendLeg, Proof};
use super::error::{LoginError, Unanswerable};
use crate::auth::scram::{
    ChannelBindingOffer, MAX_CLIENT_MESSAGE_LENGTH, Mechanism, MechanismChosen, ProofAwaited,
    ScramServer,
};
use crate::wire::encode;
use crate::wire::secret::SecretMessage;

/// The longest PasswordMessage, as its length field says it: what PostgreSQL takes
/// (`PG_MAX_AUTH_TOKEN_LENGTH`), since some services make passwords of signed tokens.
const MAX_PASSWORD_MESSAGE_LENGTH: usize = 65_535;

/// What a client is to meet.
#[derive(Debug)]
pub enum Demand {
    /// A SCRAM exchange with the gate: `auth = "scram"`.
    Scram(ScramServer),
    /// The same, by a verifier that is looked up once the backend has shown which one it has.
    Sought(ChannelBindingOffer),
    /// To hand over the password: `auth = "password"`.
    Password,
}

/// The gate's exchange with the client, at the client's turn.
pub(super) enum Exchange {
    Offered(ScramServer),
    Chosen(MechanismChosen),
    Proof(ProofAwaited),
    Password,
}

/// What the client's message comes to.
pub(super) enum Said {
    /// The next turn, and what to say before it.
    Next(Exchange, Bytes),
    /// The proof, and what to say once the backend has taken it.
    Proved(Proof, Bytes),
}

impl Demand {
    /// Refuses what could not be answered with what the client is about to give, before it is asked
    /// for it.
    pub(super) fn refuse_unanswerable(&self, ask: &Ask, leg: BackendLeg) -> Result<(), LoginError> {
        let method = match ask {
            Ask::Nothing(_) if !leg.is_vouched_for => return Err(LoginError::BackendUnproved),
            Ask::Nothing(_) | Ask::Sasl(_) | Ask::Scram(_) => return Ok(()),
            Ask::Password(method, _) => method,
        };
        match self {
            Self::Scram(_) | Self::Sought(_) => {
                Err(LoginError::Unanswerable(Unanswerable::KeysOnly(*method)))
            }
            Self::Password if leg.is_trusted => Ok(()),
            Self::Password => Err(LoginError::Unanswerable(Unanswerable::Unverified(*method))),
        }
    }
}

impl Exchange {
    /// The first turn of SCRAM, and what to say before it.
    pub(super) fn scram(server: ScramServer) -> (Self, Bytes) {
        let names: Vec<_> = server
            .mechanisms()
            .iter()
            .map(|mechanism: &Mechanism| mechanism.name())
            .collect();
        (Self::Offered(server), encode::authentication_sasl(&names))
    }

    /// The one turn of a password, and what to say before it.
    pub(super) fn password() -> (Self, Bytes) {
        (Self::Password, encode::authentication_cleartext_password())
    }

    pub(super) const fn max_length(&self) -> usize {
        match self {
            Self::Offered(_) | Self::Chosen(_) | Self::Proof(_) => MAX_CLIENT_MESSAGE_LENGTH,
            Self::Password => MAX_PASSWORD_MESSAGE_LENGTH,
        }
    }

    pub(super) fn take(self, message: &SecretMessage) -> Result<Said, LoginError> {
        match self {
            Self::Offered(server) => {
                let initial = message
                    .sasl_initial_response()
                    .map_err(LoginError::ClientViolation)?;
                let chosen = server.choose(initial.mechanism)?;
                match initial.response {
                    Some(first) => answer_first(chosen, first),
                    None => Ok(Said::Next(
                        Self::Chosen(chosen),
                        encode::authentication_sasl_continue(&[]),
                    )),
                }
            }
            Self::Chosen(chosen) => answer_first(chosen, message.sasl_response()),
            Self::Proof(awaited) => {
                let proved = awaited.client_final(message.sasl_response())?;
                let last_words = encode::authentication_sasl_final(&proved.server_final);
                Ok(Said::Proved(Proof::Keys(proved.keys), last_words))
            }
            Self::Password => match message.password().map_err(LoginError::ClientViolation)? {
                [] => Err(LoginError::EmptyPassword),
                password => Ok(Said::Proved(
                    Proof::Password(Zeroizing::new(password.to_vec())),
                    Bytes::new(),
                )),
            },
        }
    }
}

fn answer_first(chosen: MechanismChosen, first: &[u8]) -> Result<Said, LoginError> {
    let (server_first, awaited) = chosen.client_first(first)?;
    Ok(Said::Next(
        Exchange::Proof(awaited),
        encode::authentication_sasl_continue(&server_first),
    ))
}
