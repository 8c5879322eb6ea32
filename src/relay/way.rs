//! The two ways of a session: how each moves bytes, ends, and breaks.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite, ReadBuf};
use tokio::task::yield_now;

use super::{BackendStream, ClosedBy, Leg, Relay, Why, worn};
use crate::tls::{Exhausted, buffer};

/// The most bytes that a way moves before other tasks of its thread have a turn. Over TLS, records
/// and all: as much plaintext in records of one byte is the work of hundreds of turns.
const TURN: usize = 2 * buffer::SIZE;

/// How far one way of a session is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Its source may have more.
    Open,
    /// Its source has ended; its sink is still to be sent the rest, and the same end.
    Closing(End),
    /// Its sink takes no more; what the source still sends is dropped, so that neither a full
    /// socket nor an RST over unread bytes keeps the other way from its end.
    Discarding,
    /// Nothing is left to do.
    Closed,
}

impl Way {
    /// The way when its sink takes no more.
    pub(super) const fn abandoned(self) -> Self {
        match self {
            Self::Open | Self::Closing(_) | Self::Discarding => Self::Discarding,
            Self::Closed => Self::Closed,
        }
    }
}

/// How a way's source has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// With all it had to send: by close_notify over TLS, by FIN in clear.
    Whole,
    /// Over TLS by FIN alone, which anybody on the way can forge. It must not be vouched for by a
    /// close_notify of ours.
    Unproven,
}

impl From<Why> for End {
    fn from(why: Why) -> Self {
        match why {
            Why::Dropped => Self::Unproven,
            Why::Ended | Why::Reset | Why::Failed(_) | Why::Cut(_) => Self::Whole,
        }
    }
}

