//! All that depends on rustls's unbuffered connections, whose buffers are the caller's.

use std::fmt;
use std::sync::Arc;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, ReadTraffic, UnbufferedStatus,
};
use rustls::{ClientConfig, CommonState, Error, ServerConfig, SupportedCipherSuite};

use super::buffer::Queue;

/// More than what records and their headers add to a little plaintext.
const OVERHEAD: usize = 1024;

/// TLS as the server speaks it.
pub struct ServerSide(UnbufferedServerConnection);

/// TLS as the client speaks it.
pub struct ClientSide(UnbufferedClientConnection);

impl ServerSide {
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        UnbufferedServerConnection::new(config).map(Self)
    }
}

impl ClientSide {
    pub(super) fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Result<Self, Error> {
        UnbufferedClientConnection::new(config, name).map(Self)
    }
}

#[cfg(test)]
impl ClientSide {
    pub(super) fn into_connection(self) -> UnbufferedClientConnection {
        self.0
    }
}

/// What the two sides have in common.
pub trait Side: Unpin {
    /// What rustls keeps for this side alone.
    type Data;

    /// Goes on with what was received, to the next event.
    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data>;

    /// What was agreed on.
    fn state(&self) -> &CommonState;
}

impl Side for ServerSide {
    type Data = ServerConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.0.process_tls_records(received)
    }

    fn state(&self) -> &CommonState {
        &self.0
    }
}

impl Side for ClientSide {
    type Data = ClientConnectionData;

    fn process<'c, 'i>(
        &'c mut self,
        received: &'i mut [u8],
    ) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.0.process_tls_records(received)
    }

    fn state(&self) -> &CommonState {
        &self.0
    }
}

impl fmt::Debug for ServerSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerSide").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ClientSide").finish_non_exhaustive()
    }
}

/// Where a look at what was received has led.
#[derive(Debug)]
pub(super) enum Outlook {
    /// More may come: the bytes from this one on are to be shown again, with more behind them.
    Open { used: usize },
    /// The peer has sent close_notify; what it sends after that is to be ignored.
    PeerClosed,
    /// TLS has failed. If an alert is due, it is among the ciphertext.
    Failed(Error),
}

/// Goes through all whole records of `received`: appends what they held to `plaintext`, and what
/// is to be sent in answer to `ciphertext`. Decrypts in place, so the bytes that are to be shown
/// again are those that it has left behind.
pub(super) fn receive<S: Side>(
    side: &mut S,
    received: &mut [u8],
    plaintext: &mut Queue,
    ciphertext: &mut Queue,
) -> Outlook {
    let mut used = 0;
    loop {
        let rest = received.get_mut(used..).unwrap_or_default();
        let UnbufferedStatus { discard, state } = side.process(rest);
        let more = match state {
            Ok(ConnectionState::ReadTraffic(traffic)) => take_records(traffic, plaintext),
            Ok(ConnectionState::EncodeTlsData(record)) => {
                encode(record, ciphertext);
                Ok(0)
            }
            // The ciphertext leaves in its order, before anything that is encrypted later.
            Ok(ConnectionState::TransmitTlsData(sent)) => {
                sent.done();
                Ok(0)
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::WriteTraffic(_)) => {
                let used = used.saturating_add(discard);
                return Outlook::Open { used };
            }
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => {
                return Outlook::PeerClosed;
            }
            // There is none: no configuration of ours accepts early data (T14).
            Ok(ConnectionState::ReadEarlyData(_) | _) => {
                Err(Error::General("early data".to_owned()))
            }
            Err(error) => Err(error),
        };
        match more {
            Ok(more) => used = used.saturating_add(discard).saturating_add(more),
            Err(error) => {
                let rest = received.get_mut(used..).unwrap_or_default();
                take_alerts(side, rest, ciphertext);
                return Outlook::Failed(error);
            }
        }
    }
}

/// Appends every record to `plaintext`: how many received bytes are done with besides.
fn take_records<Data>(
    mut traffic: ReadTraffic<'_, '_, Data>,
    plaintext: &mut Queue,
) -> Result<usize, Error> {
    let mut used = 0_usize;
    while let Some(record) = traffic.next_record() {
        let record = record?;
        plaintext.push(record.payload);
        used = used.saturating_add(record.discard);
    }
    Ok(used)
}

/// Appends a record of TLS itself.
fn encode<Data>(mut record: EncodeTlsData<'_, Data>, ciphertext: &mut Queue) {
    let mut wanted = OVERHEAD;
    while let Err(EncodeError::InsufficientSize(error)) =
        ciphertext.write_with(wanted, |room| record.encode(room))
    {
        wanted = error.required_size.max(wanted + 1);
    }
}

/// Appends the alerts of a connection that has failed. It is not to be shown a record any more.
fn take_alerts<S: Side>(side: &mut S, received: &mut [u8], ciphertext: &mut Queue) {
    while side.state().wants_write() {
        match side.process(received).state {
            Ok(ConnectionState::EncodeTlsData(record)) => encode(record, ciphertext),
            Ok(_) | Err(_) => return,
        }
    }
}

/// Encrypts all of the plaintext and appends the records to `ciphertext`. `held` are the received
/// bytes that are to be shown again.
///
/// # Errors
/// TLS 1.2 has no keys left (rustls then closes with close_notify, which is among the ciphertext),
/// or this side is closed.
pub(super) fn encrypt<S: Side>(
    side: &mut S,
    plaintext: &[u8],
    held: &mut [u8],
    ciphertext: &mut Queue,
) -> Result<(), Exhausted> {
    let mut wanted = plaintext.len() + plaintext.len() / 64 + OVERHEAD;
    loop {
        match side.process(held).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                match ciphertext.write_with(wanted, |room| traffic.encrypt(plaintext, room)) {
                    Ok(()) => return Ok(()),
                    // More records than usual. A KeyUpdate can have become due, and comes first.
                    Err(EncryptError::InsufficientSize(error)) => {
                        wanted = error.required_size.max(wanted + 1);
                    }
                    Err(EncryptError::EncryptExhausted) => {
                        take_alerts(side, held, ciphertext);
                        return Err(Exhausted);
                    }
                }
            }
            Ok(ConnectionState::EncodeTlsData(record)) => encode(record, ciphertext),
            Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
            Ok(_) | Err(_) => return Err(Exhausted),
        }
    }
}

/// How many records this side may encrypt in all, where its keys can't be renewed.
pub(super) fn last_record<S: Side>(side: &S) -> Option<u64> {
    match side.state().negotiated_cipher_suite()? {
        SupportedCipherSuite::Tls12(suite) => Some(suite.common.confidentiality_limit),
        SupportedCipherSuite::Tls13(_) => None,
    }
}

/// Appends close_notify to `ciphertext`, if it or a fatal alert hasn't been sent yet.
pub(super) fn close<S: Side>(side: &mut S, held: &mut [u8], ciphertext: &mut Queue) {
    if let Ok(ConnectionState::WriteTraffic(mut traffic)) = side.process(held).state {
        // Neither error comes: an alert fits, and is encrypted with the last of the keys.
        drop(ciphertext.write_with(OVERHEAD, |room| traffic.queue_close_notify(room)));
    }
}

/// Nothing more can be encrypted on this connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("TLS has no keys left to encrypt with")]
pub(crate) struct Exhausted;
