//! A long list of ranges: cache lines, the fences between them, and an index of the fences.

use std::fmt::Debug;
use std::hint::select_unpredictable;

use super::NOTHING;
use super::key::Key;

/// Ranges in cache lines, with what leads to the right one.
#[derive(Debug, Clone)]
pub(super) struct Lines<K: Key> {
    index: Index<K>,
    /// Where each line ends; and behind that a window's worth of the greatest address, so that every
    /// window is whole.
    fences: Box<[K]>,
    lines: Box<[K::Line]>,
}

impl<K: Key> Lines<K> {
    /// From the ends of ranges and their values; the last range ends where the addresses end.
    pub(super) fn new(ends: &[K], values: &[u32]) -> Self {
        let lines = ends.chunks(K::Line::RANGES);
        let fences: Vec<K> = lines.clone().filter_map(<[_]>::last).copied().collect();
        Self {
            index: Index::new(&fences),
            fences: fences.into_iter().chain([K::MAX; WINDOW]).collect(),
            lines: lines
                .zip(values.chunks(K::Line::RANGES))
                .map(|(ends, values)| K::Line::new(ends, values))
                .collect(),
        }
    }

    #[inline(always)]
    pub(super) fn find(&self, key: K) -> u32 {
        let (from, to) = self.index.bounds(key);
        let line = count_below(&self.fences, (from, to), |fence| *fence < key);
        self.lines.get(line).map_or(NOTHING, |line| line.find(key))
    }

    pub(super) fn heap_size(&self) -> usize {
        self.index.heap_size() + size_of_val(&*self.fences) + size_of_val(&*self.lines)
    }
}

/// What is searched in a fixed number of steps, and one more.
const WINDOW: usize = 8;

/// How many of a sorted list are below, knowing that it is `from` to `to`. The list goes on for a
/// window behind `to`, with what is not below.
#[inline(always)]
fn count_below<T>(
    sorted: &[T],
    (mut from, to): (usize, usize),
    is_below: impl Fn(&T) -> bool,
) -> usize {
    let mut size = to.wrapping_sub(from);
    while size >= WINDOW {
        let half = size / 2;
        // Not `get`: a default for what is never missing would bring the branch back.
        from = select_unpredictable(is_below(&sorted[from + half - 1]), from + half, from);
        size -= half;
    }
    // One comparison with the length, where `first_chunk` of what begins at `from` takes two.
    let window = sorted.get(from..from.wrapping_add(WINDOW - 1));
    let window: Option<&[T; WINDOW - 1]> = window.and_then(|window| window.try_into().ok());
    from + window.map_or(0, |window| rank(window, is_below))
}

/// How many of these are below, without a branch.
#[inline(always)]
fn rank<T, const N: usize>(sorted: &[T; N], is_below: impl Fn(&T) -> bool) -> usize {
    let (mut rank, mut size) = (0, N + 1);
    while size > 1 {
        let half = size / 2;
        rank += select_unpredictable(is_below(&sorted[rank + half - 1]), half, 0);
        size -= half;
    }
    rank
}

/// As many ranges as fit.
pub(super) trait Line<K>: Clone + Debug {
    /// How many.
    const RANGES: usize;
    /// From their ends and values, at most so many.
    fn new(ends: &[K], values: &[u32]) -> Self;
    /// The value of the first range that does not end below `key`, knowing that there is one.
    fn find(&self, key: K) -> u32;
}

/// The last range needs no end, which the fence has.
#[derive(Debug, Clone)]
#[repr(C, align(64))]
pub(super) struct CacheLine<K, const ENDS: usize, const RANGES: usize> {
    ends: [K; ENDS],
    values: [u32; RANGES],
}

impl<K: Key, const ENDS: usize, const RANGES: usize> Line<K> for CacheLine<K, ENDS, RANGES> {
    const RANGES: usize = RANGES;

    fn new(ends: &[K], values: &[u32]) -> Self {
        Self {
            ends: std::array::from_fn(|place| ends.get(place).copied().unwrap_or(K::MAX)),
            values: std::array::from_fn(|place| values.get(place).copied().unwrap_or(NOTHING)),
        }
    }

    #[inline(always)]
    fn find(&self, key: K) -> u32 {
        self.values[rank(&self.ends, |end| *end < key)]
    }
}

