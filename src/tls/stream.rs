//! [`TlsStream`]: TLS over a TCP socket.

mod handshake;
mod traffic;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use zeroize::Zeroize as _;

use super::buffer::{self, Queue};
use super::unbuffered::{self, Outlook, Side};

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

impl<S: Side> TlsStream<S> {
    fn new(socket: TcpStream, side: S) -> Self {
        Self {
            socket,
            side,
            transit: None,
        }
    }

    /// Says that no more secrets come, now that the login is over. Until then, what a client has sent
    /// is wiped from every buffer of ours once it is taken; rustls frees its own copy of a record as it is.
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

    /// The socket below.
    pub const fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// What was agreed on.
    pub fn state(&self) -> &CommonState {
        self.side.state()
    }

    /// Lends the next decrypted bytes, none of them at close_notify. Reads from the socket only
    /// when nothing decrypted is left (T15), so what is held is at most one read's worth. Adds what it
    /// read to `received`: records that hold little are more work than their plaintext tells.
    pub(crate) fn poll_plaintext(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut usize,
    ) -> Poll<io::Result<&[u8]>> {
        while self.plaintext().is_empty() {
            if self.is_closed() {
                break;
            }
            self.failure()?;
            *received += ready!(self.poll_receive(cx))?;
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

    /// Keeps no more memory than what was lent and not taken needs; it may be a while until it is.
    pub(crate) fn fit_plaintext(&mut self) {
        if let Some(transit) = &mut self.transit {
            transit.plaintext.fit();
        }
    }

    /// Encrypts all of the bytes, to be sent by [`Self::poll_send`].
    ///
    /// # Errors
    /// TLS has failed or is closed, or TLS 1.2 has used up its keys, which is [`Exhausted`]: then
    /// none of the bytes is sent, but close_notify.
    ///
    /// [`Exhausted`]: unbuffered::Exhausted
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
        unbuffered::encrypt(&mut self.side, bytes, held, ciphertext).map_err(io::Error::other)
    }

    /// How many records may be encrypted in all, where the keys can't be renewed.
    pub(crate) fn last_record(&self) -> Option<u64> {
        unbuffered::last_record(&self.side)
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
            let Poll::Ready(count) = Pin::new(&mut self.socket).poll_write(cx, bytes)? else {
                transit.ciphertext.fit();
                return Poll::Pending;
            };
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

    /// Reads once, and decrypts what can be: how many bytes it read.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
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
            Poll::Ready(Ok(count))
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
            // Not for more: a peer that ends neither its record nor its message may idle for hours.
            held.reserve_exact(rest.len());
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

    /// What [`Self::poll_plaintext`] lends, once it does.
    pub(crate) async fn plaintext_to_come(&mut self) -> io::Result<Vec<u8>>
    where
        S: Side,
    {
        std::future::poll_fn(|cx| self.poll_plaintext(cx, &mut 0).map_ok(<[u8]>::to_vec)).await
    }

    /// How many received bytes it holds, and in how much memory.
    pub(super) fn held(&self) -> (usize, usize) {
        let held = self.transit.as_ref().map(|it| &it.held);
        held.map_or((0, 0), |held| (held.len(), held.capacity()))
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
