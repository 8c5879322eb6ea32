//! Verifiers that the backend itself is asked for, by a service account: `auth_query`.
//!
//! What is kept of an answer is used for a stated time, and only while the backend shows the same
//! verifier: its salt comes with every login, before the client is asked for anything, so a changed
//! password is found at once. The backend is asked one question at a time per project, over one
//! connection that is kept only while somebody waits for it.

mod cache;
mod service;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::proof::Proofs;
use super::scram::{Iterations, MockSecret, Verifier, VerifierError};
use super::seed::Seed;
use super::terminated::Shown;
use crate::address::BackendAddr;
use crate::backend::Endpoint;
use cache::{Cache, Entry};
use service::Service;

pub use service::ServiceError;

/// How long a question may take, the login of the service account included.
const PATIENCE: Duration = Duration::from_secs(5);

/// PostgreSQL cuts names to this length, in bytes (`NAMEDATALEN` less its terminator).
const NAME_LENGTH: usize = 63;

/// What is asked where nothing else is said: the verifiers of those who may log in, and whose passwords
/// have not expired.
pub const DEFAULT_QUERY: &str = "SELECT rolpassword FROM pg_catalog.pg_authid \
     WHERE rolname OPERATOR(pg_catalog.=) $1 AND rolcanlogin \
     AND (rolvaliduntil IS NULL OR rolvaliduntil OPERATOR(pg_catalog.>) pg_catalog.now())";

/// By whom and how the backend is asked.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The role that may read verifiers.
    pub user: String,
    /// Its password.
    pub password: Zeroizing<Vec<u8>>,
    /// The database that it logs in to.
    pub database: String,
    /// The statement; `$1` is the user's name. It gives at most one row, whose last column of at most
    /// two is the verifier.
    pub query: String,
    /// How long an answer is used.
    pub lasting: Duration,
}

impl fmt::Debug for Account {
    /// Shows no password (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// The verifiers of a project, as its backend has them.
pub struct AuthQuery {
    account: Account,
    seed: Seed,
    cache: Cache,
    turn: Mutex<Turn>,
    waiting: AtomicUsize,
    /// One at a time: one that was given up, as the backend would have it take for ever, ends before the
    /// next begins.
    proofs: Proofs,
}

/// What only one login at a time has to do with.
#[derive(Default)]
struct Turn {
    /// Open only while somebody waits for it.
    service: Option<Service>,
    /// The last one, by where it was.
    failure: Option<(BackendAddr, Instant, QueryError)>,
}

/// Why there is no answer; for the operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("auth_query: {0}")]
pub struct QueryError(Arc<str>);

/// What a user proves itself by.
#[derive(Debug)]
pub struct Found {
    /// The verifier, or a mock (T20, T29).
    pub verifier: Arc<Verifier>,
    /// Why it is a mock although the backend has something for this user.
    pub unusable: Option<VerifierError>,
}

impl AuthQuery {
    /// Verifiers that `account` asks for. `seed` makes the mocks.
    #[must_use]
    pub fn new(account: Account, seed: Seed) -> Self {
        Self {
            cache: Cache::new(account.lasting),
            account,
            seed,
            turn: Mutex::default(),
            waiting: AtomicUsize::new(0),
            proofs: Proofs::new(1),
        }
    }

    /// Whether it asks in the very same way, so that what is known goes on being so.
    #[must_use]
    pub fn is_by(&self, account: &Account) -> bool {
        self.account == *account
    }

    /// Whether it asks in the very same way but for the password, which can't be read any more.
    #[must_use]
    pub fn is_by_other_password(&self, account: &Account) -> bool {
        let password = account.password.clone();
        let known = Account {
            password,
            ..self.account.clone()
        };
        known == *account
    }

