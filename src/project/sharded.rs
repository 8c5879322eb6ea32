//! [`Sharded`]: a map that is cheap to copy and to change in one place.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::Arc;

/// In so many pieces: with a hundred thousand entries a change copies four hundred of them.
const SHARDS: usize = 256;

/// A hash map in pieces that copies share: to copy it costs as much as to copy a list of 256
/// pointers, and to change an entry of the copy as much as to copy its piece.
#[derive(Clone)]
pub struct Sharded<K, V> {
    shards: Box<[Arc<HashMap<K, V>>]>,
    hasher: RandomState,
    length: usize,
}

impl<K, V> Default for Sharded<K, V> {
    fn default() -> Self {
        // Empty, all pieces are one.
        let empty = Arc::new(HashMap::new());
        Self {
            shards: std::iter::repeat_n(empty, SHARDS).collect(),
            hasher: RandomState::new(),
            length: 0,
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Sharded<K, V> {
    /// The value of a key.
    #[must_use]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.shards.get(self.place(key))?.get(key)
    }

    /// The very key that is kept for one that is equal to it.
    #[must_use]
    pub fn key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&K>
    where
        K: Borrow<Q>,
    {
        let shard = self.shards.get(self.place(key))?;
        shard.get_key_value(key).map(|(key, _)| key)
    }

    /// Sets the value of a key; returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let place = self.place(&key);
        let shard = Arc::make_mut(self.shards.get_mut(place)?);
        let before = shard.insert(key, value);
        self.length += usize::from(before.is_none());
        before
    }

    /// Removes a key; returns the value it had.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let shard = self.shards.get_mut(self.place(key))?;
        if !shard.contains_key(key) {
            return None;
        }
        let before = Arc::make_mut(shard).remove(key);
        self.length -= usize::from(before.is_some());
        before
    }

    fn place<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        let hash = self.hasher.hash_one(key);
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }
}

impl<K, V> Sharded<K, V> {
    /// How many entries there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.length
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Every entry, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().flat_map(|shard| shard.iter())
    }

    /// Every key, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.shards.iter().flat_map(|shard| shard.keys())
    }

    /// Every value, in no order.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }
}

impl<K, V> fmt::Debug for Sharded<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sharded")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_plain_map_holds_and_a_copy_is_not_changed_by_its_copy(
            first in prop::collection::vec((0u16..300, any::<Option<u8>>()), 0..200),
            second in prop::collection::vec((0u16..300, any::<Option<u8>>()), 0..200),
        ) {
            let (mut sharded, mut plain) = (Sharded::default(), HashMap::new());
            let change = |sharded: &mut Sharded<u16, u8>, plain: &mut HashMap<u16, u8>, edits: Vec<_>| {
                for (key, value) in edits {
                    match value {
                        Some(value) => assert_eq!(sharded.insert(key, value), plain.insert(key, value)),
                        None => assert_eq!(sharded.remove(&key), plain.remove(&key)),
                    }
                }
            };
            change(&mut sharded, &mut plain, first);
            let (copy, of) = (sharded.clone(), plain.clone());
            change(&mut sharded, &mut plain, second);
            for (sharded, plain) in [(sharded, plain), (copy, of)] {
                prop_assert_eq!(sharded.len(), plain.len());
                let entries = sharded.iter().map(|(key, value)| (*key, *value));
                prop_assert_eq!(entries.collect::<HashMap<_, _>>(), plain.clone());
                for key in 0..300 {
                    prop_assert_eq!(sharded.get(&key), plain.get(&key));
                }
            }
        }
    }
}
