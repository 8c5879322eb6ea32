//! [`Counts`]: how many of something each has, and all together.

use std::collections::HashMap;
use std::hash::Hash;

/// Has an entry for those only who have one or more.
#[derive(Debug)]
pub(super) struct Counts<K> {
    each: HashMap<K, u32>,
    total: u32,
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self {
            each: HashMap::new(),
            total: 0,
        }
    }
}

impl<K: Clone + Eq + Hash> Counts<K> {
    /// How many `key` has.
    pub(super) fn of(&self, key: &K) -> u32 {
        self.each.get(key).copied().unwrap_or(0)
    }

    /// How many all have.
    pub(super) const fn total(&self) -> u32 {
        self.total
    }

    /// Gives one to `key`. Whoever calls has seen that both counts are below a limit.
    pub(super) fn take(&mut self, key: &K) {
        self.total = self.total.saturating_add(1);
        match self.each.get_mut(key) {
            Some(count) => *count = count.saturating_add(1),
            None => drop(self.each.insert(key.clone(), 1)),
        }
    }

    /// Takes one back from `key`, which has one.
    pub(super) fn give_back(&mut self, key: &K) {
        self.total = self.total.saturating_sub(1);
        match self.each.get_mut(key) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(self.each.remove(key)),
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.each.is_empty() && self.total == 0
    }
}
