//! The service account's connection. The backend is as hostile as any peer (T20).

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use zeroize::Zeroizing;

use super::Account;
use crate::address::BackendAddr;
use crate::auth::proof::{Proofs, Unmade};
use crate::auth::terminated::{BackendLeg, Demand, LoginError, Terminated, Then};
use crate::backend::{BackendConnection, CertificateAlert, DialError, Endpoint};
use crate::relay::BackendStream;
use crate::wire::ProtocolViolation;
use crate::wire::backend::BackendMessage;
use crate::wire::message::{Message, take_message};
use crate::wire::query::{TERMINATE, ask, data_row, startup_message};
use crate::wire::secret::{SecretMessage, password_message};

/// The longest message of the backend, in bytes: no answer comes near it.
const MAX_MESSAGE: usize = 16 * 1024;
/// The most messages of the backend until it is ready.
const MAX_MESSAGES: usize = 200;
/// How long the server may work on the question, in milliseconds.
const STATEMENT_TIMEOUT: &str = "3000";

/// Why the backend could not be asked; for the operator. Of what the backend said it shows a
/// SQLSTATE only (T34).
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// It can't be had.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The service account can't log in.
    #[error("the login of auth_user failed: {0}")]
    Login(#[from] LoginError),
    /// The backend refuses the login of the service account, or its question.
    #[error("{doing} was refused with SQLSTATE {sqlstate}; the server's log says why")]
    Refused {
        /// What was.
        doing: &'static str,
        /// By which error, or "unknown".
        sqlstate: String,
    },
    /// Its proof could not be made.
    #[error(transparent)]
    Proof(#[from] Unmade),
    /// The connection broke.
    #[error("the connection of auth_user broke: {}{}", .0, advice(.0))]
    Io(#[from] std::io::Error),
    /// The backend breaks the protocol.
    #[error("the server broke the protocol: {0}")]
    Violation(#[from] ProtocolViolation),
    /// Not what an answer must be.
    #[error(
        "the query must give at most one row, of one column or two, the last of them the verifier"
    )]
    Answer,
    /// More messages than there can be.
    #[error("the server does not come to an end")]
    Endless,
}

/// A connection as the service account.
pub(super) struct Service {
    addr: BackendAddr,
    stream: BackendStream,
    buffer: BytesMut,
}

impl Service {
    /// Logs in, and waits until questions can be asked.
    pub(super) async fn open(
        account: &Account,
        endpoint: &Endpoint,
        proofs: &Proofs,
    ) -> Result<Self, ServiceError> {
        let connection = endpoint.dial(None).await?;
        let leg = leg(&connection, endpoint);
        let mut service = Self {
            addr: endpoint.addr().clone(),
            stream: connection.stream,
            buffer: BytesMut::new(),
        };
        let startup = startup_message(&[
            ("user", &account.user),
            ("database", &account.database),
            ("application_name", "portcullis auth_query"),
            // The name of a role has no encoding; what the client sent is to be compared as it is.
            ("client_encoding", "SQL_ASCII"),
            // Nobody who can make objects in that database is to put another meaning into the query.
            ("search_path", "pg_catalog"),
            ("statement_timeout", STATEMENT_TIMEOUT),
            ("default_transaction_read_only", "on"),
        ]);
        service.send(&startup).await?;
        service.log_in(account, leg, proofs).await?;
        service.until_ready("the login of auth_user").await?;
        Ok(service)
    }

    /// Whether it is to this address.
    pub(super) fn is_at(&self, endpoint: &Endpoint) -> bool {
        self.addr == *endpoint.addr()
    }

    /// The password, or whatever else the query gives; none if it gives nothing, or NULL.
    pub(super) async fn ask(
        &mut self,
        account: &Account,
        name: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, ServiceError> {
        self.send(&ask(&account.query, name)).await?;
        let rows = self.until_ready("auth_query").await?;
        let row = match rows.as_slice() {
            [] => return Ok(None),
            [row] => row,
            _ => return Err(ServiceError::Answer),
        };
        match data_row(row)?.as_slice() {
            [verifier] | [_, verifier] => Ok(verifier.map(|text| Zeroizing::new(text.to_vec()))),
            _ => Err(ServiceError::Answer),
        }
    }

    /// Says goodbye. What comes of that doesn't matter.
    pub(super) async fn close(mut self) {
        drop(self.send(&TERMINATE).await);
        drop(self.stream.shutdown().await);
    }

    /// The same login as that of a user who tells the gate the password.
    async fn log_in(
        &mut self,
        account: &Account,
        leg: BackendLeg,
        proofs: &Proofs,
    ) -> Result<(), ServiceError> {
        let login = Terminated::new(account.user.as_bytes(), Demand::Password, leg);
        let mut login = Box::new(login);
        let mut then = Then::ReadBackend;
        loop {
            let step = match then {
                Then::ReadBackend => {
                    let (same, step) = proofs.take(login, self.message().await?).await?;
                    login = same;
                    step?
                }
                Then::ReadClient { max } => {
                    login.client_message(&password(&account.password, max)?)?
                }
                Then::Authenticated => return Ok(()),
                Then::Refused { sqlstate } => {
                    return Err(refused("the login of auth_user", sqlstate.as_deref()));
                }
                Then::FindVerifier(_) => return Err(LoginError::BackendUnproved.into()),
            };
            if !step.to_backend.is_empty() {
                self.send(&step.to_backend).await?;
            }
            then = step.then;
        }
    }

    /// Reads until the backend is ready; gives the rows that came.
    async fn until_ready(&mut self, doing: &'static str) -> Result<Vec<Message>, ServiceError> {
        let mut rows = Vec::new();
        for _ in 0..MAX_MESSAGES {
            let message = self.message().await?;
            match BackendMessage::parse(&message)? {
                BackendMessage::ReadyForQuery(_) => return Ok(rows),
                BackendMessage::ErrorResponse(fields) => {
                    return Err(refused(doing, fields.sqlstate()));
                }
                BackendMessage::Authentication(_) => return Err(message.unexpected().into()),
                BackendMessage::Other if message.tag() == b'D' => rows.push(message),
                BackendMessage::BackendKeyData { .. }
                | BackendMessage::NegotiateProtocolVersion
                | BackendMessage::Other => {}
            }
        }
        Err(ServiceError::Endless)
    }

    async fn message(&mut self) -> Result<Message, ServiceError> {
        loop {
            if let Some(message) = take_message(&mut self.buffer, MAX_MESSAGE)? {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }
}

/// What to do about a certificate of the gate's that the server refuses.
fn advice(error: &std::io::Error) -> String {
    CertificateAlert::of(error).map_or_else(String::new, |alert| format!(". {}", alert.advice()))
}

fn refused(doing: &'static str, sqlstate: Option<&str>) -> ServiceError {
    ServiceError::Refused {
        doing,
        sqlstate: sqlstate.unwrap_or("unknown").to_owned(),
    }
}

/// PasswordMessage, as if a client had sent it.
fn password(password: &[u8], max: usize) -> Result<SecretMessage, ProtocolViolation> {
    let raw = password_message(password);
    let unexpected = SecretMessage::UNEXPECTED;
    let (header, body) = raw.split_first_chunk().ok_or(unexpected)?;
    let mut message = SecretMessage::announced(*header, max)?;
    message.body_mut().copy_from_slice(body);
    Ok(message)
}

fn leg(connection: &BackendConnection, endpoint: &Endpoint) -> BackendLeg {
    let is_trusted = endpoint.is_trusted();
    let is_vouched_for = is_trusted || connection.peer.is_local();
    BackendLeg::new(connection.leaf_der.as_deref(), is_trusted, is_vouched_for)
}