impl Relay {
    /// Moves bytes from the client to the backend until one of them makes it wait or it has ended.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut moved = 0;
        while moved < TURN {
            match self.upload {
                Way::Open => match self.poll_upload_some(cx) {
                    Poll::Ready(count) => moved += count,
                    Poll::Pending => {
                        // The backend may take its time over what the client has sent.
                        self.client.fit();
                        return Poll::Pending;
                    }
                },
                Way::Closing(end) => ready!(self.poll_end_backend(cx, end)),
                Way::Discarding => {
                    let mut received = 0;
                    match ready!(self.client.poll_plaintext(cx, &mut received)) {
                        Ok([]) | Err(_) => self.upload = Way::Closed,
                        Ok(bytes) => {
                            let count = bytes.len();
                            self.client.consume(count);
                            moved += count.max(received);
                        }
                    }
                }
                Way::Closed => return Poll::Ready(()),
            }
        }
        yield_turn(cx)
    }

    /// Moves bytes from the backend to the client until one of them makes it wait or it has ended.
    pub(super) fn poll_download(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut moved = 0;
        while moved < TURN {
            match self.download {
                Way::Open => match self.poll_download_some(cx) {
                    Poll::Ready(count) => moved += count,
                    Poll::Pending => {
                        // So may the client.
                        self.backend.iter_mut().for_each(BackendStream::fit);
                        return Poll::Pending;
                    }
                },
                Way::Closing(end) => ready!(self.poll_end_client(cx, end)),
                Way::Discarding => match ready!(self.poll_backend(cx, |_, _| ())) {
                    Ok(0) | Err(_) => self.download = Way::Closed,
                    Ok(count) => moved += count,
                },
                Way::Closed => return Poll::Ready(()),
            }
        }
        yield_turn(cx)
    }

    /// One step of an open upload: how many bytes it moved, or read if those are more.
    fn poll_upload_some(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        let Some(backend) = &mut self.backend else {
            self.upload = Way::Discarding;
            return Poll::Ready(0);
        };
        if let Err(error) = ready!(Pin::new(&mut *backend).poll_flush(cx)) {
            return Poll::Ready(self.cannot_write(Leg::Backend, &error));
        }
        let mut received = 0;
        let bytes = match ready!(self.client.poll_plaintext(cx, &mut received)) {
            Ok([]) => return Poll::Ready(self.has_ended(Leg::Client, Why::Ended)),
            Ok(bytes) => bytes,
            Err(error) => return Poll::Ready(self.cannot_read(Leg::Client, &error)),
        };
        match ready!(Pin::new(backend).poll_write(cx, bytes)).and_then(not_zero) {
            Ok(count) => {
                self.client.consume(count);
                self.control.count_to_backend(count);
                self.for_backend.count(count);
                Poll::Ready(count.max(received))
            }
            Err(error) => self.cannot_encrypt(Leg::Backend, &error),
        }
    }

    /// One step of an open download: how many bytes it moved, or read if those are more.
    fn poll_download_some(&mut self, cx: &mut Context<'_>) -> Poll<usize> {
        if let Err(error) = ready!(self.client.poll_flush(cx)) {
            return Poll::Ready(self.cannot_write(Leg::Client, &error));
        }
        let mut encrypted = Ok(());
        let relayed = ready!(self.poll_backend(cx, |relay, bytes| {
            relay.boundary.observe(bytes);
            if relay.boundary.between_messages() {
                relay.control.note_ready();
            }
            relay.control.count_to_client(bytes.len());
            relay.for_client.count(bytes.len());
            encrypted = relay.client.encrypt(bytes);
        }));
        if let Err(error) = encrypted {
            return self.cannot_encrypt(Leg::Client, &error);
        }
        match relayed {
            Ok(0) => Poll::Ready(self.has_ended(Leg::Backend, Why::Ended)),
            Ok(count) => Poll::Ready(count),
            Err(error) => Poll::Ready(self.cannot_read(Leg::Backend, &error)),
        }
    }

    /// Reads from the backend into the thread's buffer and hands over what came: how many bytes that
    /// took; 0 at its end.
    fn poll_backend(
        &mut self,
        cx: &mut Context<'_>,
        take: impl FnOnce(&mut Self, &[u8]),
    ) -> Poll<io::Result<usize>> {
        buffer::lend(|buffer| {
            let Some(backend) = &mut self.backend else {
                return Poll::Ready(Ok(0));
            };
            let (buffer, _) = buffer.split_at_mut(buffer::SIZE.min(buffer.len()));
            let mut buffer = ReadBuf::new(buffer);
            let mut received = 0;
            ready!(backend.poll_read_counting(cx, &mut buffer, &mut received))?;
            let bytes = buffer.filled();
            take(self, bytes);
            Poll::Ready(Ok(if bytes.is_empty() {
                0
            } else {
                bytes.len().max(received)
            }))
        })
    }

    /// Tells the backend that the client has ended.
    fn poll_end_backend(&mut self, cx: &mut Context<'_>, end: End) -> Poll<()> {
        if let Some(backend) = &mut self.backend {
            if let Err(error) = ready!(Pin::new(&mut *backend).poll_flush(cx)) {
                self.cannot_write(Leg::Backend, &error);
                return Poll::Ready(());
            }
            if self.broken.is_none() {
                // It fails where the backend was quicker, and there is nobody left to tell.
                drop(ready!(match end {
                    End::Whole => Pin::new(backend).poll_shutdown(cx),
                    End::Unproven => backend.poll_fin(cx),
                }));
            }
        }
        self.upload = Way::Closed;
        Poll::Ready(())
    }

    /// Tells the client that the backend has ended, or the gate has cut the session.
    fn poll_end_client(&mut self, cx: &mut Context<'_>, end: End) -> Poll<()> {
        match ready!(self.poll_last_words(cx, end)) {
            Err(error) if self.client.has_unsent() => {
                self.cannot_write(Leg::Client, &error);
            }
            // The end itself fails where the client was quicker, as above.
            Ok(()) | Err(_) => self.download = Way::Closed,
        }
        Poll::Ready(())
    }

    /// Sends the client what is left, and the end.
    fn poll_last_words(&mut self, cx: &mut Context<'_>, end: End) -> Poll<io::Result<()>> {
        // A client that has ended sends nothing that could meet a closed socket; and one that was
        // cut has its grace and no more.
        let may_be_reset = self.upload != Way::Closed || self.broken.is_some();
        if may_be_reset && self.backend.is_some() {
            ready!(self.client.poll_flush(cx))?;
            ready!(self.drain.poll(cx, self.client.socket()));
        }
        // What is left and the end go out together: one write, one segment.
        match (self.broken, end) {
            (None, End::Whole) => self.client.poll_shutdown(cx),
            (None, End::Unproven) => self.client.poll_fin(cx),
            (Some(_), End::Whole | End::Unproven) => self.client.poll_flush(cx),
        }
    }

    /// A leg's end ends the way that comes from it.
    fn has_ended(&mut self, leg: Leg, why: Why) -> usize {
        self.note(leg.into(), why);
        *self.way_from(leg) = Way::Closing(why.into());
        0
    }

    /// What was read before an error still goes to the other leg; then that one breaks, too.
    fn cannot_read(&mut self, leg: Leg, error: &io::Error) -> usize {
        let why = Why::from(error);
        self.has_ended(leg, why);
        if why != Why::Dropped {
            self.broken.get_or_insert(leg);
            let way = self.way_to(leg);
            *way = way.abandoned();
        }
        0
    }

    /// A leg that can't be written to may still hold bytes that it sent before it broke; reading
    /// on finds them, and then the end. A backend that has ended already and takes no more, as one
    /// does that has exited, broke nothing off.
    fn cannot_write(&mut self, leg: Leg, error: &io::Error) -> usize {
        self.note(leg.into(), Why::from(error));
        if leg == Leg::Client || self.download == Way::Open {
            self.broken.get_or_insert(leg);
        }
        *self.way_to(leg) = Way::Discarding;
        0
    }

    /// A leg that was to be written to may have no keys left to do it with, in the middle of a message
    /// that was longer than what was kept back for it: the session is cut, without a word.
    fn cannot_encrypt(&mut self, leg: Leg, error: &io::Error) -> Poll<usize> {
        if !error.get_ref().is_some_and(|it| it.is::<Exhausted>()) {
            return Poll::Ready(self.cannot_write(leg, error));
        }
        self.control.cut(worn::out(leg));
        // The cut wakes this task.
        Poll::Pending
    }

    const fn way_from(&mut self, leg: Leg) -> &mut Way {
        match leg {
            Leg::Client => &mut self.upload,
            Leg::Backend => &mut self.download,
        }
    }

    const fn way_to(&mut self, leg: Leg) -> &mut Way {
        match leg {
            Leg::Client => &mut self.download,
            Leg::Backend => &mut self.upload,
        }
    }
}

impl From<Leg> for ClosedBy {
    fn from(leg: Leg) -> Self {
        match leg {
            Leg::Client => Self::Client,
            Leg::Backend => Self::Backend,
        }
    }
}

/// Lets other tasks run before this one goes on, those too whose sockets have become ready since. To wake
/// this one at once would keep the queue of ready tasks from getting empty, and of a queue that doesn't the
/// runtime asks the sockets only every 61st time: 8 MB of a bulk copy.
pub(super) fn yield_turn(cx: &mut Context<'_>) -> Poll<()> {
    // Its first poll hands the waker to the runtime; there is no second one.
    pin!(yield_now()).poll(cx)
}

/// A write of nothing would come again for ever.
fn not_zero(count: usize) -> io::Result<usize> {
    if count == 0 {
        Err(io::ErrorKind::WriteZero.into())
    } else {
        Ok(count)
    }
}
