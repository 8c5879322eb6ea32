//! The work that a backend asks for in a login, kept off the workers' threads where it is long.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::terminated::{LoginError, Step, Terminated};
use crate::wire::message::Message;

/// The most iterations of PBKDF2 that are done on a worker's own thread, about two milliseconds:
/// any more would keep the worker's other connections waiting.
const MAX_ITERATIONS_INLINE: u32 = 10_000;

/// Turns at long proofs, given in the order of asking.
///
/// How long a proof takes is for the backend to say, up to a third of a second, and such work goes on
/// when its login has given up. With turns, the backend of one project can't take the processors from
/// the others, however many logins it is sent. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proofs(Arc<Semaphore>);

/// The proof could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the proof could not be made")]
pub struct Unmade(#[from] tokio::task::JoinError);

impl Proofs {
    /// So many at once, and one at least.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self(Arc::new(Semaphore::new(
            most.clamp(1, Semaphore::MAX_PERMITS),
        )))
    }

    /// Has the login take a message of the backend, on a thread for long work if it is long work.
    ///
    /// # Errors
    /// That thread ended early.
    pub async fn take(
        &self,
        mut login: Box<Terminated>,
        message: Message,
    ) -> Result<(Box<Terminated>, Result<Step, LoginError>), Unmade> {
        let iterations = login.work(&message);
        let work = move || {
            let step = login.backend_message(&message);
            (login, step)
        };
        if iterations <= MAX_ITERATIONS_INLINE {
            return Ok(work());
        }
        self.beside(work).await
    }

    /// Does it on a thread for long work, when its turn comes. The turn ends with the work, whether or
    /// not somebody waits for that yet.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Unmade> {
        // It is never closed; if it were, there would be nothing to wait for.
        let turn = Arc::clone(&self.0).acquire_owned().await.ok();
        let done = spawn_blocking(move || {
            let _turn = turn;
            work()
        });
        Ok(done.await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn t20_a_proof_that_its_login_gave_up_takes_its_turn_to_the_end() {
        let proofs = Proofs::new(1);
        let (release, held) = channel::<()>();
        tokio::select! {
            biased;
            _ = proofs.beside(move || held.recv()) => panic!("it is held"),
            () = yield_now() => {}
        }
        // The login is gone, and its work is not: nobody else begins.
        tokio::select! {
            biased;
            _ = proofs.beside(|| ()) => panic!("two at once"),
            () = yield_now() => {}
        }
        drop(release);
        proofs.beside(|| ()).await.unwrap();
    }
}
