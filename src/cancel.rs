//! CancelRequest by key: which live session a key belongs to, and so which backend it must reach.
//!
//! Keys are the backend's own and pass through unchanged (T10); all that is kept here is where the
//! session of a key went. An entry lives as long as its [`CancelGuard`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, DialError, Reached};
use crate::id::ProjectName;
use crate::wire::startup::{CancelKey, CancelRequest};

/// Where a cancel goes.
#[derive(Debug, Clone)]
pub struct CancelTarget {
    /// The project whose rules decide on the cancel.
    pub project: ProjectName,
    /// Where the session is: the same address takes the cancel.
    pub reached: Reached,
}

impl CancelTarget {
    /// The same, by what the project's backend is now.
    #[must_use]
    pub fn by(&self, backend: &Backend) -> Self {
        Self {
            project: self.project.clone(),
            reached: self.reached.by(backend),
        }
    }

    /// Carries a request there, and waits until the backend has closed: then the signal is sent (T9).
    ///
    /// # Errors
    /// Those of [`Reached::cancel`].
    pub async fn carry(&self, request: &CancelRequest) -> Result<(), DialError> {
        self.reached.cancel(&request.raw()).await
    }
}

/// The keys of the live sessions of this process.
#[derive(Debug, Clone, Default)]
pub struct CancelKeys {
    // Two backends may well use the same process id, hence a list; it is nearly always of one.
    entries: Arc<Mutex<HashMap<i32, Vec<Arc<Entry>>>>>,
}

#[derive(Debug)]
struct Entry {
    process_id: i32,
    key: CancelKey,
    target: CancelTarget,
}

impl CancelKeys {
    /// Remembers the key of a session for as long as the guard lives.
    #[must_use]
    pub fn register(&self, process_id: i32, key: CancelKey, target: CancelTarget) -> CancelGuard {
        let entry = Arc::new(Entry {
            process_id,
            key,
            target,
        });
        let mut entries = self.lock();
        entries
            .entry(process_id)
            .or_default()
            .push(Arc::clone(&entry));
        CancelGuard {
            keys: self.clone(),
            entry,
        }
    }

    /// The target of `request`. Keys are compared in constant time.
    #[must_use]
    pub fn find(&self, request: &CancelRequest) -> Option<CancelTarget> {
        let entries = self.lock();
        let candidates = entries.get(&request.process_id)?;
        candidates
            .iter()
            .find(|entry| entry.key == request.key)
            .map(|entry| entry.target.clone())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Arc<Entry>>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What cancels the work of a session, as the gate itself does when it cuts one (T27).
#[derive(Debug, Clone)]
pub struct Canceller(Arc<Entry>);

impl Canceller {
    /// Asks the backend to give up what it does for the session: by what the project's backend is now,
    /// if there is one.
    ///
    /// # Errors
    /// Those of [`Reached::cancel`].
    pub async fn cancel(&self, now: Option<&Backend>) -> Result<(), DialError> {
        let Entry {
            process_id,
            key,
            target,
        } = &*self.0;
        let request = CancelRequest {
            process_id: *process_id,
            key: key.clone(),
        };
        match now {
            Some(backend) => target.by(backend).carry(&request).await,
            None => target.carry(&request).await,
        }
    }
}

impl CancelGuard {
    /// What cancels the session's work.
    #[must_use]
    pub fn canceller(&self) -> Canceller {
        Canceller(Arc::clone(&self.entry))
    }
}

/// Forgets a session's key when dropped.
#[derive(Debug)]
pub struct CancelGuard {
    keys: CancelKeys,
    entry: Arc<Entry>,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let mut entries = self.keys.lock();
        if let Some(candidates) = entries.get_mut(&self.entry.process_id) {
            candidates.retain(|candidate| !Arc::ptr_eq(candidate, &self.entry));
            if candidates.is_empty() {
                entries.remove(&self.entry.process_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::backend::{BackendPeer, BackendTls, Dialling, Endpoint, NameCaching};
    use crate::relay::TcpTuning;

    fn target(project: &str) -> CancelTarget {
        let addr = "postgres://127.0.0.1:5432".parse().unwrap();
        let dialling = Dialling {
            tls: BackendTls::disable(),
            connect_timeout: Duration::from_secs(1),
            names: NameCaching::default(),
            tcp: TcpTuning::default(),
        };
        CancelTarget {
            project: project.parse().unwrap(),
            reached: Reached {
                endpoint: Arc::new(Endpoint::new(addr, &dialling).unwrap()),
                peer: BackendPeer::Tcp("127.0.0.1:5432".parse().unwrap()),
            },
        }
    }

    fn key(bytes: &[u8]) -> CancelKey {
        CancelKey::new(bytes).unwrap()
    }

    #[test]
    fn t10_a_cancel_needs_the_process_id_and_the_whole_key() {
        let keys = CancelKeys::default();
        let _acme = keys.register(4711, key(b"\0\0\0\x01"), target("acme"));
        // Another backend's session with the same process id.
        let _globex = keys.register(4711, key(&[7; 256]), target("globex"));
        let find = |process_id, bytes: &[u8]| {
            let found = keys.find(&CancelRequest {
                process_id,
                key: key(bytes),
            });
            found.map(|target| target.project.to_string())
        };
        assert_eq!(find(4711, b"\0\0\0\x01").as_deref(), Some("acme"));
        assert_eq!(find(4711, &[7; 256]).as_deref(), Some("globex"));
        assert_eq!(find(4711, &[7; 255]), None);
        assert_eq!(find(4711, b"\0\0\0\x02"), None);
        assert_eq!(find(4712, b"\0\0\0\x01"), None);
    }

    #[test]
    fn t9_the_key_of_a_session_that_has_ended_cancels_nobody() {
        let keys = CancelKeys::default();
        let request = CancelRequest {
            process_id: 1,
            key: key(b"abcd"),
        };
        let ended = keys.register(1, key(b"abcd"), target("acme"));
        // The same key twice, which a hostile backend could hand out.
        let live = keys.register(1, key(b"abcd"), target("globex"));
        let late = keys.register(1, key(b"abcd"), target("initech"));
        drop(late);
        drop(ended);
        assert_eq!(keys.find(&request).unwrap().project.as_str(), "globex");
        drop(live);
        assert!(keys.find(&request).is_none());
        assert!(keys.lock().is_empty());
    }
}
