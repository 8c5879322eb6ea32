//! The bytes of sessions that are still open: a session may last for weeks, and what it carries is
//! worth knowing before it ends.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;

use crate::relay::Control;

/// Two counters of bytes, fed by the sessions that are open.
///
/// The lock is taken when a session opens or ends and at a scrape, never by a relay. What was counted
/// of a session is noted under it, so that each byte is counted once however many look at once.
pub(super) struct Live {
    to_backend: IntCounter,
    to_client: IntCounter,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    next: u64,
    open: HashMap<u64, Session>,
}

/// An open session, and how much of it has been counted.
struct Session {
    control: Arc<Control>,
    to_backend: u64,
    to_client: u64,
}

impl Live {
    pub(super) fn new(to_backend: IntCounter, to_client: IntCounter) -> Self {
        Self {
            to_backend,
            to_client,
            sessions: Mutex::default(),
        }
    }

    /// Takes up a session; the number is for [`Self::ended`].
    pub(super) fn opened(&self, control: Arc<Control>) -> u64 {
        let mut sessions = self.sessions();
        let id = sessions.next;
        sessions.next = id.wrapping_add(1);
        let session = Session {
            control,
            to_backend: 0,
            to_client: 0,
        };
        sessions.open.insert(id, session);
        id
    }

    /// Counts what a session has carried since the last look, and lets go of it.
    pub(super) fn ended(&self, id: u64) {
        let mut sessions = self.sessions();
        if let Some(mut session) = sessions.open.remove(&id) {
            self.count(&mut session);
        }
    }

    /// Counts what all sessions have carried since the last look.
    pub(super) fn look(&self) {
        for session in self.sessions().open.values_mut() {
            self.count(session);
        }
    }

    fn count(&self, session: &mut Session) {
        let to_backend = session.control.client_to_backend();
        let to_client = session.control.backend_to_client();
        self.to_backend
            .inc_by(to_backend.saturating_sub(session.to_backend));
        self.to_client
            .inc_by(to_client.saturating_sub(session.to_client));
        (session.to_backend, session.to_client) = (to_backend, to_client);
    }

    /// Nothing panics between two writes under the lock, so what is there is whole.
    fn sessions(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
