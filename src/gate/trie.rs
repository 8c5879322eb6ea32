//! The prefix trie: which of a million prefixes is the longest that an address is in?
//!
//! # What it is
//! A binary prefix trie, compiled to its leaves. Push every prefix of the trie down to the leaves
//! (leaf pushing; V. Srinivasan and G. Varghese, *Fast Address Lookups Using Controlled Prefix
//! Expansion*, ACM TOCS 17(1), 1999) and each leaf knows the one prefix that decides for all its
//! addresses; neighbouring leaves that agree are one. What is left of the trie is a sorted list of
//! ranges with one answer each, as in DXR (M. Zec, L. Rizzo, M. Mikuc, *DXR: Towards a Billion
//! Routing Lookups per Second in Software*, ACM CCR 42(5), 2012). A lookup counts the ranges that
//! end below the address: that many is the place of its answer.
//!
//! DXR finds the place by an index on the first bits of the address, which is fast as long as the
//! prefixes are spread evenly. Here a long list is a static B+ tree whose nodes are one cache line
//! each (16 IPv4 or 8 IPv6 ends). Every lookup takes the same number of steps, none of them with a
//! branch that depends on the address, so the processor works on several lookups at once, and no
//! choice of prefixes or addresses makes it slower. The upper levels are so small that they stay in
//! the cache: a lookup among a million IPv4 prefixes misses it about twice.
//!
//! IPv6 ends are kept as 64-bit numbers, since nearly every IPv6 prefix is a /64 or shorter. The
//! rare /64 with longer prefixes inside has a short list of its own for the last 64 bits.
//!
//! # What it costs
//! With n prefixes: a lookup is O(log n), building is O(n log n), and linear if they come sorted.
//! There are at most 2n + 1 ranges, of 8.5 bytes in IPv4 and 13.2 in IPv6; an IPv6 prefix longer
//! than /64, alone in its /64, costs about 65 bytes. A family without prefixes has nothing on the
//! heap. `docs/benchmarks/trie.md` has the figures.

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
        let (first, last) = halves(ip);
        let value = self.v6.find(first);
        match &self.deep {
            Some(deep) if value & DEEPER != 0 => deep.find(value & !DEEPER, last),
            Some(_) | None => value,
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        let deep = self.deep.as_ref().map_or(0, |deep| deep.heap_size());
        self.v4.heap_size() + self.v6.heap_size() + deep
    }
}

/// What the answer is in each range of addresses, for one family. The end of a range is its last
/// address; the very last range has none.
#[derive(Debug, Clone)]
enum Ranges<K: Key> {
    Short { ends: Box<[K]>, values: Box<[u32]> },
    Tall(Box<Tree<K>>),
}

impl<K: Key> Default for Ranges<K> {
    fn default() -> Self {
        Self::Short {
            ends: Box::default(),
            values: Box::default(),
        }
    }
}

impl<K: Key> Ranges<K> {
    /// More ranges than this deserve a tree.
    const SHORT: usize = 64;

    fn new(steps: Steps<K>) -> Self {
        let Steps { starts, values } = steps;
        if values == [NOTHING] {
            return Self::default();
        }
        let ends: Vec<_> = starts.into_iter().map(Key::before).collect();
        if values.len() > Self::SHORT {
            return Self::Tall(Box::new(Tree::new(ends, &values)));
        }
        Self::Short {
            ends: ends.into(),
            values: values.into(),
        }
    }

    #[inline]
    fn find(&self, key: K) -> u32 {
        match self {
            Self::Short { ends, values } => find(ends, values, key),
            Self::Tall(tree) => tree.find(key),
        }
    }

    fn heap_size(&self) -> usize {
        match self {
            Self::Short { ends, values } => size_of_val(&**ends) + size_of_val(&**values),
            Self::Tall(tree) => tree.heap_size(),
        }
    }
}

/// The value of the range that `key` is in.
#[inline]
fn find<K: Key>(ends: &[K], values: &[u32], key: K) -> u32 {
    values
        .get(ends.partition_point(|end| *end < key))
        .copied()
        .unwrap_or(NOTHING)
}

/// A static B+ tree over the ranges.
#[derive(Debug, Clone)]
struct Tree<K: Key> {
    /// From the root, a single node, downwards.
    inner: Box<[Box<[K::Inner]>]>,
    leaves: Box<[Leaf<K>]>,
}

/// As many ranges as have their ends in one or two cache lines, with the values beside them.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Leaf<K> {
    /// The last one is not used: a key above it is in another leaf.
    ends: [K; LEAF],
    values: [u32; LEAF],
}

