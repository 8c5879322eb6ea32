//! How many of something are held, by key.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts by key. There is an entry for each key of which something is held and no other, so their
/// number is bounded by the guards that are out.
#[derive(Debug)]
pub(super) struct Counts<K> {
    /// By hash, so that cores rarely wait for each other.
    shards: [Mutex<HashMap<K, u32>>; SHARDS],
    hash: RandomState,
}

const SHARDS: usize = 16;

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hash: RandomState::new(),
        }
    }
}

impl<K: Hash + Eq + Clone> Counts<K> {
    /// Takes one more of the key's, unless `limit` are held.
    pub(super) fn take(counts: &Arc<Self>, key: K, limit: u32) -> Option<Held<K>> {
        let mut shard = counts.shard(&key);
        match shard.entry(key.clone()) {
            Entry::Occupied(mut held) if *held.get() < limit => *held.get_mut() += 1,
            Entry::Vacant(none) if limit > 0 => _ = none.insert(1),
            Entry::Occupied(_) | Entry::Vacant(_) => return None,
        }
        drop(shard);
        Some(Held {
            key,
            counts: Arc::clone(counts),
        })
    }

    /// How many of the key's are held.
    pub(super) fn held(&self, key: &K) -> u32 {
        self.shard(key).get(key).copied().unwrap_or(0)
    }

    fn shard(&self, key: &K) -> MutexGuard<'_, HashMap<K, u32>> {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any bits of the hash will do"
        )]
        let place = self.hash.hash_one(key) as usize % SHARDS;
        self.shards[place]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| shard.lock().unwrap().len())
            .sum()
    }
}

/// One that is held.
#[derive(Debug)]
pub(super) struct Held<K: Hash + Eq + Clone> {
    key: K,
    counts: Arc<Counts<K>>,
}

impl<K: Hash + Eq + Clone> Drop for Held<K> {
    fn drop(&mut self) {
        let mut shard = self.counts.shard(&self.key);
        if let Entry::Occupied(mut held) = shard.entry(self.key.clone()) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}
