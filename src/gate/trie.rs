//! The prefix trie: which of a million prefixes is the longest that an address is in?
//!
//! # What it is
//! A binary prefix trie, compiled to its leaves. Push every prefix of the trie down to the leaves
//! (leaf pushing; V. Srinivasan and G. Varghese, *Fast Address Lookups Using Controlled Prefix
//! Expansion*, ACM TOCS 17(1), 1999) and each leaf knows the one prefix that decides for all its
//! addresses; neighbouring leaves that agree are one. What is left of the trie is a sorted list of
//! ranges with one answer each, as in DXR (M. Zec, L. Rizzo, M. Mikuc, *DXR: Towards a Billion
//! Routing Lookups per Second in Software*, ACM CCR 42(5), 2012). A lookup counts the ranges that
//! end below the address; the next one has the answer.
//!
//! A short list of ranges is searched as it is. A long one has an index of two levels on top, which
//! stands for the upper part of the trie: the stretch from the first range to the last is cut into
//! blocks of equal size, and each block, from its own first range to its last, into as many buckets
//! as its ranges deserve. So crowded stretches and empty ones are told apart twice, each on its own
//! scale, where DXR's single index on the first bits of the address would have most IPv6 prefixes in
//! a few of its slots. What is left in a bucket, two to four ranges as a rule, is found in a window
//! of eight neighbouring ranges by three comparisons without a branch; a bucket with more is halved
//! until it fits, which bounds every lookup by O(log n), whatever the prefixes.
//!
//! A range stands beside its value, and the index is small: a lookup among a million prefixes goes
//! to main memory about twice, and since hardly any branch depends on the address, the processor
//! works on several lookups at once.
//!
//! IPv6 ends are kept as 64-bit numbers, since nearly every IPv6 prefix is a /64 or shorter. The
//! rare /64 with longer prefixes inside has a short list of its own for the last 64 bits.
//!
//! # What it costs
//! With n prefixes: a lookup is O(log n) at worst and O(1) where prefixes are spread evenly within
//! their blocks; building is O(n log n), and linear if they come sorted. There are at most 2n + 1
//! ranges, of 8 bytes in IPv4 and 12 in IPv6, and a tenth of that for the index; an IPv6 prefix
//! longer than /64, alone in its /64, costs about 65 bytes. A family without prefixes has nothing on
//! the heap. `docs/benchmarks/trie.md` has the figures.

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
    #[inline(always)]
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

/// What the answer is for each address of one family.
#[derive(Debug, Clone)]
struct Ranges<K: Key> {
    /// Ascending, without gaps; the last one ends where the addresses end. Empty when no address has
    /// an answer.
    ranges: Box<[K::Range]>,
    /// Where to search, if there are many.
    index: Option<Box<Index<K>>>,
}

impl<K: Key> Default for Ranges<K> {
    fn default() -> Self {
        Self {
            ranges: Box::default(),
            index: None,
        }
    }
}

impl<K: Key> Ranges<K> {
    /// More ranges than this deserve an index.
    const SHORT: usize = 512;

    fn new(steps: Steps<K>) -> Self {
        if steps.values == [NOTHING] {
            return Self::default();
        }
        let ends = steps
            .starts
            .iter()
            .map(|start| start.before())
            .chain([K::MAX]);
        let ranges: Box<[_]> = ends
            .zip(&steps.values)
            .map(|(end, value)| K::range(end, *value))
            .collect();
        let index = (ranges.len() > Self::SHORT).then(|| Box::new(Index::new(&ranges)));
        Self { ranges, index }
    }

    #[inline]
    fn find(&self, key: K) -> u32 {
        let (from, to) = match &self.index {
            Some(index) => index.bucket(key),
            None => (0, self.ranges.len()),
        };
        find(&self.ranges, (from, to), key)
    }

    fn heap_size(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| index.heap_size());
        size_of_val(&*self.ranges) + index
    }
}

/// The value of the first range that does not end below `key`, knowing that it is one of those
/// `from` to `to`, both included.
#[inline]
fn find<K: Key>(ranges: &[K::Range], (mut from, to): (usize, usize), key: K) -> u32 {
    let mut size = to.min(ranges.len()).saturating_sub(from);
    while size >= WINDOW {
        let half = size / 2;
        // Not `get`: a default for what is never missing would bring the branch back.
        let middle = K::end(&ranges[from + half - 1]);
        from = select_unpredictable(middle < key, from + half, from);
        size -= half;
    }
    // The ranges before the window end below the key, so the window may as well begin earlier.
    let from = from.min(ranges.len().saturating_sub(WINDOW));
    let rest = ranges.get(from..).unwrap_or_default();
    match rest.first_chunk() {
        Some(window) => K::value(&window[rank::<K>(window, key)]),
        None => rest
            .iter()
            .find(|range| K::end(range) >= key)
            .map_or(NOTHING, K::value),
    }
}

/// Ranges that are searched in a fixed number of steps.
const WINDOW: usize = 8;

