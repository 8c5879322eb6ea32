//! The prefix trie: which of a million prefixes is the longest that an address is in?
//!
//! # What it is
//! A binary prefix trie, compiled to its leaves. Push every prefix of the trie down to the leaves
//! (leaf pushing; Srinivasan and Varghese 1999) and each leaf knows the one prefix that decides for
//! all its addresses; neighbouring leaves that agree are one. What is left of the trie is a sorted
//! list of boundaries, and between two boundaries the answer is constant. A lookup asks how many
//! boundaries are not above the address: that many is the place of its answer.
//!
//! A short list is searched as it is. A long one gets an index of two levels on top, which stands
//! for the trie's upper part: the address's first bits name a block, the next bits one of its
//! buckets, and a block has as many buckets as its boundaries deserve (two to four boundaries in a
//! bucket), so crowded blocks and empty ones cost the same per boundary. This is DXR (M. Zec,
//! L. Rizzo, M. Mikuc, *DXR: Towards a Billion Routing Lookups per Second in Software*, ACM CCR
//! 42(5), 2012), with an index that adapts itself.
//!
//! Within a bucket the search has no branch on the address, and ends by counting in a window of
//! eight neighbouring boundaries; so the misses of several lookups overlap in the processor.
//!
//! IPv6 boundaries are kept as 64-bit numbers, since nearly every IPv6 prefix is a /64 or shorter.
//! The rare /64 with longer prefixes inside has a small list of its own for the last 64 bits.
//!
//! # What it costs
//! With n prefixes: a lookup is O(log n) at worst, and a few cache misses at a million; building is
//! O(n log n), linear if they come sorted. There are at most 2n boundaries, of 8 bytes in IPv4 and
//! 12 in IPv6, plus 1 to 2 bytes each of index from 512 (IPv4) or 8,192 (IPv6) boundaries on; an
//! IPv6 prefix longer than /64, alone in its /64, costs about 65 bytes. A family without prefixes
//! has nothing on the heap. `docs/benchmarks/trie.md` has the figures.

use std::hint::select_unpredictable;
use std::net::IpAddr;

use ipnet::IpNet;

/// An immutable map from prefixes to numbers, asked for the longest match.
#[derive(Debug, Clone, Default)]
pub struct PrefixTrie {
    v4: Ranges<u32>,
    /// By the first 64 bits of the address. A value with the [`DEEPER`] bit is a place in `deep`.
    v6: Ranges<u64>,
    deep: Option<Box<Deep>>,
}

/// Set in a value of the first IPv6 level when the last 64 bits have to decide.
const DEEPER: u32 = 1 << 31;

/// No prefix matches.
const NOTHING: u32 = DEEPER - 1;

impl PrefixTrie {
    /// Values are below this.
    pub const VALUE_LIMIT: u32 = NOTHING;

    /// Compiles the prefixes and what each stands for, in any order. Of equal prefixes the first
    /// one counts. Host bits are ignored.
    ///
    /// # Panics
    /// When a value is not below [`VALUE_LIMIT`](Self::VALUE_LIMIT).
    #[must_use]
    pub fn compile(prefixes: impl IntoIterator<Item = (IpNet, u32)>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in prefixes {
            assert!(
                value < Self::VALUE_LIMIT,
                "{value} is no value of a prefix trie"
            );
            match prefix {
                IpNet::V4(p) => v4.push(Prefix::new(p.network().into(), p.prefix_len(), value)),
                IpNet::V6(p) => v6.push(Prefix::new(p.network().into(), p.prefix_len(), value)),
            }
        }
        let (v6, deep) = split(&flatten::<u128>(v6));
        Self {
            v4: Ranges::new(flatten::<u32>(v4)),
            v6: Ranges::new(v6),
            deep,
        }
    }

    /// The value of the longest prefix that `ip` is in. An IPv4-mapped address is looked up as the
    /// IPv6 address that it is: fold it before (T23).
    #[must_use]
    #[inline]
    pub fn find(&self, ip: IpAddr) -> Option<u32> {
        let value = match ip {
            IpAddr::V4(ip) => self.v4.find(ip.into()),
            IpAddr::V6(ip) => self.find_v6(ip.into()),
        };
        (value != NOTHING).then_some(value)
    }

