//! [`Refused`]: a login that ended, and the way on which the client can still be told why.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::greeted::read_startup_packet;
use crate::refusal::Refusal;
use crate::relay::ClientStream;
use crate::tls::ClientHello;
use crate::wire::startup::StartupPacket;

/// The fatal alert `no_application_protocol`, in clear: it comes before any key is agreed on (RFC
/// 8446 section 6, RFC 7301 section 3.2).
const NO_APPLICATION_PROTOCOL: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 120];

/// How long an answer may take, a TLS handshake before it included.
const ANSWER: Duration = Duration::from_secs(5);

/// How long the client has to take the answer and close. Closing with unread bytes of the client
/// in hand would make the kernel send RST, which can overtake the answer.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of the client that are read and forgotten meanwhile.
const LINGER_BYTES: u64 = 64 * 1024;

/// A login that ended before the relay.
pub(super) struct Refused {
    refusal: Refusal,
    channel: Channel,
}

/// The way on which the client can be told.
pub(super) enum Channel {
    /// None, or none that it is due.
    Closed,
    /// The socket in clear. Only who asked for no TLS believes what comes on it (T7).
    Clear(TcpStream),
    /// The socket, after TLS failed; the alert is sent.
    Alerted(TcpStream),
    /// The socket, where the alert `no_application_protocol` is due.
    NoApplicationProtocol(TcpStream),
    /// A TLS handshake to finish first, so that the answer can be read (T7, T13).
    Hello(Box<ClientHello>, Arc<ServerConfig>),
    /// TLS.
    Secured(Box<ClientStream>),
}

impl Refused {
    pub(super) const fn new(refusal: Refusal, channel: Channel) -> Self {
        Self { refusal, channel }
    }

    /// Tells the client, as far as it can be told and is to be, and closes.
    pub(super) async fn answer(self) -> Refusal {
        let Self { refusal, channel } = self;
        // The client may be gone; nothing depends on whether it heard us.
        drop(timeout(ANSWER, tell(channel, &refusal)).await);
        refusal
    }
}

async fn tell(channel: Channel, refusal: &Refusal) -> io::Result<()> {
    let fatal = refusal.fatal();
    match channel {
        Channel::Closed => Ok(()),
        Channel::Clear(socket) => match (refusal, fatal) {
            (Refusal::PlaintextRefused, Some(fatal)) => part(socket, fatal).await,
            (_, _) => Ok(()),
        },
        Channel::Alerted(socket) => part(socket, Bytes::new()).await,
        Channel::NoApplicationProtocol(socket) => {
            part(socket, Bytes::from_static(&NO_APPLICATION_PROTOCOL)).await
        }
        Channel::Hello(hello, tls) => {
            let mut client = match hello.answer(tls).await {
                Ok(client) => client,
                // The alert is sent.
                Err((_, socket)) => return part(socket, Bytes::new()).await,
            };
            // libpq reads an answer only once it has sent its StartupMessage.
            match read_startup_packet(&mut client).await {
                Ok(StartupPacket::Startup(_)) => part(client, fatal.unwrap_or_default()).await,
                // A cancel is never answered (T9), and what is no StartupMessage has no reader.
                Ok(_) | Err(_) => part(client, Bytes::new()).await,
            }
        }
        Channel::Secured(client) => part(*client, fatal.unwrap_or_default()).await,
    }
}

/// Sends the last words, ends our side, and waits a moment for the client to end its own.
async fn part(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    last_words: Bytes,
) -> io::Result<()> {
    stream.write_all(&last_words).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let leftovers =
        async { tokio::io::copy(&mut stream.take(LINGER_BYTES), &mut tokio::io::sink()).await };
    // Whether it closed in time or not, we are done.
    drop(timeout(LINGER, leftovers).await);
    Ok(())
}
