//! [`Handshakes`]: how many are computed at once, so that a crowd of logins leaves live sessions their
//! turn.

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::yield_now;

/// Turns at computing a handshake, given in the order of asking.
///
/// A signature and a key exchange keep a worker for a quarter of a millisecond. A hundred ClientHellos
/// that come at once are a hundred tasks that are ready, and whoever becomes ready after them would
/// wait for them all. With turns, only so many of them are ready at a time, and each begins when whoever
/// else is ready has had its time: a live session waits for no more than the one that is being computed.
#[derive(Debug)]
pub struct Handshakes(Semaphore);

/// A turn; the next one's comes when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'h> {
    _permit: Option<SemaphorePermit<'h>>,
}

impl Handshakes {
    /// So many at once.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Semaphore::new(most.clamp(1, Semaphore::MAX_PERMITS)))
    }

    /// Waits for a turn, and then until all who are ready by now have had their time on this worker.
    pub(super) async fn turn(&self) -> Turn<'_> {
        // It is never closed; if it were, there would be nothing to wait for.
        let permit = self.0.acquire().await.ok();
        // Once, and the sockets are looked at; but tokio resumes whoever yielded before those whose sockets
        // have become ready meanwhile, during the handshake before this one above all. Twice, and they go first.
        yield_now().await;
        yield_now().await;
        Turn { _permit: permit }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream as StdStream;
    use std::sync::{Arc, Mutex};

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn whoever_is_ready_goes_before_each_handshake_of_a_crowd() {
        let handshakes = Arc::new(Handshakes::new(1));
        let log = Arc::new(Mutex::new(Vec::new()));
        let crowd: Vec<_> = (0..3)
            .map(|number| {
                let (handshakes, log) = (Arc::clone(&handshakes), Arc::clone(&log));
                tokio::spawn(async move {
                    let turn = handshakes.turn().await;
                    log.lock().unwrap().push(number);
                    // Somebody becomes ready while it is computed.
                    tokio::spawn(async move { log.lock().unwrap().push(number + 100) });
                    drop(turn);
                })
            })
            .collect();
        let session = tokio::spawn({
            let log = Arc::clone(&log);
            async move { log.lock().unwrap().push(99) }
        });
        session.await.unwrap();
        for one in crowd {
            one.await.unwrap();
        }
        yield_now().await;
        assert_eq!(*log.lock().unwrap(), [99, 0, 100, 1, 101, 2, 102]);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_session_whose_bytes_came_during_a_handshake_goes_before_the_next_one() {
        let ended = tokio::spawn(on_the_one_worker());
        assert_eq!(ended.await.unwrap(), ["handshake", "session", "handshake"]);
    }

    async fn on_the_one_worker() -> Vec<&'static str> {
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ours, theirs) = StdStream::pair().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut theirs = UnixStream::from_std(theirs).unwrap();
        let (say, said) = oneshot::channel();
        let session = tokio::spawn({
            let log = Arc::clone(&log);
            async move {
                say.send(()).unwrap();
                theirs.read_exact(&mut [0]).await.unwrap();
                log.lock().unwrap().push("session");
                theirs
            }
        });
        said.await.unwrap();
        let handshakes = Arc::new(Handshakes::new(1));
        let crowd = [(); 2].map(|()| {
            let (handshakes, log) = (Arc::clone(&handshakes), Arc::clone(&log));
            let mut ours = ours.try_clone().unwrap();
            tokio::spawn(async move {
                let turn = handshakes.turn().await;
                ours.write_all(b"Q").unwrap();
                log.lock().unwrap().push("handshake");
                drop(turn);
            })
        });
        for one in crowd {
            one.await.unwrap();
        }
        drop(session.await.unwrap());
        Arc::into_inner(log).unwrap().into_inner().unwrap()
    }
}
