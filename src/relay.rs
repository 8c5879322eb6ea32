//! The data path: a session's bytes between client and backend, nothing added, dropped or changed.
//!
//! Each way of a session goes by itself, and ends by itself (T16): the upload from the client to
//! the backend, the download back. A way reads only when everything read before has left for the
//! other side (T17), so a session holds at most one buffer's worth of bytes each way, inside its
//! TLS state, and none while it idles.

mod closed;
mod control;
mod drain;
mod leg;
mod patience;
mod tuning;
mod way;
mod worn;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use crate::wire::boundary::MessageBoundary;
use drain::Drain;
use leg::ClientLeg;
use patience::Patience;
use way::{End, Way};
use worn::Records;

pub use closed::{Closed, ClosedBy, Why};
pub use control::{Control, Cut};
pub use leg::{BackendStream, ClientStream};
pub use tuning::TcpTuning;

/// Relays from the backend's ReadyForQuery on, until both sides have ended, one of them broke, or
/// the session was cut through `control`.
///
/// Bytes that either stream has already decrypted are relayed first. Both sockets should have
/// TCP_NODELAY set. The future holds the legs and about 100 bytes, no I/O buffer; dropping it
/// closes both sides.
pub fn relay(client: ClientStream, backend: BackendStream, control: Arc<Control>) -> Relay {
    let mut boundary = MessageBoundary::default();
    boundary.observe(b"Z\0\0\0\x05I");
    Relay {
        client: ClientLeg::new(client),
        backend: Some(backend),
        upload: Way::Open,
        download: Way::Open,
        boundary,
        broken: None,
        ended: None,
        for_client: Records::default(),
        for_backend: Records::default(),
        drain: Drain::default(),
        patience: Patience::default(),
        control,
    }
}

/// A running session, made by [`relay`].
#[derive(Debug)]
#[must_use = "a relay does nothing unless it is polled"]
pub struct Relay {
    client: ClientLeg,
    /// None once the session was cut.
    backend: Option<BackendStream>,
    upload: Way,
    download: Way,
    boundary: MessageBoundary,
    /// The leg that can no longer be written to. The other one ends by RST, too.
    broken: Option<Leg>,
    /// What ended the session first.
    ended: Option<(ClosedBy, Why)>,
    for_client: Records,
    for_backend: Records,
    /// Whether the client has got what it was sent.
    drain: Drain,
    patience: Patience,
    control: Arc<Control>,
}

/// One of a session's two connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leg {
    Client,
    Backend,
}

impl Future for Relay {
    type Output = Closed;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Closed> {
        let this = &mut *self;
        this.poll_cut(cx);
        loop {
            let before = (this.upload, this.download);
            let upload_has_ended = this.poll_upload(cx).is_ready();
            let download_has_ended = this.poll_download(cx).is_ready();
            // What one way found out can have changed what the other one has to wait for.
            if (upload_has_ended && download_has_ended) || (this.upload, this.download) == before {
                break;
            }
        }
        this.cut_if_worn();
        if this.is_over() {
            return Poll::Ready(this.close());
        }
        let moved = this.control.client_to_backend() + this.control.backend_to_client();
        let limit = patience::limit(this.upload, this.download, this.broken.is_some());
        this.patience
            .poll_spent(cx, limit, moved)
            .map(|()| this.give_up())
    }
}

impl Relay {
    /// Goes on behind what each side was already sent after that ReadyForQuery: to the backend so
    /// many bytes, to the client these.
    pub fn behind(mut self, to_backend: usize, to_client: &[u8]) -> Self {
        self.control.count_to_backend(to_backend);
        self.control.count_to_client(to_client.len());
        self.boundary.observe(to_client);
        if !to_client.is_empty() && self.boundary.between_messages() {
            self.control.note_ready();
        }
        self
    }

    /// Carries out a cut: closes the backend, says the last word if it can be understood, and
    /// leaves only the client's end of the session to wait for.
    fn poll_cut(&mut self, cx: &mut Context<'_>) {
        if self.backend.is_none() {
            return;
        }
        let Poll::Ready(cut) = self.control.poll_cut(cx).map(Cut::clone) else {
            return;
        };
        if let Some(mut backend) = self.backend.take() {
            // One try at close_notify: a backend that takes no more bytes gets FIN alone.
            drop(Pin::new(&mut backend).poll_shutdown(cx));
        }
        self.note(ClosedBy::Gate, Why::Cut(cut.reason));
        let listens = self.download == Way::Open && self.broken.is_none();
        if listens && self.boundary.between_messages() {
            // It can only fail where the flush that follows fails, too.
            drop(self.client.encrypt(&cut.message));
        }
        self.upload = self.upload.abandoned();
        if self.download == Way::Open {
            self.download = Way::Closing(End::Whole);
        }
        self.patience.be_final(cut.grace);
    }

    /// Cuts a session whose TLS 1.2 keys are all but used up, where the client can read why.
    fn cut_if_worn(&self) {
        let Some(backend) = &self.backend else { return };
        // What was asked since the last message is answered first.
        if !self.boundary.between_messages() || self.control.is_at_work() {
            return;
        }
        if self.for_client.is_all_but(self.client.last_record()) {
            self.control.cut(worn::out(Leg::Client));
        } else if self.for_backend.is_all_but(backend.last_record()) {
            self.control.cut(worn::out(Leg::Backend));
        }
    }

    fn is_over(&self) -> bool {
        match self.broken {
            Some(Leg::Client) => self.upload == Way::Closed,
            Some(Leg::Backend) => self.download == Way::Closed,
            None => self.upload == Way::Closed && self.download == Way::Closed,
        }
    }

    /// Ends a session whose other side has had its time.
    fn give_up(&self) -> Closed {
        if self.download != Way::Closed {
            // The client must not take what it got for the whole.
            self.client.reset_on_close();
        }
        self.close()
    }

    fn close(&self) -> Closed {
        match self.broken {
            Some(Leg::Client) => {
                self.backend.iter().for_each(BackendStream::reset_on_close);
            }
            Some(Leg::Backend) => self.client.reset_on_close(),
            None => {}
        }
        // It's over only after something ended it; the client's end is the commonest.
        let (by, why) = self.ended.unwrap_or((ClosedBy::Client, Why::Ended));
        Closed {
            client_to_backend: self.control.client_to_backend(),
            backend_to_client: self.control.backend_to_client(),
            by,
            why,
        }
    }

    /// The first thing that ended a session is what the log says; the rest follows from it.
    fn note(&mut self, by: ClosedBy, why: Why) {
        self.ended.get_or_insert((by, why));
    }
}
