//! [`ClientHello`]: what a client says first, read before it is decided with which configuration
//! it is answered.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::stream::TlsStream;
use super::unbuffered::ServerSide;

/// Room for the first read: a ClientHello with a post-quantum key share takes 1.6 KB.
const FIRST_READ: usize = 4 * 1024;

/// A ClientHello, and the connection that it came on.
pub struct ClientHello {
    socket: TcpStream,
    /// All that was received, the ClientHello and what may follow it.
    received: Vec<u8>,
    server_name: Option<String>,
    protocols: Vec<Vec<u8>>,
}

/// No ClientHello came, or none that TLS allows.
#[derive(Debug)]
pub struct NoClientHello {
    /// Why: `InvalidData` for a violation of TLS, else what the socket said.
    pub error: io::Error,
    /// The connection. If an alert was due, it is sent.
    pub socket: TcpStream,
}

impl ClientHello {
    /// Reads it. There is no deadline; it takes at most 64 KiB of the client's bytes.
    ///
    /// # Errors
    /// The client has left, or what it sent is no ClientHello.
    pub async fn read(mut socket: TcpStream) -> Result<Self, NoClientHello> {
        let mut received = Vec::with_capacity(FIRST_READ);
        match accept(&mut socket, &mut received).await {
            Ok(accepted) => {
                let hello = accepted.client_hello();
                Ok(Self {
                    server_name: hello.server_name().map(str::to_owned),
                    protocols: hello
                        .alpn()
                        .into_iter()
                        .flatten()
                        .map(<[u8]>::to_vec)
                        .collect(),
                    socket,
                    received,
                })
            }
            Err(error) => Err(NoClientHello { error, socket }),
        }
    }

    /// The server_name that the client asks for (RFC 6066 section 3).
    #[must_use]
    pub fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Whether the client offers this protocol by ALPN (RFC 7301).
    #[must_use]
    pub fn offers(&self, protocol: &[u8]) -> bool {
        self.protocols.iter().any(|offered| offered == protocol)
    }

    /// The connection, for an answer that is no handshake.
    #[must_use]
    pub fn into_socket(self) -> TcpStream {
        self.socket
    }

    /// Computes the answer, which is where a handshake's work is: it keeps the thread for a quarter of a
    /// millisecond, and waits for nothing. The handshake is then to be finished.
    #[must_use]
    pub fn answer(self, config: Arc<ServerConfig>) -> Handshake {
        Handshake(TlsStream::accept(self.socket, config, self.received))
    }
}

/// A handshake whose answer to the ClientHello is ready to be sent.
pub struct Handshake(Result<TlsStream<ServerSide>, (io::Error, TcpStream)>);

impl Handshake {
    /// Sends as much of the answer as the socket takes at once.
    pub async fn send_ready(&mut self) {
        if let Ok(stream) = &mut self.0 {
            stream.send_ready().await;
        }
    }

    /// Whether the answer was only to ask for another ClientHello (RFC 8446 section 4.1.4), so that the
    /// work is still to come.
    #[must_use]
    pub fn is_put_off(&self) -> bool {
        self.0.as_ref().is_ok_and(TlsStream::awaits_another_hello)
    }

    /// Waits until the client has said something more.
    pub async fn heard(&self) {
        if let Ok(stream) = &self.0 {
            // An error will come again when it is read.
            drop(stream.socket().readable().await);
        }
    }

    /// Takes up what the client has said by now, and computes the answer to it, if it is whole.
    #[must_use]
    pub async fn go_on(self) -> Self {
        match self.0 {
            Ok(stream) => Self(stream.receive_ready().await),
            Err(failure) => Self(Err(failure)),
        }
    }

    /// Sends what is left, and waits for the client's part.
    ///
    /// # Errors
    /// The two sides could not agree, or the client left. If an alert was due, it has been sent on
    /// the connection, which is given back.
    pub async fn finish(self) -> Result<TlsStream<ServerSide>, (io::Error, TcpStream)> {
        self.0?.finish_handshake().await
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").finish_non_exhaustive()
    }
}

impl fmt::Debug for ClientHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientHello")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// Reads until rustls has seen a whole ClientHello, which it does not answer here: that is done by
/// the connection that gets the same bytes.
async fn accept(socket: &mut TcpStream, received: &mut Vec<u8>) -> io::Result<Accepted> {
    let mut acceptor = Acceptor::default();
    loop {
        let seen = received.len();
        if socket.read_buf(received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut unseen = received.get(seen..).unwrap_or_default();
        while !unseen.is_empty() {
            acceptor.read_tls(&mut unseen)?;
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(accepted),
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut record = Vec::new();
                    alert.write_all(&mut record)?;
                    // The client may be gone; that it broke TLS is what counts.
                    drop(socket.write_all(&record).await);
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }
}