    #[inline]
    fn find_v6(&self, ip: u128) -> u32 {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the two halves of the address"
        )]
        let (first, last) = ((ip >> 64) as u64, ip as u64);
        let value = self.v6.find(first);
        match &self.deep {
            Some(deep) if value & DEEPER != 0 => deep.find(value & !DEEPER, last),
            Some(_) | None => value,
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        self.v4.heap_size()
            + self.v6.heap_size()
            + self.deep.as_ref().map_or(0, |deep| deep.heap_size())
    }
}

/// What the answer is between two boundaries, for addresses of one family.
#[derive(Debug, Clone)]
struct Ranges<K> {
    /// Where the answer changes, ascending; never 0.
    boundaries: Box<[K]>,
    /// `values[i]` is the answer from `boundaries[i - 1]` up to below `boundaries[i]`. Empty when
    /// the answer is the same everywhere and is [`NOTHING`].
    values: Box<[u32]>,
    index: Option<Box<Index>>,
}

impl<K> Default for Ranges<K> {
    fn default() -> Self {
        Self {
            boundaries: Box::default(),
            values: Box::default(),
            index: None,
        }
    }
}

impl<K: Key> Ranges<K> {
    fn new(steps: Steps<K>) -> Self {
        let Steps { boundaries, values } = steps;
        if boundaries.is_empty() && values == [NOTHING] {
            return Self::default();
        }
        let index = (boundaries.len() >= 2 << K::BLOCK_BITS).then(|| Index::new(&boundaries));
        Self {
            boundaries: boundaries.into(),
            values: values.into(),
            index: index.map(Box::new),
        }
    }

    #[inline]
    fn find(&self, key: K) -> u32 {
        let (from, to) = match &self.index {
            Some(index) => index.bucket(key),
            None => (0, self.boundaries.len()),
        };
        self.values
            .get(rank(&self.boundaries, (from, to), key))
            .copied()
            .unwrap_or(NOTHING)
    }

    fn heap_size(&self) -> usize {
        size_of_val(&*self.boundaries)
            + size_of_val(&*self.values)
            + self.index.as_ref().map_or(0, |index| index.heap_size())
    }
}

/// How many of the sorted `boundaries` are not above `key`, knowing that it is `from` to `to`.
#[inline]
fn rank<K: Key>(boundaries: &[K], (mut from, to): (usize, usize), key: K) -> usize {
    const WINDOW: usize = 8;
    let mut size = to.saturating_sub(from);
    while size > WINDOW {
        let half = size / 2;
        let is_below = boundaries
            .get(from + half - 1)
            .is_some_and(|boundary| *boundary <= key);
        from = select_unpredictable(is_below, from + half, from);
        size -= half;
    }
    // Boundaries behind the bucket do no harm: they are above the key, so they don't count.
    let rest = boundaries.get(from..).unwrap_or_default();
    let window = rest
        .first_chunk::<WINDOW>()
        .map_or(rest, <[K; WINDOW]>::as_slice);
    from + window
        .iter()
        .map(|boundary| usize::from(*boundary <= key))
        .sum::<usize>()
}

/// Where in a long list of boundaries to search.
#[derive(Debug, Clone)]
struct Index {
    /// By the first [`Key::BLOCK_BITS`] of the address.
    blocks: Box<[Block]>,
    /// How many boundaries lie below each bucket of each block, and how many there are.
    below: Box<[u32]>,
}

#[derive(Debug, Clone, Copy)]
struct Block {
    /// The place of its first bucket.
    first: u32,
    /// How far to shift the address, without its first bits, to get the bucket's number.
    shift: u32,
}

