//! [`Names`]: what a backend's name resolves to, asked once for all who want to know at a time, and
//! kept for a while.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long after a failure of the resolver an old answer is used without asking again.
const RESPITE: Duration = Duration::from_secs(1);

/// For how long a resolver's answer is used. `getaddrinfo` doesn't tell for how long it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NameCaching {
    /// Without asking again; zero for asking each time, and keeping nothing.
    pub fresh: Duration,
    /// For how much longer where the resolver fails, or says nothing in time.
    pub stale: Duration,
}

impl Default for NameCaching {
    fn default() -> Self {
        Self {
            fresh: Duration::from_secs(30),
            stale: Duration::from_secs(600),
        }
    }
}

/// Of one name: the last answer, and the last failure since.
#[derive(Debug, Default)]
pub(super) struct Names(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    answer: Option<Answer>,
    failure: Option<Failure>,
}

#[derive(Debug)]
struct Answer {
    addresses: Arc<[SocketAddr]>,
    at: Instant,
    /// None of the addresses could be reached: the name may have others by now.
    is_doubted: bool,
}

#[derive(Debug)]
struct Failure {
    at: Instant,
    kind: io::ErrorKind,
    text: String,
}

/// Where a name leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) addresses: Arc<[SocketAddr]>,
    /// The answer is older than the question.
    pub(super) is_kept: bool,
}

impl Found {
    fn just_now(addresses: Vec<SocketAddr>) -> Self {
        Self {
            addresses: addresses.into(),
            is_kept: false,
        }
    }

    /// The addresses that the other doesn't have.
    pub(super) fn without(&self, other: &Self) -> Vec<SocketAddr> {
        let unknown = |address: &&SocketAddr| !other.addresses.contains(address);
        self.addresses.iter().filter(unknown).copied().collect()
    }
}

impl Names {
    /// The addresses, from the last answer or from `lookup`. Who asks while another one's lookup goes
    /// on waits for it instead of beginning one. Where there is an old answer, the resolver has
    /// `patience`.
    ///
    /// # Errors
    /// The resolver's, where there is no answer that may still be used.
    pub(super) async fn find(
        &self,
        caching: NameCaching,
        patience: Duration,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> io::Result<Found> {
        if caching.fresh.is_zero() {
            return lookup.await.map(Found::just_now);
        }
        let asked = Instant::now();
        let mut kept = self.0.lock().await;
        if let Some(found) = kept.ready((asked, Instant::now()), caching) {
            return found;
        }
        let looked_up = if kept.stale(Instant::now(), caching).is_some() {
            let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
            timeout(patience, lookup).await.unwrap_or_else(late)
        } else {
            lookup.await
        };
        let now = Instant::now();
        kept.learn(looked_up, now);
        kept.ready((asked, now), caching)
            .unwrap_or_else(|| Err(nowhere()))
    }

    /// Has the next one ask anew: none of these addresses could be reached.
    pub(super) async fn doubt(&self, found: &Found) {
        if let Some(answer) = &mut self.0.lock().await.answer {
            answer.is_doubted |= Arc::ptr_eq(&answer.addresses, &found.addresses);
        }
    }
}

impl Kept {
    /// What somebody who asked then is told now, if nobody has to be asked for it.
    fn ready(
        &self,
        (asked, now): (Instant, Instant),
        caching: NameCaching,
    ) -> Option<io::Result<Found>> {
        if let Some(answer) = &self.answer {
            let is_fresh = now.duration_since(answer.at) < caching.fresh && !answer.is_doubted;
            if self.failure.is_none() && (is_fresh || answer.at >= asked) {
                return Some(Ok(answer.found(asked)));
            }
        }
        let failure = self.failure.as_ref()?;
        match self.stale(now, caching) {
            Some(answer) if now.duration_since(failure.at) < RESPITE => {
                Some(Ok(answer.found(asked)))
            }
            None if failure.at >= asked => Some(Err(failure.error())),
            Some(_) | None => None,
        }
    }

    /// The answer, if it may be used where there is no newer one.
    fn stale(&self, now: Instant, caching: NameCaching) -> Option<&Answer> {
        let most = caching.fresh.saturating_add(caching.stale);
        self.answer
            .as_ref()
            .filter(|answer| now.duration_since(answer.at) < most)
    }

    fn learn(&mut self, looked_up: io::Result<Vec<SocketAddr>>, now: Instant) {
        match looked_up {
            Ok(addresses) if !addresses.is_empty() => {
                self.failure = None;
                self.answer = Some(Answer {
                    addresses: addresses.into(),
                    at: now,
                    is_doubted: false,
                });
            }
            Ok(_) => self.failure = Some(Failure::new(&nowhere(), now)),
            Err(error) => self.failure = Some(Failure::new(&error, now)),
        }
    }
}

impl Answer {
    fn found(&self, asked: Instant) -> Found {
        Found {
            addresses: Arc::clone(&self.addresses),
            is_kept: self.at < asked,
        }
    }
}

impl Failure {
    fn new(error: &io::Error, at: Instant) -> Self {
        Self {
            at,
            kind: error.kind(),
            text: error.to_string(),
        }
    }

    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.text.clone())
    }
}

