//! One end of a random session.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::Script;
use crate::relay::tests::fixture::{Backend, Client, Tap};

/// An end that can do what its TLS allows.
pub(super) trait Restless: AsyncRead + AsyncWrite + Unpin {
    fn renew_keys(&mut self);

    fn tap(&mut self) -> Option<&mut Tap>;
}

impl Restless for Client {
    fn renew_keys(&mut self) {
        self.get_mut().1.refresh_traffic_keys().unwrap();
    }

    fn tap(&mut self) -> Option<&mut Tap> {
        Some(self.get_mut().0)
    }
}

impl Restless for Backend {
    fn renew_keys(&mut self) {
        match self {
            Self::Tcp(_) | Self::Unix(_) => {}
            Self::Tls(tls) => tls.get_mut().1.refresh_traffic_keys().unwrap(),
        }
    }

    fn tap(&mut self) -> Option<&mut Tap> {
        match self {
            Self::Tcp(_) | Self::Unix(_) => None,
            Self::Tls(tls) => Some(tls.get_mut().0),
        }
    }
}

/// An end with its script's habits, which counts the writes that had to wait.
pub(super) struct End<S> {
    pub(super) stream: S,
    rekey: Option<usize>,
    writes: usize,
    waited: Arc<AtomicUsize>,
}

impl<S: Restless> End<S> {
    pub(super) fn new(mut stream: S, script: &Script, waited: &Arc<AtomicUsize>) -> Self {
        if let Some(tap) = stream.tap() {
            tap.dribble = script.dribble.unwrap_or(usize::MAX);
        }
        Self {
            stream,
            rekey: script.rekey,
            writes: 0,
            waited: Arc::clone(waited),
        }
    }
}

impl<S: Restless> AsyncRead for End<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: Restless> AsyncWrite for End<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writes += 1;
        let writes = self.writes;
        if self.rekey.is_some_and(|every| writes.is_multiple_of(every)) {
            self.stream.renew_keys();
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_pending() {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            self.waited.fetch_add(1, Ordering::Relaxed);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
