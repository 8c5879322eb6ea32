//! Waits until a client has what it was sent, before its session ends.
//!
//! What the kernel has taken, the client need not have: megabytes can lie between them. Closing the
//! socket then would leave them to chance, for a byte that the client sends meets a closed socket,
//! whose RST drops the rest; and so does an RST of our own. How much of it is acknowledged can't be
//! asked for without `unsafe`, but the kernel tells of it all the same: it calls a socket writable
//! once what is not acknowledged fits its send buffer, whose size is ours to say.

use std::io;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::net::TcpStream;

/// A size in bytes that every kernel raises to the least it has: 4.5 KiB on Linux, of which two
/// thirds may be in use.
const LEAST: usize = 1;

/// What is known of a socket's last bytes.
#[derive(Debug, Default)]
pub(super) enum Drain {
    /// Nothing; the session goes on.
    #[default]
    NotAsked,
    /// Not all of them were acknowledged when it was last asked. The same socket, registered with
    /// the runtime once more: the first registration would not be told of what no write waits for.
    Waiting(Box<TcpStream>),
    /// All of them were acknowledged, but for a segment perhaps; or it can't be known.
    Over,
}

impl Drain {
    /// Ready once the peer has acknowledged what the socket has taken so far, or is gone. The
    /// socket's write side has to be open, and is fit for little more afterwards.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, socket: &TcpStream) -> Poll<()> {
        if let Self::NotAsked = self {
            *self = watch(socket).map_or(Self::Over, |it| Self::Waiting(Box::new(it)));
        }
        if let Self::Waiting(socket) = self {
            // An error is the end of the waiting, too.
            drop(ready!(socket.poll_write_ready(cx)));
        }
        *self = Self::Over;
        Poll::Ready(())
    }
}

fn watch(socket: &TcpStream) -> io::Result<TcpStream> {
    let socket = SockRef::from(socket);
    socket.set_send_buffer_size(LEAST)?;
    TcpStream::from_std(socket.try_clone()?.into())
}
