//! A connection that speaks PostgreSQL messages, in clear or in TLS, on either side.

use std::io;
use std::mem::MaybeUninit;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use rustls::pki_types::ServerName;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

/// `recv(2)`: the kernel drops the bytes instead of copying them. Linux.
const MSG_TRUNC: i32 = 0x20;
const SCRATCH: usize = 256 * 1024;

/// One connection and what of its input hasn't been asked for.
pub(crate) struct Pipe {
    stream: Stream,
    inbox: BytesMut,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Pipe {
    pub(crate) fn plain(socket: TcpStream) -> io::Result<Self> {
        socket.set_nodelay(true)?;
        Ok(Self {
            stream: Stream::Plain(socket),
            inbox: BytesMut::new(),
        })
    }

    /// TLS as its client. Nothing may have been read ahead.
    pub(crate) async fn connect_tls(self, tls: &TlsConnector) -> io::Result<Self> {
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let stream = tls.connect(name, self.into_plain()?).await?;
        Ok(Self::secured(stream.into()))
    }

    /// TLS as its server. Nothing may have been read ahead.
    pub(crate) async fn accept_tls(self, tls: &TlsAcceptor) -> io::Result<Self> {
        let stream = tls.accept(self.into_plain()?).await?;
        Ok(Self::secured(stream.into()))
    }

    fn secured(stream: TlsStream<TcpStream>) -> Self {
        Self {
            stream: Stream::Tls(Box::new(stream)),
            inbox: BytesMut::new(),
        }
    }

    fn into_plain(self) -> io::Result<TcpStream> {
        match self.stream {
            Stream::Plain(socket) if self.inbox.is_empty() => Ok(socket),
            Stream::Plain(_) => Err(fault("bytes before TLS")),
            Stream::Tls(_) => Err(fault("TLS twice")),
        }
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(socket) => socket.write_all(bytes).await,
            Stream::Tls(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Sends, says close_notify where there is TLS, and ends the sending side.
    pub(crate) async fn finish(&mut self, last: &[u8]) -> io::Result<()> {
        self.send(last).await?;
        match &mut self.stream {
            Stream::Plain(socket) => socket.shutdown().await,
            Stream::Tls(stream) => stream.shutdown().await,
        }
    }

    /// The next message: its type and its body.
    pub(crate) async fn message(&mut self) -> io::Result<(u8, BytesMut)> {
        let mut head = self.exactly(5).await?;
        let tag = head.get_u8();
        Ok((tag, self.body(head).await?))
    }

    /// The next packet without a type, as sessions begin with.
    pub(crate) async fn packet(&mut self) -> io::Result<BytesMut> {
        let head = self.exactly(4).await?;
        self.body(head).await
    }

    async fn body(&mut self, mut head: BytesMut) -> io::Result<BytesMut> {
        let length = head.get_u32().checked_sub(4).ok_or_else(short)?;
        self.exactly(length as usize).await
    }

    pub(crate) async fn exactly(&mut self, count: usize) -> io::Result<BytesMut> {
        while self.inbox.len() < count {
            self.fill(count).await?;
        }
        Ok(self.inbox.split_to(count))
    }

    async fn fill(&mut self, at_least: usize) -> io::Result<()> {
        self.inbox.reserve(at_least.max(512));
        let read = match &mut self.stream {
            Stream::Plain(socket) => socket.read_buf(&mut self.inbox).await?,
            Stream::Tls(stream) => stream.read_buf(&mut self.inbox).await?,
        };
        if read == 0 { Err(short()) } else { Ok(()) }
    }

    /// Takes `count` bytes away at the least cost: dropped in the kernel where they are in clear.
    pub(crate) async fn skip(&mut self, count: u64) -> io::Result<()> {
        let ready = self.inbox.len().min(usize_of(count));
        self.inbox.advance(ready);
        let mut left = count.saturating_sub(ready as u64);
        let mut untouched = vec![MaybeUninit::uninit(); SCRATCH];
        let mut scratch = vec![0; if self.is_plain() { 0 } else { SCRATCH }];
        while left > 0 {
            let want = SCRATCH.min(usize_of(left));
            let read = match &mut self.stream {
                Stream::Plain(socket) => discard(socket, &mut untouched[..want]).await?,
                Stream::Tls(stream) => stream.read(&mut scratch[..want]).await?,
            };
            if read == 0 {
                return Err(short());
            }
            left = left.saturating_sub(read as u64);
        }
        Ok(())
    }

    fn is_plain(&self) -> bool {
        matches!(self.stream, Stream::Plain(_))
    }

    /// Takes away all that comes until the peer closes, undecrypted; how many bytes that was.
    pub(crate) async fn drain(&self) -> io::Result<u64> {
        let socket = match &self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_ref().0,
        };
        let mut drained = self.inbox.len() as u64;
        let mut untouched = vec![MaybeUninit::uninit(); SCRATCH];
        loop {
            match discard(socket, &mut untouched).await {
                Ok(0) => return Ok(drained),
                Ok(read) => drained = drained.saturating_add(read as u64),
                // A proxy may end a session whose backend has gone by a reset.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(drained),
                Err(error) => return Err(error),
            }
        }
    }
}

async fn discard(socket: &TcpStream, room: &mut [MaybeUninit<u8>]) -> io::Result<usize> {
    socket
        .async_io(Interest::READABLE, || {
            SockRef::from(socket).recv_with_flags(room, MSG_TRUNC)
        })
        .await
}

/// A message of the given type, its body in parts.
pub(crate) fn message(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![tag];
    out.extend(packet(parts));
    out
}

/// A packet without a type.
pub(crate) fn packet(parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = u32::try_from(length.saturating_add(4))
        .unwrap_or(u32::MAX)
        .to_be_bytes()
        .to_vec();
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

pub(crate) fn fault(text: impl Into<String>) -> io::Error {
    io::Error::other(text.into())
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "closed in the middle")
}

fn usize_of(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// One MiB-sized step of bulk: CopyData messages of a KiB each, of printable lines.
pub(crate) fn bulk_chunk() -> Arc<[u8]> {
    let mut chunk = Vec::with_capacity(BULK_CHUNK);
    while chunk.len() < BULK_CHUNK {
        let letter = b'a' + u8::try_from(chunk.len() / 1024 % 26).unwrap_or(0);
        let mut line = vec![letter; 1018];
        line.push(b'\n');
        chunk.extend(message(b'd', &[&line]));
    }
    chunk.into()
}

/// Bulk is sent in steps of this many bytes; amounts are multiples of it.
pub(crate) const BULK_CHUNK: usize = 64 * 1024;
