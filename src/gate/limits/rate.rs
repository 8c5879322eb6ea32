//! How fast, by source, in a fixed amount of memory.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::{Origin, Rate};

/// A rate limiter for any number of sources that remembers 32,768 of them, in less than a MiB.
///
/// Each source has a debt, the time until it has paid for all that it was granted; one more adds the
/// price of one, and is granted while the debt stays within the period (the generic cell rate
/// algorithm, ITU-T I.371 annex A, in its virtual scheduling form). A source without debt needs no
/// memory.
///
/// The sources are spread over 4,096 sets of eight by a hash with a secret key, so nobody can choose
/// their neighbours. When a set has no room, the source with the least debt makes room, and the
/// newcomer takes over its debt (the rule of Space-Saving; Metwally, Agrawal, El Abbadi, ICDT 2005).
/// So forgetting never gives anybody more than was theirs: to get rid of a debt one would have to
/// put eight other sources of the same set deeper into debt. What a flood of sources can do is to
/// make newcomers start with a debt, and it takes some 30,000 debtors at a time to make that likely;
/// by then, refusing newcomers is what is wanted.
#[derive(Debug)]
pub(super) struct RateLimiter {
    sets: Box<[Mutex<Set>]>,
    hash: RandomState,
    epoch: Instant,
}

const SETS: usize = 4096;
const WAYS: usize = 8;

type Set = [Debtor; WAYS];

#[derive(Debug, Clone, Copy, Default)]
struct Debtor {
    origin: Option<Origin>,
    /// When the debt is paid, in nanoseconds since the epoch.
    paid: u64,
}

impl RateLimiter {
    /// Nobody has a debt yet. No time that is told later is before `epoch`.
    pub(super) fn new(epoch: Instant) -> Self {
        let sets = (0..SETS).map(|_| Mutex::default()).collect();
        Self {
            sets,
            hash: RandomState::new(),
            epoch,
        }
    }

    /// Whether the source may have one more now; if so, it is on its account.
    pub(super) fn take(&self, origin: Origin, rate: Rate, now: Instant) -> bool {
        let Some((price, period)) = rate.costs() else {
            return false;
        };
        let now = now.saturating_duration_since(self.epoch).as_nanos();
        let now = u64::try_from(now).unwrap_or(u64::MAX);
        let mut set = self
            .set(origin)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let place = set.iter().position(|debtor| debtor.origin == Some(origin));
        let place = place.unwrap_or_else(|| least_indebted(&set));
        let paid = set[place].paid.max(now).saturating_add(price);
        let is_granted = paid <= now.saturating_add(period);
        if is_granted {
            set[place] = Debtor {
                origin: Some(origin),
                paid,
            };
        }
        is_granted
    }

    fn set(&self, origin: Origin) -> &Mutex<Set> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of the hash will do"
        )]
        let place = self.hash.hash_one(origin) as usize % SETS;
        &self.sets[place]
    }

    #[cfg(test)]
    pub(super) fn heap_size(&self) -> usize {
        size_of_val(&*self.sets)
    }
}

fn least_indebted(set: &Set) -> usize {
    (0..WAYS).min_by_key(|place| set[*place].paid).unwrap_or(0)
}
