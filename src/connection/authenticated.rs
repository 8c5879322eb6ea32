//! [`Authenticated`]: the backend has said AuthenticationOk .. ReadyForQuery, and every byte of it
//! has reached the client unchanged.

mod terminated;

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use self::terminated::{Part, Seeker};
use super::admitted::Admission;
use super::refused::{Channel, Refused};
use super::routed::{Proving, Routed};
use crate::auth::certificate::Identification;
use crate::auth::passthrough::{ClientMessageError, Event, Passthrough};
use crate::auth::proof::Proofs;
use crate::auth::terminated::Unanswerable;
use crate::backend::{CertificateAlert, Live};
use crate::cancel::{CancelGuard, CancelKeys, CancelTarget};
use crate::refusal::{Refusal, Trouble};
use crate::relay::{BackendStream, ClientStream, Control, Relay, relay};
use crate::wire::message::take_message;

/// The longest message that may be part of a login, in bytes: PostgreSQL allows 65,535 for a GSSAPI
/// or SSPI token (`PG_MAX_AUTH_TOKEN_LENGTH`), and no other comes near it.
const MAX_LOGIN_MESSAGE: usize = 66 * 1024;

/// The longest message between AuthenticationOk and ReadyForQuery, in bytes: a NOTICE of a login
/// trigger is as long as its author likes.
const MAX_MESSAGE_AFTER: usize = 1024 * 1024;

/// Room for what a backend says at a time, in bytes: the settings that it reports take 300 to 500.
const READ: usize = 1024;

/// A session, ready to be relayed.
pub(super) struct Authenticated {
    pub(super) client: ClientStream,
    pub(super) backend: BackendStream,
    pub(super) admission: Admission,
    /// Absent if the backend gives out no key, as some poolers and proxies do (T10).
    pub(super) cancel: Option<CancelGuard>,
    /// Its place in the count of the backend's address.
    pub(super) live: Live,
    /// What was passed on already.
    beyond: Beyond,
    /// What the client's certificate has proved.
    pub(super) who: Identification,
}

/// What a session holds on to until it has ended: its place, its cancel key, and its place at the
/// backend's address.
pub(super) type Held = (Admission, Option<CancelGuard>, Live);

impl Authenticated {
    /// The relay between the two legs, in a box of its own: a future keeps room for everything that
    /// passes through it by value.
    pub(super) fn into_relay(self: Box<Self>, control: Arc<Control>) -> (Pin<Box<Relay>>, Held) {
        let Self {
            client,
            backend,
            admission,
            cancel,
            live,
            beyond,
            who: _,
        } = *self;
        let Beyond {
            to_backend,
            to_client,
        } = beyond;
        let relay = Box::pin(relay(client, backend, control).behind(to_backend, &to_client));
        (relay, (admission, cancel, live))
    }
}

impl Routed {
    /// Carries the login, message by message, until the backend is ready for queries.
    ///
    /// # Errors
    /// The backend turned the client away (in its own words), either side left or broke the
    /// protocol, or SCRAM could not have worked (T19).
    pub(super) async fn authenticate(
        self,
        deadline: Instant,
        keys: &CancelKeys,
        proofs: &Proofs,
    ) -> Result<Authenticated, Refused> {
        let Self {
            client,
            backend,
            heard,
            admission,
            proving,
            reached,
            live,
            who,
        } = self;
        let target = CancelTarget {
            project: admission.project.name.clone(),
            reached,
        };
        let (passthrough, part) = match proving {
            Proving::ToBackend(passthrough) => (passthrough, None),
            Proving::ToUs(login, query) => {
                let part = Part {
                    login,
                    query,
                    proofs,
                };
                (Passthrough::authenticated(), Some(part))
            }
        };
        let mut login = Login {
            client,
            backend,
            from_client: BytesMut::new(),
            from_backend: heard,
            passthrough,
            cancel: None,
            amid_message: false,
            beyond: Beyond::default(),
        };
        // The spine's own deadline would end the login too, but without a word to the client.
        let outcome = timeout_at(deadline, login.run(part, keys, &target)).await;
        let outcome = outcome.unwrap_or(Err(Refusal::LoginTimedOut));
        let Login {
            client,
            backend,
            cancel,
            amid_message,
            beyond,
            ..
        } = login;
        match outcome {
            Ok(()) => Ok(Authenticated {
                client,
                backend,
                admission,
                cancel,
                live,
                beyond,
                who,
            }),
            // Words in the middle of a message would be read as a part of it.
            Err(refusal) if amid_message => Err(Refused::new(refusal, Channel::Closed)),
            Err(refusal) => Err(Refused::new(refusal, Channel::Secured(Box::new(client)))),
        }
    }
}

/// The two legs during the login, and what was read of them but not passed on yet.
struct Login {
    client: ClientStream,
    backend: BackendStream,
    from_client: BytesMut,
    from_backend: BytesMut,
    passthrough: Passthrough,
    cancel: Option<CancelGuard>,
    /// A message to the client was begun, and not ended.
    amid_message: bool,
    beyond: Beyond,
}

/// What was passed on beyond the login, so that the relay starts with nothing in hand.
#[derive(Default)]
struct Beyond {
    /// How many bytes the backend got once it had nothing more to ask: queries already.
    to_backend: usize,
    /// What the client got behind ReadyForQuery: perhaps not a whole message.
    to_client: Bytes,
}

impl Login {
    /// How long the backend's next message may be.
    fn longest(&self) -> usize {
        if self.passthrough.is_authenticated() {
            MAX_MESSAGE_AFTER
        } else {
            MAX_LOGIN_MESSAGE
        }
    }

