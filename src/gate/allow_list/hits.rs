//! How often each rule decided, and when last.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use jiff::Timestamp;

use super::super::rule::{Rule, RuleId};
use super::{AllowList, Decision};

/// What a rule has done since its list was first loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hits {
    /// How many connections it decided.
    pub count: u64,
    /// When it decided last, to the second.
    pub last: Option<Timestamp>,
}

/// Kept apart from all that a lookup reads, so that counting disturbs nobody's cache lines.
#[derive(Debug, Default)]
pub(in crate::gate) struct Counter {
    count: AtomicU64,
    /// Seconds since 1970; 0 for never.
    last: AtomicI64,
}

impl Counter {
    pub(in crate::gate) fn hit(&self, now: Timestamp) {
        self.count.fetch_add(1, Relaxed);
        // Written once a second at most, and read otherwise.
        if self.last.load(Relaxed) < now.as_second() {
            self.last.fetch_max(now.as_second(), Relaxed);
        }
    }

    pub(in crate::gate) fn read(&self) -> Hits {
        let last = Some(self.last.load(Relaxed)).filter(|second| *second != 0);
        let last = last.and_then(|second| Timestamp::from_second(second).ok());
        Hits {
            count: self.count.load(Relaxed),
            last,
        }
    }

    pub(in crate::gate) fn add(&self, other: &Self) {
        self.count.fetch_add(other.count.load(Relaxed), Relaxed);
        self.last.fetch_max(other.last.load(Relaxed), Relaxed);
    }
}

impl AllowList {
    /// Counts the decision for its rule: once for each connection, not when a live session is
    /// decided anew, nor for a question from the command line.
    pub fn count(&self, decision: &Decision<'_>, now: Timestamp) {
        let counter = decision
            .matched
            .and_then(|matched| self.counters.get(matched.place as usize));
        if let Some(counter) = counter {
            counter.hit(now);
        }
    }

    /// Every rule with its hits, in the order in which they were written.
    pub fn hits(&self) -> impl Iterator<Item = (&Rule, Hits)> {
        self.rules
            .iter()
            .zip(self.counters.iter().map(Counter::read))
    }

    /// Goes on counting where the list before this one stands, for rules that have the same id.
    /// To be called once, before or after this list takes the other's place.
    pub fn carry_hits_from(&self, before: &Self) {
        let known: HashMap<&RuleId, &Counter> = before
            .rules
            .iter()
            .map(|rule| &rule.id)
            .zip(&before.counters)
            .collect();
        for (rule, counter) in self.rules.iter().zip(&self.counters) {
            if let Some(old) = known.get(&rule.id) {
                counter.add(old);
            }
        }
    }
}