/// How many ranges of the window, of which the last one is not looked at, end below `key`.
#[inline]
fn rank<K: Key>(window: &[K::Range; WINDOW], key: K) -> usize {
    let step = |rank: usize, step: usize| {
        rank + select_unpredictable(K::end(&window[rank + step - 1]) < key, step, 0)
    };
    step(step(step(0, 4), 2), 1)
}

/// Two levels on top of a long list of ranges, where each range stands at its end. Much smaller than
/// the ranges, so that it stays in the cache when those don't.
#[derive(Debug, Clone)]
struct Index<K> {
    all: Scale<K>,
    /// One for each slot of `all`.
    blocks: Box<[Block<K>]>,
    /// How many ranges of its block stand before each bucket, in the block's unit; and behind the
    /// last bucket of each block, how many ranges the block has.
    below: Box<[u16]>,
}

/// Divides a stretch of addresses into slots of equal size, a power of two.
#[derive(Debug, Clone, Copy, Default)]
struct Scale<K> {
    first: K,
    shift: u32,
}

/// A stretch of addresses, divided into buckets.
#[derive(Debug, Clone, Copy, Default)]
struct Block<K> {
    scale: Scale<K>,
    /// The greatest number of a bucket.
    last: u32,
    /// The place in `below` of its first bucket.
    bucket: u32,
    /// How many ranges stand before it.
    range: u32,
    /// Its ranges are counted in units of two to the power of this, so that 16 bits are enough.
    unit: u32,
}

impl<K: Key> Scale<K> {
    /// At most `slots` of them over these ranges.
    fn new(ranges: &[K::Range], slots: usize) -> Self {
        let ends = ranges
            .first()
            .zip(ranges.last())
            .map(|(a, b)| (K::end(a), K::end(b)));
        let Some((first, last)) = ends else {
            return Self::default();
        };
        let scale = |shift| Self { first, shift };
        (0..K::BITS)
            .map(scale)
            .find(|scale| scale.slot(last) < slots)
            .unwrap_or_default()
    }

    /// What is below the first slot belongs to the first slot.
    #[inline]
    fn slot(self, key: K) -> usize {
        key.distance(self.first, self.shift)
    }
}

impl<K: Key> Index<K> {
    /// Ranges to a block, on average.
    const BLOCK: usize = 128;
    /// Ranges to a bucket, at least and on average: so few that hardly any fills a window.
    const BUCKET: usize = 2;

    fn new(ranges: &[K::Range]) -> Self {
        // The last range ends where the addresses end, far from all the others.
        let ranges = ranges.split_last().map_or(ranges, |(_, others)| others);
        let all = Scale::new(ranges, (ranges.len() / Self::BLOCK).max(1));
        let mut index = Self {
            all,
            blocks: Box::default(),
            below: Box::default(),
        };
        let (mut blocks, mut below) = (Vec::new(), Vec::new());
        let slot = |range: &K::Range| all.slot(K::end(range));
        let mut range = 0;
        for block in ranges.chunk_by(|a, b| slot(a) == slot(b)) {
            while block
                .first()
                .is_some_and(|first| blocks.len() < slot(first))
            {
                blocks.push(Self::block(&[], range, &mut below));
            }
            blocks.push(Self::block(block, range, &mut below));
            range += block.len();
        }
        (index.blocks, index.below) = (blocks.into(), below.into());
        index
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "ranges <= 2 * VALUE_LIMIT < 2^32"
    )]
    fn block(ranges: &[K::Range], before: usize, below: &mut Vec<u16>) -> Block<K> {
        let scale = Scale::new(ranges, (ranges.len() / Self::BUCKET).max(1));
        let unit = (0..)
            .find(|unit| ranges.len() >> unit <= usize::from(u16::MAX))
            .unwrap_or(0);
        let first = below.len();
        for (number, range) in ranges.iter().enumerate() {
            let buckets = first + scale.slot(K::end(range)) + 1;
            below.resize(below.len().max(buckets), (number >> unit) as u16);
        }
        below.resize(below.len().max(first + 1), 0);
        let last = (below.len() - first - 1) as u32;
        below.push((ranges.len() >> unit) as u16);
        Block {
            scale,
            last,
            bucket: first as u32,
            range: before as u32,
            unit,
        }
    }

    /// From which range on, and up to which one, to look for `key`.
    #[inline]
    fn bucket(&self, key: K) -> (usize, usize) {
        let block = self.all.slot(key).min(self.blocks.len().saturating_sub(1));
        let Some(block) = self.blocks.get(block) else {
            return (0, 0);
        };
        let bucket = block.bucket as usize + block.scale.slot(key).min(block.last as usize);
        let below = self.below.get(bucket..).and_then(<[_]>::first_chunk);
        let Some([from, to]) = below.map(|below| below.map(|n| usize::from(n) << block.unit))
        else {
            return (0, 0);
        };
        let before = block.range as usize;
        (before + from, before + to + (1 << block.unit) - 1)
    }

    fn heap_size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.blocks) + size_of_val(&*self.below)
    }
}

