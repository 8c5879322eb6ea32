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

impl Hits {
    const NONE: Self = Self {
        count: 0,
        last: None,
    };
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
        let Some(matched) = decision.matched else {
            return;
        };
        if let Some(counter) = self.counters().get(matched.place as usize) {
            counter.hit(now);
        }
    }

    /// Every rule with its hits, in the order in which they were written.
    pub fn hits(&self) -> impl Iterator<Item = (&Rule, Hits)> {
        let counters = self.counters.get();
        self.rules.iter().enumerate().map(move |(place, rule)| {
            let counter = counters.and_then(|counters| counters.get(place));
            (rule, counter.map_or(Hits::NONE, Counter::read))
        })
    }

    /// Goes on counting where the list before this one stands, for rules that have the same id.
    /// To be called once, before or after this list takes the other's place.
    pub fn carry_hits_from(&self, before: &Self) {
        let Some(counters) = before.counters.get() else {
            // None of its rules has decided yet.
            return;
        };
        let ids = before.rules.iter().map(|rule| &rule.id);
        let known: HashMap<&RuleId, &Counter> = ids.zip(counters).collect();
        for (rule, counter) in self.rules.iter().zip(self.counters()) {
            if let Some(old) = known.get(&rule.id) {
                counter.add(old);
            }
        }
    }

    fn counters(&self) -> &[Counter] {
        let none_yet = || self.rules.iter().map(|_| Counter::default()).collect();
        self.counters.get_or_init(none_yet)
    }
}
