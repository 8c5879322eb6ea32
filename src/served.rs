//! What a project shows to its clients: its certificate and the TLS server made of it. Made on first
//! use, and kept in memory for as many projects as the process is told to.
//!
//! A [`Serving`] is one project's: what is to be shown, and what is shown now, if it is in memory. A
//! reload that changes neither keeps it. [`Certificates`] knows all that are in memory, puts out what
//! was not asked for longest when there are too many, and looks for what has changed on the disk.

mod certificates;

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jiff::Timestamp;
use rustls::ServerConfig;
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::address::Host;
use crate::id::ProjectName;
use crate::pki::{Identity, PkiError, Sharer, TlsPolicy, server_config};
use crate::stamp::Stamp;

pub use certificates::{Certificates, Looked};

/// How long a project that can't get its certificate is not tried again.
const RETRY: Duration = Duration::from_secs(1);

/// How a time is written for people.
const DATE: &str = "%-d %B %Y, %H:%M UTC";

/// A certificate, and the TLS server that shows it.
#[derive(Debug)]
pub struct Served {
    /// The TLS server.
    pub tls: Arc<ServerConfig>,
    /// Its certificate and key.
    pub identity: Identity,
}

impl Served {
    /// The TLS server that shows `identity`.
    #[must_use]
    pub fn new(identity: Identity, policy: &TlsPolicy) -> Self {
        Self {
            tls: server_config(&identity, policy),
            identity,
        }
    }
}

/// What a project is to show: all that its [`Served`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    /// Whose it is.
    pub project: ProjectName,
    /// The hosts that the leaf is for.
    pub hosts: Arc<[Host]>,
    /// Where the leaf comes from.
    pub source: LeafSource,
    /// What is demanded of clients.
    pub policy: TlsPolicy,
}

/// Where a project's leaf comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeafSource {
    /// The project's own CA, in the keystore.
    Keystore,
    /// Files of the user's own.
    Files(Box<LeafFiles>),
}

/// A chain of the user's own, and its key; PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafFiles {
    /// The chain, leaf first.
    pub chain: PathBuf,
    /// The key.
    pub key: PathBuf,
}

impl Recipe {
    /// Whether both are for a leaf from the same place, for the same hosts.
    fn is_for_same_leaf(&self, other: &Self) -> bool {
        self.source == other.source
            && BTreeSet::from_iter(&*self.hosts) == BTreeSet::from_iter(&*other.hosts)
    }

    /// The files by which a change of the leaf is seen.
    fn files(&self, certificates: &Certificates) -> Vec<PathBuf> {
        match &self.source {
            LeafSource::Keystore => certificates.keystore().project(&self.project).leaf_files(),
            LeafSource::Files(files) => vec![files.chain.clone(), files.key.clone()],
        }
    }

    fn leaf(&self, certificates: &Certificates, now: Timestamp) -> Result<Identity, PkiError> {
        match &self.source {
            LeafSource::Keystore => {
                let store = certificates.keystore().project(&self.project);
                store.load_or_create(&self.hosts, now)
            }
            LeafSource::Files(files) => {
                let LeafFiles { chain, key } = &**files;
                Identity::from_files(chain, key, &self.hosts, now)
            }
        }
    }
}

/// What one project shows, in memory or not.
pub struct Serving {
    recipe: Recipe,
    certificates: Arc<Certificates>,
    /// Made for the first who asks.
    state: OnceLock<Box<State>>,
}

/// What has become of it so far.
#[derive(Default)]
struct State {
    current: ArcSwapOption<Current>,
    /// Whether somebody came for it since [`Certificates`] last looked for what to put out.
    is_used: AtomicBool,
    /// Held by whoever makes it, so that nobody else does at the same time.
    turn: Mutex<Option<Box<Failure>>>,
}

/// What is in memory.
struct Current {
    served: Arc<Served>,
    /// What its files looked like before they were read.
    seen: Vec<Stamp>,
    /// Why it is not what it should be, if it isn't.
    trouble: Option<Box<str>>,
}

/// An attempt that failed.
struct Failure {
    at: Instant,
    why: Unserved,
}

/// Why a project can't show a certificate; for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unserved(Arc<str>);

impl Serving {
    /// A project's, to be made on first use.
    #[must_use]
    pub fn new(recipe: Recipe, certificates: &Arc<Certificates>) -> Self {
        Self {
            recipe,
            certificates: Arc::clone(certificates),
            state: OnceLock::new(),
        }
    }

    /// What it is made of.
    #[must_use]
    pub const fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// What is in memory, if anything is.
    #[must_use]
    pub fn in_memory(&self) -> Option<Arc<Served>> {
        let current = self.state.get()?.current.load();
        current.as_ref().map(|current| Arc::clone(&current.served))
    }