const LEAF: usize = 16;

impl<K: Key> Tree<K> {
    fn new(mut ends: Vec<K>, values: &[u32]) -> Self {
        let leaf = |(number, values): (usize, &[u32])| Leaf {
            ends: padded(ends.get(number * LEAF..).unwrap_or_default(), K::MAX),
            values: padded(values, NOTHING),
        };
        let leaves = values.chunks(LEAF).enumerate().map(leaf).collect();
        let mut inner = Vec::new();
        let mut width = LEAF;
        while ends.len() >= width {
            // The greatest end of each node of the level below, but for the last node.
            ends = ends.into_iter().skip(width - 1).step_by(width).collect();
            inner.push(ends.chunks(K::WIDTH).map(K::inner).collect());
            width = K::WIDTH;
        }
        inner.reverse();
        Self {
            inner: inner.into(),
            leaves,
        }
    }

    #[inline]
    fn find(&self, key: K) -> u32 {
        let mut place = 0;
        for nodes in &self.inner {
            // A missing node has a single child.
            place = place * K::WIDTH + nodes.get(place).map_or(0, |node| K::child(node, key));
        }
        self.leaves
            .get(place)
            .map_or(NOTHING, |leaf| leaf.values[rank(&leaf.ends, key)])
    }

    fn heap_size(&self) -> usize {
        let inner: usize = self.inner.iter().map(|nodes| size_of_val(&**nodes)).sum();
        size_of::<Self>() + size_of_val(&*self.inner) + inner + size_of_val(&*self.leaves)
    }
}

fn padded<T: Copy, const N: usize>(items: &[T], padding: T) -> [T; N] {
    std::array::from_fn(|place| items.get(place).copied().unwrap_or(padding))
}

/// How many of the ascending `ends` but the last are below `key`. N is a power of two.
#[inline]
fn rank<K: Key, const N: usize>(ends: &[K; N], key: K) -> usize {
    let (mut rank, mut step) = (0, N / 2);
    while step > 0 {
        rank += select_unpredictable(ends[rank + step - 1] < key, step, 0);
        step /= 2;
    }
    rank
}

/// An IPv4 address, or the first or second half of an IPv6 address.
trait Key: Copy + Ord + Default {
    const MAX: Self;
    /// An inner node, one cache line: the greatest ends of its children, of which the last one is
    /// not used.
    type Inner: Clone + std::fmt::Debug;
    /// How many children it has at most.
    const WIDTH: usize;
    fn inner(ends: &[Self]) -> Self::Inner;
    /// Which child `key` is in.
    fn child(node: &Self::Inner, key: Self) -> usize;
    /// One less. Not asked of 0, as no range ends before it.
    fn before(self) -> Self;
}

/// Aligned to a cache line.
#[derive(Debug, Clone)]
#[repr(align(64))]
struct Line<T>(T);

macro_rules! key {
    ($type:ty, $width:literal) => {
        impl Key for $type {
            const MAX: Self = Self::MAX;
            type Inner = Line<[$type; $width]>;
            const WIDTH: usize = $width;

            fn inner(ends: &[Self]) -> Self::Inner {
                Line(padded(ends, Self::MAX))
            }

            #[inline]
            fn child(node: &Self::Inner, key: Self) -> usize {
                rank(&node.0, key)
            }

            fn before(self) -> Self {
                self.saturating_sub(1)
            }
        }
    };
}

key!(u32, 16);
key!(u64, 8);

/// The second IPv6 level: for each /64 with longer prefixes inside, the ranges of its last 64 bits.
#[derive(Debug, Clone, Default)]
struct Deep {
    /// Where the values of each /64 begin, and where the last one's end.
    firsts: Box<[u32]>,
    values: Box<[u32]>,
    /// One fewer per /64 than values.
    ends: Box<[u64]>,
}

impl Deep {
    #[inline]
    fn find(&self, place: u32, key: u64) -> u32 {
        let place = place as usize;
        let bounds = self.firsts.get(place..).and_then(<[u32]>::first_chunk);
        let Some([first, end]) = bounds.map(|bounds| bounds.map(|bound| bound as usize)) else {
            return NOTHING;
        };
        let ends = self
            .ends
            .get(first - place..end - place - 1)
            .unwrap_or_default();
        find(ends, self.values.get(first..).unwrap_or_default(), key)
    }

