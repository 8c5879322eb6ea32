//! Reading from, writing to and shutting down a [`TlsStream`], as tokio has it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Incoming, TlsStream};
use crate::tls::buffer;
use crate::tls::unbuffered::{self, Side};

impl<S: Side> TlsStream<S> {
    /// Reads, and adds to `received` the bytes that were read from the socket for it.
    pub(crate) fn poll_read_counting(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        received: &mut usize,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.poll_plaintext(cx, received))?;
        let count = bytes.len().min(buffer.remaining());
        let (bytes, _) = bytes.split_at(count);
        buffer.put_slice(bytes);
        self.consume_plaintext(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: Side> AsyncRead for TlsStream<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.get_mut().poll_read_counting(cx, buffer, &mut 0)
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
