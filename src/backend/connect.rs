//! Connecting: from a list of addresses to a backend that has the StartupMessage.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};

use super::standing::Turn;
use super::{Backend, CertificateAlert, ClientIdentity, DialError, Endpoint, Live, Reached};
use crate::relay::BackendStream;
use crate::wire::backend::BackendMessage;
use crate::wire::message::take_message;

/// PostgreSQL's `cannot_connect_now`: it is starting up, shutting down or recovering (T22).
const CANNOT_CONNECT_NOW: &str = "57P03";

/// The longest first answer that is looked into, in bytes.
const MAX_FIRST_ANSWER: usize = 16 * 1024;

/// The shortest time within which an address that stays silent is taken for one that is down: less, and
/// it may be that nobody could have answered.
const FAIR: Duration = Duration::from_secs(1);

/// What a backend is greeted with.
#[derive(Debug, Clone, Copy)]
pub struct Hello<'a> {
    /// The StartupMessage, as it came.
    pub startup: &'a [u8],
    /// A client certificate made for this login; without one the project's own is shown, if any.
    pub identity: Option<&'a ClientIdentity>,
}

/// A backend that has the StartupMessage.
#[derive(Debug)]
pub struct Connected {
    /// The way to it.
    pub stream: BackendStream,
    /// What it has answered so far: perhaps nothing, perhaps not a whole message.
    pub heard: BytesMut,
    /// Where it was reached, for a cancel.
    pub reached: Reached,
    /// The leaf that it showed, DER; none without TLS. Channel binding compares it (T19).
    pub leaf_der: Option<CertificateDer<'static>>,
    /// Its place in the count of sessions at that address.
    pub live: Live,
    /// What came of the addresses that were tried before.
    pub passed_over: Vec<DialError>,
}

/// What came of each address of a backend, none of which was to be had: at least one.
#[derive(Debug)]
pub struct Unavailable(Vec<DialError>);

impl Unavailable {
    /// Whether all of them answer, and none has TLS as the project demands.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.iter().all(DialError::is_tls)
    }

    /// Whether nothing was found out about any of them, for the login had no time left.
    #[must_use]
    pub fn is_out_of_time(&self) -> bool {
        self.0.iter().all(DialError::is_hurried)
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&joined(&self.0))
    }
}

