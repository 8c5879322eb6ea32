//! A login that the gate takes part in: the I/O of [`Terminated`].

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{Login, MAX_LOGIN_MESSAGE};
use crate::auth::terminated::{LoginError, Step, Terminated, Then};
use crate::refusal::{Refusal, Trouble};
use crate::wire::message::{Message, take_message};
use crate::wire::secret::SecretMessage;

/// The most iterations of PBKDF2 that are done on a worker's own thread, about two milliseconds:
/// any more would keep the worker's other connections waiting.
const MAX_ITERATIONS_INLINE: u32 = 10_000;

impl Login {
    /// Carries the login up to AuthenticationOk, which the client has then been sent.
    pub(super) async fn terminate(&mut self, mut login: Box<Terminated>) -> Result<(), Refusal> {
        let user = String::from_utf8_lossy(login.user()).into_owned();
        let refuse = |error| Refusal::from_login(error, &user);
        let mut then = Then::ReadBackend;
        loop {
            let step = match then {
                Then::ReadBackend => {
                    let message = self.backend_message().await?;
                    let (same, step) = take(login, message).await?;
                    login = same;
                    step.map_err(refuse)?
                }
                Then::ReadClient { max } => {
                    let message = self.client_message(max).await?;
                    login.client_message(&message).map_err(refuse)?
                }
                Then::Authenticated => return Ok(()),
                Then::Refused { sqlstate } => {
                    let sqlstate = sqlstate.map(Into::into);
                    return Err(Refusal::RefusedByBackend { sqlstate });
                }
            };
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
                Ok(0) | Err(_) => return Err(self.backend_left()),
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

/// Has the login take a message of the backend, on a thread for long work if it is long work.
async fn take(
    mut login: Box<Terminated>,
    message: Message,
) -> Result<(Box<Terminated>, Result<Step, LoginError>), Refusal> {
    let iterations = login.work(&message);
    let work = move || {
        let step = login.backend_message(&message);
        (login, step)
    };
    if iterations <= MAX_ITERATIONS_INLINE {
        return Ok(work());
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Refusal::BackendViolation(Trouble::new("the proof could not be made")))
}
