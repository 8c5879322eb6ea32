//! What the rest of the process may know of a live session, and do to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;

/// A live session as seen from outside: how many bytes it has carried, and a way to end it.
/// Shared in an `Arc` between the session's relay and whoever watches it.
#[derive(Debug, Default)]
pub struct Control {
    client_to_backend: AtomicU64,
    backend_to_client: AtomicU64,
    /// What `client_to_backend` was when the backend last said that it was ready.
    answered: AtomicU64,
    cut: OnceLock<Box<Cut>>,
    relay: Mutex<Option<Waker>>,
}

/// How to end a session that may no longer go on (T27).
#[derive(Debug, Clone)]
pub struct Cut {
    /// Why, in a word or two fit for a log line and a metric's label.
    pub reason: &'static str,
    /// An encoded ErrorResponse, which the client is sent if it is between messages. Anywhere
    /// else it would be read as a part of the message that the cut broke off.
    pub message: Bytes,
    /// How long the client may take to read it and to close its side.
    pub grace: Duration,
}

impl Control {
    /// Plaintext bytes that the backend's socket has taken from the client so far.
    #[must_use]
    pub fn client_to_backend(&self) -> u64 {
        self.client_to_backend.load(Ordering::Relaxed)
    }

    /// Plaintext bytes that were encrypted for the client so far.
    #[must_use]
    pub fn backend_to_client(&self) -> u64 {
        self.backend_to_client.load(Ordering::Relaxed)
    }

    /// Whether the backend was sent something since it was last ready for queries, so that it may be
    /// at work. Of statements sent in a pipeline, each with its own Sync, those behind the first that
    /// was answered are not known of: what the client sends isn't read here.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        self.client_to_backend() != self.answered.load(Ordering::Relaxed)
    }

    /// Ends the session: its backend is closed at once, its task within the cut's grace. Returns
    /// without waiting. Only the first cut counts; one that comes before the relay starts is
    /// carried out when it does.
    pub fn cut(&self, cut: Cut) {
        if self.cut.set(Box::new(cut)).is_ok()
            && let Some(relay) = self.relay().take()
        {
            relay.wake();
        }
    }

    /// Whether the session is cut already.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut.get().is_some()
    }

    /// Waits for a cut. The waker is kept until it comes.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> Poll<&Cut> {
        if let Some(cut) = self.cut.get() {
            return Poll::Ready(cut);
        }
        let mut relay = self.relay();
        if !relay
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            *relay = Some(cx.waker().clone());
        }
        drop(relay);
        // Again: a cut that came in between saw no waker, or an old one.
        self.cut
            .get()
            .map_or(Poll::Pending, |cut| Poll::Ready(cut.as_ref()))
    }

    pub(crate) fn count_to_backend(&self, bytes: usize) {
        self.client_to_backend
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn count_to_client(&self, bytes: usize) {
        self.backend_to_client
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Notes that the last thing relayed was a whole ReadyForQuery.
    pub(super) fn note_ready(&self) {
        self.answered
            .store(self.client_to_backend(), Ordering::Relaxed);
    }

    /// A waker is whole at any moment, so a panic elsewhere can't have left half of one.
    fn relay(&self) -> MutexGuard<'_, Option<Waker>> {
        self.relay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