    /// The user's verifier, or a mock that looks like one and that no proof satisfies. `shown` is what
    /// the backend at `endpoint` has shown of it in the same login.
    ///
    /// # Errors
    /// The backend can't be asked, or gives no answer that could be one.
    pub async fn find(
        &self,
        user: &[u8],
        shown: Option<&Shown>,
        endpoint: &Endpoint,
    ) -> Result<Found, QueryError> {
        // First, for without it nobody is to get any further than those who need it (T29).
        let seed = self.seed.get().await;
        let seed = seed.map_err(|why| QueryError(why.to_string().into()))?;
        let name = user.get(..NAME_LENGTH).unwrap_or(user);
        let entry = match self.cache.get(name, shown) {
            Some(entry) => entry,
            // No server takes such a name for text, so none has such a role.
            None if std::str::from_utf8(name).is_err() || name.is_empty() => Entry::default(),
            None => self.asked(name, shown, endpoint).await?,
        };
        let iterations = shown.map_or(Iterations::DEFAULT, |shown| shown.iterations);
        let mocks = MockSecret::from_seed(seed, iterations);
        Ok(Found {
            verifier: Verifier::or_mock(entry.verifier, user, &mocks),
            unusable: entry.unusable,
        })
    }

    /// Asks for a user anew at the next login: its proof was wrong, and what it was measured by may be
    /// out of date. Not more than once a second, so that nobody can make the gate ask for ever.
    pub fn doubt(&self, user: &[u8]) {
        self.cache.doubt(user.get(..NAME_LENGTH).unwrap_or(user));
    }

    async fn asked(
        &self,
        name: &[u8],
        shown: Option<&Shown>,
        endpoint: &Endpoint,
    ) -> Result<Entry, QueryError> {
        let came = Instant::now();
        let _waiting = Waiting::new(self);
        let mut turn = self.turn.lock().await;
        // Who had the turn before may have asked the same.
        if let Some(entry) = self.cache.get(name, shown) {
            return Ok(entry);
        }
        // What failed while this login waited would fail again, and others wait behind it.
        if let Some((addr, at, error)) = &turn.failure
            && addr == endpoint.addr()
            && *at > came
        {
            return Err(error.clone());
        }
        let service = turn.service.take();
        let answered = self.ask(service, name, endpoint);
        let late = || QueryError(format!("no answer within {PATIENCE:?}").into());
        match timeout(PATIENCE, answered).await {
            Ok(Ok((service, answer))) => {
                // Before the turn is another's: who waits for the same need not ask.
                let entry = self.cache.put(name, answer, shown);
                let others_wait = self.waiting.load(Ordering::Relaxed) > 1;
                if others_wait {
                    turn.service = Some(service);
                } else {
                    drop(turn);
                    service.close().await;
                }
                Ok(entry)
            }
            Ok(Err(error)) => {
                Err(turn.failed(endpoint.addr(), QueryError(error.to_string().into())))
            }
            Err(_) => Err(turn.failed(endpoint.addr(), late())),
        }
    }

    /// Asks by the connection that is open, if it is and is to the same address; else by a new one.
    async fn ask(
        &self,
        service: Option<Service>,
        name: &[u8],
        endpoint: &Endpoint,
    ) -> Result<(Service, Option<Zeroizing<Vec<u8>>>), ServiceError> {
        if let Some(mut service) = service.filter(|service| service.is_at(endpoint))
            && let Ok(answer) = service.ask(&self.account, name).await
        {
            return Ok((service, answer));
        }
        let mut service = Service::open(&self.account, endpoint, &self.proofs).await?;
        let answer = service.ask(&self.account, name).await?;
        Ok((service, answer))
    }
}

impl Turn {
    fn failed(&mut self, addr: &BackendAddr, error: QueryError) -> QueryError {
        self.failure = Some((addr.clone(), Instant::now(), error.clone()));
        error
    }
}

/// Counts those who wait for an answer. The last one to go, for whatever reason, closes the connection
/// that was kept for it.
struct Waiting<'a>(&'a AuthQuery);

impl<'a> Waiting<'a> {
    fn new(query: &'a AuthQuery) -> Self {
        query.waiting.fetch_add(1, Ordering::AcqRel);
        Self(query)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Self(query) = self;
        let is_last = query.waiting.fetch_sub(1, Ordering::AcqRel) == 1;
        // Who has the turn now came later, and goes later.
        if is_last && let Ok(mut turn) = query.turn.try_lock() {
            turn.service = None;
        }
    }
}

impl fmt::Debug for AuthQuery {
    /// Shows no secret (T34).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthQuery")
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}
