//! [`Certificates`]: all that is in memory of what projects show.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use jiff::Timestamp;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Served, Serving};
use crate::id::ProjectName;
use crate::pki::{Keystore, Sharer};

/// How many are made at once for logins that wait: making one writes files, and must not take up
/// every thread that is there for such work.
const MAKERS: usize = 16;

/// What projects show, as far as it is in memory: of at most so many projects.
pub struct Certificates {
    keystore: Keystore,
    most: AtomicUsize,
    /// In the order of coming, but for those that had a second chance.
    queue: Mutex<VecDeque<Weak<Serving>>>,
    makers: Semaphore,
}

/// What a look has found of one project.
#[derive(Debug)]
pub struct Looked {
    /// Whose it is.
    pub project: ProjectName,
    /// What it shows from now on, or why it shows what it did.
    pub result: Result<Arc<Served>, String>,
    /// The servers that share it.
    pub sharers: Vec<Sharer>,
}

impl Certificates {
    /// None yet; at most `most` from now on, in memory, of CAs that `keystore` keeps.
    #[must_use]
    pub fn new(keystore: Keystore, most: usize) -> Self {
        Self {
            keystore,
            most: AtomicUsize::new(most),
            queue: Mutex::default(),
            makers: Semaphore::new(MAKERS),
        }
    }

    /// Where the projects' CAs are kept.
    #[must_use]
    pub const fn keystore(&self) -> &Keystore {
        &self.keystore
    }

    /// How many may be in memory.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most.load(Ordering::Relaxed)
    }

    /// Changes how many may be in memory.
    pub fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
        self.put_out(&mut self.queue());
    }

    /// Those that are in memory.
    #[must_use]
    pub fn in_memory(&self) -> Vec<Arc<Serving>> {
        self.queue().iter().filter_map(Weak::upgrade).collect()
    }

    /// Looks at those that are in memory, and makes anew what has changed on the disk or is due for
    /// renewal. Blocks on the file system.
    pub fn look(&self, now: Timestamp) -> Vec<Looked> {
        let in_memory = self.in_memory();
        let changed = in_memory.iter().filter(|serving| serving.is_stale(now));
        changed
            .filter_map(|serving| look_at(serving, now))
            .collect()
    }

    /// The right to make one, in the order of asking.
    pub(super) async fn maker(&self) -> Option<SemaphorePermit<'_>> {
        // It is never closed; if it were, there would be nothing to wait for.
        self.makers.acquire().await.ok()
    }

    /// Notes that one is in memory that was not, and puts others out if they are too many now.
    pub(super) fn put_in(&self, serving: &Arc<Serving>) {
        // It has a chance of its own, or it would go before those that have theirs.
        serving.state().is_used.store(true, Ordering::Relaxed);
        let mut queue = self.queue();
        queue.push_back(Arc::downgrade(serving));
        self.put_out(&mut queue);
    }

    /// Puts out the one that came first and was not asked for since it was last considered, and so on
    /// until there are not too many (the "clock" approximation of least recently used, which costs
    /// those who ask no lock).
    fn put_out(&self, queue: &mut VecDeque<Weak<Serving>>) {
        while queue.len() > self.most() {
            let Some(first) = queue.pop_front() else {
                return;
            };
            let Some(serving) = first.upgrade() else {
                continue;
            };
            if serving.state().is_used.swap(false, Ordering::Relaxed) {
                queue.push_back(first);
            } else {
                serving.state().current.store(None);
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, VecDeque<Weak<Serving>>> {
        // Nothing panics between two steps under the lock, so what is there is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Nothing is found where the same certificate has come again.
fn look_at(serving: &Arc<Serving>, now: Timestamp) -> Option<Looked> {
    let before = serving.in_memory()?;
    let result = match (serving.refresh(now, None), serving.trouble()) {
        (Ok(served), None) if served.identity.chain() == before.identity.chain() => return None,
        (Ok(served), None) => Ok(served),
        (Ok(_), Some(trouble)) => Err(trouble.into()),
        (Err(error), _) => Err(error.to_string()),
    };
    Some(Looked {
        project: serving.recipe().project.clone(),
        result,
        sharers: serving.sharers(),
    })
}

impl fmt::Debug for Certificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificates")
            .field("keystore", &self.keystore)
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}
