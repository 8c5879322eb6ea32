//! The work that a backend asks for in a login, kept off the workers' threads where it is long.

use super::terminated::{LoginError, Step, Terminated};
use crate::wire::message::Message;

/// The most iterations of PBKDF2 that are done on a worker's own thread, about two milliseconds:
/// any more would keep the worker's other connections waiting.
const MAX_ITERATIONS_INLINE: u32 = 10_000;

/// The proof could not be made.
#[derive(Debug, thiserror::Error)]
#[error("the proof could not be made")]
pub struct Unmade(#[from] tokio::task::JoinError);

/// Has the login take a message of the backend, on a thread for long work if it is long work.
///
/// # Errors
/// That thread ended early.
pub async fn take(
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
    Ok(tokio::task::spawn_blocking(work).await?)
}
