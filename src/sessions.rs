//! [`Sessions`]: the live sessions of this process, so that a change of the rules can be measured
//! against those whom the old ones let in (T27).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::address::ClientAddr;
use crate::auth::certificate::Identification;
use crate::cancel::Canceller;
use crate::id::ProjectName;
use crate::relay::Control;

/// The live sessions.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    live: Arc<Mutex<HashMap<u64, Arc<Session>>>>,
    next: Arc<AtomicU64>,
}

/// A live session.
#[derive(Debug)]
pub struct Session {
    /// Whose it is.
    pub client: ClientAddr,
    /// Which project it is a session of.
    pub project: ProjectName,
    /// What cancels its work; none if the backend gave out no key (T10).
    pub cancel: Option<Canceller>,
    /// What its client's certificate has proved.
    pub who: Identification,
    /// Its relay's controls.
    pub control: Arc<Control>,
}

impl Sessions {
    /// Counts a session as live for as long as the guard lives.
    #[must_use]
    pub fn register(
        &self,
        client: ClientAddr,
        project: ProjectName,
        (cancel, who): (Option<Canceller>, Identification),
    ) -> LiveSession {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session {
            client,
            project,
            cancel,
            who,
            control: Arc::default(),
        });
        self.lock().insert(id, Arc::clone(&session));
        LiveSession {
            sessions: self.clone(),
            id,
            session,
        }
    }

    /// Every live session.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Session>> {
        self.lock().values().map(Arc::clone).collect()
    }

    /// The live sessions of one project.
    #[must_use]
    pub fn of(&self, project: &ProjectName) -> Vec<Arc<Session>> {
        let live = self.lock();
        let of_project = live.values().filter(|session| session.project == *project);
        of_project.map(Arc::clone).collect()
    }

    /// How many are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Session>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A session that counts as live until this is dropped.
#[derive(Debug)]
pub struct LiveSession {
    sessions: Sessions,
    id: u64,
    session: Arc<Session>,
}

impl LiveSession {
    /// The session.
    #[must_use]
    pub const fn session(&self) -> &Arc<Session> {
        &self.session
    }
}

impl Drop for LiveSession {
    fn drop(&mut self) {
        self.sessions.lock().remove(&self.id);
    }
}

/// Counts the connections that are open, logins and sessions alike, so that a drain can wait for
/// them.
#[derive(Debug, Clone, Default)]
pub struct Open(Arc<Occupancy>);

#[derive(Debug, Default)]
struct Occupancy {
    count: AtomicUsize,
    left: Notify,
}

impl Open {
    /// Counts one more for as long as the guard lives.
    pub fn enter(&self) -> Opened {
        self.0.count.fetch_add(1, Ordering::Relaxed);
        Opened(self.clone())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.count.load(Ordering::Relaxed)
    }

    /// Waits until there is none.
    pub async fn emptied(&self) {
        loop {
            let left = self.0.left.notified();
            if self.count() == 0 {
                return;
            }
            left.await;
        }
    }
}

/// A connection that counts as open until this is dropped.
#[derive(Debug)]
#[must_use = "dropping it ends the count"]
pub struct Opened(Open);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.0.count.fetch_sub(1, Ordering::Relaxed);
        self.0.0.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[tokio::test]
    async fn a_drain_waits_for_the_last_connection() {
        let open = Open::default();
        let (first, second) = (open.enter(), open.enter());
        let emptied = tokio::spawn({
            let open = open.clone();
            async move { open.emptied().await }
        });
        drop(first);
        assert_eq!(open.count(), 1);
        tokio::task::yield_now().await;
        assert!(!emptied.is_finished());
        drop(second);
        emptied.await.unwrap();
    }

    #[test]
    fn a_session_is_found_until_its_guard_is_dropped() {
        let sessions = Sessions::default();
        let client = ClientAddr::from("203.0.113.1".parse::<IpAddr>().unwrap());
        let [acme, globex] = ["acme", "globex"].map(|name| name.parse::<ProjectName>().unwrap());
        let kept = sessions.register(client, acme, (None, Identification::default()));
        let ended = sessions.register(client, globex.clone(), (None, Identification::default()));
        assert_eq!((sessions.len(), sessions.of(&globex).len()), (2, 1));
        drop(ended);
        assert_eq!((sessions.all().len(), sessions.of(&globex).len()), (1, 0));
        drop(kept);
        assert!(sessions.is_empty());
    }
}
