//! Bounds on what a client of the controls may take up, however slowly it speaks.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// What clients of the controls may take up.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How long one request may take, from its first byte to the last of its answer; and how long
    /// a connection may idle between two.
    pub time: Duration,
    /// How many bytes a request may have.
    pub request_bytes: usize,
    /// How many connections there may be; more wait to be accepted.
    pub connections: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            time: Duration::from_secs(10),
            request_bytes: 16 * 1024,
            connections: 64,
        }
    }
}

/// A listener whose connections keep to the bounds.
pub(super) struct BoundedListener<L> {
    listener: L,
    slots: Arc<Semaphore>,
    bounds: Bounds,
}

impl<L> BoundedListener<L> {
    pub(super) fn new(listener: L, bounds: Bounds) -> Self {
        Self {
            listener,
            slots: Arc::new(Semaphore::new(bounds.connections)),
            bounds,
        }
    }
}

impl<L: Listener> Listener for BoundedListener<L> {
    type Io = Bounded<L::Io>;
    type Addr = L::Addr;

    async fn accept(&mut self) -> (Bounded<L::Io>, L::Addr) {
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        // axum's own accept waits and goes on after an error (T30).
        let (stream, address) = Listener::accept(&mut self.listener).await;
        (Bounded::new(stream, self.bounds, slot), address)
    }

    fn local_addr(&self) -> io::Result<L::Addr> {
        self.listener.local_addr()
    }
}

/// A connection that fails once a request takes too long or gets too long. Whatever is written
/// begins both anew.
pub(super) struct Bounded<S> {
    stream: S,
    bounds: Bounds,
    deadline: Pin<Box<Sleep>>,
    left: usize,
    _slot: Option<OwnedSemaphorePermit>,
}

impl<S> Bounded<S> {
    fn new(stream: S, bounds: Bounds, slot: Option<OwnedSemaphorePermit>) -> Self {
        let deadline = Box::pin(sleep(bounds.time));
        Self {
            stream,
            bounds,
            deadline,
            left: bounds.request_bytes,
            _slot: slot,
        }
    }

    fn in_time<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_pending() {
            ready!(self.deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len().saturating_sub(before);
        match self.left.checked_sub(read) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
        }
        self.in_time(cx, done)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if done.is_ready() {
            let bounds = self.bounds;
            self.left = bounds.request_bytes;
            self.deadline.as_mut().reset(Instant::now() + bounds.time);
        }
        self.in_time(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.in_time(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.in_time(cx, done)
    }
}