impl Index {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "boundaries < 2 * VALUE_LIMIT < 2^32"
    )]
    fn new<K: Key>(boundaries: &[K]) -> Self {
        let mut blocks = Vec::with_capacity(1 << K::BLOCK_BITS);
        let mut below = Vec::with_capacity(boundaries.len() / 2 + (1 << K::BLOCK_BITS) + 1);
        let mut rest = boundaries;
        for number in 0..1 << K::BLOCK_BITS {
            let end = rest.partition_point(|boundary| boundary.block() <= number);
            let bits = end
                .checked_ilog2()
                .unwrap_or(0)
                .saturating_sub(1)
                .min(K::REST_BITS);
            let shift = K::REST_BITS - bits;
            blocks.push(Block {
                first: below.len() as u32,
                shift,
            });
            let passed = boundaries.len() - rest.len();
            let mut end_of_bucket = 0;
            for bucket in 0..1 << bits {
                below.push((passed + end_of_bucket) as u32);
                let here = rest.get(end_of_bucket..end).unwrap_or_default();
                end_of_bucket += here
                    .iter()
                    .take_while(|b| b.bucket(shift) <= bucket)
                    .count();
            }
            rest = rest.get(end..).unwrap_or_default();
        }
        below.push(boundaries.len() as u32);
        Self {
            blocks: blocks.into(),
            below: below.into(),
        }
    }

    /// From where to where the boundaries of `key`'s bucket go.
    #[inline]
    fn bucket<K: Key>(&self, key: K) -> (usize, usize) {
        let Some(block) = self.blocks.get(key.block()) else {
            return (0, 0);
        };
        let at = block.first as usize + key.bucket(block.shift);
        let below = self.below.get(at..).and_then(<[u32]>::first_chunk);
        below.map_or((0, 0), |[from, to]| (*from as usize, *to as usize))
    }

    fn heap_size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.blocks) + size_of_val(&*self.below)
    }
}

/// A number that boundaries are kept as.
trait Key: Copy + Ord + Default {
    /// Bits that choose a block.
    const BLOCK_BITS: u32;
    /// The other bits.
    const REST_BITS: u32;
    /// The number of its block.
    fn block(self) -> usize;
    /// The number of its bucket within the block. `shift` is at most [`Self::REST_BITS`].
    fn bucket(self, shift: u32) -> usize;
}

macro_rules! key {
    ($type:ty, $block_bits:literal) => {
        #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
        impl Key for $type {
            const BLOCK_BITS: u32 = $block_bits;
            const REST_BITS: u32 = <$type>::BITS - $block_bits;
            #[inline]
            fn block(self) -> usize {
                (self >> Self::REST_BITS) as usize
            }
            #[inline]
            fn bucket(self, shift: u32) -> usize {
                ((self & (<$type>::MAX >> $block_bits)) >> shift) as usize
            }
        }
    };
}

key!(u32, 8);
// The regional registries hold a /12 each, so fewer bits would put whole registries into one block.
key!(u64, 12);

/// The second IPv6 level: for each /64 with longer prefixes inside, the ranges of its last 64 bits.
#[derive(Debug, Clone, Default)]
struct Deep {
    /// Where the values of each /64 begin, and where the last one's end.
    firsts: Box<[u32]>,
    values: Box<[u32]>,
    /// One fewer per /64 than values.
    boundaries: Box<[u64]>,
}

impl Deep {
    #[inline]
    fn find(&self, place: u32, key: u64) -> u32 {
        let place = place as usize;
        let firsts = self.firsts.get(place..).and_then(<[u32]>::first_chunk);
        let Some([first, end]) = firsts.map(|ends| ends.map(|end| end as usize)) else {
            return NOTHING;
        };
        let boundaries = self
            .boundaries
            .get(first - place..end - place - 1)
            .unwrap_or_default();
        let rank = rank(boundaries, (0, boundaries.len()), key);
        self.values.get(first + rank).copied().unwrap_or(NOTHING)
    }

    fn heap_size(&self) -> usize {
        size_of::<Self>()
            + size_of_val(&*self.firsts)
            + size_of_val(&*self.values)
            + size_of_val(&*self.boundaries)
    }
}

/// A prefix on its way into the trie.
#[derive(Clone, Copy)]
struct Prefix<W> {
    first: W,
    length: u8,
    value: u32,
}

impl<W: Word> Prefix<W> {
    const fn new(first: W, length: u8, value: u32) -> Self {
        Self {
            first,
            length,
            value,
        }
    }
}

/// An address as a number.
trait Word: Copy + Ord + Default {
    /// The last address of the prefix of this length that begins here.
    fn last(self, length: u8) -> Self;
    fn next(self) -> Option<Self>;
}