/// An IPv4 address, or the first or second half of an IPv6 address.
trait Key: Copy + Ord + Default + std::fmt::Debug {
    const BITS: u32;
    const MAX: Self;
    /// An end and a value.
    type Range: Copy + std::fmt::Debug;
    fn range(end: Self, value: u32) -> Self::Range;
    fn end(range: &Self::Range) -> Self;
    fn value(range: &Self::Range) -> u32;
    /// How far it is above `first`, shifted.
    fn distance(self, first: Self, shift: u32) -> usize;
    /// One less. Not asked of 0, as no range ends before it.
    fn before(self) -> Self;
}

impl Key for u32 {
    const BITS: Self = Self::BITS;
    const MAX: Self = Self::MAX;
    type Range = [Self; 2];

    fn range(end: Self, value: Self) -> Self::Range {
        [end, value]
    }

    #[inline]
    fn end(range: &Self::Range) -> Self {
        range[0]
    }

    #[inline]
    fn value(range: &Self::Range) -> Self {
        range[1]
    }

    #[inline]
    fn distance(self, first: Self, shift: Self) -> usize {
        (self.saturating_sub(first) >> shift) as usize
    }

    fn before(self) -> Self {
        self.saturating_sub(1)
    }
}

impl Key for u64 {
    const BITS: u32 = Self::BITS;
    const MAX: Self = Self::MAX;
    /// Not a pair of an end and a value, which would take 16 bytes.
    type Range = [u32; 3];

    #[expect(clippy::cast_possible_truncation, reason = "the two halves of the end")]
    fn range(end: Self, value: u32) -> Self::Range {
        [end as u32, (end >> 32) as u32, value]
    }

    #[inline]
    fn end(range: &Self::Range) -> Self {
        Self::from(range[0]) | Self::from(range[1]) << 32
    }

    #[inline]
    fn value(range: &Self::Range) -> u32 {
        range[2]
    }

    #[inline]
    fn distance(self, first: Self, shift: u32) -> usize {
        usize::try_from(self.saturating_sub(first) >> shift).unwrap_or(usize::MAX)
    }

    fn before(self) -> Self {
        self.saturating_sub(1)
    }
}

/// The second IPv6 level: for each /64 with longer prefixes inside, the ranges of its last 64 bits.
#[derive(Debug, Clone, Default)]
struct Deep {
    /// Where the ranges of each /64 begin, and where the last one's end.
    firsts: Box<[u32]>,
    ranges: Box<[<u64 as Key>::Range]>,
}

impl Deep {
    #[inline]
    fn find(&self, place: u32, key: u64) -> u32 {
        let bounds = self
            .firsts
            .get(place as usize..)
            .and_then(<[u32]>::first_chunk);
        let Some([first, end]) = bounds else {
            return NOTHING;
        };
        let ranges = self
            .ranges
            .get(*first as usize..*end as usize)
            .unwrap_or_default();
        find(ranges, (0, ranges.len()), key)
    }

    fn heap_size(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.firsts) + size_of_val(&*self.ranges)
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
    /// Sorts prefixes by where they begin, and those that begin together by their length.
    type Order: Ord;
    fn order(self, length: u8) -> Self::Order;
    /// The last address of the prefix of this length that begins here.
    fn last(self, length: u8) -> Self;
    fn next(self) -> Option<Self>;
}

macro_rules! word {
    ($type:ty, $order:ty, $pack:expr) => {
        impl Word for $type {
            type Order = $order;

            fn order(self, length: u8) -> Self::Order {
                $pack(self, length)
            }

            fn last(self, length: u8) -> Self {
                self | Self::MAX.checked_shr(length.into()).unwrap_or(0)
            }

            fn next(self) -> Option<Self> {
                self.checked_add(1)
            }
        }
    };
}

word!(u32, u64, |first, length| u64::from(first) << 8
    | u64::from(length));
word!(u128, (u128, u8), |first, length| (first, length));

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
    prefixes.sort_by_key(|prefix| prefix.first.order(prefix.length));
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
    let (mut firsts, mut ranges) = (vec![0], Vec::new());
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
        for start in group {
            let (_, start) = halves(*start);
            ranges.extend((start != 0).then(|| Key::range(start.before(), before)));
            before = values.next().unwrap_or(NOTHING);
        }
        ranges.push(Key::range(u64::MAX, before));
        firsts.push(ranges.len() as u32);
        if let Some(next) = at.checked_add(1) {
            high.set(next, before);
        }
    }
    let is_needed = !ranges.is_empty();
    let deep = Deep {
        firsts: firsts.into(),
        ranges: ranges.into(),
    };
    (high, is_needed.then(|| Box::new(deep)))
}

/// The first and the last 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "that is the purpose")]
const fn halves(ip: u128) -> (u64, u64) {
    ((ip >> 64) as u64, ip as u64)
}

#[cfg(test)]
mod tests;
