//! Endings: sessions are cut, and what a backend still does for one of them is cancelled.
//!
//! A backend whose connection closes while it works goes on until it next writes, and a statement
//! that holds locks may not write for hours. So it is told by a CancelRequest, and told before the
//! connection closes: a pooler forgets a key with its connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::backend::{Backend, DialError};
use crate::cancel::Canceller;
use crate::project::Projects;
use crate::relay::Cut;
use crate::sessions::Session;

/// How long a session lives on for its statement to be cancelled first. With the time in which a
/// change is noticed it stays well below a second.
const HEAD_START: Duration = Duration::from_millis(250);

/// How long a cancel is waited for at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Cancels under way at once: each is one more connection to a backend.
const AT_ONCE: usize = 32;

/// Ends sessions. What is still to be cancelled is given up when this is dropped.
#[derive(Debug)]
pub(super) struct Endings {
    cancels: JoinSet<()>,
    turns: Arc<Semaphore>,
}

impl Default for Endings {
    fn default() -> Self {
        Self {
            cancels: JoinSet::new(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
        }
    }
}

impl Endings {
    /// Ends a session at once, or shortly if its backend is at work for it. Doesn't wait.
    pub(super) fn end(&mut self, session: &Arc<Session>, cut: Cut, projects: &Projects) {
        match &session.cancel {
            Some(canceller) if session.control.is_at_work() => {
                let (session, canceller) = (Arc::clone(session), canceller.clone());
                let project = projects.by_name(&session.project);
                let cancel = Cancel {
                    canceller,
                    backend: project.map(|project| Arc::clone(&project.backend)),
                    turns: Arc::clone(&self.turns),
                };
                self.cancels.spawn(interrupt(session, cancel, cut));
            }
            Some(_) | None => session.control.cut(cut),
        }
        while self.cancels.try_join_next().is_some() {}
    }

    /// Waits until nothing is left to be cancelled.
    pub(super) async fn done(&mut self) {
        while self.cancels.join_next().await.is_some() {}
    }
}

/// What cancels a session's statement, when it is its turn.
struct Cancel {
    canceller: Canceller,
    /// As it is in force now; none where the project is no more.
    backend: Option<Arc<Backend>>,
    turns: Arc<Semaphore>,
}

impl Cancel {
    async fn carry(self) -> Result<(), DialError> {
        let _turn = self.turns.acquire_owned().await;
        self.canceller.cancel(self.backend.as_deref()).await
    }
}

/// Cancels a session's statement and cuts the session; if the cancel takes too long, the other way
/// round.
async fn interrupt(session: Arc<Session>, cancel: Cancel, cut: Cut) {
    let mut cancel = Box::pin(timeout(PATIENCE, cancel.carry()));
    let cancelled = timeout(HEAD_START, cancel.as_mut()).await;
    session.control.cut(cut);
    let cancelled = match cancelled {
        Ok(cancelled) => cancelled,
        Err(_) => cancel.await,
    };
    let Session {
        client, project, ..
    } = &*session;
    let why = match &cancelled {
        Ok(Ok(())) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    tracing::warn!(%project, %client, why, "a cut session's statement may go on: it can't be cancelled");
}