macro_rules! word {
    ($type:ty) => {
        impl Word for $type {
            fn last(self, length: u8) -> Self {
                self | <$type>::MAX.checked_shr(length.into()).unwrap_or(0)
            }
            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}

word!(u32);
word!(u128);

/// What the answer is from each boundary on: ranges being built.
struct Steps<W> {
    boundaries: Vec<W>,
    /// One more than boundaries.
    values: Vec<u32>,
}

impl<W: Copy + Ord + Default> Steps<W> {
    fn with_capacity(capacity: usize) -> Self {
        let mut values = Vec::with_capacity(capacity + 1);
        values.push(NOTHING);
        Self {
            boundaries: Vec::with_capacity(capacity),
            values,
        }
    }

    /// From `at` on the answer is `value`. What was said for `at` itself before is forgotten; `at`
    /// never goes back.
    fn set(&mut self, at: W, value: u32) {
        if self.boundaries.last().copied().unwrap_or_default() == at {
            self.values.pop();
            if self.boundaries.pop().is_none() {
                self.values.push(value);
                return;
            }
        }
        if self.values.last() != Some(&value) {
            self.boundaries.push(at);
            self.values.push(value);
        }
    }
}

/// Leaf pushing in one sweep over the sorted prefixes, with a stack of those that are open.
fn flatten<W: Word>(mut prefixes: Vec<Prefix<W>>) -> Steps<W> {
    prefixes.sort_by_key(|prefix| (prefix.first, prefix.length));
    let mut steps = Steps::with_capacity(2 * prefixes.len());
    let mut open: Vec<(W, u32)> = Vec::new();
    let close_until = |steps: &mut Steps<W>, open: &mut Vec<(W, u32)>, until: Option<W>| {
        while let Some((last, _)) = open.pop_if(|(last, _)| until.is_none_or(|until| *last < until))
        {
            if let Some(next) = last.next() {
                steps.set(next, open.last().map_or(NOTHING, |(_, value)| *value));
            }
        }
    };
    let mut previous = None;
    for prefix in prefixes {
        if previous.replace((prefix.first, prefix.length)) == Some((prefix.first, prefix.length)) {
            continue;
        }
        close_until(&mut steps, &mut open, Some(prefix.first));
        steps.set(prefix.first, prefix.value);
        open.push((prefix.first.last(prefix.length), prefix.value));
    }
    close_until(&mut steps, &mut open, None);
    steps
}

/// Splits steps of 128 bits into those of the first 64 and, where needed, those of the last 64.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the two halves of an address; counts < 2^31"
)]
fn split(steps: &Steps<u128>) -> (Steps<u64>, Option<Box<Deep>>) {
    let mut high = Steps::with_capacity(steps.boundaries.len());
    let (mut firsts, mut deep_values, mut deep_boundaries) = (vec![0], Vec::new(), Vec::new());
    let mut values = steps.values.iter().copied();
    let mut before = values.next().unwrap_or(NOTHING);
    high.set(0, before);
    for group in steps.boundaries.chunk_by(|a, b| a >> 64 == b >> 64) {
        let Some(first) = group.first() else { continue };
        let at = (first >> 64) as u64;
        if group.len() == 1 && *first as u64 == 0 {
            before = values.next().unwrap_or(NOTHING);
            high.set(at, before);
            continue;
        }
        high.set(at, DEEPER | (firsts.len() - 1) as u32);
        if *first as u64 != 0 {
            deep_values.push(before);
        }
        deep_values.extend(values.by_ref().take(group.len()));
        deep_boundaries.extend(
            group
                .iter()
                .map(|b| *b as u64)
                .filter(|boundary| *boundary != 0),
        );
        firsts.push(deep_values.len() as u32);
        before = deep_values.last().copied().unwrap_or(NOTHING);
        if let Some(next) = at.checked_add(1) {
            high.set(next, before);
        }
    }
    let is_needed = !deep_values.is_empty();
    let deep = Deep {
        firsts: firsts.into(),
        values: deep_values.into(),
        boundaries: deep_boundaries.into(),
    };
    (high, is_needed.then(|| Box::new(deep)))
}

#[cfg(test)]
mod tests;
