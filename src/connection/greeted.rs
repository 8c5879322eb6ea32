//! [`Greeted`]: GSSENCRequest and SSLRequest are answered, or TLS began directly, and a ClientHello
//! was read. Nothing of the client's has been believed yet.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::accepted::Accepted;
use super::cancelled::{Cancel, Waiting};
use super::facts::{Facts, Negotiation};
use super::refused::{Channel, Refused};
use crate::gate::limits::OverLimit;
use crate::id::ProjectName;
use crate::refusal::Refusal;
use crate::tls::{ClientHello, NoClientHello};
use crate::wire::ProtocolViolation;
use crate::wire::startup::{CancelRequest, StartupHeader, StartupPacket};

/// The first byte of a TLS record that carries a handshake (RFC 8446 section 5.1).
const TLS_HANDSHAKE: u8 = 0x16;

/// PostgreSQL's ALPN name.
const ALPN: &[u8] = b"postgresql";

/// A connection whose ClientHello is known.
pub(super) struct Greeted {
    pub(super) hello: ClientHello,
    pub(super) pinned: Option<ProjectName>,
    pub(super) over: Option<OverLimit>,
}

/// What the client opened with.
pub(super) enum Greeting {
    /// A TLS handshake, on the way to a session.
    Hello(Box<Greeted>),
    /// A CancelRequest in clear, as libpq before 17 sends it even for a TLS session (T9).
    Cancel(Cancel),
}

impl Accepted {
    /// Negotiates encryption as PostgreSQL's `ProcessStartupPacket` does, but for one thing: a
    /// session in clear is refused.
    ///
    /// # Errors
    /// The client wants no TLS, breaks the protocol, or leaves.
    pub(super) async fn greet(self, facts: &mut Facts) -> Result<Greeting, Refused> {
        let Self {
            mut socket,
            pinned,
            over,
        } = self;
        let negotiation = match negotiate(&mut socket).await {
            Ok(Opening::Tls(negotiation)) => negotiation,
            Ok(Opening::Cancel(request)) => {
                return Ok(Greeting::Cancel(Cancel::new(
                    request,
                    Waiting::Clear(socket),
                )));
            }
            Err(refusal) => return Err(Refused::new(refusal, Channel::Clear(socket))),
        };
        facts.negotiation = Some(negotiation);
        let hello = read_client_hello(socket).await?;
        facts.server_name = hello.server_name().and_then(|name| name.parse().ok());
        if negotiation == Negotiation::Direct && !hello.offers(ALPN) {
            let channel = Channel::NoApplicationProtocol(hello.into_socket());
            return Err(Refused::new(Refusal::DirectTlsWithoutAlpn, channel));
        }
        Ok(Greeting::Hello(Box::new(Greeted {
            hello,
            pinned,
            over,
        })))
    }
}

async fn read_client_hello(socket: TcpStream) -> Result<ClientHello, Refused> {
    let hello = ClientHello::read(socket).await;
    hello.map_err(|NoClientHello { error, socket }| {
        Refused::new(Refusal::from_tls(&error), Channel::Alerted(socket))
    })
}

enum Opening {
    Tls(Negotiation),
    Cancel(CancelRequest),
}

/// Answers until TLS can begin: GSSENCRequest and SSLRequest at most once each (T3).
async fn negotiate(socket: &mut TcpStream) -> Result<Opening, Refusal> {
    if first_byte(socket).await? == TLS_HANDSHAKE {
        return Ok(Opening::Tls(Negotiation::Direct));
    }
    let mut packet = read_startup_packet(socket).await?;
    if let StartupPacket::GssEncRequest = packet {
        answer(socket, b"N").await?;
        packet = read_startup_packet(socket).await?;
    }
    match packet {
        StartupPacket::SslRequest => {
            answer(socket, b"S").await?;
            Ok(Opening::Tls(Negotiation::SslRequest))
        }
        StartupPacket::Cancel(request) => Ok(Opening::Cancel(request)),
        StartupPacket::Startup(_) => Err(Refusal::PlaintextRefused),
        StartupPacket::GssEncRequest => Err(Refusal::ProtocolViolation(
            ProtocolViolation::RepeatedEncryptionRequest,
        )),
    }
}

/// Looks at the first byte and leaves it where it is, for TLS to read.
async fn first_byte(socket: &TcpStream) -> Result<u8, Refusal> {
    let mut byte = [0];
    match socket.peek(&mut byte).await {
        // Connect and close: a health check (T33).
        Ok(0) => Err(Refusal::Probe),
        Ok(_) => Ok(byte[0]),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Refusal::Probe),
        Err(_) => Err(Refusal::ClientGone),
    }
}

/// Answers a request for encryption with one byte. Whatever the client sent before it could have
/// the answer was put there by somebody else (T1, CVE-2021-23214): the end.
async fn answer(socket: &mut TcpStream, answer: &[u8; 1]) -> Result<(), Refusal> {
    match socket.try_read(&mut [0]) {
        Ok(0) => return Err(Refusal::ClientGone),
        Ok(_) => return Err(Refusal::UnencryptedData),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => return Err(Refusal::ClientGone),
    }
    socket
        .write_all(answer)
        .await
        .map_err(|_| Refusal::ClientGone)
}

/// Reads one packet and not a byte more (T1).
///
/// # Errors
/// The packet is malformed, or the client left.
pub(super) async fn read_startup_packet(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<StartupPacket, Refusal> {
    let mut header = [0; 8];
    stream
        .read_exact(&mut header)
        .await
        .map_err(|_| Refusal::ClientGone)?;
    let header = StartupHeader::parse(header).map_err(Refusal::ProtocolViolation)?;
    let mut rest = vec![0; header.remaining()];
    stream
        .read_exact(&mut rest)
        .await
        .map_err(|_| Refusal::ClientGone)?;
    header.finish(&rest).map_err(Refusal::ProtocolViolation)
}
