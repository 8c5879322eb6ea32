//! [`Handshakes`]: how many are computed at once, so that a crowd of logins leaves live sessions their
//! turn.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

/// Turns at computing a handshake, given in the order of asking.
///
/// A signature and a key exchange keep a worker for a quarter of a millisecond. A hundred ClientHellos
/// that come at once are a hundred tasks that are ready, and whoever becomes ready after them would
/// wait for them all. With turns, only so many of them are ready at a time.
#[derive(Debug)]
pub struct Handshakes(Semaphore);

/// A turn.
#[derive(Debug)]
#[must_use = "the next one's turn comes when this is ended"]
pub(super) struct Turn<'h>(Option<SemaphorePermit<'h>>);

impl Handshakes {
    /// So many at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // It is never closed; if it were, there would be nothing to wait for.
        Turn(self.0.acquire().await.ok())
    }
}

impl Turn<'_> {
    /// Ends it, once all who are ready by now have had their time on this worker.
    pub(super) async fn end(self) {
        yield_now().await;
        drop(self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn whoever_is_ready_goes_on_between_two_handshakes_of_a_crowd() {
        let handshakes = Arc::new(Handshakes::new(1));
        let log = Arc::new(Mutex::new(Vec::new()));
        let crowd: Vec<_> = (0..3)
            .map(|number| {
                let (handshakes, log) = (Arc::clone(&handshakes), Arc::clone(&log));
                tokio::spawn(async move {
                    let turn = handshakes.turn().await;
                    log.lock().unwrap().push(number);
                    turn.end().await;
                })
            })
            .collect();
        let session = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.lock().unwrap().push(100) }
        });
        session.await.unwrap();
        for one in crowd {
            one.await.unwrap();
        }
        assert_eq!(*log.lock().unwrap(), [0, 100, 1, 2]);
    }
}
