//! How long the side that is left may take to end, once the other one has.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::way::Way;

/// How long a client that has got everything may take to close its side. A close before that could
/// meet bytes of the client's on their way, whose RST destroys what it hasn't read.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// How long a client of a backend that has ended may take over what the kernel still holds for it: no
/// more is heard of that than that the client has it all. It is 4 MiB at most, so 5 KB a second do.
pub(super) const STALL: Duration = Duration::from_secs(15 * 60);

/// How long a session in this state may go without a byte; without bound while both sides live, or
/// while the backend works off what a client that ended had asked for (T16).
pub(super) const fn limit(upload: Way, download: Way, broken: bool) -> Option<Duration> {
    match (upload, download) {
        (_, Way::Closing(_)) => Some(STALL),
        // The backend takes no more, and will be found to have ended once the client has taken the rest.
        (_, Way::Open) if broken => Some(STALL),
        _ if broken => Some(LINGER),
        (Way::Open | Way::Closing(_) | Way::Discarding, Way::Closed) => Some(LINGER),
        (_, Way::Open | Way::Discarding | Way::Closed) => None,
    }
}

/// A timer that exists only while a session is ending.
#[derive(Debug, Default)]
pub(super) struct Patience(Option<Box<Timer>>);

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    limit: Duration,
    /// The session's bytes when the timer was set: it is set anew when they grow.
    moved: u64,
    /// Whether it is set for the last time.
    is_final: bool,
}

impl Timer {
    fn new(limit: Duration, moved: u64, is_final: bool) -> Box<Self> {
        // A wait too long for the clock is no bound at all; a day is as good.
        let now = Instant::now();
        let end = now
            .checked_add(limit)
            .unwrap_or(now + Duration::from_secs(86_400));
        Box::new(Self {
            sleep: Box::pin(sleep_until(end)),
            limit,
            moved,
            is_final,
        })
    }
}

impl Patience {
    /// Ends the session after `grace`, whatever happens.
    pub(super) fn be_final(&mut self, grace: Duration) {
        self.0 = Some(Timer::new(grace, 0, true));
    }

    /// Ready when the session, which has moved so many bytes in all, has spent `limit` idle.
    pub(super) fn poll_spent(
        &mut self,
        cx: &mut Context<'_>,
        limit: Option<Duration>,
        moved: u64,
    ) -> Poll<()> {
        let still_runs =
            |timer: &Timer| timer.is_final || (Some(timer.limit) == limit && timer.moved == moved);
        if !self.0.as_deref().is_some_and(still_runs) {
            self.0 = limit.map(|limit| Timer::new(limit, moved, false));
        }
        match &mut self.0 {
            Some(timer) => timer.sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