    async fn run(
        &mut self,
        part: Option<Part<'_>>,
        keys: &CancelKeys,
        target: &CancelTarget,
    ) -> Result<(), Refusal> {
        if let Some(Part {
            login,
            query,
            proofs,
        }) = part
        {
            let query = query.as_deref().map(|query| Seeker {
                query,
                endpoint: &target.reached.endpoint,
            });
            self.terminate(login, query, proofs).await?;
        }
        // What the backend answered while it was chosen, or what came behind AuthenticationOk.
        if self.pass_to_client(keys, target).await? {
            return self.pass_rest().await;
        }
        loop {
            self.from_backend.reserve(READ);
            tokio::select! {
                read = self.backend.read_buf(&mut self.from_backend) => {
                    match read {
                        Ok(0) => return Err(self.backend_left()),
                        Err(error) => return Err(self.backend_broke(&error)),
                        Ok(_) => {}
                    }
                    if self.pass_to_client(keys, target).await? {
                        return self.pass_rest().await;
                    }
                }
                read = self.client.read_buf(&mut self.from_client) => {
                    match read {
                        Ok(0) | Err(_) => return Err(self.client_left()),
                        Ok(_) => self.pass_to_backend().await?,
                    }
                }
            }
        }
    }

    /// Passes on whole messages of the backend, in one write; true once ReadyForQuery was one of them.
    async fn pass_to_client(
        &mut self,
        keys: &CancelKeys,
        target: &CancelTarget,
    ) -> Result<bool, Refusal> {
        let mut passing = BytesMut::new();
        let taken = self.take_messages(&mut passing, keys, target);
        self.amid_message = !passing.is_empty();
        let sent = async {
            self.client.write_all(&passing).await?;
            self.client.flush().await
        };
        sent.await.map_err(|_| self.client_left())?;
        self.amid_message = false;
        taken
    }

    /// Takes whole messages of the backend until there is none left, one may not be passed on, or it
    /// was ReadyForQuery; which is true of the last one then.
    fn take_messages(
        &mut self,
        passing: &mut BytesMut,
        keys: &CancelKeys,
        target: &CancelTarget,
    ) -> Result<bool, Refusal> {
        let mut is_ready = false;
        while !is_ready {
            let longest = self.longest();
            let Some(message) = take_message(&mut self.from_backend, longest)
                .map_err(Refusal::backend_violation)?
            else {
                break;
            };
            match self
                .passthrough
                .backend_message(&message)
                .map_err(Refusal::backend_violation)?
            {
                Event::None => {}
                // Known before the client has it: its CancelRequest may come at once.
                Event::CancelKey { process_id, key } => {
                    self.cancel = Some(keys.register(process_id, key, target.clone()));
                }
                Event::Ready => is_ready = true,
                Event::AskedInVain => {
                    let asked = Unanswerable::CertificateOnly;
                    return Err(Refusal::BackendUnanswerable(asked));
                }
            }
            passing.extend_from_slice(message.raw());
        }
        Ok(is_ready)
    }

    async fn pass_to_backend(&mut self) -> Result<(), Refusal> {
        while !self.passthrough.is_authenticated()
            && let Some(message) = take_message(&mut self.from_client, MAX_LOGIN_MESSAGE)
                .map_err(Refusal::ProtocolViolation)?
        {
            self.passthrough
                .client_message(&message)
                .map_err(|error| match error {
                    ClientMessageError::ChannelBindingBroken => Refusal::ScramNeedsSameLeaf,
                    ClientMessageError::Violation(violation) => {
                        Refusal::ProtocolViolation(violation)
                    }
                })?;
            self.backend
                .write_all(message.raw())
                .await
                .map_err(|_| self.backend_left())?;
        }
        if self.passthrough.is_authenticated() {
            return self.pass_ahead().await;
        }
        self.backend.flush().await.map_err(|_| self.backend_left())
    }

    /// Passes on what was read beyond the login, so that the relay starts with nothing in hand.
    async fn pass_rest(&mut self) -> Result<(), Refusal> {
        self.beyond.to_client = self.from_backend.split().freeze();
        let sent = async {
            self.client.write_all(&self.beyond.to_client).await?;
            self.client.flush().await
        };
        sent.await.map_err(|_| self.client_left())?;
        self.pass_ahead().await
    }

    /// Passes on what a client sends that doesn't wait for ReadyForQuery.
    async fn pass_ahead(&mut self) -> Result<(), Refusal> {
        let ahead = self.from_client.split();
        let sent = async {
            self.backend.write_all(&ahead).await?;
            self.backend.flush().await
        };
        sent.await.map_err(|_| self.backend_left())?;
        self.beyond.to_backend += ahead.len();
        Ok(())
    }

    /// A client that has read why the backend turns it away doesn't wait for the backend to close.
    fn client_left(&self) -> Refusal {
        match self.passthrough.error() {
            Some(_) => self.backend_left(),
            None => Refusal::ClientGone,
        }
    }

    /// A certificate of ours that the backend refuses is told by an alert, behind the handshake.
    fn backend_broke(&self, error: &io::Error) -> Refusal {
        match (self.passthrough.error(), CertificateAlert::of(error)) {
            (None, Some(alert)) => {
                Refusal::BackendUnanswerable(Unanswerable::CertificateRefused(alert))
            }
            (Some(_), _) => self.backend_left(),
            (None, None) => {
                let what = format!("the connection broke during the login: {error}");
                Refusal::BackendLost(Trouble::new(what))
            }
        }
    }

    fn backend_left(&self) -> Refusal {
        match self.passthrough.error() {
            Some(sqlstate) => Refusal::RefusedByBackend {
                sqlstate: Some(sqlstate.into()),
            },
            None => Refusal::BackendLost(Trouble::new("closed during the login")),
        }
    }
}
