//! [`Sessions`]: the live sessions of this process, so that a change of the rules can be measured
//! against those whom the old ones let in (T27).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::address::ClientAddr;
use crate::id::ProjectName;
use crate::relay::{Control, Cut};

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
    /// Its relay's controls.
    pub control: Arc<Control>,
}

impl Sessions {
    /// Counts a session as live for as long as the guard lives.
    #[must_use]
    pub fn register(&self, client: ClientAddr, project: ProjectName) -> LiveSession {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let session = Arc::new(Session {
            client,
            project,
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

    /// Cuts the sessions for which `judge` has a reason. Returns how many.
    pub fn cut(&self, judge: impl Fn(&Session) -> Option<Cut>) -> usize {
        // Judged on a copy, so that no session waits for the lock to open or to end.
        let verdicts = self
            .all()
            .into_iter()
            .filter_map(|session| judge(&session).map(|cut| session.control.cut(cut)));
        verdicts.count()
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
    use std::time::Duration;

    use bytes::Bytes;

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
    fn only_the_judged_sessions_are_cut_and_a_dropped_one_is_forgotten() {
        let sessions = Sessions::default();
        let from = |text: &str| ClientAddr::from(text.parse::<IpAddr>().unwrap());
        let project: ProjectName = "acme".parse().unwrap();
        let kept = sessions.register(from("203.0.113.1"), project.clone());
        let revoked = sessions.register(from("203.0.113.2"), project);
        let judge = |session: &Session| {
            (session.client == from("203.0.113.2")).then(|| Cut {
                reason: "revoked",
                message: Bytes::new(),
                grace: Duration::ZERO,
            })
        };
        assert_eq!(sessions.cut(judge), 1);
        drop(revoked);
        assert_eq!(sessions.len(), 1);
        assert_eq!(sessions.cut(judge), 0);
        drop(kept);
        assert!(sessions.is_empty());
    }
}