    /// What the project shows. Made now if it isn't in memory, beside the workers and once for all
    /// who wait.
    ///
    /// # Errors
    /// It can't be made, or could not a moment ago.
    pub async fn served(self: &Arc<Self>) -> Result<Arc<Served>, Unserved> {
        if let Some(served) = self.used() {
            return Ok(served);
        }
        let mut turn = self.state().turn.lock().await;
        if let Some(served) = self.used() {
            return Ok(served);
        }
        if let Some(failure) = turn.as_ref().filter(|failure| failure.is_fresh()) {
            return Err(failure.why.clone());
        }
        let made = self.make_beside().await;
        *turn = made.as_ref().err().map(|why| {
            Box::new(Failure {
                at: Instant::now(),
                why: why.clone(),
            })
        });
        made
    }

    fn state(&self) -> &State {
        self.state.get_or_init(Box::default)
    }

    /// What is in memory, noting that it is used.
    fn used(&self) -> Option<Arc<Served>> {
        let served = self.in_memory()?;
        // Written only if it changes anything: all workers read it.
        let is_used = &self.state().is_used;
        if !is_used.load(Ordering::Relaxed) {
            is_used.store(true, Ordering::Relaxed);
        }
        Some(served)
    }

    async fn make_beside(self: &Arc<Self>) -> Result<Arc<Served>, Unserved> {
        let unserved = |why: &dyn fmt::Display| Unserved(why.to_string().into());
        let _maker = self.certificates.maker().await;
        let this = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || this.make(Timestamp::now(), None));
        match made.await {
            Ok(made) => made.map_err(|error| unserved(&error)),
            Err(panic) => Err(unserved(&panic)),
        }
    }

    /// Makes it if it isn't in memory, and makes it anew if its files have changed or its renewal is
    /// due. Where that fails it stays as it was, or else becomes as `before`, if that shows the same
    /// leaf; then there is trouble to tell of. Blocks on the file system.
    ///
    /// # Errors
    /// It can't be made, and there is none to stay with.
    pub fn refresh(
        self: &Arc<Self>,
        now: Timestamp,
        before: Option<&Self>,
    ) -> Result<Arc<Served>, PkiError> {
        match self.in_memory() {
            Some(served) if !self.is_stale(now) => Ok(served),
            Some(_) => self.make(now, Some(self)),
            None => self.make(now, before),
        }
    }

    /// Why what is shown is not what it should be, if it isn't.
    #[must_use]
    pub fn trouble(&self) -> Option<Box<str>> {
        self.state.get()?.current.load().as_ref()?.trouble.clone()
    }

    /// The servers that share its leaf. One that can't be told keeps nothing from being served.
    fn sharers(&self) -> Vec<Sharer> {
        match self.recipe.source {
            LeafSource::Keystore => {
                let keystore = self.certificates.keystore();
                let sharers = keystore.project(&self.recipe.project).sharers();
                sharers.unwrap_or_default()
            }
            LeafSource::Files(_) => Vec::new(),
        }
    }

    /// Whether a file has changed since what is in memory was made of it, or it is due for renewal.
    /// A file that went away is no change yet: it may be about to be replaced.
    fn is_stale(&self, now: Timestamp) -> bool {
        let current = self.state().current.load();
        let Some(current) = &*current else {
            return false;
        };
        let identity = &current.served.identity;
        let is_due = identity.renew_at().is_some_and(|at| at <= now);
        // Noticed once: nobody but its owner can renew a chain that is not ours.
        let is_over = identity.not_after() <= now && current.trouble.is_none();
        let files = self.recipe.files(&self.certificates);
        let has_changed = files.iter().zip(&current.seen).any(|(file, seen)| {
            let found = Stamp::of(file);
            found.is_there() && found != *seen
        });
        is_due || is_over || has_changed
    }

    fn make(
        self: &Arc<Self>,
        now: Timestamp,
        before: Option<&Self>,
    ) -> Result<Arc<Served>, PkiError> {
        let files = self.recipe.files(&self.certificates);
        let seen = files.iter().map(|file| Stamp::of(file)).collect();
        let before = before.filter(|before| before.recipe.is_for_same_leaf(&self.recipe));
        let before = before.and_then(Self::in_memory);
        let (identity, trouble) = match (self.recipe.leaf(&self.certificates, now), before) {
            (Ok(identity), _) => (identity, None),
            (Err(error), None) => return Err(error),
            (Err(error), Some(before)) => {
                let end = before.identity.not_after().strftime(DATE);
                let trouble = format!(
                    "{error}; clients still see the certificate from before, valid to {end}"
                );
                let identity = before.identity.clone().with_renewal_put_off(now);
                (identity, Some(trouble.into()))
            }
        };
        let served = Arc::new(Served::new(identity, &self.recipe.policy));
        self.keep(Current {
            served: Arc::clone(&served),
            seen,
            trouble,
        });
        Ok(served)
    }

    fn keep(self: &Arc<Self>, current: Current) {
        if self.state().current.swap(Some(Arc::new(current))).is_none() {
            self.certificates.put_in(self);
        }
    }
}

impl Failure {
    fn is_fresh(&self) -> bool {
        self.at.elapsed() < RETRY
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving")
            .field("recipe", &self.recipe)
            .field("in_memory", &self.in_memory().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
