//! What is kept of the answers.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::auth::scram::{Verifier, VerifierError};
use crate::auth::terminated::Shown;

/// Of how many users answers are kept, those who don't exist among them; the oldest go first. About
/// three megabytes.
const MOST: usize = 10_000;

/// How soon after an answer the same may be asked again, whatever speaks for it.
const SHORTEST: Duration = Duration::from_secs(1);

/// The answers of the last while, by user.
pub(super) struct Cache {
    lasting: Duration,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    entries: HashMap<Box<[u8]>, Dated>,
    /// In the order of coming, with the moment of coming.
    order: VecDeque<(Instant, Box<[u8]>)>,
}

struct Dated {
    entry: Entry,
    at: Instant,
    /// What the backend showed when it was asked.
    shown: Option<Shown>,
    is_doubted: bool,
}

/// An answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// None if there is no such user, or none that may log in.
    pub(super) verifier: Option<Arc<Verifier>>,
    /// What the backend has is no verifier.
    pub(super) unusable: Option<VerifierError>,
}

impl Cache {
    pub(super) fn new(lasting: Duration) -> Self {
        Self {
            lasting,
            kept: Mutex::default(),
        }
    }

    /// The answer of a while ago, if the backend shows no other verifier since.
    pub(super) fn get(&self, user: &[u8], shown: Option<&Shown>) -> Option<Entry> {
        let kept = self.lock();
        let dated = kept.entries.get(user)?;
        let age = dated.at.elapsed();
        let is_good = !dated.is_doubted && dated.is_of(shown) && age < self.lasting;
        (is_good || age < SHORTEST.min(self.lasting)).then(|| dated.entry.clone())
    }

    /// Keeps an answer.
    pub(super) fn put(
        &self,
        user: &[u8],
        answer: Option<Zeroizing<Vec<u8>>>,
        shown: Option<&Shown>,
    ) -> Entry {
        let entry = match answer.map(|text| Verifier::parse(&text)) {
            Some(Ok(verifier)) => Entry {
                verifier: Some(Arc::new(verifier)),
                unusable: None,
            },
            Some(Err(error)) => Entry {
                verifier: None,
                unusable: Some(error),
            },
            None => Entry::default(),
        };
        let dated = Dated {
            entry: entry.clone(),
            at: Instant::now(),
            shown: shown.cloned(),
            is_doubted: false,
        };
        self.lock().put(user.into(), dated);
        entry
    }

    pub(super) fn doubt(&self, user: &[u8]) {
        if let Some(dated) = self.lock().entries.get_mut(user) {
            dated.is_doubted = true;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn put(&mut self, user: Box<[u8]>, dated: Dated) {
        self.order.push_back((dated.at, user.clone()));
        self.entries.insert(user, dated);
        while self.order.len() > MOST {
            let Some((at, user)) = self.order.pop_front() else {
                return;
            };
            // It may have come again since, and then has a later place, too.
            if self.entries.get(&user).is_some_and(|dated| dated.at == at) {
                self.entries.remove(&user);
            }
        }
    }
}

impl Dated {
    /// Whether it is the answer for what the backend shows now.
    fn is_of(&self, shown: Option<&Shown>) -> bool {
        match (shown, &self.entry.verifier) {
            (None, _) => true,
            (Some(shown), Some(verifier)) => shown.is(verifier),
            (Some(shown), None) => self.shown.as_ref() == Some(shown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::scram::{Iterations, Salt};

    fn verifier() -> (Zeroizing<Vec<u8>>, Shown) {
        let (salt, iterations) = (Salt::random().unwrap(), Iterations::new(1).unwrap());
        let verifier = Verifier::from_password(b"secret", salt.clone(), iterations);
        let text = Zeroizing::new(verifier.to_text().as_bytes().to_vec());
        (text, Shown { salt, iterations })
    }

    fn cache() -> Cache {
        Cache::new(Duration::from_secs(30))
    }

    async fn pass(seconds: u64) {
        tokio::time::advance(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_used_for_its_time_and_only_while_the_backend_shows_the_same_verifier() {
        let (cache, (text, shown)) = (cache(), verifier());
        let other = verifier().1;
        cache.put(b"alice", Some(text), Some(&shown));
        pass(2).await;
        assert!(
            cache
                .get(b"alice", Some(&shown))
                .unwrap()
                .verifier
                .is_some()
        );
        assert!(cache.get(b"alice", None).is_some());
        assert!(
            cache.get(b"alice", Some(&other)).is_none(),
            "a new password"
        );
        assert!(cache.get(b"bob", Some(&shown)).is_none());
        pass(28).await;
        assert!(cache.get(b"alice", Some(&shown)).is_none(), "too old");
    }

    #[tokio::test(start_paused = true)]
    async fn that_there_is_no_such_user_is_kept_until_the_backend_shows_another_salt() {
        let (cache, shown) = (cache(), verifier().1);
        cache.put(b"mallory", None, Some(&shown));
        pass(2).await;
        assert!(
            cache
                .get(b"mallory", Some(&shown))
                .unwrap()
                .verifier
                .is_none()
        );
        assert!(
            cache.get(b"mallory", Some(&verifier().1)).is_none(),
            "made since"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_makes_the_same_question_be_asked_twice_in_a_second() {
        let (cache, (text, shown)) = (cache(), verifier());
        cache.put(b"alice", Some(text), Some(&shown));
        cache.doubt(b"alice");
        assert!(cache.get(b"alice", Some(&verifier().1)).is_some());
        pass(1).await;
        assert!(cache.get(b"alice", Some(&shown)).is_none());
    }

    #[test]
    fn an_md5_hash_is_no_verifier_and_is_told_apart_from_none() {
        let text = Zeroizing::new(b"md5d0bc2b8a0bd9fa1b1c5ae4e6e9ba8c4d".to_vec());
        let entry = cache().put(b"alice", Some(text), None);
        assert!(entry.verifier.is_none());
        assert_eq!(entry.unusable, Some(VerifierError::Md5));
    }

    #[test]
    fn so_many_answers_are_kept_and_no_more() {
        let cache = cache();
        for number in 0..MOST + 500 {
            cache.put(number.to_string().as_bytes(), None, None);
            cache.put(b"again", None, None);
        }
        let kept = cache.lock();
        assert!(kept.order.len() <= MOST && kept.entries.len() <= MOST);
        assert!(kept.entries.contains_key(&b"again"[..]));
    }
}