    fn heap_size(&self) -> usize {
        let numbers = size_of_val(&*self.firsts) + size_of_val(&*self.values);
        size_of::<Self>() + numbers + size_of_val(&*self.ends)
    }
}

/// A prefix on its way into the trie.
#[derive(Clone, Copy)]
struct Prefix<W> {
    first: W,
    length: u8,
    value: u32,
}

impl<W> Prefix<W> {
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
                self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}

word!(u32);
word!(u128);

/// What the answer is from each start on: ranges being built.
struct Steps<W> {
    starts: Vec<W>,
    /// One more than starts: the first is the answer from 0 on.
    values: Vec<u32>,
}

impl<W: Copy + Ord + Default> Steps<W> {
    fn with_capacity(capacity: usize) -> Self {
        let mut values = Vec::with_capacity(capacity + 1);
        values.push(NOTHING);
        Self {
            starts: Vec::with_capacity(capacity),
            values,
        }
    }

    /// From `at` on the answer is `value`. What was said for `at` itself before is forgotten; `at`
    /// never goes back.
    fn set(&mut self, at: W, value: u32) {
        if self.starts.last().copied().unwrap_or_default() == at {
            self.values.pop();
            if self.starts.pop().is_none() {
                self.values.push(value);
                return;
            }
        }
        if self.values.last() != Some(&value) {
            self.starts.push(at);
            self.values.push(value);
        }
    }
}

/// Leaf pushing, in one sweep over the sorted prefixes with a stack of those that are open.
fn flatten<W: Word>(mut prefixes: Vec<Prefix<W>>) -> Steps<W> {
    prefixes.sort_by_key(|prefix| (prefix.first, prefix.length));
    prefixes.dedup_by_key(|prefix| (prefix.first, prefix.length));
    let mut steps = Steps::with_capacity(2 * prefixes.len());
    let mut open: Vec<(W, u32)> = Vec::new();
    for Prefix {
        first,
        length,
        value,
    } in prefixes
    {
        close(&mut open, &mut steps, |last| last < first);
        steps.set(first, value);
        open.push((first.last(length), value));
    }
    close(&mut open, &mut steps, |_| true);
    steps
}

/// Behind the end of an open prefix, the one around it decides again.
fn close<W: Word>(open: &mut Vec<(W, u32)>, steps: &mut Steps<W>, is_past: impl Fn(W) -> bool) {
    while let Some((last, _)) = open.pop_if(|(last, _)| is_past(*last)) {
        if let Some(next) = last.next() {
            steps.set(next, open.last().map_or(NOTHING, |(_, value)| *value));
        }
    }
}

/// Splits ranges of 128 bits into those of the first 64 and, where needed, those of the last 64.
#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer than VALUE_LIMIT prefixes"
)]
fn split(steps: &Steps<u128>) -> (Steps<u64>, Option<Box<Deep>>) {
    let mut high = Steps::with_capacity(steps.starts.len());
    let (mut firsts, mut deep_values, mut deep_ends) = (vec![0], Vec::new(), Vec::new());
    let mut values = steps.values.iter().copied();
    let mut before = values.next().unwrap_or(NOTHING);
    high.set(0, before);
    for group in steps.starts.chunk_by(|a, b| a >> 64 == b >> 64) {
        let Some((at, within)) = group.first().copied().map(halves) else {
            continue;
        };
        if group.len() == 1 && within == 0 {
            before = values.next().unwrap_or(NOTHING);
            high.set(at, before);
            continue;
        }
        high.set(at, DEEPER | (firsts.len() - 1) as u32);
        deep_values.extend((within != 0).then_some(before));
        deep_values.extend(values.by_ref().take(group.len()));
        let starts = group
            .iter()
            .map(|start| halves(*start).1)
            .filter(|start| *start != 0);
        deep_ends.extend(starts.map(Key::before));
        firsts.push(deep_values.len() as u32);
        before = deep_values.last().copied().unwrap_or(NOTHING);
        if let Some(next) = at.checked_add(1) {
            high.set(next, before);
        }
    }
    let is_needed = !deep_values.is_empty();
    let (firsts, values) = (firsts.into(), deep_values.into());
    (
        high,
        is_needed.then(|| {
            Box::new(Deep {
                firsts,
                values,
                ends: deep_ends.into(),
            })
        }),
    )
}

/// The first and the last 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is the purpose")]
const fn halves(ip: u128) -> (u64, u64) {
    ((ip >> 64) as u64, ip as u64)
}

#[cfg(test)]
mod tests;
