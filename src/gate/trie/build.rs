//! From prefixes to ranges: leaf pushing, in one sweep over the sorted prefixes.

use super::key::Key;
use super::{DEEPER, Deep, NOTHING, Ranges, halves};

/// Prefixes of one family on their way into the trie.
pub(super) struct Prefixes<K: Key> {
    /// In the order in which they came.
    prefixes: Vec<Prefix<K>>,
    /// For each its first 32 bits, and behind them its place.
    order: Vec<u64>,
}

impl<K: Key> Prefixes<K> {
    pub(super) fn with_capacity(prefixes: usize) -> Self {
        Self {
            prefixes: Vec::with_capacity(prefixes),
            order: Vec::with_capacity(prefixes),
        }
    }

    pub(super) fn push(&mut self, first: K, length: u8, value: u32) {
        let place = number(self.prefixes.len());
        self.order
            .push(u64::from(first.top()) << 32 | u64::from(place));
        self.prefixes.push(Prefix {
            first,
            length,
            value,
        });
    }

    /// A prefix before those within it, and of equal ones the first before the others.
    #[expect(clippy::cast_possible_truncation, reason = "the place")]
    fn sorted(mut self) -> Vec<Prefix<K>> {
        // Plain numbers are sorted several times faster than what has to be compared field by field,
        // and few prefixes begin with the same 32 bits.
        self.order.sort_unstable();
        let places = self.order.iter().map(|order| *order as u32 as usize);
        let mut sorted: Vec<_> = places.map(|place| self.prefixes[place]).collect();
        for same in sorted.chunk_by_mut(|a, b| a.first.top() == b.first.top()) {
            if same.len() > 1 {
                same.sort_by_key(|prefix| (prefix.first, prefix.length));
            }
        }
        sorted
    }

    /// The ranges.
    pub(super) fn flatten(self) -> Flat<K> {
        let prefixes = self.sorted();
        let mut flat = Flat::with_capacity(2 * prefixes.len() + 1);
        for prefix in prefixes {
            flat.open(prefix);
        }
        flat.finish();
        flat
    }
}

#[derive(Clone, Copy)]
struct Prefix<K> {
    first: K,
    length: u8,
    value: u32,
}

impl<K: Key> Prefix<K> {
    /// Every address.
    fn all(value: u32) -> Self {
        Self {
            first: K::default(),
            length: 0,
            value,
        }
    }

    fn last(&self) -> K {
        self.first.last(self.length)
    }

    fn is_at(&self, other: &Self) -> bool {
        (self.first, self.length) == (other.first, other.length)
    }
}

/// Ranges, ascending and without gaps, made in one sweep over sorted prefixes.
pub(super) struct Flat<K> {
    ends: Vec<K>,
    values: Vec<u32>,
    /// Where the next range begins; nowhere once the last address is in one.
    next: Option<K>,
    /// The prefixes that the sweep is in, each within the one before.
    open: Vec<Prefix<K>>,
    /// What decides around each prefix whose value has the [`DEEPER`] bit.
    around: Vec<u32>,
}

impl<K: Key> Flat<K> {
    fn with_capacity(capacity: usize) -> Self {
        Self {
            ends: Vec::with_capacity(capacity),
            values: Vec::with_capacity(capacity),
            next: Some(K::default()),
            open: Vec::new(),
            around: Vec::new(),
        }
    }

    fn open(&mut self, prefix: Prefix<K>) {
        self.close(|last| last < prefix.first);
        let around = self.open.last();
        if around.is_some_and(|around| around.is_at(&prefix)) {
            return;
        }
        let around = around.map_or(NOTHING, |around| around.value);
        if prefix.first != K::default() {
            self.extend(prefix.first.before(), around);
        }
        if prefix.value & DEEPER != 0 {
            self.around.push(around);
        }
        self.open.push(prefix);
    }

    /// The prefixes that are past decide up to where they end.
    fn close(&mut self, is_past: impl Fn(K) -> bool) {
        while let Some(prefix) = self.open.pop_if(|prefix| is_past(prefix.last())) {
            self.extend(prefix.last(), prefix.value);
        }
    }

    fn finish(&mut self) {
        self.close(|_| true);
        self.extend(K::MAX, NOTHING);
    }

    /// Begins anew.
    fn clear(&mut self) {
        self.ends.clear();
        self.values.clear();
        self.next = Some(K::default());
    }

    /// From where the last range ended to `end`, if that is further, the answer is `value`.
    fn extend(&mut self, end: K, value: u32) {
        if self.next.is_none_or(|next| end < next) {
            return;
        }
        self.next = end.next();
        match self.ends.last_mut() {
            Some(last) if self.values.last() == Some(&value) => *last = end,
            Some(_) | None => {
                self.ends.push(end);
                self.values.push(value);
            }
        }
    }

    pub(super) fn compile(&self) -> Ranges<K> {
        Ranges::new(&self.ends, &self.values)
    }
}

/// IPv6 prefixes on their way into the trie.
pub(super) struct Halves {
    first: Prefixes<u64>,
    long: Vec<LongPrefix>,
}

/// A prefix longer than /64.
struct LongPrefix {
    first: u128,
    length: u8,
    value: u32,
}

impl Halves {
    pub(super) fn with_capacity(prefixes: usize) -> Self {
        Self {
            first: Prefixes::with_capacity(prefixes),
            long: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, first: u128, length: u8, value: u32) {
        if length <= HALF {
            self.first.push(halves(first).0, length, value);
        } else {
            self.long.push(LongPrefix {
                first,
                length,
                value,
            });
        }
    }

    /// The ranges of the first 64 bits and, where needed, those of the last 64.
    pub(super) fn compile(mut self) -> (Ranges<u64>, Deep) {
        self.long
            .sort_by_key(|prefix| (prefix.first, prefix.length));
        let groups = || self.long.chunk_by(|a, b| a.slash_64() == b.slash_64());
        for (group, prefix) in (0..).zip(groups().filter_map(<[_]>::first)) {
            // Stands for its /64, and wins over what was said about just that.
            self.first.push(prefix.slash_64(), HALF + 1, DEEPER | group);
        }
        let mut flat = self.first.flatten();
        let (mut places, mut ranges) = (Vec::new(), Vec::new());
        let mut within = Flat::with_capacity(0);
        for (group, around) in groups().zip(&flat.around) {
            within.clear();
            within.open(Prefix::all(*around));
            group.iter().for_each(|prefix| within.open(prefix.within()));
            within.finish();
            places.push(DEEPER | number(ranges.len()));
            ranges.push(u64::range(0, number(within.ends.len())));
            let pairs = within.ends.iter().zip(&within.values);
            ranges.extend(pairs.map(|(end, value)| u64::range(*end, *value)));
        }
        for value in flat.values.iter_mut().filter(|value| **value & DEEPER != 0) {
            let place = places.get((*value & !DEEPER) as usize);
            *value = place.copied().unwrap_or(NOTHING);
        }
        (flat.compile(), Deep(ranges.into()))
    }
}

impl LongPrefix {
    const fn slash_64(&self) -> u64 {
        halves(self.first).0
    }

    /// What it is of the last 64 bits.
    const fn within(&self) -> Prefix<u64> {
        Prefix {
            first: halves(self.first).1,
            length: self.length.saturating_sub(HALF),
            value: self.value,
        }
    }
}

/// The bits of either half.
const HALF: u8 = 64;

#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer than VALUE_LIMIT prefixes"
)]
const fn number(items: usize) -> u32 {
    items as u32
}