/// The texts of failures, for one line of a log.
fn joined(failures: &[DialError]) -> String {
    let texts: Vec<_> = failures.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl Connected {
    /// What came of the addresses that were tried before, for the operator; none if this was the
    /// first.
    #[must_use]
    pub fn passed_over(&self) -> Option<String> {
        (!self.passed_over.is_empty()).then(|| joined(&self.passed_over))
    }
}

/// How long one address may take, and from when.
#[derive(Clone, Copy)]
struct Attempt {
    began: Instant,
    within: Duration,
    /// Whether silence for that long tells something about the address.
    is_fair: bool,
}

impl Attempt {
    /// An attempt that leaves their share of the time up to `deadline` to so many `others`.
    fn new(endpoint: &Endpoint, deadline: Instant, others: usize) -> Self {
        let began = Instant::now();
        let shares = u32::try_from(others).unwrap_or(u32::MAX).saturating_add(1);
        let share = deadline.saturating_duration_since(began) / shares;
        Self {
            began,
            within: endpoint.connect_timeout.min(share),
            is_fair: share >= endpoint.connect_timeout.min(FAIR),
        }
    }

    /// The failure as it is to be told of an address that had this long.
    fn judge(self, error: DialError) -> DialError {
        match (self.is_fair, error) {
            (
                false,
                DialError::Timeout {
                    addr,
                    doing,
                    within,
                },
            ) => DialError::Hurried {
                addr,
                doing,
                within,
            },
            (_, error) => error,
        }
    }
}

/// See [`Backend::connect`].
pub(super) async fn connect(
    backend: &Backend,
    hello: Hello<'_>,
    deadline: Instant,
) -> Result<Connected, Unavailable> {
    let candidates = backend.candidates();
    let has_others = backend.endpoints().len() > 1;
    let mut failures = Vec::new();
    let count = candidates.len();
    for (endpoint, left) in candidates.into_iter().zip((0..count).rev()) {
        let attempt = Attempt::new(&endpoint, deadline, left);
        let Some(_turn) = turn(&endpoint, has_others) else {
            let addr = endpoint.addr().clone();
            failures.push(DialError::SetAside { addr });
            continue;
        };
        // Counted before it is tried, so that those who come at once don't all go to one address.
        let live = endpoint.enter();
        let opened = open(&endpoint, attempt, (hello, has_others)).await;
        let (opened, is_ready) = match opened.map_err(|error| attempt.judge(error)) {
            Ok(opened) => opened,
            Err(error) => {
                if !error.is_hurried() {
                    endpoint.standing.failed(attempt.began, Instant::now());
                }
                failures.push(error);
                continue;
            }
        };
        if is_ready {
            endpoint.standing.succeeded();
        } else {
            endpoint.standing.failed(attempt.began, Instant::now());
            if left > 0 {
                let peer = opened.reached.peer;
                failures.push(DialError::NotReady { peer });
                continue;
            }
            // Nowhere to go on to: the client reads it in the backend's own words (T21).
        }
        return Ok(Connected {
            stream: opened.stream,
            heard: opened.heard,
            reached: opened.reached,
            leaf_der: opened.leaf_der,
            live,
            passed_over: failures,
        });
    }
    Err(Unavailable(failures))
}

/// The right to try an address; of a lone one everybody has it, for there is nothing else to try.
fn turn(endpoint: &Endpoint, has_others: bool) -> Option<Option<Turn>> {
    if has_others {
        endpoint.standing.turn().map(Some)
    } else {
        Some(None)
    }
}

/// A backend that has the StartupMessage, and has perhaps answered.
struct Opened {
    stream: BackendStream,
    heard: BytesMut,
    reached: Reached,
    leaf_der: Option<CertificateDer<'static>>,
}

/// Dials, says hello and, if it `listens`, hears the first answer; says also whether that is anything
/// but 57P03.
async fn open(
    endpoint: &Arc<Endpoint>,
    attempt: Attempt,
    (hello, listens): (Hello<'_>, bool),
) -> Result<(Opened, bool), DialError> {
    let connection = endpoint.dial_within(attempt.within, hello.identity).await?;
    let mut opened = Opened {
        stream: connection.stream,
        heard: BytesMut::new(),
        reached: Reached {
            endpoint: Arc::clone(endpoint),
            peer: connection.peer,
        },
        leaf_der: connection.leaf_der,
    };
    let answered = async {
        let sent = say(&mut opened.stream, hello.startup).await;
        if let Err(error) = sent {
            return Err(last_word(&mut opened.stream, error).await);
        }
        if listens {
            listen(&mut opened.stream, &mut opened.heard).await
        } else {
            Ok(true)
        }
    };
    match timeout_at(attempt.began + attempt.within, answered).await {
        Ok(Ok(is_ready)) => Ok((opened, is_ready)),
        Ok(Err(source)) => Err(DialError::Ended {
            peer: opened.reached.peer,
            instead_of: "StartupMessage",
            source,
        }),
        Err(_) => Err(DialError::Timeout {
            addr: endpoint.addr().clone(),
            doing: "its answer to StartupMessage",
            within: attempt.within,
        }),
    }
}

async fn say(stream: &mut BackendStream, startup: &[u8]) -> io::Result<()> {
    stream.write_all(startup).await?;
    stream.flush().await
}

/// Why nothing more can be written: an alert that lies there unread says more than a broken pipe.
async fn last_word(stream: &mut BackendStream, error: io::Error) -> io::Error {
    match stream.read_buf(&mut BytesMut::new()).await {
        Err(read) if CertificateAlert::of(&read).is_some() => read,
        Ok(_) | Err(_) => error,
    }
}

/// Reads until it is known whether the backend is ready for logins.
async fn listen(stream: &mut BackendStream, heard: &mut BytesMut) -> io::Result<bool> {
    loop {
        // More than any answer is; what it is, is for the login to refuse (T20).
        if heard.len() > 2 * MAX_FIRST_ANSWER {
            return Ok(true);
        }
        if let Some(is_ready) = judge(heard) {
            return Ok(is_ready);
        }
        if stream.read_buf(heard).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Whether a backend that has answered so is ready for logins; none if that can't be told yet. What is
/// not a message is for the login to refuse.
fn judge(heard: &BytesMut) -> Option<bool> {
    let mut unread = heard.clone();
    let mut has_negotiated = false;
    loop {
        let message = match take_message(&mut unread, MAX_FIRST_ANSWER) {
            Ok(message) => message?,
            Err(_) => return Some(true),
        };
        match BackendMessage::parse(&message) {
            // It comes before the refusal of a server that is not ready, too.
            Ok(BackendMessage::NegotiateProtocolVersion) if !has_negotiated => {
                has_negotiated = true;
            }
            Ok(BackendMessage::ErrorResponse(fields)) => {
                return Some(fields.sqlstate() != Some(CANNOT_CONNECT_NOW));
            }
            Ok(
                BackendMessage::Authentication(_)
                | BackendMessage::BackendKeyData { .. }
                | BackendMessage::ReadyForQuery(_)
                | BackendMessage::NegotiateProtocolVersion
                | BackendMessage::Other,
            )
            | Err(_) => return Some(true),
        }
    }
}

#[cfg(test)]
mod tests;