/// Between which fences to look for an address.
#[derive(Debug, Clone)]
struct Index<K> {
    /// The slots of IPv4, or the blocks of IPv6.
    root: Slots<K>,
    /// A part of the addresses each, with slots of its own; IPv6 only.
    blocks: Box<[Slots<K>]>,
    /// How many fences stand before each slot, and before the end.
    firsts: Box<[u32]>,
}

/// A stretch of addresses, divided into slots of equal size, a power of two. What is below it belongs
/// to the first slot, what is above to the last.
#[derive(Debug, Clone, Copy, Default)]
struct Slots<K> {
    first: K,
    shift: u32,
    /// The greatest number of a slot.
    last: u32,
    /// The place of slot 0 in `firsts`.
    base: u32,
}

impl<K: Key> Slots<K> {
    /// At most `number` slots, but two if one is not enough, over these fences.
    fn new(fences: &[K], number: usize) -> Self {
        let (Some(first), Some(last)) = (fences.first(), fences.last()) else {
            return Self::default();
        };
        let slots = |shift| Self {
            first: *first,
            shift,
            last: u32::try_from(last.distance(*first, shift)).unwrap_or(u32::MAX),
            base: 0,
        };
        let fits = |slots: &Self| (slots.last as usize) < number.max(2);
        (0..K::BITS).map(slots).find(fits).unwrap_or_default()
    }

    #[inline(always)]
    fn slot(&self, key: K) -> usize {
        let slot = key.distance(self.first, self.shift);
        self.base as usize + slot.min(self.last as usize)
    }
}

impl<K: Key> Index<K> {
    /// Fences to a block, on average.
    const BLOCK: usize = 64;
    /// Fences to a slot, on average, at least. With two of them one lookup in five meets a slot that
    /// is searched in more than the fixed number of steps, with one it is one in eleven: each time the
    /// processor has guessed wrong, and forgets the lookups that it was ahead with.
    const SLOT: usize = 1;

    fn new(fences: &[K]) -> Self {
        // The last one stands where the addresses end, far from all others.
        let fences = fences.split_last().map_or(fences, |(_, others)| others);
        let mut firsts = Vec::new();
        let (root, blocks) = if K::IS_CROWDED {
            let root = Slots::new(fences, fences.len() / Self::BLOCK);
            (root, Self::blocks(root, fences, &mut firsts))
        } else {
            (Self::slots(fences, 0, &mut firsts), Box::default())
        };
        firsts.push(count(fences.len()));
        Self {
            root,
            blocks,
            firsts: firsts.into(),
        }
    }

    fn blocks(root: Slots<K>, fences: &[K], firsts: &mut Vec<u32>) -> Box<[Slots<K>]> {
        let mut rest = fences;
        let block = |block| {
            let size = rest.partition_point(|fence| root.slot(*fence) <= block);
            let before = fences.len() - rest.len();
            let (block, others) = rest.split_at(size);
            rest = others;
            Self::slots(block, before, firsts)
        };
        (0..=root.last as usize).map(block).collect()
    }

    /// Slots over these fences, which have others before them.
    fn slots(fences: &[K], before: usize, firsts: &mut Vec<u32>) -> Slots<K> {
        let slots = Slots {
            base: count(firsts.len()),
            ..Slots::new(fences, fences.len() / Self::SLOT)
        };
        firsts.push(count(before));
        for (place, fence) in (before..).zip(fences) {
            let end = slots.slot(*fence) + 1;
            firsts.resize(firsts.len().max(end), count(place));
        }
        slots
    }

    /// At least and at most how many fences stand below `key`.
    #[inline(always)]
    fn bounds(&self, key: K) -> (usize, usize) {
        let slots = if K::IS_CROWDED {
            self.blocks.get(self.root.slot(key))
        } else {
            Some(&self.root)
        };
        let slot = slots.map_or(0, |slots| slots.slot(key));
        match self.firsts.get(slot..slot.wrapping_add(2)) {
            Some(&[from, to]) => (from as usize, to as usize),
            Some(_) | None => (0, 0),
        }
    }

    fn heap_size(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.firsts)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "ranges <= 2 * VALUE_LIMIT < 2^32, and slots are fewer"
)]
const fn count(items: usize) -> u32 {
    items as u32
}
