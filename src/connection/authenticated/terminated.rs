//! A login that the gate takes part in: the I/O of [`Terminated`].

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Login, MAX_LOGIN_MESSAGE};
use crate::auth::proof::Proofs;
use crate::auth::query::{AuthQuery, Found};
use crate::auth::scram::{ScramServerError, VerifierError};
use crate::auth::terminated::{LoginError, Shown, Step, Terminated, Then};
use crate::backend::Endpoint;
use crate::refusal::{Refusal, Trouble};
use crate::wire::message::{Message, take_message};
use crate::wire::secret::SecretMessage;

/// A login that the gate takes part in, and what it takes.
pub(super) struct Part<'a> {
    pub(super) login: Box<Terminated>,
    /// Who looks verifiers up, if the gate doesn't have them.
    pub(super) query: Option<Arc<AuthQuery>>,
    pub(super) proofs: &'a Proofs,
}

/// Who looks verifiers up, and where.
#[derive(Clone, Copy)]
pub(super) struct Seeker<'a> {
    pub(super) query: &'a AuthQuery,
    /// The address that the session is at.
    pub(super) endpoint: &'a Endpoint,
}

impl Login {
    /// Carries the login up to AuthenticationOk, which the client has then been sent.
    pub(super) async fn terminate(
        &mut self,
        mut login: Box<Terminated>,
        seeker: Option<Seeker<'_>>,
        proofs: &Proofs,
    ) -> Result<(), Refusal> {
        let user: Box<[u8]> = login.user().into();
        let mut unusable = None;
        let refuse = |error, unusable| refusal(error, (&user, unusable), seeker);
        let mut then = Then::ReadBackend;
        loop {
            let step = match then {
                Then::ReadBackend => {
                    let message = self.backend_message().await?;
                    let (same, step) = proofs
                        .take(login, message)
                        .await
                        .map_err(|error| Refusal::BackendViolation(Trouble::new(error)))?;
                    login = same;
                    step
                }
                Then::ReadClient { max } => {
                    let message = self.client_message(max).await?;
                    login.client_message(&message)
                }
                Then::FindVerifier(shown) => {
                    let found = find(seeker, &user, shown.as_ref()).await?;
                    unusable = found.unusable;
                    login.verifier(found.verifier)
                }
                Then::Authenticated => return Ok(()),
                Then::Refused { sqlstate } => {
                    let sqlstate = sqlstate.map(Into::into);
                    return Err(Refusal::RefusedByBackend { sqlstate });
                }
            };
            let step = step.map_err(|error| refuse(error, unusable))?;
            self.send(&step).await?;
            then = step.then;
        }
    }

    async fn backend_message(&mut self) -> Result<Message, Refusal> {
        loop {
            let message = take_message(&mut self.from_backend, MAX_LOGIN_MESSAGE)
                .map_err(Refusal::backend_violation)?;
            if let Some(message) = message {
                return Ok(message);
            }
            match self.backend.read_buf(&mut self.from_backend).await {
                Ok(0) => return Err(self.backend_left()),
                Err(error) => return Err(self.backend_broke(&error)),
                Ok(_) => {}
            }
        }
    }

    /// Reads one message and not a byte more, straight into memory that is wiped.
    async fn client_message(&mut self, max: usize) -> Result<SecretMessage, Refusal> {
        let mut header = [0; SecretMessage::HEADER];
        let read = self.client.read_exact(&mut header).await;
        read.map_err(|_| Refusal::ClientGone)?;
        let mut message =
            SecretMessage::announced(header, max).map_err(Refusal::ProtocolViolation)?;
        let read = self.client.read_exact(message.body_mut()).await;
        read.map_err(|_| Refusal::ClientGone)?;
        Ok(message)
    }

    async fn send(&mut self, step: &Step) -> Result<(), Refusal> {
        if !step.to_client.is_empty() {
            let sent = self.client.write_all(&step.to_client).await;
            sent.map_err(|_| Refusal::ClientGone)?;
            let sent = self.client.flush().await;
            sent.map_err(|_| Refusal::ClientGone)?;
        }
        if !step.to_backend.is_empty() {
            let sent = self.backend.write_all(&step.to_backend).await;
            sent.map_err(|_| self.backend_left())?;
            let sent = self.backend.flush().await;
            sent.map_err(|_| self.backend_left())?;
        }
        Ok(())
    }
}

async fn find(
    seeker: Option<Seeker<'_>>,
    user: &[u8],
    shown: Option<&Shown>,
) -> Result<Found, Refusal> {
    let Some(Seeker { query, endpoint }) = seeker else {
        return Err(Refusal::NoVerifier(Trouble::new("there is no auth_query")));
    };
    let found = query.find(user, shown, endpoint).await;
    found.map_err(|error| Refusal::NoVerifier(Trouble::new(error)))
}

/// The refusal of a user, of whom there is perhaps a verifier that can't be used. What a wrong proof was
/// measured by may be out of date.
fn refusal(
    error: LoginError,
    (user, unusable): (&[u8], Option<VerifierError>),
    seeker: Option<Seeker<'_>>,
) -> Refusal {
    let is_wrong = matches!(error, LoginError::Client(ScramServerError::WrongProof));
    if is_wrong && let Some(seeker) = seeker {
        seeker.query.doubt(user);
    }
    let user = String::from_utf8_lossy(user);
    match unusable {
        Some(why) if is_wrong => Refusal::UnusableVerifier {
            user: user.as_ref().into(),
            why,
        },
        Some(_) | None => Refusal::from_login(error, &user),
    }
}
