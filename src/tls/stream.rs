//! [`TlsStream`]: TLS over a TCP socket.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, CommonState, ServerConfig};
use tokio::io::{AsyncBufRead, AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use zeroize::Zeroize as _;

use super::buffer::{self, Queue};
use super::unbuffered::{self, ClientSide, Outlook, ServerSide, Side};

/// TLS over a TCP socket, its handshake done. While nothing is on its way it is the socket, what rustls
/// keeps (1 KB) and an empty pointer; thousands of sessions do nothing else.
///
/// Reading ends at close_notify; FIN without one is `UnexpectedEof`, and a violation of TLS
/// `InvalidData`, after the alert has been sent. Shutting down sends close_notify, then FIN.
#[derive(Debug)]
pub struct TlsStream<S> {
    socket: TcpStream,
    side: S,
    /// None while nothing is on its way, both ends are open, and no secret is expected.
    transit: Option<Box<Transit>>,
}

/// What is on its way, and what has ended.
#[derive(Debug, Default)]
struct Transit {
    /// What was received and can't be decrypted yet: a record's beginning, or a message's.
    held: Vec<u8>,
    /// What was decrypted and not taken yet.
    plaintext: Queue,
    /// What the socket has still to take.
    ciphertext: Queue,
    incoming: Incoming,
    sent_close_notify: bool,
    /// Whether what was decrypted is wiped once it is taken: while it may be a password.
    wipes: bool,
}

impl Transit {
    /// Whether there is nothing to be kept.
    const fn is_over(&self) -> bool {
        let is_open = matches!(self.incoming, Incoming::Open) && !self.sent_close_notify;
        is_open && !self.wipes && !self.has_bytes()
    }

    const fn has_bytes(&self) -> bool {
        !(self.held.is_empty() && self.plaintext.is_empty() && self.ciphertext.is_empty())
    }
}

/// Whether more can come from the peer.
#[derive(Debug, Default)]
enum Incoming {
    #[default]
    Open,
    /// It has sent close_notify.
    Closed,
    /// TLS has failed; the reason is given once.
    Failed(Option<io::Error>),
}

/// A handshake that failed; if an alert was due, it is sent.
pub(super) type Failure = (io::Error, TcpStream);

impl TlsStream<ServerSide> {
    /// Does the handshake with a client of which `received` has come already.
    pub(super) fn accept(
        socket: TcpStream,
        config: Arc<ServerConfig>,
        received: Vec<u8>,
    ) -> Result<Self, Failure> {
        match ServerSide::new(config) {
            Ok(side) => {
                let mut stream = Self::new(socket, side).taking_up(received);
                stream.transit.get_or_insert_default().wipes = true;
                Ok(stream)
            }
            Err(error) => Err((violation(error), socket)),
        }
    }
}

impl TlsStream<ClientSide> {
    /// Does the handshake with a server, which has to prove that it is `name` as far as `config`
    /// demands it.
    ///
    /// # Errors
    /// The two sides could not agree, or the server left.
    pub async fn connect(
        socket: TcpStream,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<Self> {
        let side = ClientSide::new(config, name).map_err(violation)?;
        // Nothing has come yet; what a client says first is made ready all the same.
        let stream = Self::new(socket, side).taking_up(Vec::new());
        stream.finish_handshake().await.map_err(|(error, _)| error)
    }
}

impl<S: Side> TlsStream<S> {
    fn new(socket: TcpStream, side: S) -> Self {
        Self {
            socket,
            side,
            transit: None,
        }
    }

    /// Says that no more secrets come, now that the login is over. Until then, what a client has sent
    /// is wiped from every buffer once it is taken.
    pub(crate) fn expects_no_secrets(&mut self) {
        if let Some(transit) = &mut self.transit {
            transit.wipes = false;
            self.settle();
        }
    }

    /// Gives back the room for what is on its way, if nothing is.
    fn settle(&mut self) {
        self.transit.take_if(|transit| transit.is_over());
    }

    fn is_closed(&self) -> bool {
        let incoming = self.transit.as_ref().map(|transit| &transit.incoming);
        matches!(incoming, Some(Incoming::Closed))
    }

    /// Takes up what was received before this was there, and makes ready what is to be said to it.
    fn taking_up(mut self, mut received: Vec<u8>) -> Self {
        self.decrypt(&mut received);
        self
    }

    /// Sends as much of what is ready as the socket takes at once.
    pub(super) async fn send_ready(&mut self) {
        std::future::poll_fn(|cx| {
            // An error will come again when the handshake is finished.
            drop(self.poll_send(cx));
            Poll::Ready(())
        })
        .await;
    }

    /// Goes on with the handshake to its end.
    pub(super) async fn finish_handshake(mut self) -> Result<Self, Failure> {
        match std::future::poll_fn(|cx| self.poll_handshake(cx)).await {
            Ok(()) => Ok(self),
            Err(error) => Err((error, self.socket)),
        }
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let flushed = ready!(self.poll_send(cx));
            // Why the handshake failed matters more than that the alert could not be sent.
            self.failure()?;
            flushed?;
            if !self.side.state().is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if self.is_closed() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            ready!(self.poll_receive(cx))?;
        }
    }

    /// The socket below.
    pub const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What was agreed on.
    pub fn state(&self) -> &CommonState {
        self.side.state()
    }

    /// Lends the next decrypted bytes, none of them at close_notify. Reads from the socket only
    /// when nothing decrypted is left (T15), so what is held is at most one read's worth.
    pub(crate) fn poll_plaintext(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        while self.plaintext().is_empty() {
            if self.is_closed() {
                break;
            }
            self.failure()?;
            ready!(self.poll_receive(cx))?;
            if self.has_unsent() {
                // An alert, or another answer of TLS itself. What doesn't leave now does so
                // with the next flush.
                drop(self.poll_send(cx));
            }
        }
        Poll::Ready(Ok(self.plaintext()))
    }

    fn plaintext(&self) -> &[u8] {
        let transit = self.transit.as_ref();
        transit.map_or(&[], |transit| transit.plaintext.bytes())
    }

    /// Marks bytes that [`Self::poll_plaintext`] lent as taken.
    pub(crate) fn consume_plaintext(&mut self, count: usize) {
        if let Some(transit) = &mut self.transit {
            if transit.wipes {
                transit.plaintext.wipe(count);
            } else {
                transit.plaintext.consume(count);
            }
            self.settle();
        }
    }

    /// Encrypts all of the bytes, to be sent by [`Self::poll_send`].
    ///
    /// # Errors
    /// TLS has failed or is closed, or TLS 1.2 has used up its keys.
    pub(crate) fn encrypt(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Transit {
            held,
            ciphertext,
            incoming,
            ..
        } = &mut **self.transit.get_or_insert_default();
        if let Incoming::Failed(_) = incoming {
            return Err(io::ErrorKind::InvalidData.into());
        }
        unbuffered::encrypt(&mut self.side, bytes, held, ciphertext).map_err(|exhausted| {
            // A close_notify, which is the last word; if it doesn't leave now, RST says as much.
            drop(self.socket.try_write(ciphertext.bytes()));
            io::Error::other(exhausted)
        })
    }

    /// Whether there is something encrypted that the socket has not taken.
    pub(crate) fn has_unsent(&self) -> bool {
        let transit = self.transit.as_ref();
        transit.is_some_and(|transit| !transit.ciphertext.is_empty())
    }

    /// Sends everything that is encrypted.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(transit) = &mut self.transit else {
            return Poll::Ready(Ok(()));
        };
        while !transit.ciphertext.is_empty() {
            let bytes = transit.ciphertext.bytes();
            let count = ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            transit.ciphertext.consume(count);
        }
        self.settle();
        Poll::Ready(Ok(()))
    }

    /// Sends everything that is encrypted, and FIN with no close_notify before it: an end that the
    /// peer can't take for the whole.
    pub(crate) fn poll_fin(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    /// Reads once, and decrypts what can be.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        buffer::lend(|buffer| {
            let held_before = self
                .transit
                .as_ref()
                .map_or(&[][..], |transit| &transit.held);
            let before = held_before.len();
            let Some((held, room)) = buffer.split_at_mut_checked(before) else {
                return Poll::Ready(Err(violation(TOO_LONG)));
            };
            let mut room = ReadBuf::new(room);
            if room.remaining() == 0 {
                return Poll::Ready(Err(violation(TOO_LONG)));
            }
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
            let count = room.filled().len();
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            held.copy_from_slice(held_before);
            if let Some(received) = buffer.get_mut(..before + count) {
                self.decrypt(received);
                // It was decrypted in its place.
                if self.transit.as_ref().is_some_and(|transit| transit.wipes) {
                    received.zeroize();
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Decrypts what can be of the bytes held before and those after them, and holds the rest.
    fn decrypt(&mut self, received: &mut [u8]) {
        let Transit {
            held,
            plaintext,
            ciphertext,
            incoming,
            ..
        } = &mut **self.transit.get_or_insert_default();
        let rest = match unbuffered::receive(&mut self.side, received, plaintext, ciphertext) {
            Outlook::Open { used } => received.get(used..).unwrap_or_default(),
            Outlook::PeerClosed => {
                *incoming = Incoming::Closed;
                &[]
            }
            Outlook::Failed(error) => {
                *incoming = Incoming::Failed(Some(violation(error)));
                &[]
            }
        };
        if rest.is_empty() {
            *held = Vec::new();
        } else {
            held.clear();
            held.extend_from_slice(rest);
        }
        self.settle();
    }

    /// Why TLS has failed, if it has.
    fn failure(&mut self) -> io::Result<()> {
        match self.transit.as_mut().map(|transit| &mut transit.incoming) {
            None | Some(Incoming::Open | Incoming::Closed) => Ok(()),
            Some(Incoming::Failed(error)) => Err(error
                .take()
                .unwrap_or_else(|| io::ErrorKind::InvalidData.into())),
        }
    }
}

#[cfg(test)]
impl<S> TlsStream<S> {
    pub(super) fn into_parts(self) -> (TcpStream, S) {
        (self.socket, self.side)
    }

    /// Whether it holds memory for bytes on their way.
    pub(super) fn holds_bytes(&self) -> bool {
        self.transit.as_ref().is_some_and(|it| it.has_bytes())
    }

    /// Whether it keeps nothing but what it has while it idles.
    pub(super) const fn is_at_rest(&self) -> bool {
        self.transit.is_none()
    }
}

/// A message that does not fit into one buffer is longer than rustls would take.
const TOO_LONG: rustls::Error =
    rustls::Error::InvalidMessage(rustls::InvalidMessage::HandshakePayloadTooLarge);

fn violation(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl<S: Side> AsyncBufRead for TlsStream<S> {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        self.get_mut().poll_plaintext(cx)
    }

    fn consume(self: Pin<&mut Self>, count: usize) {
        self.get_mut().consume_plaintext(count);
    }
}

impl<S: Side> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let bytes = ready!(this.poll_plaintext(cx))?;
        let count = bytes.len().min(buffer.remaining());
        let (bytes, _) = bytes.split_at(count);
        buffer.put_slice(bytes);
        this.consume_plaintext(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: Side> AsyncWrite for TlsStream<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        let (bytes, _) = bytes.split_at(bytes.len().min(buffer::SIZE));
        this.encrypt(bytes)?;
        match this.poll_send(cx) {
            // They are on their way; a flush waits for them.
            Poll::Pending | Poll::Ready(Ok(())) => Poll::Ready(Ok(bytes.len())),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let transit = this.transit.get_or_insert_default();
        if !transit.sent_close_notify && !matches!(transit.incoming, Incoming::Failed(_)) {
            unbuffered::close(&mut this.side, &mut transit.held, &mut transit.ciphertext);
        }
        transit.sent_close_notify = true;
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
