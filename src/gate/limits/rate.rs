//! [`Rates`]: a rate for each source, by the generic cell rate algorithm (GCRA, ITU-T I.371 annex
//! A), in memory that never grows.
//!
//! What a source has spent is a debt that time pays off: one moment, when it will owe nothing. A
//! source that owes nothing needs no memory. The others are remembered in a table of fixed size:
//! sets of [`WAYS`] entries of 16 bytes, where a source's set follows from a hash with a secret key,
//! so nobody can choose to share a victim's set.
//!
//! When a set is full, the entry whose debt ends soonest gives way, as it has the least to lose.
//! Forgetting a debt can only let a source do more, never less: crowds can't lock anybody out. Nor
//! does a source shed its own debt cheaply: eight others of its set must owe for longer than it does.
//! As it can't tell which are in its set, that takes about as many busy sources as the whole table
//! holds, who may do that many times more anyway. Sources that come once owe little, and so push out
//! one another.

use std::hash::{BuildHasher, RandomState};
use std::time::Instant;

use super::source::Source;

/// One second, in the nanoseconds of [`Clock`].
pub(super) const SECOND: u64 = 1_000_000_000;
/// One minute.
pub(super) const MINUTE: u64 = 60 * SECOND;

/// Entries of a set: two cache lines.
const WAYS: usize = 8;
/// Sets of a table: 65,536 sources, 1 MiB.
const SETS: u16 = 8_192;

/// Turns moments into nanoseconds since the first one it saw; never goes back.
#[derive(Debug, Default)]
pub(super) struct Clock {
    origin: Option<Instant>,
    latest: u64,
}

impl Clock {
    pub(super) fn read(&mut self, now: Instant) -> u64 {
        let origin = *self.origin.get_or_insert(now);
        let elapsed = now.saturating_duration_since(origin).as_nanos();
        // 64 bits are 584 years.
        self.latest = self.latest.max(u64::try_from(elapsed).unwrap_or(u64::MAX));
        self.latest
    }
}

/// So many per period in the long run, and so many at once after a rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    /// What each costs, in nanoseconds of debt.
    cost: u64,
    /// The most that may be owed.
    most: u64,
}

impl Rate {
    /// `count` per `period` nanoseconds, `burst` at once. If either number is 0: never.
    pub(super) const fn new(count: u32, period: u64, burst: u32) -> Self {
        if count == 0 {
            return Self { cost: 1, most: 0 };
        }
        // Rounded up, so that the long run never exceeds the rate.
        let cost = period.div_ceil(count as u64);
        Self {
            cost,
            most: cost.saturating_mul(burst as u64),
        }
    }
}

/// A source's hash, which stands for the source (two of the same 64 bits are not to be expected, nor
/// to be found without the key), and when its debt ends.
///
/// A pair, not a struct: the standard library asks the system for zeroed memory for vectors of
/// these, which costs nothing until it is used.
type Entry = (u64, u64);

/// What each source owes at one rate.
pub(super) struct Rates {
    rate: Rate,
    key: RandomState,
    sets: Vec<[Entry; WAYS]>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            key: RandomState::new(),
            sets: vec![[(0, 0); WAYS]; usize::from(SETS)],
        }
    }

    /// Changes the rate. Debts at another rate mean nothing at this one, and are forgotten.
    pub(super) fn set(&mut self, rate: Rate) {
        if rate != self.rate {
            *self = Self::new(rate);
        }
    }

    /// Spends one for `source`, unless it would then owe more than it may.
    pub(super) fn spend(&mut self, source: Source, now: u64) -> bool {
        let hash = self.key.hash_one(source);
        let rate = self.rate;
        // Its own entry if there is one, else the one whose debt ends, or ended, first.
        let Some(entry) = self
            .set_of(hash)
            .iter_mut()
            .min_by_key(|(of, ends)| (*of != hash, *ends))
        else {
            return false;
        };
        let (of, ends) = *entry;
        let owed_until = if of == hash { ends.max(now) } else { now };
        let debt = owed_until.saturating_sub(now).saturating_add(rate.cost);
        let is_within = debt <= rate.most;
        if is_within {
            *entry = (hash, now.saturating_add(debt));
        }
        is_within
    }

    /// Whether [`Self::spend`] would succeed. Changes nothing.
    pub(super) fn can_spend(&mut self, source: Source, now: u64) -> bool {
        let hash = self.key.hash_one(source);
        let rate = self.rate;
        let own = self.set_of(hash).iter().find(|(of, _)| *of == hash);
        let owed = own.map_or(0, |(_, ends)| ends.saturating_sub(now));
        owed.saturating_add(rate.cost) <= rate.most
    }

    fn set_of(&mut self, hash: u64) -> &mut [Entry] {
        let [low, high, ..] = hash.to_le_bytes();
        let index = usize::from(u16::from_le_bytes([low, high]) % SETS);
        self.sets.get_mut(index).map_or(&mut [], |set| set)
    }

    /// How many sources are in debt.
    #[cfg(test)]
    pub(super) fn in_debt(&self, now: u64) -> usize {
        self.sets
            .iter()
            .flatten()
            .filter(|(_, ends)| *ends > now)
            .count()
    }

    /// Bytes of the table.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        self.sets.capacity() * size_of::<[Entry; WAYS]>()
    }
}

#[cfg(test)]
mod tests;