pub(super) fn nowhere() -> io::Error {
    io::Error::other("the name has no address")
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::{advance, sleep};

    use super::*;

    const CACHING: NameCaching = NameCaching {
        fresh: Duration::from_secs(30),
        stale: Duration::from_secs(600),
    };
    const PATIENCE: Duration = Duration::from_secs(2);

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 5432).into()
    }

    async fn answering(last: u8) -> io::Result<Vec<SocketAddr>> {
        Ok(vec![address(last), address(100)])
    }

    async fn failing() -> io::Result<Vec<SocketAddr>> {
        Err(io::Error::other("SERVFAIL"))
    }

    async fn unasked() -> io::Result<Vec<SocketAddr>> {
        panic!("nobody had to be asked")
    }

    /// The first address, and whether it was known before.
    async fn find(
        names: &Names,
        lookup: impl Future<Output = io::Result<Vec<SocketAddr>>>,
    ) -> (SocketAddr, bool) {
        let found = names.find(CACHING, PATIENCE, lookup).await.unwrap();
        assert_eq!(found.addresses.last(), Some(&address(100)));
        (found.addresses[0], found.is_kept)
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_is_asked_for_once_in_its_time_and_a_change_is_followed_after_it() {
        let names = Names::default();
        assert_eq!(find(&names, answering(1)).await, (address(1), false));
        advance(Duration::from_millis(29_999)).await;
        assert_eq!(find(&names, unasked()).await, (address(1), true));
        advance(Duration::from_millis(1)).await;
        assert_eq!(find(&names, answering(2)).await, (address(2), false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_asks_once() {
        let (names, asked) = (Arc::new(Names::default()), Arc::new(AtomicUsize::new(0)));
        let crowd: Vec<_> = (0..50)
            .map(|_| {
                let (names, asked) = (Arc::clone(&names), Arc::clone(&asked));
                tokio::spawn(async move {
                    let slowly = async {
                        asked.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_secs(60)).await;
                        answering(1).await
                    };
                    find(&names, slowly).await
                })
            })
            .collect();
        for one in crowd {
            assert_eq!(one.await.unwrap(), (address(1), false));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_is_told_of_one_failure() {
        let names = Arc::new(Names::default());
        let slowly = async {
            sleep(Duration::from_secs(1)).await;
            failing().await
        };
        let (first, second) = tokio::join!(
            names.find(CACHING, PATIENCE, slowly),
            names.find(CACHING, PATIENCE, unasked()),
        );
        for failed in [first, second] {
            assert_eq!(failed.unwrap_err().to_string(), "SERVFAIL");
        }
        // It is not held against who comes later.
        advance(Duration::from_millis(1)).await;
        assert_eq!(find(&names, answering(1)).await, (address(1), false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_stands_in_for_a_resolver_that_fails_but_not_for_ever() {
        let names = Names::default();
        find(&names, answering(1)).await;
        advance(CACHING.fresh).await;
        assert_eq!(find(&names, failing()).await, (address(1), true));
        // Who comes at the same time doesn't wait for another failure.
        assert_eq!(find(&names, unasked()).await, (address(1), true));
        advance(RESPITE).await;
        assert_eq!(find(&names, failing()).await, (address(1), true));
        advance(CACHING.stale - RESPITE).await;
        let failed = names.find(CACHING, PATIENCE, failing()).await;
        assert_eq!(failed.unwrap_err().to_string(), "SERVFAIL");
        advance(Duration::from_millis(1)).await;
        assert_eq!(find(&names, answering(2)).await, (address(2), false));
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_stands_in_for_a_resolver_that_says_nothing() {
        let names = Names::default();
        find(&names, answering(1)).await;
        advance(CACHING.fresh).await;
        let begun = Instant::now();
        assert_eq!(
            find(&names, std::future::pending()).await,
            (address(1), true)
        );
        assert_eq!(begun.elapsed(), PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn addresses_that_could_not_be_reached_are_asked_for_anew() {
        let names = Names::default();
        let found = names.find(CACHING, PATIENCE, answering(1)).await.unwrap();
        advance(Duration::from_secs(1)).await;
        names.doubt(&found).await;
        assert_eq!(find(&names, answering(2)).await, (address(2), false));
        // Doubts about what has been replaced already are nobody's.
        names.doubt(&found).await;
        advance(Duration::from_secs(1)).await;
        assert_eq!(find(&names, unasked()).await, (address(2), true));
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_without_an_address_is_a_failure() {
        let names = Names::default();
        let failed = names
            .find(CACHING, PATIENCE, async { Ok(Vec::new()) })
            .await;
        assert_eq!(failed.unwrap_err().to_string(), "the name has no address");
    }
}
