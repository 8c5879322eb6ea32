//! CancelRequest by key: which live session a key belongs to, and so which backend it must reach.
//!
//! Keys are the backend's own and pass through unchanged (T10); all that is kept here is where the
//! session of a key went. An entry lives as long as its [`CancelGuard`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::backend::{Backend, BackendPeer};
use crate::id::ProjectName;
use crate::wire::startup::{CancelKey, CancelRequest};

/// Where a cancel goes.
#[derive(Debug, Clone)]
pub struct CancelTarget {
    /// The project whose rules decide on the cancel.
    pub project: ProjectName,
    /// The backend of the session.
    pub backend: Arc<Backend>,
    /// At which of its addresses the session is: the same, with the same TLS, takes the cancel.
    pub peer: BackendPeer,
}

/// The keys of the live sessions of this process.
#[derive(Debug, Clone, Default)]
pub struct CancelKeys {
    // Two backends may well use the same process id, hence a list; it is nearly always of one.
    entries: Arc<Mutex<HashMap<i32, Vec<Entry>>>>,
}

#[derive(Debug)]
struct Entry {
    key: CancelKey,
    target: CancelTarget,
}

impl CancelKeys {
    /// Remembers the key of a session for as long as the guard lives.
    #[must_use]
    pub fn register(&self, process_id: i32, key: CancelKey, target: CancelTarget) -> CancelGuard {
        let entry = Entry {
            key: key.clone(),
            target,
        };
        self.lock().entry(process_id).or_default().push(entry);
        CancelGuard {
            keys: self.clone(),
            process_id,
            key,
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

    fn lock(&self) -> MutexGuard<'_, HashMap<i32, Vec<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets a session's key when dropped.
#[derive(Debug)]
pub struct CancelGuard {
    keys: CancelKeys,
    process_id: i32,
    key: CancelKey,
}

impl Drop for CancelGuard {
    fn drop(&mut self) {
        let mut entries = self.keys.lock();
        if let Some(candidates) = entries.get_mut(&self.process_id) {
            if let Some(at) = candidates.iter().position(|entry| entry.key == self.key) {
                candidates.swap_remove(at);
            }
            if candidates.is_empty() {
                entries.remove(&self.process_id);
            }
        }
    }
}
