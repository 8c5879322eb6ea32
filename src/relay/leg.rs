//! A session's two legs: all that the relay knows of sockets and of TLS.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::{ClientSide, ServerSide, TlsStream};

/// A client's connection: always TLS, its handshake done.
pub type ClientStream = TlsStream<ServerSide>;

/// The client's side of a session.
#[derive(Debug)]
pub(super) struct ClientLeg(ClientStream);

impl ClientLeg {
    pub(super) fn new(mut stream: ClientStream) -> Self {
        stream.expects_no_secrets();
        Self(stream)
    }

    /// Lends the next decrypted bytes, none of them at close_notify. FIN without one is
    /// `UnexpectedEof`. Reads from the socket only when nothing decrypted is left (T15), so what
    /// is held is at most one read's worth of records; adds what it read to `received`.
    pub(super) fn poll_plaintext(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut usize,
    ) -> Poll<io::Result<&[u8]>> {
        self.0.poll_plaintext(cx, received)
    }

    /// Marks bytes that [`Self::poll_plaintext`] lent as relayed.
    pub(super) fn consume(&mut self, count: usize) {
        self.0.consume_plaintext(count);
    }

    /// Keeps no more memory than what is not consumed needs.
    pub(super) fn fit(&mut self) {
        self.0.fit_plaintext();
    }

    /// Encrypts all of the bytes, to be sent by [`Self::poll_flush`].
    pub(super) fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.encrypt(bytes)
    }

    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_send(cx)
    }

    /// Whether there is something encrypted that the socket has not taken.
    pub(super) fn has_unsent(&self) -> bool {
        self.0.has_unsent()
    }

    /// The connection below.
    pub(super) const fn socket(&self) -> &TcpStream {
        self.0.socket()
    }

    /// Sends what is encrypted, close_notify and FIN.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    /// How many records may be encrypted for it in all, if they are counted.
    pub(super) fn last_record(&self) -> Option<u64> {
        self.0.last_record()
    }

    /// Sends what is encrypted, and FIN without close_notify.
    pub(super) fn poll_fin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_fin(cx)
    }

    /// Makes the close that follows tell the client of a reset instead of an end (T16).
    pub(super) fn reset_on_close(&self) {
        // It fails only on a socket that is already dead, which needs no reset.
        drop(self.0.socket().set_zero_linger());
    }
}

/// A connection to a backend, ready for the session's bytes.
#[derive(Debug)]
pub enum BackendStream {
    /// TCP in clear.
    Tcp(TcpStream),
    /// A Unix socket, in clear.
    Unix(UnixStream),
    /// TLS over TCP, its handshake done and the backend verified as the project demands. Boxed,
    /// so that a session with a plain backend doesn't keep room for a second TLS state.
    Tls(Box<TlsStream<ClientSide>>),
}

impl BackendStream {
    /// How many records may be encrypted for it in all, if they are counted.
    pub(super) fn last_record(&self) -> Option<u64> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(tls) => tls.last_record(),
        }
    }

    /// Keeps no more memory than what was decrypted and not read needs.
    pub(super) fn fit(&mut self) {
        match self {
            Self::Tcp(_) | Self::Unix(_) => {}
            Self::Tls(tls) => tls.fit_plaintext(),
        }
    }

    /// Reads; over TLS, adds what it read from the socket to `received`.
    pub(super) fn poll_read_counting(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        received: &mut usize,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buffer),
            Self::Tls(tls) => tls.poll_read_counting(cx, buffer, received),
        }
    }

    /// Sends what was taken, and FIN; over TLS without close_notify.
    pub(super) fn poll_fin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Tls(tls) => tls.poll_fin(cx),
        }
    }

    /// Makes the close that follows tell the backend of a reset instead of an end (T16). A Unix
    /// socket has no such message; there this does nothing.
    pub(super) fn reset_on_close(&self) {
        let tcp = match self {
            Self::Tcp(tcp) => tcp,
            Self::Unix(_) => return,
            Self::Tls(tls) => tls.socket(),
        };
        // It fails only on a socket that is already dead, which needs no reset.
        drop(tcp.set_zero_linger());
    }
}

/// Calls the same method on whichever stream it is.
macro_rules! delegate {
    ($stream:expr, $method:ident ( $($argument:expr),* )) => {
        match $stream.get_mut() {
            BackendStream::Tcp(stream) => Pin::new(stream).$method($($argument),*),
            BackendStream::Unix(stream) => Pin::new(stream).$method($($argument),*),
            BackendStream::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for BackendStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_counting(cx, buffer, &mut 0)
    }
}

impl AsyncWrite for BackendStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write(cx, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown(cx))
    }
}
